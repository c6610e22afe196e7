"""Divergences between policies against their closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from weft.nn.distributions import Categorical, Normal, TanhNormal
from weft.nn.divergences import divergence


def normal(mean: float, deviation: float, count: int = 1) -> Normal:
    return Normal(jnp.full((count, 1), mean), jnp.full((count, 1), np.log(deviation)))


def test_gaussians_have_their_closed_form_in_the_mean_of_samples():
    one, two = normal(0.3, 0.5, 50_000), normal(-0.2, 0.8, 50_000)
    found = divergence(one, two, jax.random.key(0), 4)
    assert float(found.mean()) == pytest.approx(0.3606, abs=0.01)
    assert (found < 0).any()  # single estimates are not cut at 0, which would bias their mean


def test_choices_are_exact():
    one, two = jnp.array([0.2, 0.3, 0.5]), jnp.array([0.6, 0.3, 0.1])
    found = divergence(Categorical(jnp.log(one)), Categorical(jnp.log(two)), jax.random.key(0), 1)
    assert float(found) == pytest.approx(float((one * jnp.log(one / two)).sum()), rel=1e-6)


def test_a_policy_is_not_apart_from_itself():
    for same in (normal(0.1, 0.5), TanhNormal(jnp.zeros((1, 2)), jnp.zeros((1, 2)))):
        np.testing.assert_allclose(divergence(same, same, jax.random.key(0), 3), 0.0, atol=1e-6)


@pytest.mark.parametrize("mean", [3.0, 8.0, 30.0])
def test_who_goes_beyond_the_bounds_does_not_come_nearer(mean):
    """The closed form of the Gaussians before the squashing, however far into the flat part of tanh."""
    far = TanhNormal(jnp.full((20_000, 1), mean), jnp.full((20_000, 1), jnp.log(0.1)))
    wide = TanhNormal(jnp.zeros((20_000, 1)), jnp.zeros((20_000, 1)))
    found = divergence(far, wide, jax.random.key(0), 1).mean()
    assert float(found) == pytest.approx(np.log(10) + (0.01 + mean**2) / 2 - 0.5, rel=0.01)
    assert float(divergence(far, far, jax.random.key(0), 1).mean()) == 0.0


def test_the_gradient_reaches_the_policy_through_its_own_draws():
    def cost(mean: jax.Array) -> jax.Array:
        policy = Normal(jnp.full((4000, 1), mean), jnp.full((4000, 1), jnp.log(0.1)))
        return divergence(policy, normal(0.0, 0.1, 4000), jax.random.key(1), 4).mean()

    assert float(jax.grad(cost)(jnp.float32(0.2))) == pytest.approx(20.0, rel=0.05)  # (m / sigma^2)
