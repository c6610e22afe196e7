"""Changes of units are undone exactly and fitted on what they should be."""

import jax.numpy as jnp
import numpy as np
import pytest
import zoo

from weft.core.errors import UserError
from weft.data.dataset import Dataset
from weft.data.transforms import EDGE, identity
from weft.data.units import REWARDS, fit_transform


def log(**options) -> Dataset:
    random = np.random.default_rng(0)
    seen = (random.normal(size=(50, 3)) * [1.0, 10.0, 0.0] + [0.0, 5.0, 2.0]).astype(np.float32)
    actions = random.uniform(-2.0, 6.0, (50, 2)).astype(np.float32)
    done = np.arange(50) % 5 == 4
    bounds = {"action_bounds": ([-2.0, -2.0], [6.0, 6.0])}
    return Dataset.from_arrays(seen, actions, random.normal(size=50), done, **{**bounds, **options})


def test_observations_are_standardised_and_constants_survive():
    data = log()
    columns = fit_transform(data)(data.device())
    found = np.asarray(columns.observation)
    np.testing.assert_allclose(found.mean(0), 0, atol=0.05)
    np.testing.assert_allclose(found.std(0)[:2], 1, atol=0.05)
    assert np.isfinite(found).all()
    untouched = fit_transform(data, observations="none")(data.device())
    np.testing.assert_array_equal(untouched.observation, data.observations)


def test_actions_fill_the_unit_box_stay_off_its_ends_and_come_back():
    data = log()
    transform = fit_transform(data)
    inside = transform.unenact(jnp.array([[-2.0, 6.0], [2.0, 2.0]]))
    np.testing.assert_allclose(inside, [[EDGE - 1, 1 - EDGE], [0.0, 0.0]], atol=1e-7)
    np.testing.assert_allclose(transform.enact(transform.unenact(jnp.asarray(data.actions))), data.actions, atol=1e-4)
    np.testing.assert_allclose(transform.enact(jnp.array([[5.0, -5.0]])), [[6.0, -2.0]])
    assert float(transform.volume()) == pytest.approx(2 * np.log(4.0))


def test_without_bounds_the_seen_range_counts():
    data = log(action_bounds=None)
    inside = fit_transform(data).unenact(jnp.asarray(data.actions))
    assert float(inside.max()) == pytest.approx(1.0, abs=1e-5)
    assert float(inside.min()) == pytest.approx(-1.0, abs=1e-5)


@pytest.mark.parametrize("how", REWARDS)
def test_rewards_are_scaled_as_asked(how):
    data = log()
    found = np.asarray(fit_transform(data, rewards=how, reward_shift=-1.0)(data.device()).reward[:, 0]) + 1.0
    rewards = data.rewards
    factor = {
        "none": 1.0,
        "size": 1.0 / np.sqrt((rewards**2).mean()),
        "largest": 1.0 / np.abs(rewards).max(),
        "returns": 1000.0 / np.ptp(data.returns),
        "unit": 1.0 / rewards.std(),
    }[how]
    np.testing.assert_allclose(found, factor * rewards, rtol=1e-3, atol=1e-4)


def rewarded(rewards):
    """Return a log of single decisions with these rewards."""
    rewards, zeros = np.asarray(rewards, np.float32), np.zeros(len(rewards))
    return Dataset.from_arrays(zeros[:, None], zeros.astype(int), rewards, zeros == 0, action_count=2)


@pytest.mark.parametrize(
    ("rewards", "size"),
    [
        ([0, 0, 0, 0], 1.0),  # nothing to go by
        ([-3, -3, -3, -3], 3.0),  # a constant has no deviation
        ([0, 0, 0, 6], 3.0),
        ([1e-30, 1e-30, 1e-30, 1e-30], 1e-30),  # whose squares float32 does not have
        ([3e37, -3e37, 3e37, 3e37], 3e37),
    ],
)
def test_the_size_of_rewards_is_their_root_mean_square(rewards, size):
    transform = fit_transform(rewarded(rewards), rewards="size")
    assert transform.reward_unit == pytest.approx(size, rel=1e-6)
    inside = np.asarray(transform.reward(jnp.asarray(rewards, jnp.float32)[:, None]))
    np.testing.assert_allclose(inside, np.asarray(rewards) / size, rtol=1e-6)


