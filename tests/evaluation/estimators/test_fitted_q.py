"""Fitted Q evaluation: known answers of tabular cases, time-outs, stochastic policies, weights."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from weft.agents.policy import Policy
from weft.core.errors import UserError
from weft.data.dataset import Dataset
from weft.envs.environment import environment, log
from weft.envs.worlds.grid import CELLS
from weft.evaluation.case import case_of
from weft.evaluation.estimate import estimate_fitted_q
from weft.evaluation.estimators.fitted_q import FittedQ, weighted_rows
from weft.labs.tabular import evaluate, grid_world
from weft.nn.distributions import Categorical, Normal

TABULAR = FittedQ(discount=0.9, learning_rate=0.02, steps=2000, batch_size=256, hidden=())


class Table(Policy):
    """A policy given by its probabilities in every cell."""

    probabilities: jax.Array

    def distribution(self, memory, observation):
        return Categorical(jnp.log(self.probabilities[observation.argmax(-1)]))


class Noisy(Policy):
    """A Gaussian around a constant."""

    mean: float

    def distribution(self, memory, observation):
        shape = (*observation.shape[:-1], 1)
        return Normal(jnp.full(shape, self.mean), jnp.full(shape, -1.5))


def fit(method, policy, data, greedy=True, samples=8, **changes):
    run = eqx.filter_jit(type(method).value)
    case = case_of(policy, data, None, greedy, samples, 0)
    return float(run(dataclasses.replace(method, **changes), case, jax.random.key(1)))


@functools.cache
def grid():
    return log(environment("grid"), 300, 0)


@pytest.mark.few(1)
@pytest.mark.parametrize("greedy", [True, False])
def test_a_tabular_fit_is_the_linear_solve(greedy):
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(4), CELLS)
    judged = np.eye(4)[probabilities.argmax(1)] if greedy else probabilities
    values = evaluate(grid_world(), judged, 0.9).values
    truth = values[grid().first_observations.argmax(1)].mean()
    found = fit(TABULAR, Table(jnp.asarray(probabilities)), grid(), greedy)
    assert found == pytest.approx(truth, rel=0.02)


def test_the_smallest_stitching_world():
    data = log(environment("stitch"), 60, 0)
    best = fit(TABULAR, lambda seen: np.zeros(len(seen), np.int32), data, discount=0.9)
    assert best == pytest.approx(0.9, abs=0.01)
    leaves = fit(TABULAR, lambda seen: (seen[:, 0] == 1).astype(np.int32), data, discount=0.9)
    assert leaves == pytest.approx((2 * 0.6 + 0.9) / 3, abs=0.01)


def test_a_time_out_bootstraps_and_a_terminal_does_not():
    one = np.ones((40, 1), np.float32)
    for ends, truth in (("timeouts", 1 / (1 - 0.8)), ("terminals", 1.0)):
        flags = {"terminals": np.zeros(40, bool), "timeouts": np.zeros(40, bool)} | {ends: np.ones(40, bool)}
        data = Dataset.from_arrays(one, np.zeros(40, int), one[:, 0], next_observations=one, action_count=2, **flags)
        found = fit(TABULAR, lambda seen: np.zeros(len(seen), np.int32), data, discount=0.8)
        assert found == pytest.approx(truth, rel=0.02)


def test_durations_discount_by_time():
    seen, after = np.eye(2, dtype=np.float32)[np.tile([0, 1], 20)], np.eye(2, dtype=np.float32)[np.ones(40, int)]
    end, reward = np.tile([False, True], 20), np.tile([0.0, 1.0], 20)
    data = Dataset.from_arrays(
        seen, np.zeros(40, int), reward, end, next_observations=after, durations=np.full(40, 3.0), action_count=2
    )
    assert fit(TABULAR, lambda seen: np.zeros(len(seen), np.int32), data) == pytest.approx(0.9**3, abs=0.01)


@pytest.mark.few(1)
@pytest.mark.parametrize(("greedy", "truth"), [(True, 0.3), (False, 0.3)])
def test_continuous_actions_drawn_or_not(greedy, truth):
    random = np.random.default_rng(1)
    actions = random.uniform(-1, 1, (400, 1)).astype(np.float32)
    ends = np.ones(400, bool)
    data = Dataset.from_arrays(
        np.ones((400, 1), np.float32), actions, actions[:, 0], ends, action_bounds=([-1.0], [1.0])
    )
    assert fit(TABULAR, Noisy(0.3), data, greedy, samples=64) == pytest.approx(truth, abs=0.05)


def test_episodes_without_weight_teach_nothing():
    seen, ends = np.ones((60, 1), np.float32), np.ones(60, bool)
    reward = np.where(np.arange(60) < 30, 1.0, -5.0)
    data = Dataset.from_arrays(seen, np.zeros(60, int), reward, ends, action_count=2)
    assert fit(TABULAR, lambda s: np.zeros(len(s), np.int32), data.select(np.arange(30))) == pytest.approx(1, abs=0.02)


def test_rows_occur_in_proportion_to_their_episodes_weight():
    data = log(environment("grid"), 12, 1)
    weights = np.zeros(12, np.float32)
    weights[[2, 5]] = [1.0, 3.0]
    columns = data.device()
    table = np.asarray(weighted_rows(columns, jnp.asarray(weights)))
    count = np.bincount(np.asarray(columns.episode)[table], minlength=12)
    assert set(np.flatnonzero(count)) == {2, 5}
    assert count[5] / count[2] == pytest.approx(3 * data.lengths[5] / data.lengths[2], rel=0.1)


def test_an_estimate_has_its_interval_and_says_what_it_assumes():
    data = log(environment("stitch"), 60, 0)
    options = {"steps": 300, "learning_rate": 0.02, "hidden": (), "replicates": 4}
    found = estimate_fitted_q(lambda seen: np.zeros(len(seen), np.int32), data, **options)
    assert found.low < found.value < found.high
    assert found.discount == 0.99
    assert found.replicates.shape == (4,)
    assert found.episodes == 60
    assert "independent" in found.notes[0]
    assert "95 %" in str(found)
    again = estimate_fitted_q(lambda seen: np.zeros(len(seen), np.int32), data, **options)
    np.testing.assert_array_equal(found.replicates, again.replicates)
    begins = data.first_observations[:, 0] == 1
    leave = estimate_fitted_q(lambda s: np.ones(len(s), np.int32), data, starts=begins, **options | {"steps": 1500})
    assert leave.value == pytest.approx(0.6, abs=0.02)


def test_declared_units_are_drawn_whole():
    size, users = 60, np.repeat(["ann", "bob", "eve", "joe", "kim", "lea"], 10)
    reward = np.repeat([3.0, -1.0, 0.0, 1.0, 4.0, -4.0], 10)
    seen, ends = np.ones((size, 1), np.float32), np.ones(size, bool)
    data = Dataset.from_arrays(
        seen, np.zeros(size, int), reward, ends, action_count=2, columns={"user": users}, origin="log.csv"
    )
    options = {"steps": 400, "learning_rate": 0.02, "hidden": (), "replicates": 8}

    def zero(seen):
        return np.zeros(len(seen), np.int32)

    alone = estimate_fitted_q(zero, data, **options)
    whole = estimate_fitted_q(zero, data.declare(unit="user"), **options)
    assert whole.deviation > 1.5 * alone.deviation
    assert "independent" in alone.notes[0]
    assert not any("independent" in note for note in whole.notes)
    part = data.declare(unit="user").select(np.arange(10))
    with pytest.raises(UserError, match=r"log\.csv holds one value of its unit 'user'"):
        estimate_fitted_q(zero, part, **options)


@pytest.mark.slow
def test_what_the_log_never_shows_is_said():
    data = log(environment("maze"), 60, 0)
    options = {"steps": 20, "hidden": (8,), "replicates": 2}
    wall = estimate_fitted_q(lambda seen: np.tile(np.float32([-1, -1]), (len(seen), 1)), data, **options)
    assert wall.unsupported > 0.3
    assert "never shows" in wall.notes[-1]


def test_mistakes_are_named():
    data = log(environment("stitch"), 9, 0)

    def zero(seen):
        return np.zeros(len(seen), np.int32)

    for call, sentence in (
        (lambda: estimate_fitted_q(zero, data, level=95.0), "level"),
        (lambda: estimate_fitted_q(zero, data, steps=0), "at least one step"),
        (lambda: estimate_fitted_q(zero, data, replicates=1), "two replicates"),
        (lambda: estimate_fitted_q(zero, data, discount=2.0), "discount"),
        (lambda: estimate_fitted_q(zero, data, starts=np.ones(3, bool)), "each of the 9 episodes"),
        (lambda: estimate_fitted_q(zero, data, starts=np.zeros(9, bool)), "no episode"),
        (lambda: estimate_fitted_q(lambda seen: np.zeros((len(seen), 3)), data), "one choice each"),
    ):
        with pytest.raises(UserError, match=sentence):
            call()
