r"""Switch for single decisions (Wang, Agarwal and Dudik 2017, arXiv:1612.01205).

    J = mean_i [ rho (r - q(x, a)) 1(rho <= largest) + sum_a pi(a | x) q(x, a) ]

Weights above `largest` are not used at all; the model answers for those actions. q is linear and comes from other
folds. Episodes of one decision with discrete or continuous actions. Its interval does not count the bias.
"""

from typing import ClassVar

import jax.numpy as jnp

from ...core.pytree import require, static
from ..estimator import Statistic, mean
from ..linear_q import nuisances, tables
from ..trajectories import paths

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

    def terms(self, candidate, columns, weighing, key):
        known, _, fitted = nuisances(candidate, columns, weighing, key, self.features, 0.0, 1, self.ridge, self.folds)
        q, v, _ = tables(known, candidate, columns, fitted, 1, 0.0)
        found = paths(candidate, columns, len(weighing.weights), 1.0)
        weight = jnp.where(found.weight <= self.largest, found.weight, 0.0)
        return (weight * (found.reward - q) + v)[:, 0]

    def combine(self, terms, weighing):
        return mean(terms, weighing.starts)
