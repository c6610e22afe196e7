r"""Empirical Bernstein interval for importance-weighted returns (Maurer and Pontil 2009; Thomas et al. 2015).

    mean(Y) - sqrt(2 V ln(2/d) / n) - 7 ln(2/d) range / (3 (n - 1)),     Y = min(X, largest)

X are the nonnegative terms of `weft.evaluation.bounded_terms` for the value and for its mirror image, clipped at
`largest` times the width of the range of returns. Clipping a nonnegative term only lowers its mean, so both bounds stay
valid for every n; `largest` must be chosen before the data are seen.

What it covers: everything, for every n, if units are independent, propensities right and the declared ranges true.
What it does not cover: it needs many units to say anything (the pilot: 2 to 90 times as wide as running the policy).
Betting says more with the same assumptions.
"""

from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from ...core.pytree import require, static
from ..bounded_terms import Range
from ..interval import Interval, certain

__all__ = ["Bernstein", "slack"]


def slack(variance: Any, count: Any, width: Any, risk: Any) -> Float[Array, ""]:
    """Return how far a mean of `count` independent values of a range of this width may lie beyond what was seen, with a
    chance of at most `risk` on either side (Maurer and Pontil 2009, theorem 4)."""
    logarithm = jnp.log(2 / risk)
    return jnp.sqrt(2 * variance * logarithm / count) + 7 * logarithm * width / (3 * jnp.maximum(count - 1, 1))


class Bernstein(Interval):
    """Empirical Bernstein interval."""

    title: ClassVar[str] = "empirical Bernstein"
    bounded: ClassVar[bool] = True

    reward_low: float = 0.0
    reward_high: float = 1.0
    discount: float = 1.0
    horizon: int = static(default=1)
    largest: float = 10.0

    def __check_init__(self):
        require(self.largest > 0, f"The clip must be positive, got {self.largest}.")
        require(self.reward_low < self.reward_high, "The declared range of rewards must have a width.")

    def __call__(self, estimator, case, key, level):
        declared = Range(self.reward_low, self.reward_high, self.discount, self.horizon)
        span, risk = (declared.high - declared.low) * declared.schedule().sum(), (1 - jnp.asarray(level)) / 2

        def least(terms, there):
            clipped, count = jnp.where(there, jnp.minimum(terms, self.largest * span), 0.0), there.sum()
            middle = clipped.sum() / count
            variance = (jnp.where(there, clipped - middle, 0.0) ** 2).sum() / jnp.maximum(count - 1, 1)
            return jnp.maximum(middle - slack(variance, count, self.largest * span, risk), 0.0)

        return certain(estimator, case, key, declared, least)
