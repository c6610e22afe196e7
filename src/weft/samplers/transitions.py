"""Single steps, drawn uniformly and with replacement from the rows that may be sampled."""

import jax
from jaxtyping import Array, Int, PRNGKeyArray

from ..columns import Batch, Columns
from ..pytree import require, static
from ..sampler import Sampler

__all__ = ["Transitions", "gather"]


class Transitions(Sampler):
    """`batch_size` independent steps."""

    batch_size: int = static(default=256)

    def __check_init__(self) -> None:
        require(self.batch_size >= 1, f"The batch size must be at least 1, got {self.batch_size}.")

    def __call__(self, columns: Columns, key: PRNGKeyArray) -> Batch:
        drawn = jax.random.randint(key, (self.batch_size,), 0, columns.count)
        return gather(columns, columns.rows[drawn])


def gather(columns: Columns, rows: Int[Array, "batch"]) -> Batch:
    """Return the given steps of a transformed log as a `Batch`."""
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
    )
