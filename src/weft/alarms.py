"""Alarms while runs are trained: values that no policy could have, and numbers that are none.

They read the metrics that are fetched after every chunk anyway, so they cost nothing and change no bit of a run.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .algorithm import Algorithm
from .dataset import Dataset
from .spec import Spec
from .transform import Transform

__all__ = ["FACTOR", "SMALLEST", "Watch", "alarm", "believable", "effective_steps", "largest_return"]

FACTOR = 10.0  # times what is believable; critics overshoot a little on their way
SMALLEST = 1.0  # untrained critics answer within about ±1, whatever the rewards
PLACE = ("step", "setting", "seed")


def largest_return(setting: Algorithm, data: Dataset, transform: Transform) -> float | None:
    """Return the largest size of a discounted return that steps like those of the log can add up to.

    In the units of the method. Steps may follow each other in any order and for ever, so that no fixed point of a
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
    kept = float(discount) ** np.asarray(data.durations, np.float64)
    often = np.where(kept < 1.0, 1.0 / np.maximum(1.0 - kept, 1e-12), _horizon(data.spec))
    return float(np.max(np.where(data.terminals, size, size * often)))


def effective_steps(setting: Algorithm, spec: Spec) -> float:
    """Return 1 / (1 − γ): how many steps of a constant reward a value adds up; the horizon for γ = 1."""
    discount = float(getattr(setting, "discount", 0.0))
    return 1.0 / (1.0 - discount) if discount < 1.0 else _horizon(spec)


def _horizon(spec: Spec) -> float:
    return float(spec.horizon or spec.longest or 1)


def believable(row: Mapping[str, Any], largest: float, steps: float) -> float:
    """Return the largest |mean Q| that a row of metrics may honestly hold.

    The largest return, and what a method pays itself at every effective step: a soft one for the entropy of its
    actions; a conservative one up to w / 2 at logged actions, where the gradient of its penalty meets that of the
    squared error.
    """
    bonus = row.get("temperature", 0.0) * max(row.get("entropy", 0.0), 0.0)
    if "gap" in row:
        bonus += row.get("weight", 0.0) / 2
    return max(largest, SMALLEST) + bonus * steps


def alarm(row: Mapping[str, Any], largest: float | None, steps: float) -> tuple[str, str] | None:
    """Return the kind of alarm that a row of metrics gives, and what is wrong in words; None where all is well."""
    missing = [name for name, value in row.items() if name not in PLACE and not math.isfinite(value)]
    if missing:
        return "lost", f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not finite"
    if largest is None or "mean_q" not in row:
        return None
    limit = believable(row, largest, steps)
    if abs(row["mean_q"]) <= FACTOR * limit:
        return None
    return "diverging", (
        f"mean Q is {row['mean_q']:.4g}, more than {FACTOR:g} times what rewards, discount and method make "
        f"believable ({limit:.4g})"
    )


class Watch:
    """Looks at the rows of the runs of one compiled program as they come; remembers alarms in a row, and what it said.

    largest: `largest_return` of every setting of the run; steps: `effective_steps` of every setting.
    """

    def __init__(self, places: Sequence[tuple[int, int]], largest: Sequence[float | None], steps: Sequence[float]):
        self.largest, self.steps = largest, steps
        self.streak = dict.fromkeys(places, 0)
        self.words: dict[tuple[int, int], str] = {}
        self.said: set[str] = set()

    def take(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Take note of rows, in the order of their steps; return one sentence for every kind of alarm that is new."""
        found: dict[str, list[Mapping[str, Any]]] = {}
        for row in rows:
            place = (row["setting"], row["seed"])
            if place not in self.streak:
                continue
            raised = alarm(row, self.largest[row["setting"]], self.steps[row["setting"]])
            self.streak[place] = self.streak[place] + 1 if raised else 0
            if raised:
                self.words[place] = raised[1]
                found.setdefault(raised[0], []).append(row)
        fresh = {kind: raising for kind, raising in found.items() if kind not in self.said}
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

    def _sentence(self, raising: Sequence[Mapping[str, Any]]) -> str:
        first, others = raising[0], {(row["setting"], row["seed"]) for row in raising[1:]}
        others -= {(first["setting"], first["seed"])}
        more = f" ({len(others)} other {'run' if len(others) == 1 else 'runs'} alike)" if others else ""
        raised = alarm(first, self.largest[first["setting"]], self.steps[first["setting"]])
        assert raised is not None
        return f"Alarm at step {first['step']:,}: {self._name(first['setting'], first['seed'])}{raised[1]}{more}."

    def _name(self, setting: int, seed: int) -> str:
        """Name a run as far as there are others."""
        settings = {place[0] for place in self.streak}
        words = [f"setting {setting}"] if len(settings) > 1 else []
        words += [f"seed {seed}"] if len(self.streak) > len(settings) else []
        return f"{', '.join(words)}: " if words else ""
