"""The schedule ends in noise for any number of steps, and the reverse steps find what the noise was put on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from weft.core.errors import UserError
from weft.nn.diffusion import denoising_loss, generate, noised, schedule, step_back

ANGLE = 2 * jnp.pi * jnp.arange(8) / 8
CENTRES = 0.7 * jnp.stack([jnp.cos(ANGLE), jnp.sin(ANGLE)], axis=-1)
WEIGHTS = jnp.arange(1, 9) / 36.0


@pytest.mark.parametrize("steps", [1, 5, 50])
def test_nothing_is_left_after_the_last_step(steps):
    plan = schedule(steps)
    np.testing.assert_allclose(plan.alpha_bar[-1], np.exp(-5.05), rtol=1e-4)  # (.1 + 10) / 2
    np.testing.assert_allclose(plan.alpha_bar, np.cumprod(plan.alpha), rtol=1e-4)
    np.testing.assert_allclose(plan.alpha[0], np.exp(-0.1 / steps - 9.9 / (2 * steps**2)), rtol=1e-5)
    assert (plan.alpha[1:] < plan.alpha[:-1]).all()


def test_noise_keeps_the_variance():
    plan = schedule(5)
    clean, noise = jax.random.normal(jax.random.key(0), (2, 5, 20_000, 1))
    found = noised(plan, clean, noise, jnp.arange(5)[:, None])
    np.testing.assert_allclose(found.std((1, 2)), 1.0, atol=0.02)
    np.testing.assert_allclose((found * clean).mean((1, 2)), jnp.sqrt(plan.alpha_bar), atol=0.03)


def test_the_loss_is_a_sum_over_dimensions_and_draws_all_steps_alike():
    clean, key = jnp.zeros((50_000, 2)), jax.random.key(0)
    plan = schedule(5)
    nothing = denoising_loss(lambda noisy, step: jnp.zeros_like(noisy), plan, clean, key)
    assert float(nothing) == pytest.approx(2.0, abs=0.03)
    counted = denoising_loss(lambda noisy, step: jnp.zeros_like(noisy) + step[:, None], plan, clean, key)
    assert float(counted) == pytest.approx(2 * (1 + (0 + 1 + 4 + 9 + 16) / 5), abs=0.2)

    def perfect(noisy, step):
        return noisy / jnp.sqrt(1.0 - plan.alpha_bar[step])[:, None]

    assert float(denoising_loss(perfect, plan, clean, key)) < 1e-6


def test_only_the_last_step_adds_no_noise():
    plan, point = schedule(5), jnp.zeros((100, 2))
    for step in range(5):
        one, two = (
            step_back(lambda noisy, step: jnp.zeros_like(noisy), plan, point, jnp.int32(step), jax.random.key(seed))
            for seed in (0, 1)
        )
        assert bool((one == two).all()) == (step == 0)
        assert float(jnp.abs(one).max()) <= 1.0


@pytest.mark.parametrize("steps", [1, 5, 20])
def test_a_perfect_denoiser_finds_its_point(steps):
    plan, point = schedule(steps), jnp.array([0.3, -0.9])

    def predict(noisy, step):
        return (noisy - jnp.sqrt(plan.alpha_bar[step]) * point) / jnp.sqrt(1.0 - plan.alpha_bar[step])

    found = generate(predict, plan, (50, 2), jax.random.key(0))
    np.testing.assert_allclose(found, jnp.broadcast_to(point, (50, 2)), atol=1e-4)


def test_the_weights_of_eight_gaussians_are_kept():
    """The noise that is most likely on a mixture is known in closed form."""
    plan, deviation = schedule(50), 0.05

    def predict(noisy, step):
        left = plan.alpha_bar[step]
        spread = left * deviation**2 + 1.0 - left
        apart = noisy[:, None] - jnp.sqrt(left) * CENTRES
        share = jax.nn.softmax(jnp.log(WEIGHTS) - jnp.square(apart).sum(-1) / (2.0 * spread))
        # E[eps | x] = sqrt(1 - left) E[x - sqrt(left) mu] / spread
        return jnp.sqrt(1.0 - left) / spread * (share[..., None] * apart).sum(1)

    found = jax.jit(lambda key: generate(predict, plan, (20_000, 2), key))(jax.random.key(0))
    distance = jnp.sqrt(jnp.square(found[:, None] - CENTRES).sum(-1))
    np.testing.assert_allclose(jnp.bincount(distance.argmin(-1), length=8) / 20_000, WEIGHTS, atol=0.03)
    assert float((distance.min(-1) > 0.25).mean()) < 0.02


def test_no_step_is_refused():
    with pytest.raises(UserError, match="at least one step"):
        schedule(0)
