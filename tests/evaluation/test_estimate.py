"""Estimates from the outside: what is refused and in which words, what is said, and whose discount counts."""

import dataclasses
import sys

import jax
import numpy as np
import pytest
import small
from tabular import TIME, asks, world

import weft
from weft.agents.algorithms.td3_bc import TD3BC
from weft.core import pytree
from weft.core.errors import UserError
from weft.data.dataset import Dataset
from weft.evaluation.case import case_of
from weft.evaluation.estimate import estimate
from weft.evaluation.estimators.doubly_robust import DoublyRobust
from weft.evaluation.estimators.linear_q import LinearQ
from weft.evaluation.estimators.per_decision import PerDecision
from weft.evaluation.interval import resample
from weft.evaluation.intervals.betting import Betting

LENGTHS = np.tile([1, 2, 3, 3], 8)


def policy(seen):
    return np.tile([0.4, 0.6], (len(seen), 1))


def made(lengths=LENGTHS, continuous=False, cut=False, shift=0.0, **options):
    """Return a log of random episodes with propensities; the last step is a terminal or, if `cut`, a time-out."""
    size = int(np.sum(lengths))
    ends = np.zeros(size, bool)
    ends[np.cumsum(lengths) - 1] = True
    random = np.random.default_rng(1)
    action = random.normal(size=(size, 1)) if continuous else random.integers(0, 2, size)
    known = {
        "propensities": np.full(size, 0.5),
        "origin": "log.csv",
        "next_observations": random.normal(size=(size, 2)),
    }
    known |= options if continuous else {"action_count": 2} | options
    reward = shift + random.uniform(size=size)
    return Dataset.from_arrays(random.normal(size=(size, 2)), action, reward, ends & (not cut), ends & cut, **known)


def declared(data, **changes):
    return data.declare(**{"reward_low": (0.0,), "reward_high": (1.0,), "horizon": 3, "discount": 1.0} | changes)


def still(seen):
    return np.zeros((len(seen), 1), np.float32)


class Sampler:
    def sample(self, seen, key):
        return np.zeros((len(seen), 1), np.float32)

    def log_prob(self, seen, action):
        return np.zeros((len(seen), 2), np.float32)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: estimate(policy, made(propensities=None)), "csv has no propensities, and 'Doubly robust' weighs"),
        (lambda: estimate(still, made(continuous=True)), "mode, has no density to weigh with.*'linear_q'"),
        (lambda: estimate(policy, made(), "switch"), r"'Switch' is for episodes of one decision; log\.csv has up to 3"),
        (
            lambda: estimate(policy, made(), "per_decision", "betting"),
            r"betting interval needs what log\.csv does not declare: reward_low, reward_high, horizon\. Declare it",
        ),
        (
            lambda: estimate(policy, declared(made(), reward_high=(0.5,)), "per_decision", "bernstein"),
            r"rewards of log\.csv lie outside the declared \[0, 0\.5\], the first is .* at step",
        ),
        (
            lambda: estimate(policy, declared(made(), horizon=2), "per_decision", "betting"),
            r"An episode of log\.csv has 3 steps, more than the horizon of 2",
        ),
        (lambda: estimate(policy, made(), horizon=2), "3 steps, more than the horizon of 2, and 'Doubly"),
        (
            lambda: estimate(policy, declared(made(), reward_low=(0.9,)), "per_decision", "betting"),
            "rewards of log.csv lie outside",
        ),
        (
            lambda: estimate(
                policy, declared(made(shift=1.0), reward_low=(1.0,), reward_high=(2.0,)), "per_decision", "betting"
            ),
            "differ in length, so steps after an end count as reward 0",
        ),
        (lambda: estimate(lambda s: np.full((len(s), 2), 0.4), made()), "sum to 1; at observation 0 they sum to 0.8"),
        (lambda: estimate(lambda s: np.log(policy(s)), made()), "Pass probabilities, not their logarithms"),
        (lambda: estimate(lambda s: np.full((len(s), 3), 1 / 3), made()), r"probabilities \(\d+, 2\), got \(\d+, 3\)"),
        (lambda: estimate(lambda s: np.full(len(s), 5), made()), "chooses action 5; the log's choices are 0 to 1"),
        (lambda: estimate(lambda s: np.zeros((len(s), 2), np.float32), made(continuous=True)), "answer with actions"),
        (lambda: estimate(Sampler(), made(continuous=True)), "one number per action"),
        (lambda: estimate(Sampler(), made()), "actions are choices; pass a function"),
        (lambda: estimate(policy, made(), "doubly_robus"), "doubly_robust"),
        (lambda: estimate(policy, made(), "linear_q", "norml"), "normal"),
        (lambda: estimate(policy, made(), "linear_q", foldz=2), "'linear_q' has no setting 'foldz'. Known: discount,"),
        (lambda: estimate(policy, made(), DoublyRobust(), folds=2), "Settings .folds. go with a method's name"),
        (lambda: estimate(policy, made(), folds=1), "at least two folds"),
        (lambda: estimate(policy, made(), level=95.0), "between 0 and 1"),
        (lambda: estimate(policy, made(), discount=1.5), "discount must be between 0 and 1"),
        (lambda: estimate(policy, made(), horizon=0), "at least one step"),
        (lambda: estimate(policy, made(), DoublyRobust(0.5), discount=0.9), "discount of the method is 0.5"),
        (lambda: estimate(policy, made([3])), r"log\.csv has one independent unit to begin at"),
        (lambda: estimate(policy, made(), starts=np.arange(32) == 3), "one independent unit"),
        (lambda: estimate(policy, made(cut=True), "linear_q", discount=1.0), r"values are infinite; declare a horizon"),
        (lambda: estimate(policy, made(cut=True), "fitted_q", discount=1.0), "beyond the end of the log"),
        (lambda: estimate(policy, made(), "magic", "normal"), "needs a method with terms; use 'bootstrap' for 'MAGIC'"),
        (lambda: estimate(policy, made(), "quantile", "student"), "no derivative in the weights"),
        (lambda: estimate(policy, declared(made()), "doubly_robust", "betting"), "is for the method 'per_decision'"),
        (
            lambda: estimate(policy, declared(made()), "per_decision", "betting", self_normalised=True),
            "for the method 'per_decision' as it is",
        ),
        (
            lambda: estimate(policy, declared(made()), "per_decision", Betting(0.0, 1.0, 1.0, 2)),
            r"is for .* = \(0\.0, 1\.0, 1\.0, 2\), the log and the method for \(0\.0, 1\.0, 1\.0, 3\)",
        ),
        (
            lambda: estimate(
                policy, declared(made(durations=np.full(72, 2.0)), discount=0.9), "per_decision", "betting"
            ),
            "discounts by step, and steps of .* differ in time",
        ),
    ],
)  # fmt: skip
def test_mistakes_are_named(call, sentence):
    with pytest.raises(UserError, match=sentence):
        call()


