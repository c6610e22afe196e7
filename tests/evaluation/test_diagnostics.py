"""Diagnostics: closed forms, and how often the tests alarm when they should and when they should not."""

import dataclasses
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from weft.core.errors import UserError
from weft.data.columns import Columns
from weft.data.dataset import Dataset
from weft.data.spec import ActionSpec, ObservationSpec, Spec
from weft.evaluation import agreement, diagnostics
from weft.evaluation import specification_tests as assumptions
from weft.evaluation.bounded_terms import Range
from weft.evaluation.candidate import Candidate
from weft.evaluation.case import Case, Weighing
from weft.evaluation.confounding import betting_bound, flip, normalised_bound
from weft.evaluation.trajectories import Paths
from weft.evaluation.waves import features

PLACES, CHOICES = 6, 3


def every(count, unit=None):
    return Weighing(jnp.ones(count), jnp.ones(count), jnp.arange(count) if unit is None else jnp.asarray(unit))


def laid(ratio, reward, discount=1.0):
    ratio, reward = jnp.asarray(ratio, jnp.float32), jnp.asarray(reward, jnp.float32)
    steps = jnp.broadcast_to(discount ** jnp.arange(ratio.shape[1]), ratio.shape)
    return Paths(jnp.log(ratio), reward, steps, jnp.ones(ratio.shape, bool))


def columns(codes, actions, rewards, logs, terminal=None):
    """Return `(episode, time)` arrays as a compiled log; codes have one time more."""
    count, time = actions.shape
    start = jnp.arange(count)[:, None]
    at = (start * (time + 1) + jnp.arange(time)).reshape(-1)
    ends = jnp.zeros(count * time, bool) if terminal is None else terminal.reshape(-1)
    cut = (jnp.tile(jnp.arange(time), count) == time - 1) & ~ends
    return Columns(
        codes.reshape(-1), actions.reshape(-1), rewards.reshape(-1, 1), ends, cut, at, at + 1,
        jnp.tile(jnp.arange(time), count), jnp.repeat(jnp.arange(count), time), jnp.repeat(start[:, 0] * time, time),
        jnp.ones(count * time), logs.reshape(-1), jnp.arange(count * time), jnp.int32(count * time),
    )  # fmt: skip


def spec(places, choices, time):
    seen = ObservationSpec((), "int32", "category", count=places)
    return Spec((seen,), ActionSpec("discrete", (), "int32", counts=(choices,)), horizon=time, longest=time)


# --- weights --------------------------------------------------------------------------------------------------------


def test_effective_sizes_have_a_closed_form_and_count_units():
    found = laid([[3.0, 0.0], [1.0, 2.0], [1.0, 2.0], [1.0, 1.0]], np.zeros((4, 2)))
    np.testing.assert_allclose(assumptions.effective_sizes(found, every(4)), [36 / 12, 25 / 9], rtol=1e-5)
    np.testing.assert_allclose(assumptions.largest_share(found, every(4)), [0.5, 0.4], rtol=1e-5)
    pairs = every(4, [0, 0, 1, 1])
    np.testing.assert_allclose(assumptions.effective_sizes(found, pairs), [36 / 20, 25 / 13], rtol=1e-5)
    without = pairs.reweighted(jnp.asarray([1.0, 1.0, 1.0, 0.0]))
    np.testing.assert_allclose(assumptions.largest_share(found, without)[0], 0.8, rtol=1e-5)
    tiny = laid(np.full((3, 4), 1e-30), np.zeros((3, 4)))
    np.testing.assert_allclose(assumptions.effective_sizes(tiny, every(3)), 3.0, rtol=1e-4)


MISTAKES = ("none", "probability for logarithm", "shifted propensity", "shifted codes", "another policy's log")


