r"""Trajectory importance sampling (Precup, Sutton and Singh 2000).

    J = mean_i rho_{0:T-1} sum_t gamma^t r_t          self-normalised: divided by mean_i rho_{0:T-1}

Needs propensities of the policy that made the log and a positive one wherever the judged policy may act. Its variance
grows exponentially with the length of an episode, and few samples make it too low with a small standard error.
`largest` clips the weights (Ionides 2008): less variance, and a bias towards the log.
"""

from typing import ClassVar

import jax.numpy as jnp

from ...core.pytree import require, static
from ..estimator import Statistic, mean
from ..trajectories import clipped

__all__ = ["ImportanceSampling"]


class ImportanceSampling(Statistic):
    """Trajectory importance sampling."""

    title: ClassVar[str] = "Importance sampling"
    paper: ClassVar[str] = "Precup, Sutton and Singh 2000"
    weighs: ClassVar[bool] = True
    fits: ClassVar[bool] = False

    discount: float = 0.99
    largest: float = float("inf")
    self_normalised: bool = static(default=False)

    def __check_init__(self):
        require(self.largest > 0, f"The largest weight must be positive, got {self.largest}.")

    def terms(self, case, key):
        paths = case.paths(self.discount)
        weight = clipped(paths.log_weight[:, -1], self.largest, case.weighing.starts, self.self_normalised)
        return weight, weight * paths.returns

    def combine(self, terms, weighing):
        weight, weighted = (mean(part, weighing.starts) for part in terms)
        return weighted / jnp.maximum(weight, 1e-30) if self.self_normalised else weighted
