r"""MAGIC: a blend of weighted doubly robust estimates that switch to the model after j steps (arXiv:1604.00923).

    g_j = sum_{t <= j} gamma^t [ w_t (r_t - Q_t) + w_{t-1} V_t ] + gamma^(j+1) w_j V_{j+1},   J = sum_j x_j g_j
    x = argmin over the simplex of x^T (Omega + beta beta^T) x

j runs over `-1` (the model alone), a few times in between and the end (weighted doubly robust alone). Omega is their
covariance from the influence of single episodes, beta their distance to a 95 % normal interval of the last one.
Its parts lean on the model, so only a bootstrap that refits everything says how far it may be off.
Differs from the reference: that interval is a normal one instead of a bootstrap, and the simplex is searched by 200
steps of exponentiated gradient.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp

from ...core.pytree import require, static
from ..control_variates import robust_terms
from ..estimator import Estimator, mean
from ..linear_q import Fitting

__all__ = ["Magic"]


class Magic(Estimator):
    """Model and guided importance sampling combined."""

    title: ClassVar[str] = "MAGIC"
    paper: ClassVar[str] = "arXiv:1604.00923"
    weighs: ClassVar[bool] = True

    discount: float = 0.99
    ridge: float = 1e-4
    horizon: int | None = static(default=None)
    features: int = static(default=256)
    folds: int = static(default=5)
    blends: int = static(default=6)

    def __check_init__(self):
        require(self.folds >= 2, f"Cross-fitting needs at least two folds, got {self.folds}.")
        require(self.blends >= 2, f"A blend needs at least two parts, got {self.blends}.")

    def value(self, case, key):
        fitting = Fitting(self.discount, self.ridge, self.horizon, self.features, self.folds)
        parts = robust_terms(case, key, fitting, self_normalised=True)
        return self._blend(parts, case.weighing) @ self._estimates(parts, case.weighing.starts)

    def _estimates(self, parts, weights):
        """Return `g_j` for every switch."""
        weight, error, weight_before, v = (mean(part, weights) for part in parts)
        error, v = error / jnp.maximum(weight, 1e-30), v / jnp.maximum(weight_before, 1e-30)
        longest = len(v)
        at = jnp.unique(jnp.linspace(0, longest, self.blends).round().astype(int), size=self.blends, fill_value=longest)
        guided = jnp.concatenate([jnp.zeros(1), jnp.cumsum(error + v)])
        return guided[at] + jnp.concatenate([v, jnp.zeros(1)])[at]

    def _blend(self, parts, weighing):
        starts = weighing.starts
        estimates = self._estimates(parts, starts)
        slopes = jax.jacrev(lambda weights: self._estimates(parts, weights))(starts) * starts
        omega = slopes @ slopes.T
        reach = 1.96 * jnp.sqrt(omega[-1, -1])
        last = estimates[-1]
        bias = estimates - jnp.clip(estimates, last - reach, last + reach)
        error = omega + jnp.outer(bias, bias)
        error = error / jnp.maximum(jnp.trace(error), 1e-30)
        start = jnp.zeros(self.blends)

        def step(logits, _):
            chance = jax.nn.softmax(logits)
            return logits - 5.0 * (error @ chance - chance @ error @ chance), None

        return jax.nn.softmax(jax.lax.scan(step, start, None, length=200)[0])