@partial(jax.jit, static_argnames=("count", "time"))
def ratios(key, count, time):
    """Return whether the mean-weight test alarms, per mistake, in a random world of `PLACES` places."""
    keys = jax.random.split(key, 7)
    logging, other = jax.random.dirichlet(keys[0], jnp.full(CHOICES, 1.5), (2, PLACES)) * 0.9 + 0.1 / CHOICES
    wanted = jax.random.dirichlet(keys[1], jnp.ones(CHOICES), (PLACES,))
    codes = jax.random.randint(keys[2], (count, time + 1), 0, PLACES)
    here = codes[:, :-1]
    actions = jax.random.categorical(keys[3], jnp.log(logging[here]))
    made = columns(codes, actions, jnp.zeros((count, time)), jnp.log(logging[here, actions]))
    right = jnp.log(wanted[here, actions]).reshape(-1)
    moved = jnp.where(actions + 1 < CHOICES, wanted[here, jnp.minimum(actions + 1, CHOICES - 1)], 0.0)
    planted = {
        "none": (right, made.log_propensity),
        "probability for logarithm": (jnp.exp(right), made.log_propensity),
        "shifted propensity": (right, jnp.log(logging[here, (actions + 1) % CHOICES]).reshape(-1)),
        "shifted codes": (jnp.log(moved).reshape(-1), made.log_propensity),
        "another policy's log": (right, jnp.log(other[here, actions]).reshape(-1)),
    }
    found = []
    for name in MISTAKES:
        ours, theirs = planted[name]
        candidate = Candidate(wanted[codes.reshape(-1)], None, ours, spec(PLACES, CHOICES, time))
        changed = eqx.tree_at(lambda c: c.log_propensity, made, theirs)
        found.append(
            assumptions.alarmed(assumptions.mean_weight_test(Case(candidate, changed, every(count)), keys[4]).z)
        )
    return jnp.stack(found)


def test_wrong_ratios_are_found_and_right_ones_are_not():
    """200 episodes of 5 steps, random worlds; over 1000 of them: .004 false, 1.000, .999, 1.000 and .993 found."""
    found = jax.lax.map(lambda key: ratios(key, 200, 5), jax.random.split(jax.random.key(0), 200)).mean(0)
    rates = dict(zip(MISTAKES, np.asarray(found).tolist(), strict=True))
    assert rates.pop("none") <= 0.015
    assert min(rates.values()) >= 0.97, rates


def test_rare_large_ratios_that_have_not_been_met_are_no_alarm():
    """A deterministic policy whose choice is logged with chance .05: the variance comes from what was not met."""
    time, count = 1, 400
    candidate = Candidate(jnp.ones((2 * count, 1)) * jnp.asarray([0.0, 1.0]), None, None, spec(1, 2, time))

    def once(key):
        actions = jax.random.bernoulli(key, 0.05, (count, 1)).astype(jnp.int32)
        logs = jnp.log(jnp.where(actions == 1, 0.05, 0.95))
        made = columns(jnp.zeros((count, 2), jnp.int32), actions, jnp.zeros((count, 1)), logs)
        asked = eqx.tree_at(
            lambda c: c.log_prob, candidate, jnp.log(actions[:, 0].astype(jnp.float32)), is_leaf=lambda x: x is None
        )
        return assumptions.mean_weight_test(Case(asked, made, every(count)), key).alarm

    alarms = jax.jit(lambda keys: jax.lax.map(once, keys))(jax.random.split(jax.random.key(1), 500))
    assert float(alarms.mean()) <= 0.02


# --- estimates ------------------------------------------------------------------------------------------------------


def test_agreement_is_the_z_of_the_difference():
    random = np.random.default_rng(0)
    each = jnp.asarray(random.normal(size=(2, 50)) / 50, jnp.float32)
    each = each - each.mean(1, keepdims=True)
    apart = np.sqrt((np.asarray(each[0] - each[1]) ** 2).sum() * 50 / 49)
    error = max(np.sqrt((np.asarray(one) ** 2).sum() * 50 / 49) for one in each)
    wanted = 0.7 / np.hypot(apart, error / 4)
    found = diagnostics.agreement(jnp.asarray([1.0, 1.7]), each, 50)
    assert float(found) == pytest.approx(wanted, rel=1e-4)
    same = jnp.stack([each[0], each[0]])
    assert float(diagnostics.agreement(jnp.asarray([1.0, 1.0]), same, 50)) == 0.0
    slightly = float(diagnostics.agreement(jnp.asarray([1.0, 1.0 + 0.1 * error]), same, 50))
    assert slightly == pytest.approx(0.4, rel=0.2)  # a tenth of an error is no disagreement


