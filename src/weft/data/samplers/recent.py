"""Everything that a ring buffer holds, lane by lane in the order of time: what a method did since its last update."""

import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from ..columns import Columns, Segments
from ..sampler import Sampler, gather

__all__ = ["Recent"]


class Recent(Sampler):
    """All steps since the last update; of a log that is no ring buffer, all its rows as one lane."""

    def __call__(self, columns: Columns, key: PRNGKeyArray) -> Segments:
        del key
        if columns.lanes is None or columns.written is None:
            rows = columns.rows[None, :]
            alive = jnp.arange(rows.shape[1])[None, :] < columns.count
        else:
            lanes, steps = columns.lanes.count, columns.lanes.steps
            time = columns.written - steps + jnp.arange(steps)
            rows = (time % steps)[None, :] * lanes + jnp.arange(lanes)[:, None]
            alive = (time >= 0)[None, :] & (columns.episode[rows] >= 0)
        taken = gather(columns, rows)
        following = jnp.concatenate([alive[:, 1:], jnp.zeros_like(alive[:, :1])], axis=1)
        return Segments(
            observation=taken.observation,
            action=taken.action,
            reward=taken.reward,
            next_observation=taken.next_observation,
            terminal=taken.terminal,
            last=taken.terminal | columns.timeout[rows] | ~following,
            alive=alive,
            duration=taken.duration,
        )
