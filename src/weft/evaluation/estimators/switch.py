r"""Switch for single decisions (Wang, Agarwal and Dudik 2017, arXiv:1612.01205).

    J = mean_i [ rho (r - q(x, a)) 1(rho <= largest) + sum_a pi(a | x) q(x, a) ]

Weights above `largest` are not used at all; the model answers for those actions. q is linear and comes from other
folds. Episodes of one decision with discrete or continuous actions. Its interval does not count the bias.
"""

from typing import ClassVar

import jax.numpy as jnp

from ...core.pytree import require, static
from ..control_variates import single_terms
from ..estimator import Statistic, mean

__all__ = ["Switch"]


class Switch(Statistic):
    """Switch between doubly robust and the model."""

    title: ClassVar[str] = "Switch"
    paper: ClassVar[str] = "arXiv:1612.01205"
    weighs: ClassVar[bool] = True
    single: ClassVar[bool] = True

    largest: float = 10.0
    ridge: float = 1e-4
    features: int = static(default=256)
    folds: int = static(default=5)

    def __check_init__(self):
        require(self.largest >= 0, f"The largest weight may not be negative, got {self.largest}.")
        require(self.folds >= 2, f"Cross-fitting needs at least two folds, got {self.folds}.")

    def terms(self, case, key):
        def switched(weight):
            return jnp.where(weight <= self.largest, weight, 0.0)

        return single_terms(case, key, self.ridge, self.features, self.folds, switched)

    def combine(self, terms, weighing):
        return mean(terms, weighing.starts)
