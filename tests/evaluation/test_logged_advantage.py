"""The advantage of logged steps: returns to go, the logging policy's 0, and the order of policies."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tabular import asks, world

from weft.data.dataset import Dataset
from weft.evaluation.case import case_of
from weft.evaluation.logged_advantage import logged_advantage, returns_to_go
from weft.evaluation.waves import features

HERE = world()


def score(case, discount=1.0):
    basis = features(case.candidate.spec, jax.random.key(0), 16)
    return logged_advantage(basis, case, discount)


def test_returns_to_go_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    reward, duration = rng.normal(size=12), rng.integers(1, 4, 12)
    ends = np.isin(np.arange(12), (3, 5, 11))
    data = Dataset.from_arrays(
        rng.normal(size=(12, 2)), rng.integers(0, 2, 12), reward, ends & (np.arange(12) != 5),
        ends & (np.arange(12) == 5), durations=duration, action_count=2,
    )  # fmt: skip
    gone, later = np.zeros(12), 0.0
    for row in reversed(range(12)):
        later = 0.0 if ends[row] else later
        gone[row] = later = reward[row] + 0.9 ** duration[row] * later if row != 5 else 0.0
    there = np.arange(len(gone)) != 5  # without a next observation the row of a time-out is none
    np.testing.assert_allclose(returns_to_go(data.device(), 0.9), gone[there], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("hidden", [False, True])
def test_policies_are_ordered_and_the_logging_policy_has_no_advantage(hidden):
    data = HERE.log(2000, 0)
    if hidden:
        data = dataclasses.replace(data, store_log_propensities=None)
    scores = [float(score(case_of(asks(HERE.rule(pull)), data)).mean) for pull in (-0.6, 0.3, 0.6)]
    assert scores == sorted(scores)
    if not hidden:
        same = score(case_of(asks(HERE.logging), data))
        assert float(same.mean) == pytest.approx(0.0, abs=5e-3)
        assert scores[0] < -0.02 < 0.02 < scores[2]
        assert float(jnp.abs(same.each.sum())) < 1e-4


def test_a_continuous_policy_near_the_better_actions_has_the_larger_advantage():
    rng = np.random.default_rng(1)
    seen, action = rng.normal(size=(1500, 1)), rng.uniform(-1, 1, (1500, 1))
    reward = -((action - np.tanh(seen)) ** 2)[:, 0]
    data = Dataset.from_arrays(seen, action, reward, np.ones(1500, bool), action_bounds=(-1.0, 1.0))
    good, bad = (case_of(policy, data) for policy in (np.tanh, lambda seen: -np.tanh(seen)))
    better, worse = score(good), score(bad)
    error = float(jnp.sqrt(jnp.square(better.each - worse.each).sum()))
    assert float(better.mean - worse.mean) > 5 * error > 0


def test_room_for_more_changes_nothing():
    case = case_of(asks(HERE.rule(0.6)), HERE.log(100, 0))
    assert float(score(case.padded()).mean) == pytest.approx(float(score(case).mean), rel=1e-4)
