r"""Episodes side by side: importance ratios, rewards and discounts as arrays `(episode, time)`.

    rho_t = pi(a_t | s_t) / b(a_t | s_t),      rho_{0:t} = prod_{k <= t} rho_k

Everything that weighs by ratios starts here. Ratios stay logarithms until the last moment, a ratio of zero is −inf, and
after the end of an episode the ratio stays what it was and rewards are 0, so that episodes of different lengths can be
averaged at every time (Precup, Sutton and Singh 2000).
"""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ..data.columns import Columns
from .candidate import Candidate

__all__ = ["Layout", "Paths", "Trajectories", "before", "clipped", "lay_out", "layout", "relative"]


class Layout(eqx.Module):
    """Where the step `t` of an episode lies in the log; `there` is false after its end (`row` is then its last)."""

    row: Int[Array, "episode time"]
    there: Bool[Array, "episode time"]

    def __call__(self, values: Array, beyond: float = 0.0) -> Array:
        """Lay out a column `(row, ...)` as `(episode, time, ...)` with `beyond` after the ends."""
        steps = values[self.row]
        there = self.there.reshape(*self.there.shape, *(1,) * (steps.ndim - 2))
        return jnp.where(there, steps, beyond)


def layout(columns: Columns, episodes: int, longest: int) -> Layout:
    """Return where the steps of `episodes` episodes of at most `longest` steps lie."""
    blank = jnp.zeros(episodes, jnp.int32)
    start = blank.at[columns.episode].set(columns.episode_start)
    length = blank.at[columns.episode].add(1)
    time = jnp.arange(longest)[None]
    return Layout(start[:, None] + jnp.minimum(time, jnp.maximum(length[:, None] - 1, 0)), time < length[:, None])


class Paths(eqx.Module):
    """What importance sampling sees of a log: log-ratio of every step, rewards and discounts, 0 after the end.

    `discount` is `gamma^(time before the step)`; `log_ratio` is None where nothing can be weighed.
    """

    log_ratio: Float[Array, "episode time"] | None
    reward: Float[Array, "episode time"]
    discount: Float[Array, "episode time"]
    there: Bool[Array, "episode time"]

    @property
    def returns(self) -> Float[Array, "episode"]:
        """Discounted sum of the logged rewards."""
        return (self.discount * self.reward).sum(1)

    @property
    def log_weight(self) -> Float[Array, "episode time"]:
        """Logarithm of `rho_{0:t}`."""
        assert self.log_ratio is not None
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
        assert self.log_ratio is not None
        # expm1 and log1p, because at a small dose 1 - dose + dose rho is 1 to the last digit of float32
        ratio = jnp.where(self.there, jnp.log1p(dose * jnp.expm1(self.log_ratio)), 0.0)
        return eqx.tree_at(lambda paths: paths.log_ratio, self, ratio)

    def effective(self, starts: Float[Array, "episode"]) -> Float[Array, ""]:
        """Return the effective number of episodes of the weights over whole episodes, `(sum w)^2 / sum w^2`."""
        weight = jnp.where(starts > 0, relative(self.log_weight[:, -1], starts), 0.0)
        return weight.sum() ** 2 / jnp.maximum((weight**2).sum(), 1e-30)


class Trajectories(eqx.Module):
    """A log laid out for a candidate, whatever the discount: where every step lies, its log-ratio and reward, and the
    time before it. `log_ratio` is None where there is nothing to weigh with: no propensities, or no density.
    """

    layout: Layout
    log_ratio: Float[Array, "episode time"] | None
    reward: Float[Array, "episode time"]
    elapsed: Float[Array, "episode time"]

    def paths(self, discount: Float[Array, ""] | float) -> Paths:
        """Return what importance sampling sees at a discount."""
        there = self.layout.there
        return Paths(self.log_ratio, self.reward, jnp.where(there, discount**self.elapsed, 0.0), there)


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


def clipped(
    log_weight: Float[Array, "episode *time"],
    largest: Float[Array, ""] | float,
    starts: Float[Array, "episode"],
    self_normalised: bool,
) -> Float[Array, "episode *time"]:
    """Return weights of at most `largest`; up to a factor (`relative`) where their sum is divided by anyway."""
    log_weight = jnp.minimum(log_weight, jnp.log(largest))
    return relative(log_weight, starts) if self_normalised else jnp.exp(log_weight)


@partial(jax.jit, static_argnums=2)
def lay_out(candidate: Candidate, columns: Columns, episodes: int) -> Trajectories:
    """Lay out a log of so many episodes for a candidate."""
    where = layout(columns, episodes, candidate.spec.longest)
    ratio = None
    if candidate.log_prob is not None and columns.log_propensity is not None:
        ratio = where(candidate.log_prob - columns.log_propensity)
    elapsed = jnp.cumsum(where(columns.duration), 1) - where(columns.duration)
    return Trajectories(where, ratio, where(columns.reward[:, 0]), elapsed)
