"""Linear value functions with many features: float32 against the same equations in float64, and folds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from weft.dataset import Dataset
from weft.estimator import Weighing, question
from weft.linear import Moments, crossfit, features, moments, solve

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
    return question(lambda seen: -0.5 * seen, data, None, True, 1, 0), data.spec, value


@pytest.mark.parametrize("count", [32, 256])
def test_features_that_nearly_depend_on_each_other_cost_no_digits(count):
    (candidate, columns, weighing), spec, truth = steering()
    known = features(spec, jax.random.key(0), count)
    every = jax.jit(moments, static_argnums=3)(known, candidate, columns, EPISODES, 1.0)
    total, first = every.weighted(weighing.weights), every.first.mean(0)
    found = jax.jit(solve, static_argnums=2)(total, first, LONGEST, 1e-4)
    gram, forward, reward = (np.asarray(part, float) for part in (total.gram, total.forward, total.reward))
    inverse, theta = np.linalg.inv(gram + 1e-4 * np.trace(gram) / len(gram) * np.eye(len(gram))), np.zeros(len(gram))
    for _ in range(LONGEST):
        theta = inverse @ (reward + forward @ theta)
    expected = float(np.asarray(first, float) @ theta)
    assert float(first @ found.theta[-1]) == pytest.approx(expected, rel=2e-3)
    assert expected == pytest.approx(truth, abs=0.3)


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
    (_, columns, _), spec, _ = steering()
    known = features(spec, jax.random.key(1), 40)
    assert known.frequencies is not None
    assert known.phases is not None
    seen, action = columns.observation[columns.position], columns.action
    given = np.asarray(jnp.concatenate([seen, action], 1), float)
    angles = given @ np.asarray(known.frequencies, float) + np.asarray(known.phases, float)
    waves = np.sqrt(2 / angles.shape[1]) * np.cos(angles)
    wanted = np.concatenate([waves, 0.3 * given, np.ones((len(given), 1))], 1)
    np.testing.assert_allclose(known.logged(seen, action), wanted, atol=2e-6)
