r"""A quantile of the return under the policy (Chandak et al. 2021; Huang et al. 2021, arXiv:2104.08977).

    inf { z : F(z) >= level },     F(z) = sum_i rho_i 1(G_i <= z) / sum_i rho_i

by self-normalised trajectory importance weights. `level = 0.5` is the median. It is a step function of the weights, so
intervals by derivatives do not exist; use the bootstrap.
"""

from typing import ClassVar

import jax.numpy as jnp

from ...core.pytree import require
from ..estimator import Statistic
from ..return_distribution import ranked_returns, weighted_returns

__all__ = ["Quantile"]


class Quantile(Statistic):
    """A quantile of the return."""

    title: ClassVar[str] = "Quantile of the return"
    paper: ClassVar[str] = "arXiv:2104.08977"
    weighs: ClassVar[bool] = True
    fits: ClassVar[bool] = False
    smooth: ClassVar[bool] = False

    discount: float = 0.99
    level: float = 0.5

    def __check_init__(self):
        require(0 < self.level < 1, f"The level of a quantile lies between 0 and 1, got {self.level}.")

    def terms(self, case, key):
        return weighted_returns(case, self.discount)

    def combine(self, terms, weighing):
        weight, total, every = ranked_returns(terms, weighing)
        chance = jnp.cumsum(weight) / every
        # a level that a sum of equal weights meets exactly is met in float32, too
        return total[jnp.minimum((chance < self.level - 1e-6).sum(), len(total) - 1)]