def valued(lengths, noise, count=200):
    """Return the behaviour test where nothing is seen and an episode ends after so many steps of a reward of one."""
    random = np.random.default_rng(0)
    ends = random.choice(lengths, count)
    rewards = 1 + noise * random.normal(size=ends.sum())
    last = np.zeros(ends.sum(), bool)
    last[np.cumsum(ends) - 1] = True
    data = Dataset.from_arrays(
        np.zeros(len(last), int), np.zeros(len(last), int), rewards, last, kinds={"": "category"}, action_count=2
    )
    known = features(data.spec, jax.random.key(0), 16)
    case = Case(Candidate(None, None, None, data.spec), data.device(), every(count))
    return assumptions.behaviour_test(known, case, 4, 1.0, 1e-4), data


def test_the_value_of_the_logging_policy_is_a_known_answer():
    """Two steps each: to one who sees no time, half of all steps end the episode, worth 1 + .5 + .25 + .125."""
    (value, logged, z), data = valued([2], 0.1)
    assert float(value) == pytest.approx(1.875, abs=0.02)
    assert float(logged) == pytest.approx(data.returns.mean(), abs=1e-3)
    assert float(z) < -4
    (value, logged, z), _ = valued([1], 0.1)
    assert float(value) == pytest.approx(float(logged), abs=1e-3)
    assert abs(float(z)) < 1


# --- Markov ---------------------------------------------------------------------------------------------------------


@partial(jax.jit, static_argnames=("count", "time"))
def markov(key, alias, count, time):
    """Return p-values of Bellman, memory and behaviour memory; with `alias` the last action decides the reward."""
    keys = jax.random.split(key, 7)
    codes = jax.random.randint(keys[0], (count, time + 1), 0, 2)
    actions = jax.random.bernoulli(keys[1], 0.4, (count, time)).astype(jnp.int32)
    before = jnp.concatenate([jnp.zeros((count, 1), jnp.int32), actions[:, :-1]], 1)
    hidden = alias * before + (1 - alias) * actions
    rewards = jax.random.bernoulli(keys[2], 0.3 + 0.4 * hidden).astype(jnp.float32)
    made = columns(codes, actions, rewards, jnp.log(jnp.where(actions == 1, 0.4, 0.6)))
    chance = jnp.broadcast_to(jnp.asarray([0.3, 0.7]), (codes.size, 2))
    candidate = Candidate(chance, None, jnp.log(chance[made.position, made.action]), spec(2, 2, time))
    known, case = features(candidate.spec, jax.random.key(0), 16), Case(candidate, made, every(count))
    bellman = diagnostics.bellman_test(known, case, time, 1.0, 1e-4, keys[3])
    memory = diagnostics.memory_test(known, case, keys[4])
    behaviour = diagnostics.memory_test(known, case, keys[5], target="behaviour")
    return jnp.stack([bellman, memory, behaviour])


def test_hidden_state_is_found_and_markov_observations_are_let_by():
    """100 episodes of 4 steps."""
    keys = jax.random.split(jax.random.key(0), 100)
    every_one = jax.jit(lambda alias: jax.lax.map(lambda key: markov(key, alias, 100, 4), keys))
    p = {alias: np.asarray(every_one(jnp.int32(alias))) for alias in (0, 1)}
    assert (p[0] < 0.05).mean(0).max() <= 0.14  # .05 and four standard errors of a hundred worlds
    assert (p[0] < 0.5).mean(0).min() >= 0.3  # neither are p-values all near one
    assert (p[1][:, :2] < 0.01).mean(0).min() >= 0.95
    assert (p[1][:, 2] < 0.05).mean() <= 0.1  # the logging policy looked at nothing


def test_a_trend_is_found_and_units_are_clustered():
    random = np.random.default_rng(0)
    order = jnp.linspace(-1, 1, 400)
    noise = jnp.asarray(random.normal(size=400), jnp.float32)
    rising = assumptions.trend_test(noise + 0.5 * order, order, every(400))
    assert float(rising) == pytest.approx(0.5 / (1 / np.sqrt(400 / 3)), abs=1.5)
    assert abs(float(assumptions.trend_test(noise, order, every(400)))) < 3
    shared = jnp.repeat(noise[:20], 20) + 0.5 * order
    unit = np.repeat(np.arange(20), 20)
    assert abs(float(assumptions.trend_test(shared, order, every(400, unit)))) < abs(
        float(assumptions.trend_test(shared, order, every(400)))
    )


