"""Formulas that more than one method uses, named after the mathematics, with their sources.

All are elementwise but `sampled_logsumexp` (over samples), `lambda_returns` (over time) and `proposals` (which draws).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Shaped

from .columns import Segments
from .distributions import Deterministic, Distribution, several

__all__ = [
    "advantage_weight",
    "backup",
    "expectile",
    "huber",
    "imitation",
    "lambda_returns",
    "n_step_returns",
    "proposals",
    "returns_to_go",
    "sampled_logsumexp",
    "standardised",
    "weighted_mean",
]


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


def imitation(chosen: Distribution, action: Shaped[Array, "..."]) -> Float[Array, "..."]:
    """`−log π(a | s)`; the squared error, averaged over dimensions, where the actor has no density."""
    if isinstance(chosen, Deterministic):
        return jnp.square(chosen.action - action).mean(-1)
    return -chosen.log_prob(action)


def lambda_returns(
    reward: Float[Array, "row"],
    terminal: Bool[Array, "row"],
    last: Bool[Array, "row"],
    duration: Float[Array, "row"],
    discount: Float[Array, ""] | float,
    trace: Float[Array, ""] | float,
    next_value: Float[Array, "row"],
) -> Float[Array, "row"]:
    """`G_t = r_t + γ^Δt ((1 − λ) V(s′) + λ G_{t+1})` over consecutive episodes (Sutton and Barto 2018, eq. 12.18).

    `last` marks the last step of every episode: after a terminal step nothing follows, after a time-out V(s′) does.
    """
    future = jnp.where(terminal, 0.0, discount**duration)
    kept = jnp.where(last, 0.0, trace)
    constant = reward + future * (1.0 - kept) * jnp.where(terminal, 0.0, next_value)

    def join(later: tuple[Array, Array], now: tuple[Array, Array]) -> tuple[Array, Array]:
        return now[0] + now[1] * later[0], now[1] * later[1]

    return jax.lax.associative_scan(join, (constant, future * kept), reverse=True)[0]


def proposals(
    key: PRNGKeyArray, here: Distribution, there: Distribution, count: int
) -> tuple[Float[Array, "batch sample act"], Float[Array, "batch sample"]]:
    """Return `count` actions of each of two policies and of the uniform distribution, with their log-densities.

    They are what CQL(H) estimates `log ∫ exp Q` from (arXiv:2006.04779, app. F); no gradient flows.
    """
    here_key, there_key, uniform_key = jax.random.split(key, 3)
    own, own_density = several(here, count).sample_and_log_prob(here_key)
    other, other_density = several(there, count).sample_and_log_prob(there_key)
    uniform = jax.random.uniform(uniform_key, own.shape, minval=-1.0, maxval=1.0)
    uniform_density = jnp.full(own_density.shape, -own.shape[-1] * jnp.log(2.0))
    actions = jnp.concatenate([own, other, uniform], axis=-2)
    density = jnp.concatenate([own_density, other_density, uniform_density], axis=-1)
    return jax.lax.stop_gradient((actions, density))


def returns_to_go(
    batch: Segments,
    discount: Float[Array, ""] | float,
    trace: Float[Array, ""] | float,
    next_value: Float[Array, "*any"],
) -> Float[Array, "lane time"]:
    """λ-returns of segments: 1 is the return to the end of the episode or segment, 0 one step and V(s′). No gradient.

    Where a segment is cut without an end, `next_value` (broadcast to the steps) stands in for what follows.
    """
    following = jnp.broadcast_to(next_value, batch.reward.shape)

    def lane(part: Segments, following: Array) -> Array:
        return lambda_returns(part.reward, part.terminal, part.last, part.duration, discount, trace, following)

    return jax.lax.stop_gradient(jax.vmap(lane)(batch, following))


def n_step_returns(
    batch: Segments, discount: Float[Array, ""] | float, count: int, next_value: Float[Array, "lane time"]
) -> Float[Array, "lane time"]:
    """`r_t + … + γⁿ⁻¹ r_{t+n−1} + γⁿ V(s_{t+n})`, shorter where episode or segment end before (no gradient)."""
    future = jnp.where(batch.terminal, 0.0, discount**batch.duration)
    found = batch.reward + future * jnp.where(batch.terminal, 0.0, next_value)
    for _ in range(count - 1):
        later = jnp.concatenate([found[:, 1:], found[:, -1:]], axis=1)
        found = batch.reward + future * jnp.where(batch.last, jnp.where(batch.terminal, 0.0, next_value), later)
    return jax.lax.stop_gradient(found)


def weighted_mean(values: Float[Array, "*any"], weight: Shaped[Array, "*any"]) -> Float[Array, ""]:
    """Mean of the values where the weight (or mask) is; 0 where there is none."""
    values = jnp.broadcast_to(values, weight.shape)
    total = jnp.where(weight > 0, values, 0.0) * weight
    return total.sum() / jnp.maximum(weight.sum(), 1.0)


def standardised(values: Float[Array, "*any"], alive: Bool[Array, "*any"]) -> Float[Array, "*any"]:
    """Bring values to mean 0 and deviation 1 over a batch; equal values only lose their mean (no gradient)."""
    mean = weighted_mean(values, alive)
    deviation = jnp.sqrt(weighted_mean(jnp.square(values - mean), alive))
    return jax.lax.stop_gradient((values - mean) / jnp.where(deviation < 1e-6, 1.0, deviation + 1e-8))
