"""Changes of units are undone exactly and fitted on what they should be."""

import jax.numpy as jnp
import numpy as np
import pytest
import zoo

from weft.dataset import Dataset
from weft.errors import UserError
from weft.transform import EDGE, fit_transform, identity


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
    np.testing.assert_allclose(transform.enact(transform.unenact(data.actions)), data.actions, atol=1e-4)
    np.testing.assert_allclose(transform.enact(jnp.array([[5.0, -5.0]])), [[6.0, -2.0]])
    assert float(transform.volume()) == pytest.approx(2 * np.log(4.0))


def test_without_bounds_the_seen_range_counts():
    data = log(action_bounds=None)
    inside = fit_transform(data).unenact(jnp.asarray(data.actions))
    assert float(inside.max()) == pytest.approx(1.0, abs=1e-5)
    assert float(inside.min()) == pytest.approx(-1.0, abs=1e-5)


@pytest.mark.parametrize("how", ["none", "returns", "unit"])
def test_rewards_are_scaled_as_asked(how):
    data = log()
    found = np.asarray(fit_transform(data, rewards=how, reward_shift=-1.0)(data.device()).reward[:, 0]) + 1.0
    factor = {"none": 1.0, "returns": 1000.0 / np.ptp(data.returns), "unit": 1.0 / data.rewards.std()}[how]
    np.testing.assert_allclose(found, factor * data.rewards, rtol=1e-3, atol=1e-4)


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
