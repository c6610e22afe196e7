"""Single steps with the action that the log took after each: what SARSA learns from (Sutton and Barto 2018, 6.4)."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray, Shaped

from ...core.pytree import require, static
from ..columns import Batch, Columns
from ..sampler import Sampler, gather

__all__ = ["Quintuple", "Quintuples"]


class Quintuple(eqx.Module):
    """Steps (s, a, r, s') and the next logged action a'.

    `follows` is false where the episode has no further step; `next_action` means nothing there.
    """

    step: Batch
    next_action: Shaped[Array, "batch *act"]
    follows: Bool[Array, "batch"]


class Quintuples(Sampler):
    """`batch_size` independent steps (s, a, r, s', a'), drawn uniformly and with replacement."""

    batch_size: int = static(default=256)

    def __check_init__(self) -> None:
        require(self.batch_size >= 1, f"The batch size must be at least 1, got {self.batch_size}.")

    def __call__(self, columns: Columns, key: PRNGKeyArray) -> Quintuple:
        rows = columns.rows[jax.random.randint(key, (self.batch_size,), 0, columns.count)]
        following = jnp.minimum(rows + 1, len(columns.episode) - 1)
        follows = (columns.episode[following] == columns.episode[rows]) & (following > rows)
        return Quintuple(gather(columns, rows), columns.action[following], follows)
