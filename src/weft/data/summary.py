"""What a log holds, in numbers and in warnings, before anything is trained on it."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.tables import text_table
from .assemble import ENDS_ASSUMED
from .columns import Ragged, components
from .dataset import Dataset
from .naming import rows_of
from .narrow import far

__all__ = ["Inspection", "Rounding", "Spread", "inspect", "rounding"]

RARE = 10
FEW, MANY = 6, 20  # different propensities from which on rounding is told, if they leave no gaps, and in any case
"""A choice seen fewer times than this is rare: next to nothing can be said about it."""

LOOKED_AT = 5000
"""Steps that are compared with one another to see whether actions depend on chance."""

STEPS = tuple(digit * 10.0**-power for power in range(1, 9) for digit in (5, 2, 1))
"""What propensities may have been rounded to, the coarsest first."""


@dataclasses.dataclass(frozen=True)
class Spread:
    """Where some numbers lie; `high` is the level that 90 % of them do not exceed."""

    mean: float
    median: float
    high: float
    least: float
    most: float

    @classmethod
    def of(cls, values: np.ndarray) -> "Spread":
        """Summarise numbers `(count,)`, at least one."""
        numbers = np.asarray(values, float)
        return cls(
            float(numbers.mean()),
            float(np.median(numbers)),
            float(np.quantile(numbers, 0.9)),
            float(numbers.min()),
            float(numbers.max()),
        )

    def __str__(self) -> str:
        return (
            f"mean {self.mean:.4g}, median {self.median:.4g}, 90 % {self.high:.4g}, least {self.least:.4g}, "
            f"most {self.most:.4g}"
        )


@dataclasses.dataclass(frozen=True)
class Rounding:
    """What propensities that are multiples of a `step` leave unknown: of the smallest of them, `least`, and of weights.

    inverse_square: mean of one over the squared propensity over all steps.
    """

    step: float
    least: float
    inverse_square: float = 0.0

    @property
    def error(self) -> float:
        """Largest relative error of rounding, which the smallest propensity has."""
        return self.step / (2 * self.least)

    @property
    def chance(self) -> float:
        """Relative standard error of the smallest propensity if all are frequencies of `1 / step` simulated draws."""
        return float(np.sqrt(self.step * max(0.0, 1 - self.least) / self.least))

    @property
    def bias(self) -> float:
        """How much too large weights are on average: one over a propensity that was rounded by chance is, by its
        relative variance (`step^2 / 12` for errors that are even within a step)."""
        return self.step**2 / 12 * self.inverse_square

    @property
    def matters(self) -> bool:
        """Whether the smallest may be off by more than half a percent (ten, if they are frequencies)."""
        return self.step > 0.01 * self.least

    def __str__(self) -> str:
        return (
            f"multiples of {self.step:.3g}, so the smallest ({self.least:.3g}) is off by up to {self.error:.1%}; "
            f"if they are frequencies of {1 / self.step:,.0f} simulated draws, by {self.chance:.0%}, one standard error"
        )


def rounding(propensities: np.ndarray) -> Rounding | None:
    """Find the coarsest step of 1, 2 or 5 times a power of ten that propensities `(count,)` are multiples of.

    Nineteen in twenty different values must be, because a start or a fallback may have been logged as it is (1/34).
    None where there is no such step, where the step is too fine for numbers of 32 bits, and where so few values differ
    that they may be meant so, such as 0.05 and 0.95: 20 tell, or six that are half of all multiples between the least
    and the largest, as one decimal leaves them.
    """
    values = np.asarray(propensities, float)
    distinct = np.unique(values)
    if len(distinct) < FEW:
        return None
    for step in STEPS:
        times = distinct / step
        room = 1e-3 + 4e-7 * times  # what 32 bits leave of a value and of its logarithm
        if np.median(room) < 0.1 and (np.abs(times - np.round(times)) <= room).mean() >= 0.95:
            whole = len(np.unique(np.round(times)))
            if len(distinct) >= MANY or 2 * whole > times[-1] - times[0] + 1:
                return Rounding(step, float(distinct[0]), float(np.mean(values**-2.0)))
            return None
    return None


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What `inspect` found. `returns`, `rewards` and `reward_values` are per reward component, by its name.

    observations: one line a component. constant, duplicated: names of observation columns that never change, or
    repeat another. action_counts: how often each choice was taken; rare: choices taken fewer than 10 times, those
    never taken included. action_ranges, at_bounds: per continuous dimension, its range, and the share of steps at its
    declared bounds. propensities: the spread of probabilities or densities. effective: the share of steps that would
    count if each were weighted by one over its propensity. rounding: the step that propensities are multiples of.
    declared: horizon, discount, unit and reward range as far
    as they are given.
    """

    origin: str
    fingerprint: str
    steps: int
    episodes: int
    lengths: Spread
    terminals: int
    timeouts: int
    returns: dict[str, Spread]
    rewards: dict[str, Spread]
    reward_values: dict[str, int]
    observations: tuple[str, ...]
    constant: tuple[str, ...]
    duplicated: tuple[str, ...]
    action: str
    action_counts: tuple[int, ...]
    rare: tuple[str, ...]
    action_ranges: tuple[tuple[float, float], ...]
    at_bounds: tuple[float, ...]
    propensities: Spread | None
    effective: float | None
    rounding: Rounding | None
    declared: dict[str, Any]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def single(self) -> bool:
        """Whether every episode is one decision, so that returns are rewards."""
        return self.lengths.most == 1

    def __str__(self) -> str:
        """The findings as a table of two columns."""
        return text_table(self.lines())

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield `(what, how much)` in plain text, ready to be laid out; warnings come last."""
        yield "log", self.origin
        yield "steps", f"{self.steps:,}"
        yield "episodes", f"{self.episodes:,}" + (" (one decision each)" if self.single else f", steps: {self.lengths}")
        for name, spread in (self.rewards if self.single else self.returns).items():
            yield f"{'reward' if self.single else 'return'} ({name})", str(spread)
        yield "ends", f"{self.terminals:,} terminal, {self.timeouts:,} timed out"
        for line in self.observations:
            yield "observation", line
        yield "actions", self.action
        if self.rare:
            yield "rare actions", ", ".join(self.rare)
        for dimension, (low, high) in enumerate(self.action_ranges):
            share = f", {self.at_bounds[dimension]:.1%} at its bounds" if self.at_bounds else ""
            yield f"action {dimension}", f"from {low:.4g} to {high:.4g}{share}"
        if self.propensities is not None:
            yield "propensities", f"{self.propensities}; effective share of steps {self.effective:.1%}"
        if self.rounding is not None:
            yield "rounding", f"propensities are {self.rounding}"
        for name, count in self.reward_values.items():
            yield f"values of {name}", f"{count:,} different"
        for name, value in self.declared.items():
            yield f"declared {name}", str(value)
        yield "fingerprint", self.fingerprint
        for note in self.notes:
            yield "note", note
        for warning in self.warnings:
            yield "warning", warning


def inspect(data: Dataset) -> Inspection:
    """Look at a log: sizes, returns, ranges, counts, propensities, and what will make learning or judging hard."""
    names = data.spec.rewards
    rewards = data.rewards.reshape(data.steps, len(names))
    returns = data.returns.reshape(data.episodes, len(names))
    lines, constant, duplicated = _observations(data)
    actions = _actions(data)
    propensities = None if data.log_propensities is None else np.exp(data.log_propensities.astype(float))
    inspection = Inspection(
        origin=data.origin,
        fingerprint=data.fingerprint,
        steps=data.steps,
        episodes=data.episodes,
        lengths=Spread.of(data.lengths),
        terminals=int(data.terminals.sum()),
        timeouts=int(data.timeouts.sum()),
        returns={name: Spread.of(returns[:, index]) for index, name in enumerate(names)},
        rewards={name: Spread.of(rewards[:, index]) for index, name in enumerate(names)},
        reward_values={name: len(np.unique(rewards[:, index])) for index, name in enumerate(names)},
        observations=lines,
        constant=constant,
        duplicated=duplicated,
        **actions,
        propensities=None if propensities is None else Spread.of(propensities),
        effective=None if propensities is None else _effective(propensities),
        rounding=None if propensities is None else rounding(propensities),
        declared=data.spec.declared,
        notes=data.notes,
        warnings=(),
    )
    return dataclasses.replace(inspection, warnings=tuple(_warnings(data, inspection)))


def _effective(propensities: np.ndarray) -> float:
    weights = propensities.min() / propensities
    return float(weights.sum() ** 2 / (len(weights) * (weights**2).sum()))


def _observations(data: Dataset) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Describe every component, and name the columns that never change or repeat another."""
    observations = components(data.observations)
    lines, constant, duplicated = [], [], []
    for part in data.spec.observations:
        values = observations[part.name]
        label = f"{part.name}: " if part.name else ""
        shape = "×".join(map(str, part.shape)) or "one number"
        if isinstance(values, Ragged):
            lengths = np.diff(values.offsets)
            lines.append(f"{label}{lengths.min()} to {lengths.max()} tokens out of {part.count}")
            continue
        if part.kind == "category":
            lines.append(f"{label}{len(np.unique(values))} of {part.count} categories seen")
        else:
            lines.append(f"{label}{part.kind} {shape}, from {values.min():.4g} to {values.max():.4g}")
        if values.ndim > 2:
            continue
        table = values.reshape(len(values), -1)
        names: dict[bytes, str] = {}
        for index, column in enumerate(table.T):
            name = ".".join(filter(None, (part.name, "" if values.ndim == 1 else str(index)))) or "0"
            if (column == column[0]).all():
                constant.append(name)
                continue
            first = names.setdefault(np.ascontiguousarray(column).tobytes(), name)
            if first != name:
                duplicated.append(f"{name} repeats {first}")
    return tuple(lines), tuple(constant), tuple(duplicated)


