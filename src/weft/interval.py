"""What an interval is: a way from an estimator to numbers between which the value is likely to lie.

One final class per file in `intervals/`. Every one says in its docstring what it covers and what it does not.
"""

import abc
import dataclasses
from typing import ClassVar

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from . import pytree
from .columns import Columns
from .estimator import Candidate, Estimator

__all__ = ["Bounds", "Interval", "interval", "intervals"]

PACKAGE = "weft.intervals"


@dataclasses.dataclass(frozen=True)
class Bounds:
    """An estimate, its lower and upper bound, and the values that it was computed from."""

    value: float
    low: float
    high: float
    deviation: float
    replicates: np.ndarray


class Interval(eqx.Module):
    """A way of saying how far an estimate may be off. Class attribute: `title`."""

    title: ClassVar[str]

    @abc.abstractmethod
    def __call__(
        self,
        estimator: Estimator,
        candidate: Candidate,
        columns: Columns,
        weights: Float[Array, "episode"],
        initial: Float[Array, "episode"],
        key: PRNGKeyArray,
        level: float,
        units: Int[Array, "episode"] | None = None,
    ) -> Bounds:
        """Return the estimate with its bounds at a level such as 0.95 (two-sided); arguments as `Estimator.value`.

        units: a number per episode of the store, from 0 on; episodes with the same one depend on each other. By
        default every episode is independent of every other.
        """


def intervals() -> dict[str, type[Interval]]:
    """Return every interval by file name."""
    return pytree.discover(PACKAGE, pytree.final(Interval))


def interval(name: str) -> type[Interval]:
    """Return one interval by file name; raise UserError that names the nearest one if there is none."""
    return pytree.choose(PACKAGE, name.lower().replace("-", "_"), "interval", pytree.final(Interval))
