r"""Marginalised importance sampling: DualDICE in a linear class (Nachum et al. 2019, arXiv:1906.04733), cross-fitted.

    J = mean_i sum_t w(s_t, a_t) r_t,   w = max(phi^T u, 0),   E_D[ (phi^T u) (phi - gamma phi') ] = mean phi_0

w is how often, discounted, the policy comes to a step over how often the log does. It solves the Bellman flow
equations; in a linear class the saddle point of DualDICE is one linear solve, with a horizon one step of time after
the other. No propensities and no product over time. `self_normalised` divides by the mean weight of a step and
multiplies by the number of steps in an episode: only for episodes that all last as long as the log's.
`damping` adds that many steps to what the other folds show of every feature: without it, what they never show has a
huge ratio.
Differs from the reference: no penalty, so no tuning; ratios below zero count as zero; fitted on other folds.
"""

from typing import ClassVar

from ...core.pytree import require, static
from ..estimator import Statistic, mean
from ..linear_q import Fitting, nuisances, ratios

__all__ = ["Marginalized"]


class Marginalized(Statistic):
    """Marginalised importance sampling."""

    title: ClassVar[str] = "Marginalised importance sampling"
    paper: ClassVar[str] = "arXiv:1906.04733"

    discount: float = 0.99
    ridge: float = 1e-4
    damping: float = 1.0
    horizon: int | None = static(default=None)
    features: int = static(default=256)
    folds: int = static(default=5)
    self_normalised: bool = static(default=False)

    def __check_init__(self):
        require(self.folds >= 2, f"Cross-fitting needs at least two folds, got {self.folds}.")
        require(self.damping >= 0, f"The damping of ratios may not be negative, got {self.damping}.")

    def terms(self, case, key):
        fitting = Fitting(self.discount, self.ridge, self.horizon, self.features, self.folds, self.damping)
        case = case.laid_out()
        weight = ratios(case, nuisances(case, key, fitting))
        paths = case.paths(self.discount)
        return weight.sum(1), (weight * paths.reward).sum(1), paths.discount.sum(1)

    def combine(self, terms, weighing):
        weight, weighted, length = (mean(part, weighing.weights) for part in terms)
        return weighted / weight * length if self.self_normalised else weighted
