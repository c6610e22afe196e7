r"""Double reinforcement learning (Kallus and Uehara 2020, arXiv:1908.08526), cross-fitted, with linear Q and ratios.

    J = mean_i [ V(s_0) + sum_t gamma^t w_t(s_t, a_t) (r_t + gamma V(s_{t+1}) - Q(s_t, a_t)) ]

Q and the marginal ratio w come from the other folds (`weft.evaluation.linear_q`), so every episode is an honest sample
and the plain standard error of a mean is right. Doubly robust: right if either Q or w is. Markov observations are
assumed; propensities are not needed. For tables it reaches the efficiency bound. `damping` adds that many steps to what
the other folds show of every feature, so that what they never show has no huge ratio.
"""

from typing import ClassVar

from jaxtyping import Array, Float

from ...core.pytree import require, static
from ..estimator import Statistic, mean
from ..linear_q import Fitting, crossfit_influence, nuisances

__all__ = ["DoubleReinforcement"]


class DoubleReinforcement(Statistic):
    """Double reinforcement learning."""

    title: ClassVar[str] = "Double reinforcement learning"
    paper: ClassVar[str] = "arXiv:1908.08526"

    discount: Float[Array, ""] | float = 0.99
    ridge: float = 1e-4
    damping: float = 1.0
    horizon: int | None = static(default=None)
    features: int = static(default=256)
    folds: int = static(default=5)

    def __check_init__(self):
        require(self.folds >= 2, f"Cross-fitting needs at least two folds, got {self.folds}.")
        require(self.damping >= 0, f"The damping of ratios may not be negative, got {self.damping}.")

    def terms(self, case, key):
        fitting = Fitting(self.discount, self.ridge, self.horizon, self.features, self.folds, self.damping)
        model = nuisances(case, key, fitting)
        return crossfit_influence(model.sums, model.fitted, self.horizon)

    def combine(self, terms, weighing):
        first, error = terms
        return mean(first, weighing.starts) + mean(error, weighing.weights)
