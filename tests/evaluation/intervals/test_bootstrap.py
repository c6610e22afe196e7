"""The episode bootstrap: against the textbook on a mean, whose answer is known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from weft.data.dataset import Dataset
from weft.evaluation.case import case_of
from weft.evaluation.estimator import Statistic
from weft.evaluation.interval import resample
from weft.evaluation.intervals.bootstrap import Bootstrap


class Mean(Statistic):
    """The mean logged return."""

    title = "mean return"

    def terms(self, case, key):
        columns = case.columns
        return jnp.zeros(EPISODES).at[columns.episode].add(columns.reward[:, 0])

    def combine(self, terms, weighing):
        return (weighing.weights * terms).sum() / weighing.weights.sum()


EPISODES = 80


def data():
    random = np.random.default_rng(0)
    lengths = random.integers(1, 5, EPISODES)
    ends = np.zeros(lengths.sum(), bool)
    ends[np.cumsum(lengths) - 1] = True
    size = len(ends)
    return Dataset.from_arrays(
        np.ones((size, 1), np.float32), np.zeros(size, int), random.normal(size=size), ends, action_count=2
    )


def bounds(log, replicates=400, level=0.95, seed=0, units=None):
    case = case_of(lambda seen: np.zeros(len(seen), np.int32), log, None, True, 1, 0)
    if units is not None:
        case = dataclasses.replace(case, weighing=dataclasses.replace(case.weighing, unit=units))
    found = jax.jit(Bootstrap(replicates), static_argnums=(0, 3))(Mean(), case, jax.random.key(seed), level)
    return jax.tree.map(np.asarray, found)


def test_the_deviation_is_the_standard_error_of_a_mean():
    log = data()
    found = bounds(log)
    assert found.value == pytest.approx(log.returns.mean(), abs=1e-5)
    assert found.deviation == pytest.approx(log.returns.std() / np.sqrt(EPISODES), rel=0.12)
    assert found.high - found.value == pytest.approx(1.966 * found.deviation, rel=1e-3)
    assert found.value - found.low == pytest.approx(found.high - found.value)


def test_only_the_views_episodes_are_drawn():
    log = data()
    part = log.select(np.arange(20))
    found = bounds(part)
    assert found.value == pytest.approx(part.returns.mean(), abs=1e-5)
    assert found.deviation == pytest.approx(part.returns.std() / np.sqrt(20), rel=0.15)


def test_as_many_are_drawn_as_there_are():
    weights = jnp.asarray([1.0, 0.0, 1.0, 1.0, 0.0, 1.0])
    drawn = np.asarray(resample(jax.random.key(0), weights, jnp.arange(6), 50))
    assert (drawn.sum(1) == 4).all()
    assert (drawn[:, [1, 4]] == 0).all()
    assert drawn.max() > 1


def test_the_episodes_of_a_unit_are_drawn_together():
    weights, units = jnp.asarray([1.0, 0.0, 1.0, 1.0, 0.0, 1.0]), jnp.asarray([0, 0, 0, 1, 2, 2])
    drawn = np.asarray(resample(jax.random.key(0), weights, units, 50))
    np.testing.assert_array_equal(drawn[:, 0], drawn[:, 2])
    assert (drawn[:, [1, 4]] == 0).all()
    assert (drawn[:, [0, 3, 5]].sum(1) == 3).all()


def test_the_deviation_with_units_is_that_of_their_means():
    log = data()
    units = np.arange(EPISODES) // 4
    effect = np.repeat(np.random.default_rng(1).normal(0, 3, EPISODES // 4), 4)
    rewards = log.store_rewards.copy()
    rewards[log.starts[:-1], 0] += effect
    log = dataclasses.replace(log, store_rewards=rewards)
    means = log.returns.reshape(-1, 4).mean(1)
    found = bounds(log, units=jnp.asarray(units))
    assert found.deviation == pytest.approx(means.std() / np.sqrt(len(means)), rel=0.12)
    assert found.deviation > 1.3 * bounds(log).deviation


def test_few_replicates_reach_further_and_a_seed_repeats():
    few = bounds(data(), 3)
    assert (few.high - few.value) / few.deviation == pytest.approx(4.303, rel=1e-3)
    np.testing.assert_array_equal(few.replicates, bounds(data(), 3).replicates)
    assert not np.array_equal(few.replicates, bounds(data(), 3, seed=1).replicates)
