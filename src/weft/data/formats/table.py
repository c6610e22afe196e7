"""Tables: Parquet, CSV, pandas and polars data frames, dictionaries of columns; options say which column is what.

Without an `episode` column each row is one terminal decision. With one, `terminal=COLUMN` or `ends=` says how
episodes end; where nothing does, each ends in a terminal, and a note says so. Words become categories, kept in the
`Spec`. Rows of one episode are put together in the order of `time`; complaints count rows as they are in the table,
from 0.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ...core.errors import UserError
from ...core.files import regular
from ...core.memory import Allowance
from ..assemble import ENDS_ASSUMED
from ..columns import Ragged
from ..dataset import Dataset
from ..ends import NAMES
from ..format import Format
from ..narrow import fractions, named
from . import _tables as frames
from ._table_file import table

if TYPE_CHECKING:
    import polars

UNSAID = NAMES | {"terminal", "terminals", "timeout", "timeouts"}
NUMBERS = "numbers"  # the key of all numeric columns where an observation has other components, too
LISTED = 5  # times the memory of a column of lists, which become lists of Python before they are arrays


class Table(Format):
    """A table of logged decisions, one a row."""

    suffixes: ClassVar[tuple[str, ...]] = (".parquet", ".csv", ".csv.gz")

    @classmethod
    def holds(cls, log: Any) -> bool:
        """Claim data frames and dictionaries of columns that do not name themselves observations and actions."""
        if isinstance(log, Mapping):
            return not any(str(key).split("/")[0] in ("actions", "observations") for key in log)
        return type(log).__name__ in ("DataFrame", "LazyFrame") and type(log).__module__.split(".")[0] in (
            "pandas",
            "polars",
        )

    def read(
        self,
        log: Any,
        /,
        *,
        observations: Any = None,
        action: Any = None,
        reward: Any = None,
        next_observations: Any = None,
        episode: str | None = None,
        time: str | None = None,
        terminal: str | None = None,
        timeout: str | None = None,
        ends: str | None = None,
        propensity: str | None = None,
        duration: str | None = None,
        source: str | None = None,
        gigabytes: float | None = None,
        **shared: Any,
    ) -> Dataset:
        """Read the table; every option names columns, by name, glob (`x*`), list, or names separated by commas.

        observations: numbers become one array; words, columns called a category in `kinds`, and lists (tokens) become
        components of their own. A glob leaves columns out that are another part of the log (action, reward, time, …),
        and a note says so; name them to have them. action: one column of whole numbers or words (choices), else numbers
        (continuous; whole numbers, too, when `action_bounds` is given). reward: one column, or several as named
        components. time: numbers, moments, or words that are ISO dates or times. ends: `terminal` (also where nothing
        is said) or `timeout`, how every episode ends. duration: the time a step took; the `time` column itself means
        the differences of it. propensity: probability (choices) or density of the action.

        Raises UserError, naming file, column and rows, for whatever is missing or wrong.
        """
        origin = str(log) if isinstance(log, Path) else f"the {type(log).__name__}"
        allowance = Allowance.of(regular(log), gigabytes) if isinstance(log, Path) else None
        frame = table(log, allowance) if allowance else frames.frame_of(log, origin)
        for part, given in (("observations", observations), ("action", action), ("reward", reward)):
            if given is None:
                raise UserError(
                    f"{origin}: say which columns are the {part}, as {part}='...': {', '.join(frame.columns)}."
                )
        if frame.height == 0:
            raise UserError(f"{origin}: there are no steps; give a log with at least one.")
        reader = _Columns(frame, origin, shared.pop("kinds", None) or {}, allowance)
        roles = {"action": action, "reward": reward, "next observation": next_observations, "episode": episode}
        roles |= {"time": time, "terminal": terminal, "timeout": timeout, "propensity": propensity}
        roles |= {"duration": duration, "source": source, "unit": shared.get("unit")}
        others = _roles(frame, roles, origin)
        order, last, notes = _order(reader, episode, time)
        reader.notes = notes
        if episode is not None and terminal is None and timeout is None and ends is None:
            ends = "terminal"
            notes.append(ENDS_ASSUMED)
        ended = _ends(reader, last, order, episode, terminal, timeout, ends)
        observed = _observed(frame, observations, others, origin, notes)
        following = next_observations and frames.pick(frame, next_observations, "next_observations", origin)
        seen, after, facts = reader.observations(observed, following)
        acted = frames.pick(frame, action, "action", origin)
        taken, names = reader.actions(acted, "action_bounds" in shared, bool(shared.get("action_labels")))
        if silent := [name for name in frame.columns if name.lower() in UNSAID and name not in {*others, *observed}]:
            notes.append(f"Columns that may say how episodes end are not used: {', '.join(silent)}.")
        rewards = frames.pick(frame, reward, "reward", origin)
        earned = {name: frames.number(frame, name, origin)[order] for name in rewards}
        names |= {"observations": ", ".join(observed), "terminals": str(terminal), "timeouts": str(timeout)}
        names |= {"next_observations": ", ".join(following or ()), "rewards": rewards[0], NUMBERS: ", ".join(observed)}
        names |= reader.places
        data = Dataset.from_arrays(
            _taken(seen, order),
            taken[order],
            earned if len(rewards) > 1 else earned[rewards[0]],
            **ended,
            next_observations=None if after is None else _taken(after, order),
            propensities=reader.optional(propensity, "propensity", names, "propensities", order),
            durations=_durations(reader, duration, time, order, last, names),
            sources=None if source is None else _words(reader, source)[order],
            boundaries=last,
            columns={name: column[order] for name, column in frames.extra_columns(frame).items()},
            row_numbers=order,
            names=names,
            origin=origin,
            notes=notes,
            **facts,
            **shared,
        )
        return _named(data, reader.numeric, acted)


class _Columns:
    """The columns of one table by their part in a log."""

    def __init__(
        self, frame: "polars.DataFrame", origin: str, kinds: Mapping[str, str], allowance: Allowance | None
    ) -> None:
        self.frame, self.origin, self.kinds, self.allowance = frame, origin, kinds, allowance
        self.notes: list[str] = []
        self.places: dict[str, str] = {}
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
        found = self.finite(name)
        told = None if words or isinstance(found, Ragged) or found.dtype.kind != "U" else fractions(found)
        if told is None:
            return found
        self.notes.append(f"Column '{name}' holds numbers written as text; they are read as numbers.")
        return frames.finite(told, name, self.origin)

    def observations(self, seen: list[str], after: Any) -> tuple[Any, Any, dict[str, Any]]:
        """Return the observations, the ones after (or nothing), and their kinds and categories."""
        if after and len(after) != len(seen):
            raise UserError(
                f"{self.origin}: next_observations means {len(after)} columns ({', '.join(after)}), observations "
                f"{len(seen)} ({', '.join(seen)}); give as many, in the same order."
            )
        sides = [seen, after] if after else [seen]
        parts: list[dict[str, Any]] = [{} for _ in sides]
        numeric: list[list[np.ndarray]] = [[] for _ in sides]
        facts: dict[str, Any] = {"kinds": {}, "categories": {}}
        for name, *others in zip(*sides, strict=True):
            declared = self.kinds.get(name) == "category"
            found = [self.meant(column, declared) for column in (name, *others)]
            kinds = {
                "tokens" if isinstance(f, Ragged) else "words" if f.dtype.kind == "U" else "numbers" for f in found
            }
            if len(kinds) > 1:
                raise UserError(f"{self.origin}: columns '{name}' and '{others[0]}' differ in kind.")
            if kinds == {"words"}:
                for column, side in zip(found, (name, *others), strict=True):
                    declare = f", or pass kinds={{'{name}': 'category'}} (--kinds {name}=category) if they are words"
                    frames.words(column, side, self.origin, declare, declared, self.notes)
            if kinds == {"words"} or declared:
                found, facts["categories"][name] = frames.coded(found)
                facts["kinds"][name] = "category"
            elif kinds == {"numbers"} and found[0].ndim == 1 and name not in self.kinds:
                for side, place in zip(("observations", "next_observations"), (name, *others), strict=False):
                    self.places[f"{side}[{len(numeric[0])}]"] = place
                self.places[f"{NUMBERS}[{len(numeric[0])}]"] = name
                self.numeric.append(name)
                for block, column in zip(numeric, found, strict=True):
                    block.append(column)
                continue
            elif name in self.kinds:
                facts["kinds"][name] = self.kinds[name]
            for part, column in zip(parts, found, strict=True):
                part[name] = column
        return *_gathered(parts, numeric, facts), facts

    def actions(self, chosen: list[str], bounded: bool, labelled: bool) -> tuple[np.ndarray, dict[str, str]]:
        """Return actions `(rows,)` or `(rows, act)`, and how the user calls them."""
        found = [self.meant(name, labelled) for name in chosen]
        for name, column in zip(chosen, found, strict=True):
            if isinstance(column, Ragged) or (len(found) > 1 and (column.ndim > 1 or column.dtype.kind == "U")):
                kind = "lists" if isinstance(column, Ragged) or column.ndim > 1 else "words"
                raise UserError(f"{self.origin}: column '{name}' holds {kind}; several action columns must be numbers.")
        made = found[0] if len(found) == 1 else np.stack(found, 1)
        if bounded and made.dtype.kind in "biu":
            made = made.astype(np.float32)
        return made, {"actions": ", ".join(chosen)}

    def optional(self, name: str | None, part: str, names: dict[str, str], field: str, order: np.ndarray) -> Any:
        """Return a column of numbers in order, or nothing where none is named."""
        if name is None:
            return None
        names[field] = self.one(name, part)
        return frames.number(self.frame, names[field], self.origin)[order]


def _roles(frame: "polars.DataFrame", roles: Mapping[str, Any], origin: str) -> dict[str, str]:
    """Return what else than an observation each column is; raise UserError for one that is action and reward."""
    found: dict[str, str] = {}
    for role, patterns in roles.items():
        if patterns is None or (role == "unit" and patterns not in frame.columns):
            continue  # a unit that is no column is refused once the log is read
        for name in frames.pick(frame, patterns, role, origin):
            if {role, found.setdefault(name, role)} == {"action", "reward"}:
                raise UserError(f"{origin}: column '{name}' is both action and reward; name another one.")
    return found


def _observed(
    frame: "polars.DataFrame", patterns: Any, others: Mapping[str, str], origin: str, notes: list[str]
) -> list[str]:
    """Return the columns of the observations, and note which of them a policy may not have when it is asked."""
    left: list[str] = []
    found = frames.pick(frame, patterns, "observations", origin, others, left)
    if left:
        shown = ", ".join(f"{name} ({others[name]})" for name in left)
        notes.append(
            f"The observations are {_listed(found)}; columns with another part in the log are left out: {shown}. Name "
            "them in observations to have them."
        )
    for name in found:
        if name in others:
            notes.append(f"Column '{name}' is both {others[name]} and observation.")
    if flags := [name for name in found if name.lower() in UNSAID]:
        notes.append(f"Observations may say how episodes end: {', '.join(flags)}.")
    return found


def _listed(names: list[str]) -> str:
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def _gathered(parts: list[dict], numeric: list[list[np.ndarray]], facts: dict[str, Any]) -> tuple[Any, Any]:
    """Join the numeric columns, and leave one component that is no category without a name."""
    key = NUMBERS
    while key in parts[0]:
        key += "_"
    for part, block in zip(parts, numeric, strict=True):
        if block:
            part[key] = np.stack(block, 1)
    only = next(iter(parts[0]))
    if len(parts[0]) == 1 and facts["kinds"].get(only) != "category":
        facts["kinds"] = {"": facts["kinds"][only]} if only in facts["kinds"] else {}
        parts = [part[only] for part in parts]
    return parts[0], parts[1] if len(parts) > 1 else None


def _named(data: Dataset, numeric: list[str], acted: list[str]) -> Dataset:
    """Return the log with the names of its numeric columns, by which it meets policies and other logs."""
    spec = data.spec
    *others, last = spec.observations  # the numbers come last
    last = dataclasses.replace(last, names=tuple(numeric)) if numeric else last
    several = len(acted) > 1 and spec.action.kind != "discrete"
    action = dataclasses.replace(spec.action, names=tuple(acted)) if several else spec.action
    return dataclasses.replace(data, spec=dataclasses.replace(spec, observations=(*others, last), action=action))


def _taken(part: Any, order: np.ndarray) -> Any:
    return {key: column[order] for key, column in part.items()} if isinstance(part, dict) else part[order]


def _words(reader: _Columns, name: str) -> np.ndarray:
    return reader.finite(reader.one(name, "source")).astype(str)


def _order(reader: _Columns, episode: str | None, time: str | None) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return the rows with episodes together and sorted by time, and which of them end an episode."""
    frame, origin = reader.frame, reader.origin
    when = None if time is None else reader.one(time, "time")
    if episode is None:
        return np.arange(frame.height), np.ones(frame.height, bool), []
    number = frames.values(frame, reader.one(episode, "episode"), origin)
    if isinstance(number, Ragged) or number.ndim > 1:
        raise UserError(f"{origin}: column '{episode}' holds lists; one number or word a row names the episode.")
    if refused := named(number, f"column '{episode}'"):
        raise UserError(f"{origin}: {refused}")
    _, first, member = np.unique(number, return_index=True, return_inverse=True)
    place = np.argsort(np.argsort(first))[member]  # episodes stay in the order in which they begin
    rank = np.zeros(frame.height, int)
    if when is not None:
        rank = frames.moments(frame, when, origin).rank("dense").to_numpy().astype(int)
    order = np.lexsort((rank, place))
    moved = int((order != np.arange(len(order))).sum())
    notes = [f"{moved} rows were moved to bring episodes together and in order of time."] if moved else []
    last = np.append(np.diff(place[order]) != 0, True)
    if when is not None:
        equal = np.zeros(len(order), bool)
        equal[order[1:]] = (np.diff(rank[order]) == 0) & ~last[:-1]
        if equal.any():
            notes.append(
                f"Rows of one episode have equal times in column '{when}' ({frames.rows_of(equal)}); they stay in the "
                "order of the table."
            )
    return order, last, notes


