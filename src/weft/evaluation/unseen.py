"""How far an estimate may be off because of what was seen too rarely: skewed influences, and rewards that never came.

A normal error knows of neither. Two corrections, both exact to second order where the error is right to first order:

- the bounds of an Edgeworth expansion: a mean whose units have the skewness g reaches further on its long side, by
  g (2 z^2 + 1) / (6 sqrt n) errors (Hall 1992, The Bootstrap and Edgeworth Expansion, 3.10);
- z^2 / 2 pseudo-observations at either end of the declared range of rewards (Agresti and Coull 1998): what would a few
  more steps there do to the estimate? Without them a log in which a loss of 1 % never came says that it never comes.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .bounded_terms import Range
from .case import Weighing
from .interval import spread

__all__ = ["Unseen", "one_more", "wide_bounds"]


class Unseen(NamedTuple):
    """By how much one more step at the low, and at the high end of the declared rewards would change a value."""

    low: Float[Array, ""]
    high: Float[Array, ""]

    @property
    def error(self) -> Float[Array, ""]:
        """The larger of the two."""
        return jnp.maximum(self.low, self.high)


def one_more(
    ratio: Float[Array, "*step"],
    reward: Float[Array, "*step"],
    weighing: Weighing,
    units: Float[Array, ""],
    declared: Range,
) -> Unseen:
    """Return by how much one more step at either end of the declared range of rewards would change the value.

    ratio, reward: of steps in any order, ratios times the weights of their episodes; of their effective number of steps
    a unit with several episodes counts as one.
    """
    steps = jnp.square(ratio.sum()) / jnp.maximum(jnp.square(ratio).sum(), 1e-30)
    middle = (ratio * reward).sum() / jnp.maximum(ratio.sum(), 1e-30)
    episodes = (weighing.starts > 0).sum()
    each = declared.schedule().sum() / (steps + 1) * episodes / jnp.maximum(units, 1)
    return Unseen(each * (middle - declared.low), each * (declared.high - middle))


def wide_bounds(
    value: Float[Array, ""], influence: Float[Array, "unit"], units: Float[Array, ""], unseen: Unseen, level: Any
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Return the bounds of an estimate at a level: the hull of Student's t, its correction for skewness, and what a few
    more steps at either end of the declared rewards leave of it.

    influence: of every unit on the estimate, as from `weft.evaluation.interval.influence`; units: their number.
    """
    normal = jax.scipy.special.ndtri(0.5 + level / 2)
    reach = normal * (1 + (normal**2 + 1) / (4 * jnp.maximum(units - 1, 1)))  # Student's t to first order
    error = spread(influence, units)
    size = jnp.sqrt(jnp.square(influence).sum())
    skewness = ((influence / jnp.maximum(size, 1e-30)) ** 3).sum()  # over the root of the number of units
    longer = skewness * (2 * normal**2 + 1) / 6
    more = normal**2 / 2
    middle = value + more * (unseen.high - unseen.low)
    wider = reach * jnp.sqrt(error**2 + more * (unseen.high**2 + unseen.low**2))
    low = jnp.minimum(value - error * (reach + jnp.maximum(-longer, 0.0)), middle - wider)
    high = jnp.maximum(value + error * (reach + jnp.maximum(longer, 0.0)), middle + wider)
    return low, high