# --- hidden confounding ---------------------------------------------------------------------------------------------


def test_the_worst_ratios_have_a_closed_form():
    """One step, rewards of 0 and 1 half and half, ratios of 1.6 at 1 and 0.4 at 0: odds of 4, divided by Gamma^2."""
    reward = np.tile([0.0, 1.0], 500)[:, None]
    found = laid(np.where(reward == 1, 1.6, 0.4), reward)
    least = jax.jit(lambda gamma: normalised_bound(found, every(1000), gamma, 0.5))  # no error at a level of a half
    for gamma in (1.0, 1.5, 3.0):
        wanted = 1.6 / gamma / (1.6 / gamma + 0.4 * gamma) - 0.5
        assert float(least(jnp.float32(gamma))) == pytest.approx(wanted, abs=1e-4)
    turning = jax.jit(lambda margin: flip(least, margin))
    assert float(turning(jnp.float32(0.0))) == pytest.approx(2.0, rel=1e-3)
    assert float(turning(jnp.float32(0.4))) == 1.0
    assert float(flip(lambda _: jnp.float32(1.0), 0.0)) == np.inf


def test_the_betting_bound_lies_below_and_falls():
    random = np.random.default_rng(0)
    actions = random.random((2000, 2)) < 0.5
    reward = (random.random((2000, 2)) < np.where(actions, 0.9, 0.1)).astype(np.float32)
    found, declared = laid(np.where(actions, 1.8, 0.2), reward), Range(0.0, 1.0, 1.0, 2)
    bound = jax.jit(lambda gamma: betting_bound(found, every(2000), declared, gamma, 0.05))
    least = [float(bound(jnp.float32(gamma))) for gamma in (1.0, 1.1, 1.3)]
    assert least[0] == pytest.approx(0.64, abs=0.25)  # the truth is 2 (.9 .9 + .1 .1 - .5)
    assert least[0] < 0.64
    assert least[0] > least[1] > least[2]
    assert least[1] < float(normalised_bound(found, every(2000), 1.1, 0.95))


# --- all together ---------------------------------------------------------------------------------------------------


def logged(count=200, seed=0, ends=False):
    """Return a log of two steps; where it `ends` after them, and is not cut, no observation tells how many are left."""
    random = np.random.default_rng(seed)
    seen = random.normal(size=(count, 2, 2)).astype(np.float32)
    chance = 1 / (1 + np.exp(-seen[..., 0]))
    actions = (random.random((count, 2)) < chance).astype(int)
    rewards = (random.random((count, 2)) < 0.2 + 0.6 * (actions == (seen[..., 1] > 0))).astype(np.float32)
    taken = np.where(actions == 1, chance, 1 - chance)
    last = np.tile([False, True], count)
    after = np.concatenate([seen[:, 1:], random.normal(size=(count, 1, 2))], 1).astype(np.float32)
    return Dataset.from_arrays(
        seen.reshape(-1, 2), actions.reshape(-1), rewards.reshape(-1), last & ends, last & (not ends),
        next_observations=after.reshape(-1, 2), propensities=taken.reshape(-1), action_count=2, horizon=2,
        discount=1.0, reward_range=(0.0, 1.0),
    )  # fmt: skip


def better(seen):
    chance = 0.2 + 0.6 * (seen[:, 1] > 0)
    return np.stack([1 - chance, chance], 1)


def test_diagnose_says_everything_in_words():
    data = logged()
    found = diagnostics.diagnose(better, data)
    assert found.weights is not None
    assert found.weights.reach == 2
    assert found.weights.ratio == pytest.approx(1.0, abs=0.2)
    assert set(found.values) == {"linear_q", "double_reinforcement", "doubly_robust", "per_decision"}
    for name in ("mean weight", "agreement", "behaviour value", "Bellman", "memory", "behaviour memory", "drift"):
        test = found.test(name)
        assert test is not None
        assert not test.alarm, test.sentence
        assert 0 <= test.p <= 1
        assert test.sentence.endswith(".")
    assert found.passed
    assert "effective units" in str(found)
    assert any("No unit is declared" in warning for warning in found.warnings)


