"""What a sampler is: a pure function from a log on the device and a key to what one update learns from.

Samplers run inside the compiled loop. Window, goal and prioritised samplers are further files in `samplers/`; they
find neighbours through `Columns.step`, `episode_start` and `successor`.
"""

import abc

import equinox as eqx
from jaxtyping import PRNGKeyArray, PyTree

from .columns import Columns

__all__ = ["Sampler"]


class Sampler(eqx.Module):
    """Draws what one update needs; its fields are part of the method's settings."""

    @abc.abstractmethod
    def __call__(self, columns: Columns, key: PRNGKeyArray) -> PyTree:
        """Return a `Batch`, or a PyTree of several for methods that need more than one."""
