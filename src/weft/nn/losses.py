"""Formulas that more than one method uses, named after the mathematics, with their sources.

All are elementwise but `batch_weight` (over the batch), `sampled_logsumexp` (over samples), `quantile_loss` (over
quantiles) and `proposals` (which draws). Returns over time are in `returns`.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Shaped

from ..core.pytree import require
from .distributions import Deterministic, Distribution, several

__all__ = [
    "advantage_weight",
    "backup",
    "batch_weight",
    "calibrate",
    "capped_exponential",
    "check_loss",
    "dual",
    "expectile",
    "imitation",
    "linex",
    "proposals",
    "quantile_loss",
    "sampled_logsumexp",
    "standardised",
    "td_loss",
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
    next_value: Float[Array, "*any"] | Float[Array, "*any quantile"],
) -> Float[Array, "*any"] | Float[Array, "*any quantile"]:
    """`r + γ^Δt V(s′)`, and `r` alone after a true terminal; a time-out bootstraps. No gradient flows into it.

    Quantiles of what follows become quantiles of the whole: each is moved alike.
    """
    if jnp.ndim(next_value) > jnp.ndim(reward):
        reward, terminal, duration = (jnp.expand_dims(part, -1) for part in (reward, terminal, duration))
    future = jnp.where(terminal, 0.0, next_value)  # where, not times: a NaN after the end must not leak
    return jax.lax.stop_gradient(reward + discount**duration * future)


def advantage_weight(
    advantage: Float[Array, "*any"], inverse_temperature: Float[Array, ""] | float, largest: Float[Array, ""] | float
) -> Float[Array, "*any"]:
    """`min(exp(β A), w_max)`, clipped before the exponential so that it cannot overflow; no gradient flows."""
    exponent = jnp.minimum(inverse_temperature * advantage, jnp.log(largest))
    return jax.lax.stop_gradient(jnp.exp(exponent))


def batch_weight(
    advantage: Float[Array, "batch"], inverse_temperature: Float[Array, ""] | float, largest: Float[Array, ""] | float
) -> Float[Array, "batch"]:
    """`N softmax_batch(min(β A, log w_max))`: `advantage_weight` over its mean, so that N weights sum to N.

    The step no longer depends on the scale of the advantages, but it does on who else is in the batch (authors' code of
    arXiv:2006.09359). No gradient flows.
    """
    exponent = jnp.minimum(inverse_temperature * advantage, jnp.log(largest))
    # times N, so that the size of a step does not fall with the size of the batch
    return jax.lax.stop_gradient(len(advantage) * jax.nn.softmax(exponent))


def capped_exponential(exponent: Float[Array, "*any"], largest: Float[Array, ""] | float) -> Float[Array, "*any"]:
    """`exp(x)`, which goes on as a straight line from where its slope is `largest`: its slope is `advantage_weight`'s.

    The convex conjugate is that of `w log w − w` for weights of at most `largest`.
    """
    limit = jnp.log(largest)
    below = jnp.minimum(exponent, limit)  # inside the exponential, so that neither it nor its gradient overflows
    return jnp.exp(below) * (1 + exponent - below)


def linex(error: Float[Array, "*any"], sharpness: Float[Array, ""] | float) -> Float[Array, "*any"]:
    """`(exp(β u) − β u − 1) / β²` with `u = target − estimate`, which the soft maximum `log E[exp(β target)] / β` makes
    least (Varian 1975). For small β it is u² / 2. The exponential goes on as a line from β u = 5 on.
    """
    scaled = sharpness * error
    # one target far above V would otherwise outweigh the batch: the slope stops growing at e^5, about 150
    low = jnp.minimum(scaled, 5.0)
    grown = jnp.exp(low) + jnp.exp(5.0) * (scaled - low)
    return (grown - scaled - 1.0) / jnp.square(sharpness)


def dual(
    advantage: Float[Array, "batch"], log_temperature: Float[Array, ""], divergence: Float[Array, ""] | float
) -> Float[Array, ""]:
    """`η ε + η log E_D[exp(A / η)]`: where it is least, weights exp(A / η) leave the log by a divergence of ε nats
    (relative entropy policy search, Peters, Mülling and Altün 2010).
    """
    temperature = jnp.exp(log_temperature)  # learned as a logarithm, so that it stays positive
    spread = jax.nn.logsumexp(advantage / temperature) - jnp.log(len(advantage))
    return temperature * (divergence + spread)


def quantile_loss(
    estimate: Float[Array, "*any quantile"], goal: Float[Array, "*any quantile"], kind: str = "huber"
) -> Float[Array, "*any"]:
    """`Σ_i E_j[|τ_i − 1(u_ij < 0)| h(u_ij)]` with `u_ij = goal_j − estimate_i` (arXiv:1710.10044, eqs. 8 and 10).

    `τ_i = (2i − 1) / 2N` is the level of estimate i. h is |u| (`absolute`, QR-DQN-0), which finds quantiles, or the
    Huber loss (`huber`, QR-DQN-1), which finds expectiles where goals are less than 1 apart: there the mean over them
    is not the mean of the goals unless those lie symmetrically. Summed over estimates, averaged over goals (the
    paper's algorithm 1).
    """
    level = (jnp.arange(estimate.shape[-1]) + 0.5) / estimate.shape[-1]  # midpoints: least distance in W1 (lemma 2)
    error = goal[..., None, :] - estimate[..., :, None]
    tilt = jnp.abs(level[:, None] - (error < 0))
    return (tilt * (optax.losses.huber_loss(error) if kind == "huber" else jnp.abs(error))).mean(-1).sum(-1)


def check_loss(name: str, error: str, quantiles: int) -> None:
    """Raise UserError for a kind of `td_loss` that means or quantiles are not learned with."""
    require(quantiles >= 0, f"{name}: a critic has 0 quantiles (it learns means) or more, got {quantiles}.")
    kinds, what = (("huber", "absolute"), "for quantiles") if quantiles else (("squared", "huber"), "without quantiles")
    require(error in kinds, f"{name} has no error '{error}' {what}; take {' or '.join(kinds)}.")


def td_loss(
    estimate: Float[Array, "batch"] | Float[Array, "batch quantile"],
    goal: Float[Array, "batch"] | Float[Array, "batch quantile"],
    kind: str,
) -> Float[Array, "batch"]:
    """The loss of values against goals: their squared difference, its Huber loss (`huber`), or `quantile_loss`.

    The gradient of the Huber loss is the error clipped to [−1, 1] (Mnih et al. 2015).
    """
    if estimate.ndim > 1:
        return quantile_loss(estimate, goal, kind)
    return (optax.losses.huber_loss if kind == "huber" else jnp.square)(estimate - goal)


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


def calibrate(
    values: Float[Array, "batch sample"], outcome: Float[Array, "batch"] | None, count: int
) -> Float[Array, "batch sample"]:
    """`max(Q(s, a), G(s))` for the first `count` actions of a state (arXiv:2303.05479, eq. 5.1); Q as it is if no G."""
    if outcome is None:
        return values
    # a policy that is to be better than the log's is worth at least G; of uniform actions G says nothing
    return jnp.maximum(values, jnp.where(jnp.arange(values.shape[-1]) < count, outcome[..., None], -jnp.inf))


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
    # the uniform density on [-1, 1]^d is 2^-d
    uniform_density = jnp.full(own_density.shape, -own.shape[-1] * jnp.log(2.0))
    actions = jnp.concatenate([own, other, uniform], axis=-2)
    density = jnp.concatenate([own_density, other_density, uniform_density], axis=-1)
    return jax.lax.stop_gradient((actions, density))


def weighted_mean(values: Float[Array, "*any"], weight: Shaped[Array, "*any"]) -> Float[Array, ""]:
    """Mean of the values where the weight (or mask) is; 0 where there is none."""
    values = jnp.broadcast_to(values, weight.shape)
    total = jnp.where(weight > 0, values, 0.0) * weight  # where, not times: padding may hold NaN
    return total.sum() / jnp.maximum(weight.sum(), 1.0)


def standardised(values: Float[Array, "*any"], alive: Bool[Array, "*any"]) -> Float[Array, "*any"]:
    """Bring values to mean 0 and deviation 1 over a batch; equal values only lose their mean (no gradient)."""
    mean = weighted_mean(values, alive)
    deviation = jnp.sqrt(weighted_mean(jnp.square(values - mean), alive))
    return jax.lax.stop_gradient((values - mean) / jnp.where(deviation < 1e-6, 1.0, deviation + 1e-8))
