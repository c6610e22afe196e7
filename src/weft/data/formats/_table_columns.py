"""The columns of a table by their part in a log: which they are, in which order their rows come, what they hold."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import UserError
from ...core.memory import Allowance
from ..columns import Ragged, components, like
from ..narrow import fractions
from . import _tables as frames

if TYPE_CHECKING:
    import polars

__all__ = ["Roles", "RowOrder", "TableColumns"]

NUMBERS = "numbers"  # the key of all numeric columns where an observation has other components, too
LISTED = 5  # times the memory of a column of lists, which become lists of Python before they are arrays


@dataclasses.dataclass(frozen=True)
class Roles:
    """Which columns the user says are which part of the log, by name or pattern; the options of `Table.read`."""

    observations: Any
    action: Any
    reward: Any
    next_observations: Any
    episode: str | None
    time: str | None
    terminal: str | None
    timeout: str | None
    ends: str | None
    propensity: str | None
    duration: str | None
    source: str | None
    unit: str | None
    identity: Any

    def check(self, frame: "polars.DataFrame", origin: str) -> None:
        """Raise UserError where a needed part is not named, or there is nothing to read."""
        for part in ("observations", "action", "reward"):
            if getattr(self, part) is None:
                raise UserError(
                    f"{origin}: say which columns are the {part}, as {part}='...': {', '.join(frame.columns)}."
                )
        if frame.height == 0:
            raise UserError(f"{origin}: there are no steps; give a log with at least one.")

    def others(self, frame: "polars.DataFrame", origin: str) -> dict[str, str]:
        """Return what else than an observation each column is; raise UserError for one that is action and reward."""
        words = ("action", "reward", "next_observations", "episode", "time", "terminal", "timeout", "propensity")
        roles: dict[str, str] = {}
        for part in (*words, "duration", "source", "unit", "identity"):
            patterns = getattr(self, part)
            if patterns is None or (part in ("unit", "identity") and not _columns(patterns) <= set(frame.columns)):
                continue  # what is no column is refused once the log is read
            role = "next observation" if part == "next_observations" else part
            for name in frames.pick(frame, patterns, role, origin):
                if {role, roles.setdefault(name, role)} == {"action", "reward"}:
                    raise UserError(f"{origin}: column '{name}' is both action and reward; name another one.")
        return roles


def _columns(names: Any) -> set[str]:
    return {names} if isinstance(names, str) else set(names)


@dataclasses.dataclass(frozen=True)
class RowOrder:
    """The rows of a table with episodes together and in the order of time; `last` says where each episode ends."""

    order: np.ndarray
    last: np.ndarray

    def sort(self, part: Any) -> Any:
        """Return observations in this order."""
        return like(part, {key: column[self.order] for key, column in components(part).items()})


class TableColumns:
    """The columns of one table by their part in a log; `names` collects how the user calls the parts."""

    def __init__(
        self, frame: "polars.DataFrame", origin: str, kinds: Mapping[str, str], allowance: Allowance | None
    ) -> None:
        self.frame, self.origin, self.kinds, self.allowance = frame, origin, kinds, allowance
        self.notes: list[str] = []
        self.names: dict[str, str] = {}
        self.numeric: list[str] = []  # the columns that become one array, in its order
        for name in kinds:
            frames.pick(frame, name, "kinds", origin)

    def one(self, name: str, part: str) -> str:
        return frames.pick_one(self.frame, name, part, self.origin)

    def finite(self, name: str) -> Any:
        if self.allowance and self.frame[name].dtype.is_nested():
            self.allowance.take(LISTED * int(self.frame[name].estimated_size()))
        return frames.finite(frames.values(self.frame, name, self.origin), name, self.origin)

    def meant(self, name: str, words: bool) -> Any:
        """Return a column as it is meant: fractions that are written as text are numbers unless they are `words`."""
        column = self.finite(name)
        numbers = None if words or _form(column) != "words" else fractions(column)
        if numbers is None:
            return column
        self.notes.append(f"Column '{name}' holds numbers written as text; they are read as numbers.")
        return frames.finite(numbers, name, self.origin)

    def observations(self, names: list[str], following: Any) -> tuple[Any, Any, dict[str, Any]]:
        """Return the observations, the ones after (or nothing), and their kinds and categories."""
        if following and len(following) != len(names):
            raise UserError(
                f"{self.origin}: next_observations means {len(following)} columns ({', '.join(following)}), "
                f"observations {len(names)} ({', '.join(names)}); give as many, in the same order."
            )
        self.names |= {"observations": ", ".join(names), "next_observations": ", ".join(following or ())}
        self.names[NUMBERS] = ", ".join(names)
        sides = [names, following] if following else [names]
        parts: list[dict[str, Any]] = [{} for _ in sides]
        blocks: list[list[np.ndarray]] = [[] for _ in sides]
        facts: dict[str, Any] = {"kinds": {}, "categories": {}}
        for places in zip(*sides, strict=True):
            name = places[0]
            kind, columns = self._component(places)
            if kind == "category":
                columns, facts["categories"][name] = frames.coded(columns)
                facts["kinds"][name] = "category"
            elif kind == "number":
                self._call_number(places)
                for block, column in zip(blocks, columns, strict=True):
                    block.append(column)
                continue
            elif name in self.kinds:
                facts["kinds"][name] = self.kinds[name]
            for part, column in zip(parts, columns, strict=True):
                part[name] = column
        return *_gathered(parts, blocks, facts), facts

    def _component(self, places: tuple[str, ...]) -> tuple[str, list[Any]]:
        """Return what a column (and the one after a step) holds, `category`, `number` or `array`, and its values."""
        name = places[0]
        declared = self.kinds.get(name) == "category"
        columns = [self.meant(place, declared) for place in places]
        forms = {_form(column) for column in columns}
        if len(forms) > 1:
            raise UserError(f"{self.origin}: columns '{name}' and '{places[1]}' differ in kind.")
        if forms == {"words"}:
            declare = f", or pass kinds={{'{name}': 'category'}} (--kinds {name}=category) if they are words"
            for column, place in zip(columns, places, strict=True):
                frames.words(column, place, self.origin, declare, declared, self.notes)
        if forms == {"words"} or declared:
            return "category", columns
        if forms == {"numbers"} and columns[0].ndim == 1 and name not in self.kinds:
            return "number", columns
        return "array", columns

    def _call_number(self, places: tuple[str, ...]) -> None:
        """Remember how the user calls the next column of the array of all numbers, before and after steps."""
        number = len(self.numeric)
        for side, place in zip(("observations", "next_observations"), places, strict=False):
            self.names[f"{side}[{number}]"] = place
        self.names[f"{NUMBERS}[{number}]"] = places[0]
        self.numeric.append(places[0])

    def actions(self, names: list[str], bounded: bool, labelled: bool) -> np.ndarray:
        """Return actions `(rows,)` or `(rows, act)`."""
        columns = [self.meant(name, labelled) for name in names]
        for name, column in zip(names, columns, strict=True):
            if isinstance(column, Ragged) or (len(columns) > 1 and (column.ndim > 1 or column.dtype.kind == "U")):
                kind = "lists" if isinstance(column, Ragged) or column.ndim > 1 else "words"
                raise UserError(f"{self.origin}: column '{name}' holds {kind}; several action columns must be numbers.")
        self.names["actions"] = ", ".join(names)
        actions = columns[0] if len(columns) == 1 else np.stack(columns, 1)
        return actions.astype(np.float32) if bounded and actions.dtype.kind in "biu" else actions

    def rewards(self, patterns: Any, rows: RowOrder) -> Any:
        """Return the one reward `(rows,)`, or several by their names."""
        names = frames.pick(self.frame, patterns, "reward", self.origin)
        columns = {name: frames.number(self.frame, name, self.origin)[rows.order] for name in names}
        self.names["rewards"] = names[0]
        return columns if len(names) > 1 else columns[names[0]]

    def numbers(self, name: str | None, part: str, field: str, rows: RowOrder) -> Any:
        """Return a column of numbers in order, or nothing where none is named."""
        if name is None:
            return None
        self.names[field] = self.one(name, part)
        return frames.number(self.frame, self.names[field], self.origin)[rows.order]

    def flags(self, name: str | None, part: str, rows: RowOrder) -> np.ndarray:
        """Return a column of truth values in order, false where none is named."""
        if name is None:
            return np.zeros(len(rows.last), bool)
        return frames.flags(self.frame, self.one(name, part), self.origin)[rows.order]

    def words(self, name: str, part: str) -> np.ndarray:
        """Return a column as text."""
        return self.finite(self.one(name, part)).astype(str)


def _form(column: Any) -> str:
    return "tokens" if isinstance(column, Ragged) else "words" if column.dtype.kind == "U" else "numbers"


def _gathered(parts: list[dict], blocks: list[list[np.ndarray]], facts: dict[str, Any]) -> tuple[Any, Any]:
    """Join the numeric columns, and leave one component that is no category without a name."""
    key = NUMBERS
    while key in parts[0]:
        key += "_"
    for part, block in zip(parts, blocks, strict=True):
        if block:
            part[key] = np.stack(block, 1)
    only = next(iter(parts[0]))
    if len(parts[0]) == 1 and facts["kinds"].get(only) != "category":
        facts["kinds"] = {"": facts["kinds"][only]} if only in facts["kinds"] else {}
        parts = [part[only] for part in parts]
    return parts[0], parts[1] if len(parts) > 1 else None