def test_the_discount_and_the_horizon_of_the_log_count_unless_others_are_given():
    data = declared(made(), discount=0.5)
    found = [
        estimate(policy, data, *rest, interval="normal", **given)
        for rest, given in ((("per_decision",), {}), ((PerDecision(0.5),), {}), (("per_decision",), {"discount": 0.5}))
    ]
    assert found[0].discount == found[1].discount == found[2].discount == 0.5
    assert found[0].value == found[1].value == found[2].value
    other = estimate(policy, data, PerDecision(discount=1.0), "betting")
    assert other.discount == 1.0
    assert other.low < other.value < other.high


def test_what_is_said_of_an_estimate():
    plain = estimate(policy, made(), "per_decision", "student", discount=1.0)
    assert plain.estimator == "Per-decision importance sampling"
    assert plain.interval == "Student's t"
    assert plain.episodes == 32
    assert "independent" in plain.notes[0]
    ratio = 2 * np.array([0.4, 0.6])[made().actions]
    weight = np.multiply.reduceat(ratio, np.cumsum(LENGTHS) - LENGTHS)
    assert plain.effective_sample_size == pytest.approx(weight.sum() ** 2 / (weight**2).sum(), rel=1e-4)
    assert [one for one in plain.warnings if "Nobody knows" not in one] == []
    few = estimate(lambda s: np.tile([0.02, 0.98], (len(s), 1)), made(), "per_decision", "student", discount=1.0)
    assert any("worth" in one for one in few.warnings)
    cut = estimate(policy, made(cut=True).declare(horizon=5), "per_decision", "normal", discount=1.0)
    assert any("cut before the horizon" in one for one in cut.warnings)
    assert not any("cut" in one for one in estimate(policy, made(cut=True), interval="normal").warnings)
    users = np.repeat(np.repeat(np.arange(8), 4), LENGTHS)
    whole = estimate(policy, made(columns={"user": users}).declare(unit="user"), "per_decision", "normal")
    assert [one for one in whole.notes if "Nobody knows" not in one] == []


def test_a_view_is_judged_alone():
    data = made()
    view, alone = data.select(np.arange(4, 16)), made(LENGTHS)
    found = estimate(policy, view, "per_decision", "student", discount=1.0)
    terms = []
    for i in range(4, 16):
        one = alone.episode(i)
        weight = np.cumprod(2 * np.array([0.4, 0.6])[np.asarray(one.actions)])
        terms.append((weight * np.asarray(one.rewards).ravel()).sum())
    assert found.value == pytest.approx(np.mean(terms), rel=1e-5)
    assert found.deviation == pytest.approx(np.std(terms, ddof=1) / np.sqrt(12), rel=1e-4)
    assert found.episodes == 12


