"""Single steps, drawn uniformly and with replacement from the rows that may be sampled."""

import jax
from jaxtyping import PRNGKeyArray

from ...core.pytree import require, static
from ..columns import Batch, Columns
from ..sampler import Sampler, gather

__all__ = ["Transitions", "gather"]


class Transitions(Sampler):
    """`batch_size` independent steps."""

    batch_size: int = static(default=256)

    def __check_init__(self) -> None:
        require(self.batch_size >= 1, f"The batch size must be at least 1, got {self.batch_size}.")

    def __call__(self, columns: Columns, key: PRNGKeyArray) -> Batch:
        drawn = jax.random.randint(key, (self.batch_size,), 0, columns.count)
        return gather(columns, columns.rows[drawn])
