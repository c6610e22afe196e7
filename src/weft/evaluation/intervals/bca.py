r"""Bias-corrected and accelerated bootstrap (Efron 1987) over units.

    bounds = quantiles of the replicates at Phi( z0 + (z0 + z) / (1 - a (z0 + z)) )
    z0 = Phi^-1( share of replicates below the estimate ),    a = sum l^3 / (6 (sum l^2)^(3/2)),  l: influence of a unit

Second-order correct for smooth statistics, so its two sides may be of different length.

What it covers: the luck of which units were logged, skewness included.
What it does not cover: tails that the log has not seen yet; an importance weight that should have come and did not is
in no replicate. Error rates can exceed the level with few effective samples.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr, ndtri

from ...core.pytree import require, static
from ..estimator import Statistic
from ..interval import Bounds, Interval, influence, resample

__all__ = ["Accelerated"]


class Accelerated(Interval):
    """Bias-corrected and accelerated bootstrap."""

    title: ClassVar[str] = "BCa bootstrap"
    statistic: ClassVar[bool] = True

    replicates: int = static(default=400)

    def __check_init__(self):
        require(self.replicates >= 40, f"BCa quantiles need at least 40 replicates, got {self.replicates}.")

    def __call__(self, estimator, case, key, level):
        assert isinstance(estimator, Statistic)
        weighing = case.weighing
        weight_key, term_key = jax.random.split(key)
        terms = jax.lax.stop_gradient(estimator.terms(case, term_key))
        value, each, _ = influence(estimator, terms, weighing)
        drawn = resample(weight_key, weighing.weights, weighing.unit, self.replicates)
        replicates = jax.lax.map(lambda row: estimator.combine(terms, weighing.reweighted(row)), drawn, batch_size=50)
        share = (replicates < value).mean() + 0.5 * (replicates == value).mean()
        # a share of 0 or 1 would put both ends at infinity
        shift = ndtri(jnp.clip(share, 1e-3, 1 - 1e-3))
        bend = (each**3).sum() / jnp.maximum(6 * (each**2).sum() ** 1.5, 1e-30)
        ends = shift + ndtri(jnp.stack([(1 - jnp.asarray(level)) / 2, (1 + jnp.asarray(level)) / 2]))
        low, high = jnp.quantile(replicates, ndtr(shift + ends / (1 - bend * ends)))
        return Bounds(value, low, high, replicates.std(ddof=1), replicates)
