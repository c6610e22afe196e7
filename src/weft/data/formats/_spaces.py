"""What the spaces of Gymnasium declare, as Minari writes them down: JSON strings inside `metadata.json`.

Nothing in such a file is believed before it fits the data: a count in it can be anything, and makes nothing large.
"""

import dataclasses
import json
import math
import reprlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import UserError
from ...core.files import mode, regular
from ..validate import MOST

__all__ = ["Spaces"]

LARGEST = 64 * 2**20  # bytes of a description
DEEPEST = 32  # spaces inside spaces
NAMED = 2**20  # categories of all observations together


@dataclasses.dataclass(frozen=True)
class Spaces:
    """The description of a data set: what was in the file, and the file for sentences."""

    file: Path
    about: dict[str, Any]

    @classmethod
    def of(cls, file: Path) -> "Spaces":
        """Read a `metadata.json`; where there is none, nothing is declared.

        Raises UserError for a file that is no JSON object, not UTF-8, nested without end, or larger than 64 MB.
        """
        if mode(file) is None:
            return cls(file, {})
        size = regular(file).stat().st_size
        if size > LARGEST:
            raise UserError(f"{file}: the file has {size / 1e6:.0f} MB, a description has {LARGEST / 1e6:.0f} at most.")
        about = _json(file.read_bytes(), str(file), "the file is")
        if not isinstance(about, dict):
            raise UserError(f"{file}: the file describes no data set; it must hold a JSON object.")
        return cls(file, about)

    def actions(self, actions: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
        """Return actions `(N, …)` in the form of their space, and what it declares, as fields of `Facts`.

        Choices are counted from 0. Raises UserError where the space is not described as it should be, or does not fit
        the actions.
        """
        space = self._space("action_space")
        kind = space.get("type")
        form = {
            "Discrete": self._discrete,
            "MultiDiscrete": self._multidiscrete,
            "MultiBinary": self._multibinary,
            "Box": self._box,
        }.get(kind if isinstance(kind, str) else "")
        if form is None:
            return actions, {}
        if actions.dtype.kind not in "biuf":
            raise self._unfit(kind, f"the actions hold {actions.dtype} values")
        rows = actions.reshape(len(actions), math.prod(actions.shape[1:]))
        return form(space, rows.astype(np.int64) if actions.dtype.kind in "biu" and kind != "Box" else rows)

    def _discrete(self, space: Mapping[str, Any], rows: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
        count = self._whole(space, "n", "action_space")
        first = self._whole(space, "start", "action_space", 0)
        self._check_width("Discrete", 1, rows)
        self._check_count(count)
        return rows.reshape(-1) - first, {"action_count": count}

    def _multidiscrete(self, space: Mapping[str, Any], rows: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
        counts = self._wholes(space, "nvec", "action_space")
        starts = self._wholes(space, "start", "action_space") if space.get("start") else np.zeros(1, np.int64)
        self._check_width("MultiDiscrete", counts.size, rows)
        if starts.size > 1:
            self._check_width("start of the MultiDiscrete", starts.size, rows)
        for count in counts.tolist():
            self._check_count(count)
        return rows - starts, {"action_count": tuple(counts.tolist())}

    def _multibinary(self, space: Mapping[str, Any], rows: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
        sizes = [int(size) for size in self._wholes(space, "n", "action_space")]
        self._check_width("MultiBinary", math.prod(sizes), rows)
        return rows.astype(np.int32), {"action_count": (2,) * rows.shape[1]}

    def _box(self, space: Mapping[str, Any], rows: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
        """Bounds are declared where both are finite."""
        facts: dict[str, Any] = {}
        if "low" in space and "high" in space:
            low, high = (self._numbers(space, end, "action_space") for end in ("low", "high"))
            for end in (low, high):
                if end.size != 1:
                    self._check_width("Box", end.size, rows)
            if np.isfinite(low).all() and np.isfinite(high).all():
                facts["action_bounds"] = (low, high)
        return rows.astype(np.result_type(rows, np.float32)), facts

    def observations(self, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Return what the spaces of observations declare, as fields of `Facts`, and notes.

        Observations keep their numbers, so that they are what an environment shows. Raises UserError where a space is
        not described as it should be.
        """
        facts: dict[str, Any] = {"kinds": {}, "categories": {}, "notes": []}
        room = NAMED
        for name, part in self._leaves(self._space("observation_space")):
            if name not in arrays or part.get("type") not in ("Discrete", "MultiDiscrete"):
                continue
            place = f"observation_space '{name}'" if name else "observation_space"
            first = count = 0
            if part["type"] == "Discrete":
                first, count = self._whole(part, "start", place, 0), self._whole(part, "n", place)
            if first >= 0 and count > 0 and first + count <= min(max(64, 4 * count), room):
                room -= first + count
                facts["kinds"][name] = "category"
                facts["categories"][name] = [str(code) for code in range(first + count)]
            else:
                which = f" '{name}'" if name else "s"
                facts["notes"].append(f"The observation{which} of a {part['type']} space are taken for numbers.")
        recorded = self._space("env_spec")
        world, limit = recorded.get("id"), recorded.get("max_episode_steps")
        if isinstance(world, str) and world:
            most = f", at most {limit} steps an episode." if isinstance(limit, int) and 0 < limit < 2**53 else "."
            facts["notes"].append(f"Recorded from {world[:200]}{most}")
        return facts

    def _space(self, name: str) -> dict[str, Any]:
        space = self.about.get(name)
        if isinstance(space, str):
            space = _json(space, str(self.file), f"the {name} is")
        if space is None:
            return {}
        if not isinstance(space, dict):
            raise UserError(f"{self.file}: the {name} is {reprlib.repr(space)}, and should be a JSON object.")
        return space

    def _leaves(self, space: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the spaces inside dictionaries and tuples, by the names that their arrays have."""
        if depth > DEEPEST:
            raise UserError(f"{self.file}: the observation_space has spaces inside spaces, deeper than {DEEPEST}.")
        if not isinstance(space, dict):
            which = f" '{name}'" if name else ""
            raise UserError(f"{self.file}: the observation_space{which} is {reprlib.repr(space)}, which is no space.")
        inner = space.get("subspaces")
        if isinstance(inner, list):
            inner = {f"_index_{index}": part for index, part in enumerate(inner)}
        if not isinstance(inner, dict):
            yield name, space
            return
        for key, part in inner.items():
            yield from self._leaves(part, f"{name}/{key}" if name else key, depth + 1)

    def _numbers(self, space: Mapping[str, Any], key: str, place: str) -> np.ndarray:
        """Return an entry of numbers, nested lists or not, as a flat array of float64."""
        try:
            numbers = np.asarray(space.get(key))
            if numbers.dtype.kind in "iuf":
                return numbers.reshape(-1).astype(np.float64)
        except (ValueError, TypeError, OverflowError, RecursionError):
            pass
        raise self._wrong(space, key, place, "numbers")

    def _wholes(self, space: Mapping[str, Any], key: str, place: str) -> np.ndarray:
        """Return an entry of whole numbers as a flat array, at least one."""
        numbers = self._numbers(space, key, place)
        if not numbers.size or not (np.abs(numbers) < 2**53).all() or (numbers != np.round(numbers)).any():
            raise self._wrong(space, key, place, "whole numbers")
        return numbers.astype(np.int64)

    def _whole(self, space: Mapping[str, Any], key: str, place: str, default: int | None = None) -> int:
        """Return an entry that is one whole number; `default` stands where there is none."""
        if default is not None and space.get(key) is None:
            return default
        numbers = self._wholes(space, key, place)
        if numbers.size != 1:
            raise self._wrong(space, key, place, "one whole number")
        return int(numbers[0])

    def _wrong(self, space: Mapping[str, Any], key: str, place: str, what: str) -> UserError:
        entry = f"{key}={reprlib.repr(space[key])}" if key in space else f"no {key}"
        return UserError(f"{self.file}: the {place} gives {entry}, and a space of its type needs {what} there.")

    def _unfit(self, kind: Any, what: str) -> UserError:
        return UserError(f"{self.file}: the action_space ({kind}) does not fit the data: {what}.")

    def _check_width(self, kind: str, declared: int, rows: np.ndarray) -> None:
        width = rows.shape[1]
        if declared != width:
            raise self._unfit(kind, f"it declares {declared} numbers a step, and there are {width}")

    def _check_count(self, count: int) -> None:
        if not 0 < count <= MOST:
            raise UserError(f"{self.file}: the action_space declares {count:,} choices; there may be 1 to {MOST:,}.")


def _json(text: str | bytes, file: str, what: str) -> Any:
    """Read JSON, and say in a sentence where it is none."""
    try:
        return json.loads(text.decode("utf-8") if isinstance(text, bytes) else text)
    except ValueError as problem:
        raise UserError(f"{file}: {what} no JSON ({problem}).") from None
    except RecursionError:
        raise UserError(f"{file}: {what} nested too deeply to be read.") from None