def _ends(
    reader: _Columns,
    last: np.ndarray,
    order: np.ndarray,
    episode: str | None,
    terminal: str | None,
    timeout: str | None,
    ends: str | None,
) -> dict[str, np.ndarray]:
    """Return terminals and timeouts; raise UserError where the options contradict one another or say too little."""
    origin, frame = reader.origin, reader.frame
    given = terminal is not None or timeout is not None
    if ends not in (None, "terminal", "timeout"):
        raise UserError(f"{origin}: ends must be 'terminal' or 'timeout', got {ends!r}.")
    if ends == "terminal" and given:
        raise UserError(
            f"{origin}: ends='terminal' says that every episode ends itself; leave terminal and timeout out."
        )
    if episode is None:
        if given or ends == "timeout":
            raise UserError(
                f"{origin}: without episode=COLUMN each row is one decision that ends itself; name the column that "
                "tells episodes apart (--episode COLUMN), or leave terminal, timeout and ends out."
            )
        return {"terminals": last, "timeouts": np.zeros(len(last), bool)}
    if terminal is None and ends is None:
        raise UserError(
            f"{origin}: timeout={timeout!r} says which episodes were cut; say how the others end, by terminal=COLUMN "
            "(--terminal COLUMN), or by ends='timeout' (--ends timeout) where all were cut."
        )
    found = {}
    for part, name in (("terminal", terminal), ("timeout", timeout)):
        told = None if name is None else frames.flags(frame, reader.one(name, part), origin)[order]
        found[f"{part}s"] = np.zeros(len(last), bool) if told is None else told
    return {**found, "terminals": last} if ends == "terminal" else found


def _durations(
    reader: _Columns, duration: str | None, time: str | None, order: np.ndarray, last: np.ndarray, names: dict[str, str]
) -> Any:
    found = reader.optional(duration, "duration", names, "durations", order)
    if found is None or duration != time:
        return found
    gaps = np.append(np.diff(found.astype(float)), 1.0)
    inside = np.flatnonzero(last) - 1  # the last step of an episode is taken to be as long as the one before
    before = np.where(np.append(True, last[:-1])[last], 1.0, gaps[inside])
    gaps[last] = before
    return gaps
