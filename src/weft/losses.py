"""Formulas that more than one method uses, named after the mathematics, with their sources. All are elementwise."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

__all__ = ["advantage_weight", "backup", "expectile", "huber", "sampled_logsumexp"]


def expectile(error: Float[Array, "*any"], level: Float[Array, ""] | float) -> Float[Array, "*any"]:
    """`|τ − 1(u < 0)| u²` with `u = target − estimate` (arXiv:2110.06169, eq. 4).

    A level above one half makes the estimate lean to the upper end of the targets.
    """
    return jnp.where(error < 0, 1.0 - level, level) * jnp.square(error)


def backup(
    reward: Float[Array, "*any"],
    terminal: Bool[Array, "*any"],
    duration: Float[Array, "*any"],
    discount: Float[Array, ""] | float,
    next_value: Float[Array, "*any"],
) -> Float[Array, "*any"]:
    """`r + γ^Δt V(s′)`, and `r` alone after a true terminal; a time-out bootstraps. No gradient flows into it."""
    future = jnp.where(terminal, 0.0, next_value)  # where, not times: a NaN after the end must not leak
    return jax.lax.stop_gradient(reward + discount**duration * future)


def advantage_weight(
    advantage: Float[Array, "*any"], inverse_temperature: Float[Array, ""] | float, largest: Float[Array, ""] | float
) -> Float[Array, "*any"]:
    """`min(exp(β A), w_max)`, clipped before the exponential so that it cannot overflow; no gradient flows."""
    exponent = jnp.minimum(inverse_temperature * advantage, jnp.log(largest))
    return jax.lax.stop_gradient(jnp.exp(exponent))


def huber(error: Float[Array, "*any"], threshold: Float[Array, ""] | float = 1.0) -> Float[Array, "*any"]:
    """Quadratic (½u²) inside the threshold, linear outside: the gradient is the clipped error (Mnih et al. 2015)."""
    size = jnp.abs(error)
    inner = jnp.minimum(size, threshold)
    return 0.5 * jnp.square(inner) + threshold * (size - inner)


def sampled_logsumexp(
    values: Float[Array, "*any sample"], log_density: Float[Array, "*any sample"]
) -> Float[Array, "*any"]:
    """Importance-sampled `log ∫ exp Q(a) da`: `log mean_k exp(Q(a_k) − log q(a_k))` (arXiv:2006.04779, app. F)."""
    return jax.nn.logsumexp(values - log_density, axis=-1) - jnp.log(values.shape[-1])
