r"""Fitted Q evaluation in closed form: a linear value function, exact on tables (LSTD-Q; Lagoudakis and Parr 2003).

    horizon H:   theta_h = A^-1 (b + M theta_{h-1}),  J = mean phi_0^T theta_H
    no horizon:  theta = (A - M)^-1 b,                J = mean phi_0^T theta

What `weft.evaluation.linear_q` says of A, M and b. Sums per episode make a refit for other weights one small solve, so
hundreds of bootstrap replicates cost a second; where they do not fit into memory, a replicate is one pass over the log.
With a declared horizon the value is that of its first H steps, whatever steps the transitions come from (the world is
taken to be the same at all times).
"""

from typing import ClassVar

from jaxtyping import Array, Float

from ...core.pytree import require, static
from ..estimator import Statistic
from ..linear_q import solve
from ..moments import moments
from ..waves import features

__all__ = ["LinearQ"]


class LinearQ(Statistic):
    """Fitted Q evaluation in closed form."""

    title: ClassVar[str] = "Linear fitted Q"
    paper: ClassVar[str] = "Lagoudakis and Parr 2003"

    discount: Float[Array, ""] | float = 0.99
    ridge: float = 1e-4
    horizon: int | None = static(default=None)
    features: int = static(default=256)

    def __check_init__(self):
        require(self.features >= 1, f"A linear value function needs at least one feature, got {self.features}.")
        require(self.ridge >= 0, f"The ridge may not be negative, got {self.ridge}.")

    def terms(self, case, key):
        basis = features(case.candidate.spec, key, self.features)
        return moments(basis, case.candidate, case.columns, case.episodes, self.discount, self.horizon)

    def combine(self, terms, weighing):
        initial = terms.initial(weighing.starts)
        return initial @ solve(terms.weighted(weighing.weights), initial, self.horizon, self.ridge).theta[-1]