def _actions(data: Dataset) -> dict[str, Any]:
    """Count choices, or measure where continuous actions lie."""
    spec, actions = data.spec.action, data.actions
    facts: dict[str, Any] = {"action_counts": (), "rare": (), "action_ranges": (), "at_bounds": ()}
    if spec.kind == "discrete":
        counts = np.bincount(actions, minlength=spec.counts[0])
        names = spec.choices
        facts["action_counts"] = tuple(counts.tolist())
        facts["rare"] = tuple(f"{names[i]} ({counts[i]} times)" for i in np.flatnonzero(counts < RARE))
        often = f"taken {counts.min():,} to {counts.max():,} times"
        return {**facts, "action": f"one of {spec.counts[0]}, {often}"}
    if spec.kind == "multidiscrete":
        return {**facts, "action": spec.words}
    facts["action_ranges"] = tuple(zip(actions.min(0).tolist(), actions.max(0).tolist(), strict=True))
    if spec.low is not None and spec.high is not None:
        low, high = np.asarray(spec.low, np.float32), np.asarray(spec.high, np.float32)
        room = 1e-4 * (high - low)
        facts["at_bounds"] = tuple(((actions <= low + room) | (actions >= high - room)).mean(0).tolist())
    return {**facts, "action": spec.words}


def _warnings(data: Dataset, inspection: Inspection) -> Iterator[str]:
    """Say in plain words what will make learning from this log, or judging a policy by it, hard."""
    yield from _reward_warnings(data, inspection)
    yield from _end_warnings(data, inspection)
    if inspection.constant:
        yield f"Observation columns that never change: {_some(inspection.constant)}."
    yield from _odd_observations(data)
    if inspection.duplicated:
        yield f"Observation columns that say the same: {_some(inspection.duplicated)}."
    if inspection.rare:
        count = len(inspection.rare)
        yield f"{count} actions were taken fewer than {RARE} times; nothing reliable can be said about them."
    if _deterministic(data):
        yield "The same observation always meets the same action: what another action would do was never tried."
    yield from _propensity_warnings(inspection)