@pytest.mark.parametrize(("method", "interval"), [("per_decision", "student"), ("linear_q", "bootstrap")])
def test_several_policies_are_judged_as_each_by_itself(method, interval, monkeypatch):
    def other(seen):
        return np.stack([0.3 + 0.4 * (seen[:, 0] > 0), 0.7 - 0.4 * (seen[:, 0] > 0)], 1)

    data, settings = declared(made()), {"features": 8} if method == "linear_q" else {}
    answers = case_of(policy, data, None, True, 1, 0).candidate
    room = 2 * sum(leaf.size for leaf in jax.tree.leaves(answers))  # two calls of the program, the second filled up
    monkeypatch.setattr(sys.modules["weft.evaluation.estimate"], "ROOM", room)
    policies = [policy, other, policy]
    together = estimate(policies, data, method, interval, **settings)
    assert len(together) == 3
    for one, found in zip(policies, together, strict=True):
        alone = estimate(one, data, method, interval, **settings)
        for name in ("value", "low", "high", "unsupported", "effective_sample_size"):
            assert getattr(found, name) == pytest.approx(getattr(alone, name), rel=1e-4), name
        assert found.notes == alone.notes
    assert estimate([], data, method, interval, **settings) == []


def test_policies_that_answer_differently_are_not_judged_together():
    data = made(continuous=True)
    with pytest.raises(UserError, match=r"^Policies that are judged together must answer alike"):
        estimate((still, Dense()), data, "linear_q", features=8)


def test_policies_are_judged_as_each_acts():
    data = small.labelled(160)
    policy = weft.fit(small.bc(), data, 5, 1).policy()
    alone = [estimate(policy, data, "linear_q", "normal", features=8, greedy=way).value for way in (True, False)]
    both = estimate((policy, policy.drawing()), data, "linear_q", "normal", features=8)
    assert [one.value for one in both] == pytest.approx(alone, rel=1e-3)
    assert alone[0] != pytest.approx(alone[1], rel=1e-3)


@pytest.mark.parametrize("greedy", [None, False])
def test_a_method_without_a_density_is_not_weighed(greedy):
    """Its densities are 0 or infinite, and the estimate was 0 [0, 0]."""
    data = dataclasses.replace(small.continuous(), store_log_propensities=np.zeros(200, np.float32))
    policy = weft.fit(pytree.replace(TD3BC(hidden=(8,)), "sampler.batch_size", 16), data, 3, 1).policy()
    with pytest.raises(UserError, match=r"such as a mode, has no density to weigh with; judge"):
        estimate(policy, data, "per_decision", greedy=greedy)


class Dense(Sampler):
    def log_prob(self, seen, action):
        return np.zeros(len(seen), np.float32)


def test_warnings_are_part_of_what_is_printed():
    """All weights vanished, the truth was 400, and what was printed was `0 [0, 0]`."""
    size = 40
    random = np.random.default_rng(0)
    data = Dataset.from_arrays(
        random.normal(size=(size * 50, 1)), random.integers(0, 2, size * 50), np.full(size * 50, 8.0),
        np.tile(np.arange(50) == 49, size), propensities=np.full(size * 50, 0.5),
    )  # fmt: skip
    estimate_ = estimate(
        lambda seen: np.tile([1e-3, 0.999], (len(seen), 1)), data, "per_decision", "student", discount=1.0
    )
    assert "do not hold" in str(estimate_)
    nothing = estimate(lambda seen: np.tile([1e-12, 1 - 1e-12], (len(seen), 1)), data, "importance_sampling", "normal")
    assert all(warning in str(nothing) for warning in nothing.warnings)
    if nothing.value == 0:
        assert "no width" in str(nothing)
        assert (nothing.low, nothing.high) == (-np.inf, np.inf)


def test_the_memory_of_a_bootstrap_grows_no_faster_than_the_log():
    """Every draw was compared with every unit: 320 GB for 10,000 decisions."""
    drawn = jax.jit(lambda key, weights, units: resample(key, weights, units, 200))
    shapes = (jax.random.key(0), jax.ShapeDtypeStruct((20_000,), "float32"), jax.ShapeDtypeStruct((20_000,), "int32"))
    assert drawn.lower(*shapes).compile().memory_analysis().temp_size_in_bytes < 1e8


def test_a_value_that_no_return_can_have_is_refused():
    here = world()
    log = here.log(60, 1)

    class Diverging(LinearQ):
        def combine(self, terms, weighing):
            return 100 * super().combine(terms, weighing)

    assert weft.estimate(asks(here.logging), log, LinearQ(discount=1.0, horizon=TIME), "normal").value < TIME
    with pytest.raises(UserError, match=f"diverges on arrays, which .* between 0 and {TIME} by what is declared"):
        weft.estimate(asks(here.logging), log, Diverging(discount=1.0, horizon=TIME), "normal")


def test_values_that_look_beyond_a_cut_are_not_held_against_the_horizon():
    log = world().log(60, 1, whole=True, discount=0.99)  # cut after TIME steps: what follows is worth up to 100
    high = LinearQ(discount=0.99, horizon=None)
    assert weft.estimate(asks(world().logging), log, high, "normal").value > 2 * TIME
