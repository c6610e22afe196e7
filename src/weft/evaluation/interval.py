"""What an interval is: a way from an estimator to numbers between which the value is likely to lie.

One final class per file in `intervals/`. Every one says in its docstring what it covers and what it does not.
"""

import abc
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ..core import pytree
from ..data.columns import Columns
from .estimator import Candidate, Estimator, Statistic, Weighing

__all__ = ["Bounds", "Interval", "influence", "interval", "intervals", "resample", "spread"]

PACKAGE = "weft.evaluation.intervals"


class Bounds(eqx.Module):
    """An estimate, its lower and upper bound, its standard deviation and the values that these were computed from."""

    value: Float[Array, ""]
    low: Float[Array, ""]
    high: Float[Array, ""]
    deviation: Float[Array, ""]
    replicates: Float[Array, "replicate"]


class Interval(eqx.Module):
    """A way of saying how far an estimate may be off: a pure function that compiles. Class attributes: `title`;
    `statistic` where it needs an estimator with terms, `bounded` where it is about per-decision importance sampling
    with declared ranges. `level` is a Python number.
    """

    title: ClassVar[str]
    statistic: ClassVar[bool] = False
    bounded: ClassVar[bool] = False

    @abc.abstractmethod
    def __call__(
        self,
        estimator: Estimator,
        candidate: Candidate,
        columns: Columns,
        weighing: Weighing,
        key: PRNGKeyArray,
        level: float,
    ) -> Bounds:
        """Return the estimate with its bounds at a level such as 0.95 (two-sided)."""


def influence(
    estimator: Statistic, terms: PyTree, weighing: Weighing
) -> tuple[Float[Array, ""], Float[Array, "unit"], Float[Array, ""]]:
    """Return the estimate, the influence of every unit on it (summing to 0), and the number of units that begin where
    the candidate does.

    The derivative of the estimate in the weights of the episodes, summed over the episodes of a unit: the
    infinitesimal jackknife (Efron 1982), which is the delta method for whatever `combine` does.
    """
    value, slope = jax.value_and_grad(lambda weights: estimator.combine(terms, weighing.reweighted(weights)))(
        weighing.weights
    )
    size = len(slope)
    each = jnp.zeros(size).at[weighing.unit].add(slope * weighing.weights)
    there = jnp.zeros(size).at[weighing.unit].max(weighing.starts) > 0
    return value, each, there.sum()


def spread(each: Float[Array, "unit"], count: Float[Array, ""]) -> Float[Array, ""]:
    """Return the clustered standard error of an estimate from the influence of its units."""
    return jnp.sqrt(jnp.square(each).sum() * count / jnp.maximum(count - 1, 1))


def resample(
    key: PRNGKeyArray, weights: Float[Array, "episode"], units: Int[Array, "episode"], count: int
) -> Float[Array, "replicate episode"]:
    """Return how often each episode occurs when as many units as there are get drawn with replacement, `count` times.

    A unit is drawn in proportion to the largest weight of its episodes; those without weight never occur.
    """
    size = len(weights)
    heaviest = jnp.zeros(size).at[units].max(weights)
    edges, there = jnp.cumsum(heaviest), (heaviest > 0).sum()

    def draw(key: PRNGKeyArray) -> Array:
        # by the inverse of the distribution function: to compare one number per unit and draw takes size^2 of them
        place = jax.random.uniform(key, (size,), maxval=edges[-1])
        unit = jnp.minimum(jnp.searchsorted(edges, place, side="right"), size - 1)
        counted = (jnp.arange(size) < there).astype(jnp.float32)  # a view of the log draws as many as it has
        return jnp.zeros(size).at[unit].add(counted)[units] * (weights > 0)

    return jax.lax.map(draw, jax.random.split(key, count))


def intervals() -> dict[str, type[Interval]]:
    """Return every interval by file name."""
    return pytree.discover(PACKAGE, pytree.final(Interval))


def interval(name: str) -> type[Interval]:
    """Return one interval by file name; raise UserError that names the nearest one if there is none."""
    return pytree.choose(PACKAGE, name.lower().replace("-", "_"), "interval", pytree.final(Interval))
