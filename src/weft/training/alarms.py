"""Alarms while runs are trained: values that no policy could have, numbers that are none, and multipliers that are
asked for what they cannot reach.

They read the metrics that are fetched after every chunk anyway, so they cost nothing and change no bit of a run.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..agents.algorithm import Algorithm
from ..data.dataset import Dataset
from ..data.spec import Spec
from ..data.transforms import Transform
from ..nn.multipliers import Lagrange

__all__ = [
    "CLIPPED",
    "FACTOR",
    "SMALLEST",
    "Limits",
    "Watch",
    "alarm",
    "believable",
    "effective_steps",
    "largest_return",
    "limits_of",
    "smallest_gap",
    "strain",
]

FACTOR = 10.0  # times what is believable; critics overshoot a little on their way
SMALLEST = 1.0  # untrained critics answer within about ±1 in the units of the method, whatever the rewards
CLIPPED = 0.2  # share of the weights above which clipping, and no longer the temperature, decides what is imitated
PLACE = ("step", "setting", "seed")
FULL = 0.99  # share of its largest value at which a multiplier, averaged over the updates of a row, is spent


def largest_return(setting: Algorithm, data: Dataset, transform: Transform) -> float | None:
    """Return the largest size of a discounted return that steps like those of the log can add up to.

    In the units of the log. Steps may follow each other in any order and for ever, so that no fixed point of a
    Bellman backup lies beyond: the largest of |r| over terminal steps and of |r| / (1 − γ^Δt) over all others. With
    γ = 1 the declared horizon (else the longest episode) takes the place of 1 / (1 − γ). None for a method that does
    not discount.
    """
    discount = getattr(setting, "discount", None)
    if discount is None or data.steps == 0:
        return None
    parts = np.asarray(data.rewards, np.float64).reshape(data.steps, -1)
    size = np.abs(
        parts @ np.asarray(transform.weights, np.float64) * float(transform.reward_scale)
        + float(transform.reward_shift)
    )
    size *= transform.reward_unit
    factor = float(discount) ** np.asarray(data.durations, np.float64)
    often = np.where(factor < 1.0, 1.0 / np.maximum(1.0 - factor, 1e-12), _horizon(data.spec))
    return float(np.max(np.where(data.terminals, size, size * often)))


def smallest_gap(setting: Algorithm, data: Dataset) -> float | None:
    """Return the least mean gap that any critic can have on a log, which a threshold of CQL's weight must lie above.

    It is the entropy of the logged actions where the same was observed, as counted in the log (0 where nothing was
    observed twice, and for images), less the logarithm of the number of choices for a uniform prior. None where there
    is no such limit: continuous actions, a prior that follows the critic, a weight that has no threshold.
    """
    regulariser = getattr(setting, "regulariser", None)
    learned = isinstance(getattr(setting, "weight", None), Lagrange)
    if not learned or regulariser not in ("entropy", "uniform") or not data.spec.discrete or data.steps == 0:
        return None
    entropy = 0.0
    if all(part.kind != "image" for part in data.spec.observations):
        seen = data.observations
        parts = list(seen.values()) if isinstance(seen, dict) else [seen]
        rows = [np.ascontiguousarray(part).reshape(data.steps, -1).view(np.uint8) for part in parts]
        where = _numbered(np.concatenate(rows, axis=1))
        both = where * data.spec.action.size + np.asarray(data.actions, np.int64).reshape(-1)
        taken, times = np.unique(both, return_counts=True)
        visits = np.bincount(where)[taken // data.spec.action.size]
        entropy = float(-(times * np.log(times / visits)).sum() / data.steps) + 0.0
    return entropy - (math.log(data.spec.action.size) if regulariser == "uniform" else 0.0)


def _numbered(rows: np.ndarray) -> np.ndarray:
    """Return a number for every row of bytes, the same for the same row."""
    whole = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.shape[1]))).reshape(-1)
    return np.unique(whole, return_inverse=True)[1]


def effective_steps(setting: Algorithm, spec: Spec) -> float:
    """Return 1 / (1 − γ): how many steps of a constant reward a value adds up; the horizon for γ = 1."""
    discount = float(getattr(setting, "discount", 0.0))
    return 1.0 / (1.0 - discount) if discount < 1.0 else _horizon(spec)


def _horizon(spec: Spec) -> float:
    return float(spec.horizon or spec.longest or 1)


def believable(row: Mapping[str, Any], largest: float, steps: float, unit: float = 1.0) -> float:
    """Return the largest |mean Q| that a row of metrics may honestly hold.

    unit: how much of the log's reward is 1 for the method, whose temperature and weight a row holds. The largest
    return, and what a method pays itself at every effective step: a soft one for the entropy of its
    actions; a conservative one up to w / 2 at logged actions, where the gradient of its penalty meets that of the
    squared error.
    """
    bonus = row.get("temperature", 0.0) * max(row.get("entropy", 0.0), 0.0)
    if "gap" in row:
        bonus += row.get("weight", 0.0) / 2
    return max(largest, SMALLEST * unit) + bonus * steps * unit


def alarm(row: Mapping[str, Any], largest: float | None, steps: float, unit: float = 1.0) -> tuple[str, str] | None:
    """Return the kind of alarm that a row of metrics gives, and what is wrong in words; None where all is well.

    largest, steps, unit: see `believable`.
    """
    missing = [name for name, value in row.items() if name not in PLACE and not math.isfinite(value)]
    if missing:
        return "lost", f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not finite"
    if largest is None or "mean_q" not in row:
        return None
    limit = believable(row, largest, steps, unit)
    if abs(row["mean_q"]) <= FACTOR * limit:
        return None
    return "diverging", (
        f"mean Q is {row['mean_q']:.4g}, more than {FACTOR:g} times what rewards, discount and method make "
        f"believable ({limit:.4g})"
    )


@dataclasses.dataclass(frozen=True)
class Limits:
    """What the learned multipliers of a setting are asked for, by name, and the smallest gap that a log allows."""

    multipliers: Mapping[str, Lagrange]
    gap: float | None = None


def limits_of(setting: Algorithm, gap: float | None = None) -> Limits:
    """Return the limits of a setting; `gap` is its `smallest_gap`."""
    fields = {field.name: getattr(setting, field.name) for field in dataclasses.fields(setting)}  # type: ignore[arg-type]
    return Limits({name: value for name, value in fields.items() if isinstance(value, Lagrange)}, gap)


def strain(row: Mapping[str, Any], limits: Limits) -> tuple[str, str] | None:
    """Return the kind of alarm that a row gives about its multipliers, and in words what is wrong and what to do.

    `unreachable`: a threshold at or below the smallest gap, known before anything is learned. `saturated`: a multiplier
    at its largest, whatever the reason. `clipped`: weights of which too many are cut off. They end no run.
    """
    share = row.get("clipped_weights", 0.0)
    if share > CLIPPED:
        return "clipped", (
            f"{share:.0%} of the weights are cut off at their largest, so what is better and what is best count alike; "
            "set a smaller inverse temperature, or a larger largest weight"
        )
    weight = limits.multipliers.get("weight")
    if weight is not None and limits.gap is not None and "gap" in row and float(weight.threshold) <= limits.gap:
        return "unreachable", (
            f"the weight's threshold, {float(weight.threshold):.4g}, is not above {limits.gap:.4g}, the smallest gap "
            "that any critic can have on this log, so the weight will grow to its largest; set a higher threshold, or "
            "a Fixed weight"
        )
    for name, one in limits.multipliers.items():
        if row.get(name, 0.0) >= FULL * float(one.largest):
            words = f"the {name} is at its largest, {float(one.largest):.4g}, and its threshold, "
            words += f"{float(one.threshold):.4g}, is not met"
            if name == "weight" and "gap" in row:
                return "saturated", (
                    f"{words}: the gap is {row['gap']:.4g}, about the least that this critic comes to; set a threshold "
                    "above that, or a Fixed weight"
                )
            return "saturated", f"{words}; set a higher threshold, or a Fixed {name}"
    return None


class Watch:
    """Looks at the rows of the runs of one compiled program as they come; remembers alarms in a row, and what it said.

    largest: `largest_return` of every setting of the run; steps: `effective_steps` of every setting; limits: the
    `Limits` of every setting, if multipliers and weights are to be watched; unit: see `believable`.
    """

    def __init__(
        self,
        places: Sequence[tuple[int, int]],
        largest: Sequence[float | None],
        steps: Sequence[float],
        limits: Sequence[Limits] = (),
        unit: float = 1.0,
    ):
        self.largest, self.steps, self.limits, self.unit = largest, steps, limits, unit
        self.streak = dict.fromkeys(places, 0)
        self.words: dict[tuple[int, int], str] = {}
        self.said: set[str] = set()

    def take(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Take note of rows, in the order of their steps; return one sentence for every kind of alarm that is new."""
        alarms: dict[str, list[tuple[Mapping[str, Any], str]]] = {}
        for row in rows:
            place = (row["setting"], row["seed"])
            if place not in self.streak:
                continue
            raised = alarm(row, self.largest[row["setting"]], self.steps[row["setting"]], self.unit)
            self.streak[place] = self.streak[place] + 1 if raised else 0
            if raised:
                self.words[place] = raised[1]
            raised = raised or (strain(row, self.limits[row["setting"]]) if self.limits else None)
            if raised:
                alarms.setdefault(raised[0], []).append((row, raised[1]))
        fresh = {kind: raising for kind, raising in alarms.items() if kind not in self.said}
        self.said |= set(fresh)
        return [self._sentence(raising) for raising in fresh.values()]

    def hopeless(self) -> str | None:
        """Return why training on is in vain: every run gave an alarm in its last two rows. None otherwise."""
        if not self.streak or min(self.streak.values()) < 2:
            return None
        place = next(iter(self.streak))
        return f"{self._name(*place)}{self.words[place]}" + (
            ", and no other run is well" if len(self.streak) > 1 else ""
        )

    def _sentence(self, raising: Sequence[tuple[Mapping[str, Any], str]]) -> str:
        (first, words), others = raising[0], {(row["setting"], row["seed"]) for row, _ in raising[1:]}
        others -= {(first["setting"], first["seed"])}
        more = f" ({len(others)} other {'run' if len(others) == 1 else 'runs'} alike)" if others else ""
        return f"Alarm at step {first['step']:,}: {self._name(first['setting'], first['seed'])}{words}{more}."

    def _name(self, setting: int, seed: int) -> str:
        """Name a run as far as there are others."""
        settings = {place[0] for place in self.streak}
        words = [f"setting {setting}"] if len(settings) > 1 else []
        words += [f"seed {seed}"] if len(self.streak) > len(settings) else []
        return f"{', '.join(words)}: " if words else ""
