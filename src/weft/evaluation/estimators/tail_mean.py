r"""Conditional value at risk of the return: the mean of its worst `share` (Rockafellar and Uryasev 2000).

    CVaR_a = max_z  z - E[ (z - G)_+ ] / a,     E by self-normalised trajectory importance weights (Huang et al. 2021)

`share = 1` is the mean. The weights are products over whole episodes; a low effective sample size makes any of this
meaningless. Returns with few distinct values make it a function with corners, so intervals come from the bootstrap.
"""

from typing import ClassVar

import jax.numpy as jnp

from ...core.pytree import require
from ..estimator import Statistic
from ..return_distribution import ranked_returns, weighted_returns

__all__ = ["TailMean"]


class TailMean(Statistic):
    """Mean of the worst returns."""

    title: ClassVar[str] = "Conditional value at risk"
    paper: ClassVar[str] = "arXiv:2104.08977"
    weighs: ClassVar[bool] = True
    fits: ClassVar[bool] = False
    smooth: ClassVar[bool] = False

    discount: float = 0.99
    share: float = 0.1

    def __check_init__(self):
        require(0 < self.share <= 1, f"The share of worst returns lies in (0, 1], got {self.share}.")

    def terms(self, case, key):
        return weighted_returns(case, self.discount)

    def combine(self, terms, weighing):
        weight, total, every = ranked_returns(terms, weighing)
        chance = weight / every
        before = jnp.cumsum(chance) - chance
        return (jnp.clip(self.share - before, 0.0, chance) * total).sum() / self.share