def test_single_decisions_with_rounded_propensities():
    random = np.random.default_rng(0)
    chance = np.round(random.uniform(0.02, 0.98, 300), 3)
    actions = (random.random(300) < chance).astype(int)
    data = Dataset.from_arrays(
        random.normal(size=(300, 2)), actions, random.random(300), np.ones(300, bool),
        propensities=np.where(actions == 1, chance, 1 - chance), horizon=1, discount=1.0,
    )  # fmt: skip
    found = diagnostics.diagnose(better, data)
    assert found.weights is not None
    assert found.weights.rounding is not None
    assert found.weights.rounding.step == pytest.approx(1e-3)
    assert any("multiples of 0.001" in warning for warning in found.warnings)
    assert found.test("Bellman") is None  # nothing follows a single decision
    assert found.test("memory") is None


def test_a_further_policy_compiles_no_further_program(monkeypatch):
    data, traced = logged(), []
    for name in ("influence", "pairwise"):
        honest = getattr(agreement, name)
        monkeypatch.setattr(agreement, name, lambda *given, honest=honest: traced.append(1) or honest(*given))
    diagnostics.diagnose(better, data)
    traced.clear()
    diagnostics.diagnose(lambda seen: jnp.sqrt(better(seen)) / jnp.sqrt(better(seen)).sum(1, keepdims=True), data)
    assert not traced


def test_estimators_of_one_value_class_are_not_said_to_agree():
    """311 ± 29 and 316 ± 29 "agreed" about a policy worth 131."""
    without = diagnostics.diagnose(better, dataclasses.replace(logged(), store_log_propensities=None))
    told = without.test("agreement")
    assert told is not None
    assert "says little" in told.sentence
    assert "agree (" not in str(without)


def test_no_value_is_shown_that_a_test_speaks_against():
    wrong = dataclasses.replace(logged(), store_log_propensities=np.full(400, np.log(0.9), np.float32))
    refused = diagnostics.diagnose(better, wrong)
    assert not refused.passed
    assert "±" not in str(refused)
    assert "none is shown" in str(refused)
    assert "±" in str(diagnostics.diagnose(better, logged()))


def test_a_mean_ratio_of_three_is_an_alarm_although_one_weight_makes_it_up():
    """The weight that made the mean wrong made its error as large, so |z| stayed below 3."""
    random = np.random.default_rng(0)
    count, chance = 10_000, np.full(10_000, 0.5)
    chance[0] = 0.5 / 21_300  # its ratio alone adds 2.13 to the mean
    data = Dataset.from_arrays(
        random.normal(size=(count, 2)), random.integers(0, 2, count), random.random(count), np.ones(count, bool),
        propensities=chance, horizon=1, discount=1.0,
    )  # fmt: skip
    told = diagnostics.diagnose(lambda seen: np.full((len(seen), 2), 0.5), data).test("mean weight")
    assert told is not None
    assert told.alarm
    assert "a few huge ones make it up" in told.sentence


@pytest.mark.slow
def test_a_log_that_hides_its_time_is_found_without_propensities():
    blind = dataclasses.replace(logged(ends=True), store_log_propensities=None)
    without = diagnostics.diagnose(better, blind)
    assert without.weights is None
    assert set(without.values) == {"linear_q", "double_reinforcement"}
    assert without.test("mean weight") is None
    assert not without.passed
    told = without.test("behaviour value")
    assert told is not None
    assert told.alarm
    assert any(warning.startswith("behaviour value: The logging policy is worth") for warning in without.warnings)
    with pytest.raises(UserError, match="estimate them first"):
        diagnostics.confounding(better, blind)


def test_confounding_of_a_log_is_said_in_a_sentence():
    data = logged(600)
    found = diagnostics.confounding(better, data)
    assert 1.02 < found.gamma < 2
    assert found.lower == found.curve[1.0] > 0
    assert f"factor of {found.gamma:.3g}" in str(found)
    assert diagnostics.confounding(better, data, margin=1.0).gamma == 1.0
    assert diagnostics.confounding(better, data, bound="betting").gamma <= found.gamma
    with pytest.raises(UserError, match="not 'best'"):
        diagnostics.confounding(better, data, bound="best")


def test_infinite_values_are_refused():
    data = logged(20)
    cut = data.declare(horizon=None)
    with pytest.raises(UserError, match="values are infinite"):
        diagnostics.diagnose(better, cut)
