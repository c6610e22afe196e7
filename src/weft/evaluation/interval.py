"""What an interval is: a way from an estimator to numbers between which the value is likely to lie.

One final class per file in `intervals/`. Every one says in its docstring what it covers and what it does not.
"""

import abc
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ..core import pytree
from .bounded_terms import Range, value_bounds
from .case import Case, Weighing
from .estimator import Estimator, Statistic

__all__ = ["Bounds", "Interval", "Linearised", "certain", "influence", "interval", "intervals", "linearised",
           "resample", "spread"]  # fmt: skip

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
    def __call__(self, estimator: Estimator, case: Case, key: PRNGKeyArray, level: float) -> Bounds:
        """Return the estimate with its bounds at a level such as 0.95 (two-sided)."""


def influence(
    estimator: Statistic, terms: PyTree, weighing: Weighing
) -> tuple[Float[Array, ""], Float[Array, "unit"], Int[Array, ""]]:
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


class Linearised(NamedTuple):
    """An estimate, the influence of every unit on it, the number of units that begin where the candidate does, and the
    clustered standard error that follows."""

    value: Float[Array, ""]
    each: Float[Array, "unit"]
    units: Int[Array, ""]
    error: Float[Array, ""]

    def bounds(self, reach: Float[Array, ""]) -> Bounds:
        """Return the symmetric interval of so many standard errors; the replicates are Tukey's pseudovalues."""
        width, pseudovalues = reach * self.error, self.value + self.units * self.each
        return Bounds(self.value, self.value - width, self.value + width, self.error, pseudovalues)


def linearised(estimator: Estimator, case: Case, key: PRNGKeyArray) -> Linearised:
    """Return an estimate with its influence function, whose terms are fitted once and then held."""
    assert isinstance(estimator, Statistic)
    terms = jax.lax.stop_gradient(estimator.terms(case, key))
    value, each, count = influence(estimator, terms, case.weighing)
    return Linearised(value, each, count, spread(each, count))


def certain(
    estimator: Estimator, case: Case, key: PRNGKeyArray, declared: Range, least: Callable[[Array, Array], Array]
) -> Bounds:
    """Return the bounds of a value in a declared range that hold for any number of units. The estimate is a mean over
    units, as they are, and never outside of them, as weights alone can be.

    least: a lower bound of the mean of nonnegative terms; it is given one term per unit and which units there are.
    """
    low, high = value_bounds(case.paths(declared.discount), case.weighing.starts, case.weighing.unit, declared, least)
    estimate = estimator.value(case.by_unit(), key)
    return Bounds(jnp.clip(estimate, low, high), low, high, jnp.full((), jnp.nan), jnp.zeros(0))


def spread(each: Float[Array, "unit"], count: Float[Array, ""] | Int[Array, ""]) -> Float[Array, ""]:
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