@pytest.mark.parametrize("size", [3e38, 1e-39])
def test_rewards_whose_size_float32_cannot_be_divided_by_are_refused(size):
    with pytest.raises(UserError, match=r"the size of its rewards is about .*; give them in other units\."):
        fit_transform(rewarded([size, size]), rewards="size")


@pytest.mark.parametrize("how", ["size", "largest", "returns", "unit"])
@pytest.mark.parametrize("factor", [0.01, 100.0, 1000.0, 1e12])
def test_in_the_scale_of_a_method_cents_and_units_are_the_same(how, factor):
    rewards = np.random.default_rng(3).normal(1.0, 2.0, 40).astype(np.float32)
    one, other = (
        np.asarray(fit_transform(data, rewards=how)(data.device()).reward)
        for data in (rewarded(rewards), rewarded(rewards * np.float32(factor)))
    )
    np.testing.assert_allclose(one, other, rtol=1e-6)


def test_unknown_words_and_several_rewards_are_refused():
    with pytest.raises(UserError, match="whiten"):
        fit_transform(log(), observations="whiten")
    with pytest.raises(UserError, match="rank"):
        fit_transform(log(), rewards="rank")
    several = Dataset.from_arrays(
        np.zeros((4, 1)), np.zeros(4, int), {"a": np.ones(4), "b": np.ones(4)}, np.ones(4, bool)
    )
    with pytest.raises(UserError, match="a, b"):
        fit_transform(several)


def test_the_identity_and_discrete_actions_change_nothing():
    data = zoo.stitching()
    before, after = data.device(), identity(data.spec)(data.device())
    np.testing.assert_array_equal(before.observation, after.observation)
    np.testing.assert_array_equal(before.action, after.action)
    np.testing.assert_array_equal(before.reward, after.reward)
    assert fit_transform(data).action is None


def test_ordinary_columns_keep_their_scale_and_small_ones_are_not_squeezed():
    random = np.random.default_rng(0)
    seen = random.normal(size=(5000, 4)) * [1.0, 0.05, 1e-6, 1e-20] + [3.0, 0.0, 0.0, 0.0]
    data = Dataset.from_arrays(seen, np.zeros(5000, int), np.zeros(5000), np.ones(5000, bool))
    transform = fit_transform(data)
    deviation = np.std(np.asarray(data.observations), 0, dtype=np.float64)
    # as d3rlpy and CORL do, to the bit
    np.testing.assert_array_equal(transform.observation.scale[:2], (deviation[:2] + 1e-3).astype(np.float32))
    found = np.asarray(transform.observe(data.observations)).std(0)
    np.testing.assert_allclose(found, [1, 1, 1, 1], atol=0.1)


@pytest.mark.parametrize("value", [5.0, 0.1, 0.0, -2e-7, 1.7e9])
def test_a_constant_column_that_moves_stays_small(value):
    seen = np.full((100, 1), value)
    seen[::2] = np.nextafter(np.float32(value), np.float32(10 * value + 1))  # but for the last digit
    for values in (seen[1::2], seen):
        count = len(values)
        data = Dataset.from_arrays(values, np.zeros(count, int), np.zeros(count), np.ones(count, bool))
        moved = fit_transform(data).observe(np.array([[value + 0.1 * max(abs(value), 1.0)]], np.float32))
        assert abs(float(moved[0, 0])) < 0.11


def test_actions_of_small_units_fill_the_unit_box():
    actions = np.random.default_rng(0).uniform(-1e-8, 1e-8, (50, 1))
    data = Dataset.from_arrays(np.zeros((50, 1)), actions, np.zeros(50), np.ones(50, bool))
    inside = fit_transform(data).unenact(jnp.asarray(data.actions))
    assert (float(inside.min()), float(inside.max())) == pytest.approx((-1, 1), abs=1e-5)


def test_equal_rewards_with_a_rounded_mean_are_refused():
    data = Dataset.from_arrays(np.zeros((50, 1)), np.zeros(50, int), np.full(50, 0.1), np.ones(50, bool))
    with pytest.raises(UserError, match="all rewards are equal"):
        fit_transform(data, rewards="unit")
