r"""Doubly robust estimation, step by step (Jiang and Li 2016, arXiv:1511.03722), cross-fitted.

    J = mean_i sum_t gamma^t [ rho_{0:t} (r_t - Q(s_t, a_t)) + rho_{0:t-1} V(s_t) ]

Q is linear (`weft.evaluation.linear_q`) and comes from episodes of other folds. Right with the true propensities
whatever Q is, and with a right Q whatever the propensities are; the weights are still products over time. At the end of
an episode that was cut, `gamma V(s_{t+1})` counts as reward. `self_normalised` divides the weights by their mean at
every time (weighted doubly robust, Thomas and Brunskill 2016, arXiv:1604.00923).
"""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from ...core.pytree import require, static
from ..control_variates import robust_terms
from ..estimator import Statistic, mean
from ..linear_q import Fitting

__all__ = ["DoublyRobust"]


class DoublyRobust(Statistic):
    """Doubly robust estimation."""

    title: ClassVar[str] = "Doubly robust"
    paper: ClassVar[str] = "arXiv:1511.03722"
    weighs: ClassVar[bool] = True

    discount: Float[Array, ""] | float = 0.99
    ridge: float = 1e-4
    horizon: int | None = static(default=None)
    features: int = static(default=256)
    folds: int = static(default=5)
    self_normalised: bool = static(default=False)

    def __check_init__(self):
        require(self.folds >= 2, f"Cross-fitting needs at least two folds, got {self.folds}.")

    def terms(self, case, key):
        fitting = Fitting(self.discount, self.ridge, self.horizon, self.features, self.folds)
        return robust_terms(case, key, fitting, self.self_normalised)

    def combine(self, terms, weighing):
        weight, error, weight_before, v = (mean(part, weighing.starts) for part in terms)
        if self.self_normalised:
            return (error / jnp.maximum(weight, 1e-30) + v / jnp.maximum(weight_before, 1e-30)).sum()
        return (error + v).sum()
