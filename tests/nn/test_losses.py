"""Every shared formula against numbers worked out by hand or in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

from weft.nn.distributions import Categorical, Deterministic, Normal, TanhNormal
from weft.nn.losses import (
    advantage_weight,
    backup,
    batch_weight,
    calibrate,
    expectile,
    imitation,
    proposals,
    quantile_loss,
    sampled_logsumexp,
    td_loss,
)


def level_of(targets: np.ndarray, level: float, error=expectile) -> float:
    """Minimise the mean error by bisection on its gradient."""
    slope = jax.jit(jax.grad(lambda v: jnp.mean(error(jnp.asarray(targets) - v, level))))
    low, high = float(targets.min()), float(targets.max())
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return low


@pytest.mark.parametrize(("level", "truth"), [(0.5, 0.5), (0.7, 0.6044), (0.9, 0.75), (0.99, 0.9087)])
def test_expectiles_of_the_uniform_distribution(level, truth):
    targets = zoo.uniform_rewards().rewards
    assert level_of(targets, level) == pytest.approx(truth, abs=0.005)


def test_the_sign_of_the_expectile():
    targets = np.linspace(0, 1, 1001, dtype=np.float32)
    high, low = level_of(targets, 0.9), level_of(targets, 0.1)
    assert high > 0.5 > low
    # the lecture's form, on V − Q with one minus the level, is the same
    mirrored = level_of(targets, 0.1, lambda u, level: jnp.where(-u < 0, 1 - level, level) * u**2)
    assert mirrored == pytest.approx(high, abs=1e-5)


def test_a_rare_success_has_a_small_expectile():
    targets = np.array([1.0] + [0.0] * 9, np.float32)
    assert level_of(targets, 0.9) == pytest.approx(0.5, abs=1e-4)


def test_a_backup_stops_at_terminals_counts_durations_and_leaks_nothing():
    reward, terminal = jnp.array([1.0, 1.0, 1.0]), jnp.array([False, True, False])
    found = backup(reward, terminal, jnp.array([1.0, 1.0, 2.0]), 0.9, jnp.array([10.0, jnp.nan, 10.0]))
    np.testing.assert_allclose(found, [10.0, 1.0, 9.1], rtol=1e-6)
    slope = jax.grad(lambda v: backup(reward, terminal, jnp.ones(3), 0.9, v * jnp.ones(3)).sum())(2.0)
    assert slope == 0


def test_advantage_weights_are_clipped_before_they_overflow():
    weights = advantage_weight(jnp.array([-1.0, 0.0, 1.0, 1e30]), 2.0, 5.0)
    np.testing.assert_allclose(weights, [np.exp(-2.0), 1.0, 5.0, 5.0], rtol=1e-6)
    assert jax.grad(lambda a: advantage_weight(a, 2.0, 5.0))(0.1) == 0


def test_huber_is_half_a_square_inside_and_a_line_outside():
    errors = jnp.array([-3.0, -0.5, 0.0, 0.5, 3.0])
    np.testing.assert_allclose(td_loss(errors, jnp.zeros(5), "huber"), [2.5, 0.125, 0.0, 0.125, 2.5])
    slope = jax.grad(lambda errors: td_loss(errors, jnp.zeros(5), "huber").sum())(errors)
    np.testing.assert_allclose(slope, [-1.0, -0.5, 0.0, 0.5, 1.0])


def test_a_sampled_integral_meets_the_analytic_one():
    # Z9, T9: uniform proposals on [−1, 1]³, N = 2000, 200 seeds
    def estimate(key):
        points = jax.random.uniform(key, (2000, 3), minval=-1.0, maxval=1.0)
        return sampled_logsumexp(zoo.integrand(points), jnp.full(2000, -3 * jnp.log(2.0)))

    found = jax.jit(lambda keys: jax.lax.map(estimate, keys))(jax.random.split(jax.random.key(0), 200))
    assert float(found.mean()) == pytest.approx(0.5377, abs=0.005)
    flat = sampled_logsumexp(jnp.zeros(10), jnp.full(10, -3 * jnp.log(2.0)))
    assert float(flat) == pytest.approx(3 * np.log(2.0), rel=1e-6)


def test_proposals_of_three_kinds_estimate_the_same_integral():
    policy = TanhNormal(jnp.full((1, 3), 0.2), jnp.full((1, 3), -0.3))
    other = TanhNormal(jnp.full((1, 3), -0.4), jnp.full((1, 3), 0.1))
    actions, density = proposals(jax.random.key(0), policy, other, 20000)
    assert actions.shape == (1, 60000, 3)
    # the truth is that of every third alone, since each is weighted by its own density
    for part in jnp.split(jnp.arange(60000), 3):
        found = sampled_logsumexp(zoo.integrand(actions[0, part]), density[0, part])
        assert float(found) == pytest.approx(0.5377, abs=0.03)


def test_proposals_carry_no_gradient():
    def total(mean):
        policy = TanhNormal(mean, jnp.zeros((2, 1)))
        return sum(part.sum() for part in proposals(jax.random.key(0), policy, policy, 3))

    assert not jax.grad(total)(jnp.zeros((2, 1))).any()


def test_the_gradient_of_the_penalty_is_softmax_less_the_choice():
    values = jnp.array([0.3, -1.0, 2.0])
    slope = jax.grad(lambda q: jax.nn.logsumexp(q) - q[1])(values)
    np.testing.assert_allclose(slope, jax.nn.softmax(values) - jnp.array([0.0, 1.0, 0.0]), atol=1e-6)


def test_imitation_is_likelihood_or_distance():
    chosen, action = Normal(jnp.zeros((2, 3)), jnp.zeros((2, 3))), jnp.ones((2, 3))
    np.testing.assert_allclose(imitation(chosen, action), -chosen.log_prob(action))
    np.testing.assert_allclose(imitation(Deterministic(jnp.zeros((2, 3))), 2 * action), [4.0, 4.0])
    np.testing.assert_allclose(imitation(Categorical(jnp.zeros((1, 4))), jnp.array([2])), np.log(4.0), rtol=1e-6)


def test_weights_of_a_batch_sum_to_its_size():
    advantage = jnp.asarray(np.random.default_rng(0).normal(size=64) * 5)
    weights = batch_weight(advantage, 2.0, 1e30)
    assert float(weights.sum()) == pytest.approx(64.0, rel=1e-6)
    np.testing.assert_allclose(weights, 64 * jax.nn.softmax(2.0 * advantage), rtol=1e-6)
    np.testing.assert_array_equal(batch_weight(advantage, 0.0, 1e30), np.ones(64))
    np.testing.assert_allclose(batch_weight(jnp.full(4, -1e9), 1.0, 1e30), np.ones(4))  # exp alone would be 0 / 0
    clipped = batch_weight(jnp.array([0.0, 9.0, 99.0]), 1.0, 2.0)
    np.testing.assert_allclose(clipped, 3 * np.array([0.2, 0.4, 0.4]), rtol=1e-6)
    assert jax.grad(lambda a: batch_weight(a, 2.0, 5.0)[0])(advantage).max() == 0


def test_calibration_raises_the_first_actions_only():
    values = jnp.array([[0.0, 2.0, 0.0], [0.0, 2.0, 0.0]])
    found = calibrate(values, jnp.array([1.0, -jnp.inf]), 2)
    np.testing.assert_array_equal(found, [[1.0, 2.0, 0.0], [0.0, 2.0, 0.0]])
    assert calibrate(values, None, 2) is values
    slope = jax.grad(lambda v: calibrate(v, jnp.array([1.0, -jnp.inf]), 2).sum())(values)
    np.testing.assert_array_equal(slope, [[0.0, 1.0, 1.0], [1.0, 1.0, 1.0]])  # no push below what is known


def fitted(goals, kind, count=10):
    """Fit quantiles to goals by gradient descent on steps that shrink."""
    move = jax.jit(lambda found, rate: found - rate * jax.grad(lambda e: quantile_loss(e, goals, kind))(found))
    found = jnp.full(count, 0.5)
    for step in range(2000):
        found = move(found, 0.5 / (1 + step / 20))
    return np.asarray(found)


def test_quantiles_of_a_coin_and_their_mean():
    # Levels .05, .15, ... of three ones among ten: a one from level .7 on; the mean is that of the coin.
    goals = jnp.array([0.0] * 7 + [1.0] * 3)
    found = fitted(goals, "absolute")
    np.testing.assert_allclose(found, [0.0] * 7 + [1.0] * 3, atol=0.02)
    assert found.mean() == pytest.approx(0.3, abs=0.01)


def test_the_huber_loss_makes_expectiles_of_close_goals():
    # Z5: within 1 of each other the loss is quadratic, so the answer is tp / (tp + (1 - t)(1 - p)).
    level = (np.arange(10) + 0.5) / 10
    for share in (0.3, 0.5):
        goals = jnp.array([0.0] * round(10 - 10 * share) + [1.0] * round(10 * share))
        found = fitted(goals, "huber")
        known = level * share / (level * share + (1 - level) * (1 - share))
        np.testing.assert_allclose(found, known, atol=0.01)
    assert found.mean() == pytest.approx(0.5, abs=0.01)  # symmetric goals
    assert known.mean() == pytest.approx(0.5)


def test_quantiles_are_summed_and_goals_averaged():
    estimate, goal = jnp.array([[1.0, 3.0]]), jnp.array([[2.0, 2.5]])
    # levels .25 and .75: errors (1, 1.5) of the first, (-1, -.5) of the second
    huber_known = 0.25 * (0.5 + 1.0) / 2 + 0.25 * (0.5 + 0.125) / 2
    np.testing.assert_allclose(quantile_loss(estimate, goal), [huber_known])
    np.testing.assert_allclose(quantile_loss(estimate, goal, "absolute"), [0.25 * 2.5 / 2 + 0.25 * 1.5 / 2])


def test_what_follows_may_be_quantiles():
    terminal, duration, later = jnp.array([False, True]), jnp.array([1.0, 3.0]), jnp.array([[2.0, 4.0]] * 2)
    found = backup(jnp.array([1.0, 2.0]), terminal, duration, 0.5, later)
    np.testing.assert_allclose(found, [[2.0, 3.0], [2.0, 2.0]])
