"""Logged decisions: a host object with columns and episodes, and the `Columns` that compiled programs see.

Steps (action, reward, terminal, …) are flat columns of N rows. Observations are columns of M ≥ N rows, because the
observation after the last step of an episode is kept: step i was decided at observation `position[i]` and led to
observation `successor[i]`. Episodes are runs of consecutive steps. `terminal` (the task is over, nothing follows)
and `timeout` (somebody stopped watching) are never merged. Splits and filters choose episodes; nothing is copied.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.errors import UserError, nearest
from ..core.tables import html_table
from .assemble import assemble
from .columns import Columns, Ragged, components, content_hash, like, roomy
from .memo import once_per_dataset
from .narrow import named
from .spec import Spec
from .steps import Facts, Source, StepColumns, sort_arguments

__all__ = ["Dataset", "Episode"]


@dataclasses.dataclass(frozen=True)
class Episode:
    """One episode: T steps and their T + 1 observations (T where nothing was seen after a terminal step)."""

    observations: Any
    actions: np.ndarray
    rewards: np.ndarray
    terminal: bool
    timeout: bool

    def __len__(self) -> int:
        return len(self.actions)


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A log of decisions. Build one with `weft.load`, `Dataset.from_arrays` or a reader; treat it as read-only.

    Fields are the shared columns; `chosen` is the sorted list of episodes that this view holds. `origin` is where the
    log came from (a file, a URI) and `notes` are sentences about what was found and done while reading it.
    `propensities_estimated` is true where propensities were fitted and not logged (`weft.evaluation.propensities`).
    """

    spec: Spec
    store_observations: Any
    store_actions: np.ndarray
    store_rewards: np.ndarray
    store_terminals: np.ndarray
    store_timeouts: np.ndarray
    position: np.ndarray
    successor: np.ndarray
    starts: np.ndarray
    chosen: np.ndarray
    store_durations: np.ndarray | None = None
    store_log_propensities: np.ndarray | None = None
    store_sources: np.ndarray | None = None
    columns: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    origin: str = "arrays"
    notes: tuple[str, ...] = ()
    propensities_estimated: bool = False

    # --- sizes -------------------------------------------------------------------------------------------------

    @property
    def steps(self) -> int:
        """Number of steps (decisions) of this view."""
        return int(self.lengths.sum())

    @property
    def episodes(self) -> int:
        """Number of episodes of this view."""
        return len(self.chosen)

    @property
    def lengths(self) -> np.ndarray:
        """Steps per episode."""
        return np.diff(self.starts)[self.chosen]

    @property
    def rows(self) -> np.ndarray:
        """The steps of this view as indices into the shared columns."""
        if self.whole:
            return np.arange(len(self.store_rewards))
        lengths = self.lengths
        ends = np.cumsum(lengths)
        return np.arange(ends[-1] if len(ends) else 0) + np.repeat(self.starts[self.chosen] - (ends - lengths), lengths)

    @property
    def whole(self) -> bool:
        """Whether this view holds every episode of the shared columns, once."""
        return np.array_equal(self.chosen, np.arange(len(self.starts) - 1))

    # --- columns -----------------------------------------------------------------------------------------------

    @property
    def observations(self) -> Any:
        """Observations at the steps of this view, an array or a dictionary of arrays."""
        return self._at(self.position)

    @property
    def next_observations(self) -> Any:
        """Observations after the steps of this view (after a terminal step it may be the step's own)."""
        return self._at(self.successor)

    def _at(self, index: np.ndarray) -> Any:
        return self._observed(index[self.rows])

    def _observed(self, places: np.ndarray) -> Any:
        """Return the observations at some places of the store."""
        store = self.store_observations
        return like(store, {key: part[places] for key, part in components(store).items()})

    @property
    def actions(self) -> np.ndarray:
        """Actions `(steps, act)` or `(steps,)`, in the user's units."""
        return self.store_actions[self.rows]

    @property
    def rewards(self) -> np.ndarray:
        """Rewards `(steps,)`, or `(steps, objective)` when there are several components."""
        return _single(self.store_rewards[self.rows])

    @property
    def terminals(self) -> np.ndarray:
        """Whether the task ended with the step."""
        return self.store_terminals[self.rows]

    @property
    def timeouts(self) -> np.ndarray:
        """Whether the log was cut after the step although the task went on."""
        return self.store_timeouts[self.rows]

    @property
    def log_propensities(self) -> np.ndarray | None:
        """Logarithm of the probability (discrete) or density (continuous) with which the step's action was taken."""
        return None if self.store_log_propensities is None else self.store_log_propensities[self.rows]

    @property
    def durations(self) -> np.ndarray:
        """Time that each step took (ones unless the log says otherwise)."""
        rows = self.rows
        return np.ones(len(rows), np.float32) if self.store_durations is None else self.store_durations[rows]

    @property
    def sources(self) -> np.ndarray | None:
        """Where each step came from, in words, if the log says so."""
        return None if self.store_sources is None else self.store_sources[self.rows]

    @property
    def returns(self) -> np.ndarray:
        """Undiscounted return per episode `(episodes,)` or `(episodes, objective)`."""
        total = np.concatenate([np.zeros((1, self.store_rewards.shape[1])), np.cumsum(self.store_rewards, 0, float)])
        return _single((total[self.starts[1:]] - total[self.starts[:-1]])[self.chosen])

    @property
    def first_observations(self) -> Any:
        """The first observation of every episode of this view."""
        return self._observed(self.position[self.starts[self.chosen]])

    def episode(self, index: int) -> Episode:
        """Return one episode of this view by its number, counted from 0."""
        number = self.chosen[index]
        begin, end = int(self.starts[number]), int(self.starts[number + 1])
        rows = self.position[begin:end]
        if self.successor[end - 1] != self.position[end - 1]:
            rows = np.append(rows, self.successor[end - 1])
        return Episode(
            self._observed(rows),
            self.store_actions[begin:end],
            _single(self.store_rewards[begin:end]),
            bool(self.store_terminals[end - 1]),
            bool(self.store_timeouts[end - 1]),
        )

    # --- identity ----------------------------------------------------------------------------------------------

    @property
    def fingerprint(self) -> str:
        """A hash of the content of this view (columns and boundaries, not names or files)."""
        return _fingerprint(self)

    # --- views -------------------------------------------------------------------------------------------------

    def select(self, episodes: np.ndarray | Sequence[Any]) -> "Dataset":
        """Return the view of some episodes, given by their numbers in this view or as a mask; nothing is copied.

        Raises UserError for a mask of another length, a number that is none of an episode, a repeated one, and none.
        """
        numbers = np.asarray(episodes)
        if numbers.dtype == bool:
            if numbers.shape != (self.episodes,):
                raise UserError(f"{self.origin} has {self.episodes} episodes, the mask has the shape {numbers.shape}.")
            numbers = np.flatnonzero(numbers)
        if numbers.size == 0:
            raise UserError(f"No episode of {self.origin} is selected; select at least one.")
        if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
            raise UserError(f"Episodes of {self.origin} are selected by whole numbers or by a mask, in one dimension.")
        outside = numbers[(numbers < 0) | (numbers >= self.episodes)]
        if len(outside):
            raise UserError(
                f"{self.origin} has {self.episodes} episodes, counted from 0; there is no episode {outside[0]}."
            )
        distinct, times = np.unique(numbers, return_counts=True)
        if len(distinct) < len(numbers):
            raise UserError(f"Episode {distinct[times > 1][0]} of {self.origin} is selected more than once.")
        return dataclasses.replace(self, chosen=self.chosen[distinct])

    def split(
        self, fractions: Sequence[float] | float = (0.8, 0.2), seed: int = 0, by: str | None = None
    ) -> list["Dataset"]:
        """Split into views by whole episodes, or by whole units when `by` names a column (a user, a device).

        `by="source"` splits by where the steps came from, unless a column has that name.
        Units are shuffled with the seed; every part gets the nearest whole number of them. Raises UserError for
        one number instead of several, fractions that are not positive or sum to more than one, an unknown column, or a
        part that would be empty.
        """
        if isinstance(fractions, int | float | str):
            raise UserError(f"A split takes one fraction for each part, such as (0.8, 0.2), got {fractions!r}.")
        if not fractions or min(fractions) <= 0 or sum(fractions) > 1 + 1e-9:
            raise UserError(f"Split fractions must be positive and sum to at most 1, got {tuple(fractions)}.")
        by = by or self.spec.unit
        unit = self.units(by) if by else np.arange(self.episodes)
        distinct, member = np.unique(unit, return_inverse=True)
        order = np.random.default_rng(seed).permutation(len(distinct))
        edges = np.round(np.concatenate([[0], np.cumsum(fractions)]) * len(distinct)).astype(int)
        if (np.diff(edges) == 0).any():
            kind = f"values of '{by}'" if by else "episodes"
            raise UserError(f"A split of {len(distinct)} {kind} into {tuple(fractions)} leaves a part empty.")
        rank = np.empty(len(distinct), int)
        rank[order] = np.arange(len(distinct))
        place = rank[member]
        return [self.select((place >= low) & (place < high)) for low, high in itertools.pairwise(edges)]

    def units(self, by: str, time: bool = False) -> np.ndarray:
        """Return the value of a column for each episode of this view (its first step decides).

        Raises UserError for an unknown column, and where a unit has no name (a `time` may be missing).
        """
        columns = self.columns if self.store_sources is None else {"source": self.store_sources, **self.columns}
        if by not in columns:
            raise UserError(
                f"{self.origin} has no column '{by}' of units.{nearest(by, columns)} "
                f"Known: {', '.join(columns) or 'none'}."
            )
        labels = np.asarray(columns[by])[self.starts[self.chosen]]
        if not time and (problem := named(labels, f"column '{by}' of units")):
            raise UserError(f"{self.origin}: {problem}")
        return labels

    @property
    def unit_count(self) -> int:
        """Number of independent units: values of the declared unit, episodes where none is declared."""
        return len(np.unique(self.units(self.spec.unit).astype(str))) if self.spec.unit else self.episodes

    def rewarded(self, by: Mapping[str, float] | Sequence[float] | Callable[..., np.ndarray]) -> "Dataset":
        """Make one reward out of the named components: weights by name, weights in order, or a function.

        A function gets the components as named arrays `(steps,)` of the whole log and returns one array `(steps,)`.
        Raises UserError for an unknown component, a wrong number of weights, or a result that is not finite.
        """
        names = self.spec.rewards
        parts = {name: self.store_rewards[:, i] for i, name in enumerate(names)}
        if callable(by):
            reward = np.asarray(by(**parts), np.float32)
            low = high = None
        else:
            if isinstance(by, Mapping):
                for name in by:
                    if name not in parts:
                        raise UserError(f"{self.origin} has no reward '{name}'.{nearest(name, names)}")
                weights = np.array([float(by.get(name, 0.0)) for name in names])
            else:
                weights = np.asarray(by, float)
            if weights.shape != (len(names),):
                raise UserError(
                    f"{self.origin} has {len(names)} rewards ({', '.join(names)}), got {weights.size} weights."
                )
            reward = (self.store_rewards @ weights).astype(np.float32)
            low, high = _weighted_range(self.spec, weights)
        if reward.shape != (len(self.store_rewards),) or not np.isfinite(reward).all():
            raise UserError(
                f"The reward made of {', '.join(names)} must be one finite number per step of {self.origin}."
            )
        spec = dataclasses.replace(self.spec, rewards=("reward",), reward_low=low, reward_high=high)
        return dataclasses.replace(self, spec=spec, store_rewards=reward[:, None])

    def declare(self, **changes: Any) -> "Dataset":
        """Return the log with declared facts of its `Spec` changed: reward range, horizon, discount, least
        propensity, unit, identity (a tuple of columns)."""
        return dataclasses.replace(self, spec=dataclasses.replace(self.spec, **changes))

    # --- device ------------------------------------------------------------------------------------------------

    def device(self, units: bool = False) -> Columns:
        """Copy the log to the device as `Columns` (unscaled); tokens are padded to the longest row.

        units: number the declared units, too, which few methods ask for.
        """
        lengths = np.diff(self.starts)
        rows = self.rows
        room = roomy(len(self.store_rewards))
        table = np.zeros(room, np.int32)
        table[: len(rows)] = rows
        store = components(self.store_observations)
        parts = {key: part.padded() if isinstance(part, Ragged) else part for key, part in store.items()}
        total = len(self.store_rewards)
        durations = np.ones(total, np.float32) if self.store_durations is None else self.store_durations
        fields = {
            "observation": parts[""] if self.spec.plain else parts,
            "action": self.store_actions,
            "reward": self.store_rewards,
            "terminal": self.store_terminals,
            "timeout": self.store_timeouts,
            "position": self.position.astype(np.int32),
            "successor": self.successor.astype(np.int32),
            "step": (np.arange(total) - np.repeat(self.starts[:-1], lengths)).astype(np.int32),
            "episode": np.repeat(np.arange(len(lengths)), lengths).astype(np.int32),
            "episode_start": np.repeat(self.starts[:-1], lengths).astype(np.int32),
            "duration": durations,
            "log_propensity": self.store_log_propensities,
            "rows": table,
            "count": np.int32(len(rows)),
        }
        if units and self.spec.unit:
            every = dataclasses.replace(self, chosen=np.arange(len(lengths))).units(self.spec.unit)
            number = np.unique(every.astype(str) if every.dtype == object else every, return_inverse=True)[1]
            fields["unit"] = np.repeat(number, lengths).astype(np.int32)
        return Columns(**jax.tree.map(jnp.asarray, fields))

    # --- building ----------------------------------------------------------------------------------------------

    @classmethod
    def from_arrays(
        cls,
        observations: Any,
        actions: Any,
        rewards: Any,
        terminals: Any,
        timeouts: Any = None,
        propensities: Any = None,
        **options: Any,
    ) -> "Dataset":
        """Build a log from flat arrays, one row per step.

        `observations` is an array `(N, …)`, a dictionary of arrays, or lists of token sequences; `rewards` is `(N,)`
        or a dictionary of components. options: further columns, facts and words, the fields of `StepColumns`, `Facts`
        and `Source` in `weft.data.steps`. Raises UserError, naming column and row, for whatever is wrong with them.
        """
        columns = {"observations": observations, "actions": actions, "rewards": rewards, "terminals": terminals}
        columns |= {"timeouts": timeouts, "propensities": propensities}
        return cls.from_steps(*sort_arguments({**columns, **options}))

    @classmethod
    def from_steps(cls, steps: StepColumns, facts: Facts, source: Source) -> "Dataset":
        """Build a log from what a reader hands over; raises UserError, naming column and row, for whatever is wrong."""
        return cls(**assemble(steps, facts, source))

    def __repr__(self) -> str:
        return f"Dataset({self.origin}: {self.steps} steps, {self.episodes} episodes, {self.spec.action.kind} actions)"

    def __str__(self) -> str:
        """The log in one line, and what was found and done while reading it."""
        return "\n".join([repr(self), *(f"note: {note}" for note in self.notes)])

    def _repr_html_(self) -> str:
        """The log as a small table, for notebooks; `weft.inspect` looks closer."""
        return html_table(self._lines(), self.origin)

    def _lines(self) -> Iterator[tuple[str, str]]:
        """Yield `(what, how much)` in plain text, as far as that takes no time."""
        shortest, longest = int(self.lengths.min()), int(self.lengths.max())
        steps = "one decision each" if longest == 1 else f"of {shortest:,} to {longest:,} steps"
        yield "steps", f"{self.steps:,}"
        yield "episodes", f"{self.episodes:,} ({steps})"
        yield "ends", f"{int(self.terminals.sum()):,} terminal, {int(self.timeouts.sum()):,} timed out"
        yield from self.spec.lines()
        if self.store_log_propensities is not None:
            yield "propensities", "estimated" if self.propensities_estimated else "logged"
        for note in self.notes:
            yield "note", note


@once_per_dataset
def _fingerprint(data: Dataset) -> str:
    places = (part.astype(np.int64) for part in (data.position, data.successor, data.starts, data.chosen))
    return content_hash(
        data.store_observations,
        data.store_actions,
        data.store_rewards,
        data.store_terminals,
        data.store_timeouts,
        *places,
        data.store_durations,
        data.store_log_propensities,
    )


def _single(rewards: np.ndarray) -> np.ndarray:
    """Return rewards `(rows, objective)` without the axis of objectives where there is one."""
    return rewards[:, 0] if rewards.shape[1] == 1 else rewards


def _weighted_range(spec: Spec, weights: np.ndarray) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    if spec.reward_low is None or spec.reward_high is None:
        return None, None
    ends = np.stack([weights * np.array(spec.reward_low), weights * np.array(spec.reward_high)])
    return (float(ends.min(0).sum()),), (float(ends.max(0).sum()),)
