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
    here, there = columns.position[rows], columns.successor[rows]
    return Batch(
        observation=jax.tree.map(lambda part: part[here], columns.observation),
        action=columns.action[rows],
        reward=columns.reward[rows, 0],
        next_observation=jax.tree.map(lambda part: part[there], columns.observation),
        terminal=columns.terminal[rows],
        duration=columns.duration[rows],
        row=rows,
    )
