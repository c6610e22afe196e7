"""Linear value functions with many features: float32 against the same equations in float64, and folds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tabular import asks, world

from weft.data.columns import Columns
from weft.data.dataset import Dataset
from weft.data.spec import ActionSpec, ObservationSpec, Spec
from weft.evaluation import moments as sums
from weft.evaluation.candidate import Candidate
from weft.evaluation.case import Case, Weighing, case_of
from weft.evaluation.estimators.double_reinforcement import DoubleReinforcement
from weft.evaluation.estimators.linear_q import LinearQ
from weft.evaluation.interval import influence
from weft.evaluation.linear_q import crossfit, crossfit_influence, solve
from weft.evaluation.moments import Moments, Steps, moments
from weft.evaluation.waves import features

EPISODES, LONGEST = 60, 5


def steering():
    """Return the question about a linear controller of a noisy linear system, steered by another one in the log."""
    random = np.random.default_rng(0)
    state, action = np.zeros((EPISODES, LONGEST + 1)), np.zeros((EPISODES, LONGEST))
    state[:, 0] = random.normal(size=EPISODES)
    for t in range(LONGEST):
        action[:, t] = -0.2 * state[:, t] + 0.6 * random.normal(size=EPISODES)
        state[:, t + 1] = 0.9 * state[:, t] + 0.5 * action[:, t] + 0.2 * random.normal(size=EPISODES)
    reward, size = 1 - 0.2 * state[:, :-1] ** 2 - 0.1 * action**2, EPISODES * LONGEST
    data = Dataset.from_arrays(
        state[:, :-1].reshape(size, 1), action.reshape(size, 1), reward.ravel(), np.zeros(size, bool),
        np.tile(np.arange(LONGEST) == LONGEST - 1, EPISODES), next_observations=state[:, 1:].reshape(size, 1),
    )  # fmt: skip
    value, spread = 0.0, 1.0
    for _ in range(LONGEST):
        value += 1 - 0.2 * spread - 0.1 * 0.25 * spread
        spread = (0.9 - 0.25) ** 2 * spread + 0.04
    return case_of(lambda seen: -0.5 * seen, data, None, True, 1, 0), data.spec, value


@pytest.mark.parametrize("count", [32, 256])
def test_features_that_nearly_depend_on_each_other_cost_no_digits(count):
    case, spec, truth = steering()
    known = features(spec, jax.random.key(0), count)
    every = jax.jit(moments, static_argnums=3)(known, case.candidate, case.columns, EPISODES, 1.0)
    total, first = every.weighted(case.weighing.weights), every.first.mean(0)
    found = jax.jit(solve, static_argnums=2)(total, first, LONGEST, 1e-4)
    gram, forward, reward = (np.asarray(part, float) for part in (total.gram, total.forward, total.reward))
    inverse, theta = np.linalg.inv(gram + 1e-4 * np.trace(gram) / len(gram) * np.eye(len(gram))), np.zeros(len(gram))
    for _ in range(LONGEST):
        theta = inverse @ (reward + forward @ theta)
    expected = float(np.asarray(first, float) @ theta)
    assert float(first @ found.theta[-1]) == pytest.approx(expected, rel=2e-3)
    assert expected == pytest.approx(truth, abs=0.3)


@pytest.mark.few(1)
@pytest.mark.parametrize("horizon", [1, LONGEST, None])
@pytest.mark.parametrize("what", ["choices", "choices drawn", "continuous"])
def test_features_made_anew_give_what_kept_sums_give(monkeypatch, what, horizon):
    """Without room for two matrices an episode, sums, values, errors, folds and slopes are the same."""
    if what == "continuous":
        case, _, _ = steering()
    else:
        here = world()
        rule = here.rule(0.4 if what == "choices drawn" else 1.0)
        case = case_of(asks(rule), here.log(50, 3, whole=True), None, True, 1, 0)
    candidate, columns, weighing, episodes = case.candidate, case.columns, case.weighing, case.episodes
    known = features(candidate.spec, jax.random.key(0), 24)
    weighing = weighing.reweighted(weighing.weights * jnp.linspace(0.1, 2.0, episodes))

    def answers(asked, room):
        monkeypatch.setattr(sums, "ROOM", room)
        monkeypatch.setattr(sums, "CACHED", 900)  # pieces of a few steps, the last one not full
        every = moments(known, asked, columns, episodes, 0.9, horizon)
        assert isinstance(every, Steps if room == 0 else Moments)

        def value(weights):
            initial = every.initial(weights)
            return initial @ solve(every.weighted(weights), initial, horizon, 1e-3).theta[-1]

        fitted = crossfit(every, weighing, horizon, 1e-3, 3)
        return {
            "sums": every.weighted(weighing.weights), "initial": every.initial(weighing.weights),
            "begun": every.begun(fitted.solutions.theta[0, -1]), "slope": jax.value_and_grad(value)(weighing.weights),
            "folds": crossfit_influence(every, fitted, horizon),
        }  # fmt: skip

    for asked in (candidate, None):
        jax.tree.map(
            lambda kept, anew: np.testing.assert_allclose(anew, kept, rtol=2e-3, atol=2e-3 * np.abs(kept).max()),
            *(answers(asked, room) for room in (2**26, 0)),
        )


def test_memory_does_not_grow_with_matrices_per_episode():
    """A hundred thousand single decisions with two matrices each took 78 GB."""
    spec = Spec((ObservationSpec((8,)),), ActionSpec("discrete", counts=(4,)), longest=1)
    size = 100_000

    def blank():
        rows, flags, numbers = jnp.zeros(size, int), jnp.zeros(size, bool), jnp.zeros(size)
        columns = Columns(
            jnp.zeros((size, 8)), rows, jnp.zeros((size, 1)), flags, flags, rows, rows, rows, rows, rows, numbers,
            numbers, rows, jnp.zeros((), int),
        )  # fmt: skip
        return Case(Candidate(jnp.zeros((size, 4)), None, numbers, spec), columns, Weighing(numbers, numbers, rows))

    method = DoubleReinforcement(1.0, horizon=1, features=128)

    def judge(case):
        return influence(method, method.terms(case, jax.random.key(0)), case.weighing)

    sizes = jax.jit(judge).lower(jax.eval_shape(blank)).compile().memory_analysis()
    assert sizes.temp_size_in_bytes < 2e8


def test_a_view_of_every_fifth_episode_has_all_folds():
    """Units are dealt to folds by their rank among those that count, not by their number in the store."""
    weights = jnp.zeros(20).at[jnp.arange(0, 20, 5)].set(1.0)
    blank = jnp.ones((20, 1))
    every = Moments(blank[..., None], 0 * blank[..., None], blank, blank)
    fitted = crossfit(every, Weighing(weights, jnp.ones(20), jnp.arange(20)), 1, 1e-4, 2)
    assert np.asarray(fitted.fold)[::5].tolist() == [0, 1, 0, 1]
    assert np.asarray(fitted.count).tolist() == [2.0, 2.0]
    np.testing.assert_allclose(fitted.solutions.theta[:, -1], 1.0, rtol=1e-3)


def test_features_are_waves_linear_terms_and_the_constant():
    case, spec, _ = steering()
    columns = case.columns
    known = features(spec, jax.random.key(1), 40)
    assert known.frequencies is not None
    assert known.phases is not None
    seen, action = columns.observation[columns.position], columns.action
    given = np.asarray(jnp.concatenate([seen, action], 1), float)
    angles = given @ np.asarray(known.frequencies, float) + np.asarray(known.phases, float)
    waves = np.sqrt(2 / angles.shape[1]) * np.cos(angles)
    wanted = np.concatenate([waves, 0.3 * given, np.ones((len(given), 1))], 1)
    np.testing.assert_allclose(known.logged(seen, action), wanted, atol=2e-6)


@pytest.mark.parametrize("form", ["codes", "numbers"])
def test_a_constant_in_all_rewards_moves_the_value_by_itself_even_where_a_choice_was_never_seen(form):
    """What was never seen was worth 0: near rewards of 1 the value came out .95 for .99."""
    random = np.random.default_rng(0)
    state = np.repeat(np.arange(6), 20)
    action = np.where(state % 2, random.integers(0, 2, 120), 0)  # in every second state one choice is never seen
    reward = (random.random(120) < 0.2 + 0.3 * action).astype(np.float32)
    seen = {"codes": state, "numbers": np.stack([np.sin(state), np.cos(state)], 1).astype(np.float32)}[form]

    def value(added: float) -> float:
        data = Dataset.from_arrays(seen, action, reward + np.float32(added), np.ones(120, bool), action_count=2)
        case = case_of(lambda where: np.tile([0.3, 0.7], (len(where), 1)), data.declare(horizon=1, discount=1.0))
        return float(LinearQ(1.0, horizon=1, features=32).value(case, jax.random.key(0)))

    assert value(5.0) - value(0.0) == pytest.approx(5.0, abs=0.01)
    assert value(-5.0) - value(0.0) == pytest.approx(-5.0, abs=0.01)
