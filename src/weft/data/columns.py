"""A log as compiled programs see it: columns on the device, a batch of steps, and ragged rows on the host."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped

from ..core.memory import require_memory
from ..core.pytree import static

__all__ = [
    "Batch", "Columns", "Lanes", "Ragged", "Segments", "append_rows", "components", "content_hash", "like", "roomy",
]  # fmt: skip

SHORTEN = "shorten the longest rows: every row takes as much as the longest"


@dataclasses.dataclass(frozen=True)
class Lanes:
    """The form of a ring buffer: `count` worlds side by side, the last `steps` steps of each, `room` observations.

    Step t of a lane is row `(t mod steps) * count + lane`; its observations lie in the same way in `room` rows each.
    """

    count: int
    steps: int
    room: int


class Columns(eqx.Module):
    """A log on the device. Everything is shared between splits but `rows` and `count`.

    `rows[:count]` are the steps that may be sampled; the table is padded, so that a changed count compiles nothing.
    Rewards keep one column per objective; a transform makes one number of them. `outcome` is the discounted return
    from a step to the end of its episode, where a method asked for it in `focus` (−inf where it is not known). `unit`
    numbers the units of the log where somebody asked for them and the log declares any. `lanes`
    says that the log is a ring buffer, into whose lanes `written` steps each were written so far; `stack` says how many
    successive images make an observation.
    """

    observation: PyTree[Shaped[Array, "observation ..."]]
    action: Shaped[Array, "row *act"]
    reward: Float[Array, "row objective"]
    terminal: Bool[Array, "row"]
    timeout: Bool[Array, "row"]
    position: Int[Array, "row"]
    successor: Int[Array, "row"]
    step: Int[Array, "row"]
    episode: Int[Array, "row"]
    episode_start: Int[Array, "row"]
    duration: Float[Array, "row"]
    log_propensity: Float[Array, "row"] | None
    rows: Int[Array, "choice"]
    count: Int[Array, ""]
    outcome: Float[Array, "row"] | None = None
    unit: Int[Array, "row"] | None = None
    written: Int[Array, ""] | None = None
    lanes: Lanes | None = static(default=None)
    stack: int = static(default=1)

    def seen(self, place: Int[Array, "*any"], step: Int[Array, "*any"]) -> PyTree[Shaped[Array, "..."]]:
        """Return the observations at some places of the store, `step` steps after their episodes began.

        Images are stacked along a last axis, the oldest first; before the first there is the first again.
        """
        if self.stack == 1:
            return jax.tree.map(lambda part: part[place], self.observation)
        back = jnp.minimum(jnp.arange(self.stack - 1, -1, -1), step[..., None])
        if self.lanes is None:
            places = place[..., None] - back
        else:
            count, room = self.lanes.count, self.lanes.room
            places = (place[..., None] // count - back) % room * count + place[..., None] % count
        return jax.tree.map(lambda part: jnp.moveaxis(part[places], place.ndim, -1), self.observation)


class Segments(eqx.Module):
    """The newest steps of several lanes in the order of time, for methods that learn from what they just did.

    `alive` says which steps were taken; `last` marks the last step of an episode, and of a lane, whose
    `next_observation` is worth something unless the step was `terminal`.
    """

    observation: PyTree[Shaped[Array, "lane time ..."]]
    action: Shaped[Array, "lane time *act"]
    reward: Float[Array, "lane time"]
    next_observation: PyTree[Shaped[Array, "lane time ..."]]
    terminal: Bool[Array, "lane time"]
    last: Bool[Array, "lane time"]
    alive: Bool[Array, "lane time"]
    duration: Float[Array, "lane time"]


class Batch(eqx.Module):
    """Some steps of a log, as a method sees them: transformed, with one reward each.

    `duration` is 1 unless the log says otherwise; every target uses `discount ** duration`. `row` is the index of
    the step in the log, `outcome` what `Columns` says of it, `timeout` whether the log breaks off behind it. There is
    one leading axis, or two where steps are gathered in the order of time.
    """

    observation: PyTree[Shaped[Array, "..."]]
    action: Shaped[Array, "..."]
    reward: Float[Array, "*batch"]
    next_observation: PyTree[Shaped[Array, "..."]]
    terminal: Bool[Array, "*batch"]
    duration: Float[Array, "*batch"]
    row: Int[Array, "*batch"]
    outcome: Float[Array, "*batch"] | None = None
    timeout: Bool[Array, "*batch"] | None = None


@dataclasses.dataclass(frozen=True)
class Ragged:
    """Rows of different lengths (tokens): `values[offsets[i]:offsets[i + 1]]` is row i."""

    values: np.ndarray
    offsets: np.ndarray

    @classmethod
    def from_rows(cls, rows: Sequence[Any]) -> "Ragged":
        """Build from a list of integer sequences."""
        lengths = np.array([len(row) for row in rows], np.int64)
        values = np.concatenate([np.asarray(row) for row in rows]) if len(rows) else np.zeros(0, np.int32)
        return cls(values.astype(np.int32), np.concatenate([[0], np.cumsum(lengths)]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, (int, np.integer)):
            return self.values[self.offsets[index] : self.offsets[index + 1]]
        chosen = np.arange(len(self))[index]
        return Ragged.from_rows([self[int(i)] for i in chosen])

    def padded(self, length: int | None = None) -> np.ndarray:
        """Return an array `(rows, longest)` filled up with −1; raise UserError where it does not fit into memory."""
        lengths = np.diff(self.offsets)
        longest = int(lengths.max(initial=0)) if length is None else length
        require_memory(4 * len(self) * longest, f"A table of {len(self):,} rows of {longest:,} tokens", SHORTEN)
        table = np.full((len(self), longest), -1, np.int32)
        table[np.arange(longest)[None, :] < lengths[:, None]] = self.values
        return table


def roomy(count: int) -> int:
    """Round a size up to one of few, at most a quarter larger, so that logs of similar size share compiled programs."""
    size = 256
    while size < count:
        size = size * 5 // 4
    return size


def components(observations: Any) -> Mapping[str, Any]:
    """Return the components of observations by name; those that are one array have one, without a name."""
    return observations if isinstance(observations, Mapping) else {"": observations}


def like(observations: Any, parts: dict[str, Any]) -> Any:
    """Return components as `observations` are: in a dictionary, or the one that they are."""
    return parts if isinstance(observations, Mapping) else parts[""]


def append_rows(first: Any, second: Any) -> Any:
    """Return the rows of one component and then those of another."""
    if isinstance(first, Ragged):
        return Ragged.from_rows([*(first[i] for i in range(len(first))), *(second[i] for i in range(len(second)))])
    rows = np.concatenate([first, second])
    return rows.astype(np.float32) if rows.dtype == np.float64 else rows  # of whole numbers and floats


def content_hash(*parts: Any) -> str:
    """Return a hash of arrays with their types and shapes, of components by name, and of what is missing (None)."""
    digest = hashlib.sha256()

    def add(part: Any) -> None:
        if part is None:
            digest.update(b"-")
        elif isinstance(part, dict):
            for key in sorted(part):
                digest.update(key.encode())
                add(part[key])
        elif isinstance(part, Ragged):
            add(part.values)
            add(part.offsets)
        else:
            array = np.ascontiguousarray(part)
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(array.tobytes() if array.dtype == object else array.view(np.uint8).data)

    for part in parts:
        add(part)
    return digest.hexdigest()[:32]
