"""What a sampler is: a pure function from a log on the device and a key to what one update learns from.

Samplers run inside the compiled loop. Window, goal and prioritised samplers are further files in `samplers/`; they
find neighbours through `Columns.step`, `episode_start` and `successor`.
"""

import abc

import equinox as eqx
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from .columns import Batch, Columns

__all__ = ["Sampler", "gather"]


class Sampler(eqx.Module):
    """Draws what one update needs; its fields are part of the method's settings."""

    @abc.abstractmethod
    def __call__(self, columns: Columns, key: PRNGKeyArray) -> PyTree:
        """Return a `Batch`, or a PyTree of several for methods that need more than one."""


def gather(columns: Columns, rows: Int[Array, "*batch"]) -> Batch:
    """Return the given steps of a transformed log as a `Batch`; its axes are those of `rows`."""
    step = columns.step[rows]
    return Batch(
        observation=columns.seen(columns.position[rows], step),
        action=columns.action[rows],
        reward=columns.reward[rows, 0],
        next_observation=columns.seen(columns.successor[rows], step + 1),
        terminal=columns.terminal[rows],
        duration=columns.duration[rows],
        row=rows,
        outcome=None if columns.outcome is None else columns.outcome[rows],
        timeout=columns.timeout[rows],
    )
