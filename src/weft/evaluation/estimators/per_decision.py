r"""Per-decision importance sampling (Precup, Sutton and Singh 2000): a reward is weighed by what led to it.

    J = mean_i sum_t gamma^t rho_{0:t} r_t            unbiased with the true propensities
    self-normalised:  sum_t gamma^t sum_i rho_{0:t} r_t / sum_i rho_{0:t}          (consistent; values stay in range)

`largest` clips the cumulative weights (Ionides 2008). The self-normalised form is the weighted per-decision estimator
of the literature; its interval must count the normaliser as random, which the derivative in the weights does.
"""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from ...core.pytree import require, static
from ..estimator import Statistic, mean
from ..trajectories import clipped

__all__ = ["PerDecision"]


class PerDecision(Statistic):
    """Per-decision importance sampling."""

    title: ClassVar[str] = "Per-decision importance sampling"
    paper: ClassVar[str] = "Precup, Sutton and Singh 2000"
    weighs: ClassVar[bool] = True
    fits: ClassVar[bool] = False

    discount: Float[Array, ""] | float = 0.99
    largest: float = float("inf")
    self_normalised: bool = static(default=False)

    def __check_init__(self):
        require(self.largest > 0, f"The largest weight must be positive, got {self.largest}.")

    def terms(self, case, key):
        paths = case.paths(self.discount)
        weight = clipped(paths.log_weight, self.largest, case.weighing.starts, self.self_normalised)
        return weight, weight * paths.discount * paths.reward

    def combine(self, terms, weighing):
        weight, weighted = (mean(part, weighing.starts) for part in terms)
        return (weighted / jnp.maximum(weight, 1e-30) if self.self_normalised else weighted).sum()
