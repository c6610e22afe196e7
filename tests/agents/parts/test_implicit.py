"""The value of the implied policy is the best V of its loss, for random tables."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from weft.agents.parts.implicit import Expectile, Exponential, Implied, Quantile
from weft.core.errors import UserError

# 20 actions as likely as each other: the .8-quantile of their values is anything between the 16th and the 17th
LOSSES = [Expectile(0.5), Expectile(0.9), Quantile(0.8), Exponential(3.0)]


def best(loss, values):
    """Find V where the slope of the mean loss is 0, by halving."""
    slope = jax.jit(jax.grad(lambda v: loss(values - v).mean()))
    low, high = float(values.min()), float(values.max())
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if float(slope(middle)) > 0 else (middle, high)
    return (low + high) / 2


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_the_implied_policy_is_worth_its_value(loss):
    for seed in range(3):
        values = jax.random.normal(jax.random.key(seed), (20,))
        if isinstance(loss, Quantile):
            value = float(jnp.sort(values)[15:17].mean())
            assert float(jax.grad(lambda v, values=values: loss(values - v).mean())(value)) == pytest.approx(
                0, abs=1e-6
            )
        else:
            value = best(loss, values)
        weight = loss.weight(values - value)
        assert float((weight * values).sum() / weight.sum()) == pytest.approx(value, abs=1e-4)


def test_known_answers():
    values = jnp.array([0.0, 1.0])
    assert best(Expectile(0.9), values) == pytest.approx(0.9, abs=1e-5)
    share = Expectile(0.9).weight(values - 0.9)
    np.testing.assert_allclose(share / share.sum(), [0.1, 0.9], rtol=1e-5)
    soft = float(jnp.log(jnp.exp(3.0 * values).mean()) / 3.0)
    assert best(Exponential(3.0), values) == pytest.approx(soft, abs=1e-5)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_weights_are_slope_over_distance(loss):
    advantage = jnp.array([-2.0, -0.3, 0.2, 0.8])
    slope = jax.vmap(jax.grad(loss))(advantage)
    ratio = loss.weight(advantage) / (jnp.abs(slope) / jnp.abs(advantage))
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)
    far = jnp.array([-1e4, -1e-9, 0.0, 1e-9, 1e4])
    assert jnp.isfinite(loss(far)).all()
    assert jnp.isfinite(loss.weight(far)).all()
    assert (loss.weight(far) >= 0).all()
    assert jnp.isfinite(jax.vmap(jax.grad(loss))(far)).all()


def test_the_exponential_goes_on_straight():
    loss = Exponential(2.0)
    edge = float(jnp.log(100.0) / 2.0)
    slope = jax.grad(loss)
    np.testing.assert_allclose([slope(edge - 1e-3), slope(edge + 1e-3), slope(edge + 5.0)], 198.0, rtol=0.01)


def test_weights_come_with_several_actions_per_state():
    weigh = Implied(lambda observation: observation[..., 0], Expectile(0.9))
    found = jnp.exp(weigh(jnp.array([[0.5], [2.0]]), jnp.array([[0.0, 1.0], [1.0, 3.0]])))
    np.testing.assert_allclose(found, [[0.1, 0.9], [0.1, 0.9]], rtol=1e-5)


@pytest.mark.parametrize(
    "make", [lambda: Expectile(0.4), lambda: Expectile(1.0), lambda: Quantile(1.0), lambda: Exponential(0.0)]
)
def test_mistakes_are_refused(make):
    with pytest.raises(UserError, match="must be"):
        make()
