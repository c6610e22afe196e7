r"""Episode bootstrap: resample whole episodes and compute the estimate anew each time (Efron 1979; arXiv:2102.03607).

    value ± t_{B-1} sd(value*_1 … value*_B)

Whole episodes are drawn with replacement, because the steps of one episode depend on each other. Where the log
declares its unit (a user, a device), whole units are drawn, and every episode of a unit counts as often as it was
drawn: as many draws as there are units. A trained estimator
is trained again for every replicate, with its own initial weights and batches; re-averaging one trained V over
resampled first observations instead covers 2 to 62 % where 95 % are promised.

What it covers: the luck of which episodes (or units) were logged, and the chance in fitting.
What it does not cover: everything that all replicates share. A function class that cannot hold the truth,
observations that hide what matters, actions that the log never shows, a fit that was stopped too early: then the
interval is narrow around a wrong number, and more data make that worse. Bounds do not bound in the sense of a
guarantee; a decision needs logged propensities (see the evaluation guide).
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray
from scipy.special import stdtrit

from ...core.pytree import require, static
from ...training.loop import mapping, over_runs
from ..estimator import Statistic
from ..interval import Bounds, Interval, resample

__all__ = ["Bootstrap"]


class Bootstrap(Interval):
    """Episode bootstrap with a refit per replicate; Student's t, because there are few replicates."""

    title: ClassVar[str] = "episode bootstrap"

    replicates: int = static(default=20)

    def __check_init__(self):
        require(self.replicates >= 2, f"A bootstrap needs at least two replicates, got {self.replicates}.")

    def __call__(self, estimator, case, key, level):
        weighing = case.weighing
        weight_key, fit_key = jax.random.split(key)
        drawn = resample(weight_key, weighing.weights, weighing.unit, self.replicates)
        every = jnp.concatenate([weighing.weights[None], drawn])
        if isinstance(estimator, Statistic):
            terms = estimator.terms(case, fit_key)
            values = jax.lax.map(lambda row: estimator.combine(terms, weighing.reweighted(row)), every, batch_size=50)
        else:
            keys = jax.random.split(fit_key, len(every))

            def refit(row: Array, key: PRNGKeyArray) -> Array:
                return estimator.value(case.reweighted(row), key)

            values = over_runs(refit, mapping())(every, keys)
        value, replicates = values[0], values[1:]
        deviation = replicates.std(ddof=1)
        reach = stdtrit(self.replicates - 1, 0.5 + level / 2) * deviation
        return Bounds(value, value - reach, value + reach, deviation, replicates)
