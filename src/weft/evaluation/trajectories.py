r"""Episodes side by side: importance ratios, rewards and discounts as arrays `(episode, time)`.

    rho_t = pi(a_t | s_t) / b(a_t | s_t),      rho_{0:t} = prod_{k <= t} rho_k

Everything that weighs by ratios starts here. Ratios stay logarithms until the last moment, a ratio of zero is −inf, and
after the end of an episode the ratio stays what it was and rewards are 0, so that episodes of different lengths can be
averaged at every time (Precup, Sutton and Singh 2000).
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ..data.columns import Columns
from .estimator import Candidate

__all__ = ["Layout", "Paths", "before", "layout", "paths", "relative"]


class Layout(eqx.Module):
    """Where the step `t` of an episode lies in the log; `there` is false after its end (`row` is then its last)."""

    row: Int[Array, "episode time"]
    there: Bool[Array, "episode time"]

    def __call__(self, values: Array, beyond: float = 0.0) -> Array:
        """Lay out a column `(row, ...)` as `(episode, time, ...)` with `beyond` after the ends."""
        found = values[self.row]
        there = self.there.reshape(*self.there.shape, *(1,) * (found.ndim - 2))
        return jnp.where(there, found, beyond)


def layout(columns: Columns, episodes: int, longest: int) -> Layout:
    """Return where the steps of `episodes` episodes of at most `longest` steps lie."""
    blank = jnp.zeros(episodes, jnp.int32)
    start = blank.at[columns.episode].set(columns.episode_start)
    length = blank.at[columns.episode].add(1)
    time = jnp.arange(longest)[None]
    return Layout(start[:, None] + jnp.minimum(time, jnp.maximum(length[:, None] - 1, 0)), time < length[:, None])


class Paths(eqx.Module):
    """What importance sampling sees of a log: log-ratio of every step, rewards and discounts, 0 after the end.

    `discount` is `gamma^(time before the step)`.
    """

    log_ratio: Float[Array, "episode time"]
    reward: Float[Array, "episode time"]
    discount: Float[Array, "episode time"]
    there: Bool[Array, "episode time"]

    @property
    def log_weight(self) -> Float[Array, "episode time"]:
        """Logarithm of `rho_{0:t}`."""
        return jnp.cumsum(self.log_ratio, 1)

    @property
    def weight(self) -> Float[Array, "episode time"]:
        """`rho_{0:t}`."""
        return jnp.exp(self.log_weight)

    @property
    def weight_before(self) -> Float[Array, "episode time"]:
        """`rho_{0:t-1}`, 1 at the first step."""
        return before(self.weight)

    def dosed(self, dose: Float[Array, ""] | float) -> "Paths":
        """Return the paths as seen by the policy that follows the candidate with chance `dose` in every step and the
        logging policy otherwise: its ratio is `1 − dose + dose rho`.
        """
        ratio = jnp.where(self.there, jnp.log1p(dose * jnp.expm1(self.log_ratio)), 0.0)
        return eqx.tree_at(lambda paths: paths.log_ratio, self, ratio)


def before(weight: Float[Array, "episode time"]) -> Float[Array, "episode time"]:
    """Return the weights one step earlier, 1 at the first step."""
    return jnp.concatenate([jnp.ones_like(weight[:, :1]), weight[:, :-1]], 1)


def relative(
    log_weight: Float[Array, "episode *time"], counts: Float[Array, "episode"]
) -> Float[Array, "episode *time"]:
    """Return weights up to a factor (one per time): the largest of the episodes that count is 1.

    For what divides by the sum of the weights, so that products over long episodes neither vanish nor overflow.
    """
    there = counts.reshape(-1, *(1,) * (log_weight.ndim - 1)) > 0
    top = jnp.where(there, log_weight, -jnp.inf).max(0)
    return jnp.exp(log_weight - jnp.where(jnp.isfinite(top), top, 0.0))


def paths(
    candidate: Candidate, columns: Columns, episodes: int, discount: Float[Array, ""] | float, reference: bool = True
) -> Paths:
    """Lay out a log for a candidate. Without `reference` all ratios are 1, for estimators that only want rewards.

    The log must hold propensities and the candidate the log-probabilities of the logged actions.
    """
    where = layout(columns, episodes, candidate.spec.longest)
    there = where.there
    elapsed = jnp.cumsum(where(columns.duration), 1) - where(columns.duration)
    ratio = jnp.zeros(there.shape)
    if reference:
        assert candidate.log_prob is not None
        assert columns.log_propensity is not None
        ratio = where(candidate.log_prob - columns.log_propensity)
    return Paths(ratio, where(columns.reward[:, 0]), jnp.where(there, discount**elapsed, 0.0), there)
