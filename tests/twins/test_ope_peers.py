"""Estimates against OBP 0.5.7 and SCOPE-RL 0.2.1 on the same logs, with the same Q tables (frozen numbers).

Point estimates agree, with two gaps of theirs that weft fills: OBP's shrinkage is 0/0 at its own default constant of 0
where the policy never does what was logged, and SCOPE-RL divides by the discount, so a discount of 0, which it allows,
is NaN. All of SCOPE-RL's episodes must be of one length.

Intervals do not agree, on purpose (as observed in that version of SCOPE-RL): its 95 % t-interval uses the one-sided
quantile, so it is one of 90 %; that of self-normalised estimates holds the normaliser fixed; its Hoeffding bound
multiplies by the root of n instead of dividing; its Bernstein bound takes the largest observed value for the largest
possible one.
"""

import json
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from weft.data.dataset import Dataset
from weft.evaluation import control_variates
from weft.evaluation.case import case_of
from weft.evaluation.estimators.doubly_robust import DoublyRobust
from weft.evaluation.estimators.importance_sampling import ImportanceSampling
from weft.evaluation.estimators.per_decision import PerDecision
from weft.evaluation.estimators.shrinkage import Shrinkage
from weft.evaluation.estimators.switch import Switch
from weft.evaluation.intervals.student import Student

FIXTURES = Path(__file__).parent / "fixtures"


def case(name):
    """Return the frozen log as arrays `(episode, time)`, its question, and the Q table of every step."""
    log = json.loads((FIXTURES / f"{name}.json").read_text())["log"]
    single = "context" in log
    state, action, reward, propensity = (
        np.asarray(log[key]).reshape(len(log["action"]), -1)
        for key in ("context" if single else "state", "action", "reward", "propensity")
    )
    policy, q = np.asarray(log["policy"]), np.asarray(log["q"])
    episodes, longest = action.shape
    ends = np.tile(np.arange(longest) == longest - 1, episodes)
    data = Dataset.from_arrays(
        state.ravel(), action.ravel(), reward.ravel(), ends, propensities=propensity.ravel(),
        kinds={"": "category"}, action_count=policy.shape[1],
    )  # fmt: skip
    asked = case_of(lambda seen: policy[seen], data, None, True, 1, 0)
    known = q[state] if single else q[np.arange(longest), state]
    chosen = np.take_along_axis(known, action[..., None], 2)[..., 0]
    return log, asked, (chosen, (known * policy[state]).sum(-1), np.zeros(action.shape))


def given(monkeypatch, found):
    """Let estimators use the Q table that the peer was given, instead of fitting one."""
    monkeypatch.setattr(control_variates, "tables", lambda *_: tuple(jnp.asarray(part, jnp.float32) for part in found))


def value(method, asked):
    run = eqx.filter_jit(lambda method, *rest: method.value(*rest))
    return float(run(method, asked, jax.random.key(0)))


def agrees(method, asked, expected):
    assert value(method, asked) == pytest.approx(expected, rel=2e-5, abs=2e-6)


@pytest.mark.parametrize("kind", [ImportanceSampling, PerDecision])
def test_inverse_propensities_of_single_decisions(kind):
    log, asked, _ = case("ope_bandits")
    peer = log["estimates"]
    agrees(kind(discount=1.0), asked, peer["IPS"])
    agrees(kind(discount=1.0, largest=2.0), asked, peer["IPS clipped 2"])
    agrees(kind(discount=1.0, self_normalised=True), asked, peer["SNIPS"])


def test_doubly_robust_single_decisions(monkeypatch):
    log, asked, found = case("ope_bandits")
    given(monkeypatch, found)
    peer = log["estimates"]
    agrees(DoublyRobust(discount=1.0, horizon=1), asked, peer["DR"])
    for kind, name in ((Switch, "Switch-DR"), (Shrinkage, "DRos")):
        constants = [float(key.split()[-1]) for key in peer if key.startswith(name)]
        assert len(constants) >= 4
        for constant in constants:
            agrees(kind(largest=constant), asked, peer[f"{name} {constant:g}"])


@pytest.mark.parametrize(
    ("method", "name"),
    [
        (ImportanceSampling(discount=0.9), "TIS"),
        (ImportanceSampling(discount=0.9, self_normalised=True), "SNTIS"),
        (PerDecision(discount=0.9), "PDIS"),
        (PerDecision(discount=0.9, self_normalised=True), "SNPDIS"),
        (DoublyRobust(discount=0.9, horizon=4), "DR"),
        (DoublyRobust(discount=0.9, horizon=4, self_normalised=True), "SNDR"),
    ],
)
def test_estimates_of_episodes(monkeypatch, method, name):
    log, asked, found = case("ope_episodes")
    given(monkeypatch, found)
    agrees(method, asked, log["estimates"][name])


def test_a_discount_of_zero_is_the_first_step():
    _, asked, _ = case("ope_episodes")
    assert np.isfinite(value(PerDecision(discount=0.0), asked))


def test_the_peers_95_percent_are_our_90():
    log, asked, _ = case("ope_episodes")
    run = eqx.filter_jit(lambda method, level: Student()(method, asked, jax.random.key(0), level))
    plain = PerDecision(discount=0.9)
    ours = run(plain, 0.9)
    np.testing.assert_allclose([ours.low, ours.high], log["intervals"]["PDIS t"], rtol=1e-4)
    assert run(plain, 0.95).high - ours.value > 1.15 * (ours.high - ours.value)
    normalised = run(ImportanceSampling(discount=0.9, self_normalised=True), 0.9)
    low, high = log["intervals"]["SNTIS t"]
    assert float(normalised.value) == pytest.approx((low + high) / 2, rel=1e-4)
    assert (high - low) / float(normalised.high - normalised.low) > 1.2
