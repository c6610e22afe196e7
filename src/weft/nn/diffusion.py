r"""Denoising diffusion (Ho, Jain and Abbeel 2020, arXiv:2006.11239): points become noise in T steps, and noise points.

    alpha_t = exp(-b_min / T - (b_max - b_min) (2t - 1) / 2T^2),   abar_t = alpha_1 ... alpha_t,   t = 1 ... T
    x_t     = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps
    L_eps   = E || eps - eps_phi(x_t, t) ||^2
    x_{t-1} = (x_t - (1 - alpha_t) / sqrt(1 - abar_t) eps_phi(x_t, t)) / sqrt(alpha_t) + sqrt(1 - alpha_t) z

The schedule preserves the variance (arXiv:2112.07804) and ends at abar_T = exp(-(b_min + b_max) / 2) for every T.
Points lie in [-1, 1]; every reverse step is clipped to it, and the last adds no noise. A network is asked with `step`
t - 1, which counts from 0.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..core.pytree import require

__all__ = ["Schedule", "denoising_loss", "generate", "noised", "schedule", "step_back"]

Predict = Callable[[Float[Array, "..."], Int[Array, "..."]], Float[Array, "..."]]


class Schedule(eqx.Module):
    """How much of the variance each step keeps, and how much is left after it; the first entry is that of t = 1."""

    alpha: Float[Array, "step"]
    alpha_bar: Float[Array, "step"]


def schedule(steps: int, low: float = 0.1, high: float = 10.0) -> Schedule:
    """Return the variance-preserving schedule of so many steps; `low` and `high` are b_min and b_max."""
    require(steps >= 1, f"Diffusion takes at least one step, got {steps}.")
    time = jnp.arange(1, steps + 1)
    log_alpha = -low / steps - (high - low) * (2 * time - 1) / (2 * steps**2)
    return Schedule(jnp.exp(log_alpha), jnp.exp(jnp.cumsum(log_alpha)))  # a sum of logarithms keeps its digits


def noised(
    plan: Schedule, clean: Float[Array, "... dim"], noise: Float[Array, "... dim"], step: Int[Array, "..."]
) -> Float[Array, "... dim"]:
    """Return `x_t` of clean points, `step` being t - 1 (eq. 4)."""
    alpha_bar = plan.alpha_bar[step][..., None]
    return jnp.sqrt(alpha_bar) * clean + jnp.sqrt(1.0 - alpha_bar) * noise


def denoising_loss(
    predict: Predict, plan: Schedule, clean: Float[Array, "batch dim"], key: PRNGKeyArray
) -> Float[Array, ""]:
    """Return `L_eps`, with one step and one noise drawn per point: summed over dimensions, a mean over the batch."""
    step_key, noise_key = jax.random.split(key)
    step = jax.random.randint(step_key, clean.shape[:-1], 0, len(plan.alpha))
    noise = jax.random.normal(noise_key, clean.shape)
    error = predict(noised(plan, clean, noise, step), step) - noise
    return jnp.mean(jnp.square(error).sum(-1))


def step_back(
    predict: Predict, plan: Schedule, point: Float[Array, "... dim"], step: Int[Array, ""], key: PRNGKeyArray
) -> Float[Array, "... dim"]:
    """Return `x_{t-1}` from `x_t` (algorithm 2), clipped to [-1, 1]; at step 0 the key makes no difference."""
    alpha, alpha_bar = plan.alpha[step], plan.alpha_bar[step]
    mean = (point - (1.0 - alpha) / jnp.sqrt(1.0 - alpha_bar) * predict(point, step)) / jnp.sqrt(alpha)
    # the larger of the paper's two variances, beta_t (sec. 3.2); noise on the last step would only blur the point
    spread = jnp.where(step > 0, jnp.sqrt(1.0 - alpha), 0.0)
    return jnp.clip(mean + spread * jax.random.normal(key, point.shape), -1.0, 1.0)


def generate(predict: Predict, plan: Schedule, shape: tuple[int, ...], key: PRNGKeyArray) -> Float[Array, "... dim"]:
    """Return points of a shape: noise, taken back step by step."""
    start_key, walk_key = jax.random.split(key)

    def back(point: Array, step: Array) -> tuple[Array, None]:
        # the key of a step depends on its number alone, not on how many steps came before it
        return step_back(predict, plan, point, step, jax.random.fold_in(walk_key, step)), None

    steps = jnp.arange(len(plan.alpha) - 1, -1, -1)
    return jax.lax.scan(back, jax.random.normal(start_key, shape), steps)[0]