def _reward_warnings(data: Dataset, inspection: Inspection) -> Iterator[str]:
    low, high = data.spec.reward_low, data.spec.reward_high
    for name, spread in inspection.rewards.items():
        if spread.least == spread.most:
            yield f"All values of '{name}' are {spread.least:g}: there is nothing to tell good actions from bad ones."
        elif (low is not None and high is not None) and (spread.least < min(low) or spread.most > max(high)):
            yield f"Values of '{name}' lie outside the declared reward range."


def _end_warnings(data: Dataset, inspection: Inspection) -> Iterator[str]:
    if inspection.episodes == 1:
        yield "There is one episode: it cannot be split, and no interval can be given."
    if inspection.timeouts and not inspection.terminals:
        yield "Every episode ends by a timeout: no end of the task was seen, so values rest on the discount."
    if ENDS_ASSUMED in data.notes:
        yield "How episodes end was not said: nothing is expected to follow their last rows, wrongly if they were cut."


def _propensity_warnings(inspection: Inspection) -> Iterator[str]:
    if inspection.propensities is None:
        yield "No propensities are given: how likely each action was must be estimated, and judging rests on that."
    elif inspection.effective is not None and inspection.effective < 0.1:
        yield (
            f"Propensities are very unequal (least {inspection.propensities.least:.2g}): weighting by them leaves "
            f"{inspection.effective:.1%} of the steps."
        )
    if inspection.rounding is not None and inspection.rounding.matters:
        yield f"Propensities are {inspection.rounding}; weights, and what is certified by them, are as exact as that."


def _odd_observations(data: Dataset) -> Iterator[str]:
    """Warn of categories that hardly come again, and of values so far out that standardising squeezes all others."""
    observations = components(data.observations)
    for part in data.spec.observations:
        values = observations[part.name]
        what = f"'{part.name}'" if part.name else "observations"
        if part.kind == "category" and values.ndim == 1:
            distinct = len(np.unique(values))
            if distinct > max(20, data.steps / 2):
                yield f"{what} has {distinct:,} categories in {data.steps:,} steps; are these numbers or names?"
        elif part.kind == "vector" and values.ndim <= 2:
            for place, low, high, rows in far(values.reshape(len(values), -1)):
                yield (
                    f"Column {place} of {what} lies mostly from {low:.4g} to {high:.4g}, but far off in some steps "
                    f"({rows_of(rows)}): a mark of missing values, or another unit?"
                )


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _deterministic(data: Dataset) -> bool:
    """Say whether observations that come again never come with another action (or choices were certain)."""
    if data.log_propensities is not None and data.spec.action.kind != "continuous":
        return bool((data.log_propensities >= -1e-6).all())
    actions = data.actions[:LOOKED_AT]
    if len(np.unique(actions, axis=0)) == 1:
        return True
    parts = components(data.observations).values()
    keys = [b"|".join(np.ascontiguousarray(part[row]).tobytes() for part in parts) for row in range(len(actions))]
    met: dict[bytes, bytes] = {}
    again = 0
    for key, action in zip(keys, actions, strict=True):
        again += key in met
        if met.setdefault(key, np.ascontiguousarray(action).tobytes()) != np.ascontiguousarray(action).tobytes():
            return False
    return again >= 20
