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

from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray
from scipy.special import stdtrit

from .. import pytree
from ..columns import Columns
from ..estimator import Candidate, Estimator
from ..interval import Bounds, Interval
from ..pytree import require, static
from ..train import mapping, over_runs

__all__ = ["Bootstrap"]


class Bootstrap(Interval):
    """Episode bootstrap with a refit per replicate; Student's t, because there are few replicates."""

    title: ClassVar[str] = "episode bootstrap"

    replicates: int = static(default=20)

    def __check_init__(self):
        require(self.replicates >= 2, f"A bootstrap needs at least two replicates, got {self.replicates}.")

    def __call__(self, estimator, candidate, columns, weights, initial, key, level, units=None):
        units = jnp.arange(len(weights)) if units is None else units
        weight_key, fit_key = jax.random.split(key)
        resampled = resample(weight_key, weights, units, self.replicates)
        every = jnp.concatenate([weights[None], resampled])
        keys = jax.random.split(fit_key, len(every))
        found = np.asarray(
            refit(pytree.as_arrays(estimator), candidate, columns, every, initial, keys, mapping()), np.float64
        )
        value, replicates = float(found[0]), found[1:]
        deviation = float(replicates.std(ddof=1))
        reach = float(stdtrit(self.replicates - 1, 0.5 + level / 2)) * deviation
        return Bounds(value, value - reach, value + reach, deviation, replicates)


@partial(jax.jit, static_argnames="count")
def resample(
    key: PRNGKeyArray, weights: Float[Array, "episode"], units: Int[Array, "episode"], count: int
) -> Float[Array, "replicate episode"]:
    """Return how often each episode occurs when as many units as there are get drawn with replacement, `count` times.

    A unit is drawn in proportion to the largest weight of its episodes; those without weight never occur.
    """
    size = len(weights)
    heaviest = jnp.zeros(size).at[units].max(weights)
    chance = jnp.where(heaviest > 0, jnp.log(heaviest), -jnp.inf)
    drawn = jax.random.categorical(key, chance, shape=(count, size))
    kept = jnp.arange(size) < (heaviest > 0).sum()  # a view of the log draws as many as it has
    often = jax.vmap(lambda row: jnp.zeros(size).at[row].add(kept.astype(jnp.float32)))(drawn)
    return often[:, units] * (weights > 0)


@partial(jax.jit, static_argnames="how")
def refit(
    estimator: Estimator,
    candidate: Candidate,
    columns: Columns,
    weights: Float[Array, "replicate episode"],
    initial: Float[Array, "episode"],
    keys: PRNGKeyArray,
    how: str,
) -> Float[Array, "replicate"]:
    """Compute the estimate for every row of weights: side by side on a GPU, one after another on a CPU."""

    def one(row: Array, key: PRNGKeyArray) -> Array:
        return estimator.value(candidate, columns, row, initial, key)

    return over_runs(one, how)(weights, keys)
