r"""Doubly robust with optimistic shrinkage, for single decisions (Su et al. 2020, arXiv:1907.09623).

    J = mean_i [ w (r - q(x, a)) + sum_a pi(a | x) q(x, a) ],   w = largest rho / (rho^2 + largest)

Large weights are shrunk towards 0 (`largest` = infinity is doubly robust, 0 the model alone). q is linear
and comes from other folds. Episodes of one decision with discrete or continuous actions. Its interval does not count
the bias.
"""

from typing import ClassVar

import jax.numpy as jnp

from ...core.pytree import require, static
from ..control_variates import single_terms
from ..estimator import Statistic, mean

__all__ = ["Shrinkage"]


class Shrinkage(Statistic):
    """Doubly robust with optimistic shrinkage."""

    title: ClassVar[str] = "Doubly robust with shrinkage"
    paper: ClassVar[str] = "arXiv:1907.09623"
    weighs: ClassVar[bool] = True
    single: ClassVar[bool] = True

    largest: float = 100.0
    ridge: float = 1e-4
    features: int = static(default=256)
    folds: int = static(default=5)

    def __check_init__(self):
        require(self.largest >= 0, f"The shrinkage constant may not be negative, got {self.largest}.")
        require(self.folds >= 2, f"Cross-fitting needs at least two folds, got {self.folds}.")

    def terms(self, case, key):
        def shrunk(weight):
            return weight / (weight**2 / jnp.maximum(self.largest, 1e-30) + 1.0)

        return single_terms(case, key, self.ridge, self.features, self.folds, shrunk)

    def combine(self, terms, weighing):
        return mean(terms, weighing.starts)
