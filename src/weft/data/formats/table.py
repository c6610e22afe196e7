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
from ..naming import rows_of
from ..narrow import named
from ..steps import Facts, Source, StepColumns
from . import _tables as frames
from ._table_columns import Roles, RowOrder, TableColumns
from ._table_file import table

if TYPE_CHECKING:
    import polars

__all__ = ["Table", "read_frame"]

UNSAID = NAMES | {"terminal", "terminals", "timeout", "timeouts"}


def read_frame(source: Any) -> "polars.DataFrame":
    """Return a table as polars has it: of a Parquet or CSV file, or a data frame. Raises UserError for what is none."""
    if isinstance(source, Path):
        return table(source, Allowance.of(regular(source)))
    return frames.frame_of(source, f"the {type(source).__name__}")


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
        roles = Roles(
            observations,
            action,
            reward,
            next_observations,
            episode,
            time,
            terminal,
            timeout,
            ends,
            propensity,
            duration,
            source,
            shared.get("unit"),
            shared.get("identity") or None,
        )
        roles.check(frame, origin)
        reader = TableColumns(frame, origin, shared.pop("kinds", None) or {}, allowance)
        return _dataset(reader, roles, shared)


def _dataset(reader: TableColumns, roles: Roles, shared: Mapping[str, Any]) -> Dataset:
    """Build the log of the columns by their roles; `shared` are the options of every format."""
    frame, origin = reader.frame, reader.origin
    others = roles.others(frame, origin)
    rows = _rows(reader, roles)
    terminals, timeouts = _ends(reader, roles, rows)
    names = _observed(reader, roles, others)
    following = roles.next_observations and frames.pick(frame, roles.next_observations, "next_observations", origin)
    before, after, facts = reader.observations(names, following)
    decided = frames.pick(frame, roles.action, "action", origin)
    actions = reader.actions(decided, "action_bounds" in shared, bool(shared.get("action_labels")))
    if silent := [name for name in frame.columns if name.lower() in UNSAID and name not in {*others, *names}]:
        reader.notes.append(f"Columns that may say how episodes end are not used: {', '.join(silent)}.")
    steps = StepColumns(
        rows.sort(before),
        actions[rows.order],
        reader.rewards(roles.reward, rows),
        terminals,
        timeouts,
        next_observations=None if after is None else rows.sort(after),
        propensities=reader.numbers(roles.propensity, "propensity", "propensities", rows),
        durations=_durations(reader, roles, rows),
        sources=None if roles.source is None else reader.words(roles.source, "source")[rows.order],
        boundaries=rows.last,
        columns={name: column[rows.order] for name, column in frames.extra_columns(frame).items()},
    )
    reader.names |= {"terminals": str(roles.terminal), "timeouts": str(roles.timeout)}
    data = Dataset.from_steps(
        steps, Facts.of({**facts, **shared}), Source(origin, reader.names, rows.order, reader.notes)
    )
    return _named(data, reader.numeric, decided)


def _observed(reader: TableColumns, roles: Roles, others: Mapping[str, str]) -> list[str]:
    """Return the columns of the observations, and note which of them a policy may not have when it is asked."""
    left: list[str] = []
    names = frames.pick(reader.frame, roles.observations, "observations", reader.origin, others, left)
    if left:
        parts = ", ".join(f"{name} ({others[name]})" for name in left)
        reader.notes.append(
            f"The observations are {_listed(names)}; columns with another part in the log are left out: {parts}. Name "
            "them in observations to have them."
        )
    for name in names:
        if name in others:
            reader.notes.append(f"Column '{name}' is both {others[name]} and observation.")
    if flags := [name for name in names if name.lower() in UNSAID]:
        reader.notes.append(f"Observations may say how episodes end: {', '.join(flags)}.")
    return names


def _listed(names: list[str]) -> str:
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def _named(data: Dataset, numeric: list[str], decided: list[str]) -> Dataset:
    """Return the log with the names of its numeric columns, by which it meets policies and other logs."""
    spec = data.spec
    *others, last = spec.observations  # the numbers come last
    last = dataclasses.replace(last, names=tuple(numeric)) if numeric else last
    several = len(decided) > 1 and spec.action.kind != "discrete"
    action = dataclasses.replace(spec.action, names=tuple(decided)) if several else spec.action
    return dataclasses.replace(data, spec=dataclasses.replace(spec, observations=(*others, last), action=action))


def _rows(reader: TableColumns, roles: Roles) -> RowOrder:
    """Return the rows with episodes together and sorted by time, and which of them end an episode."""
    frame, origin, episode = reader.frame, reader.origin, roles.episode
    when = None if roles.time is None else reader.one(roles.time, "time")
    if episode is None:
        return RowOrder(np.arange(frame.height), np.ones(frame.height, bool))
    number = frames.values(frame, reader.one(episode, "episode"), origin)
    if isinstance(number, Ragged) or number.ndim > 1:
        raise UserError(f"{origin}: column '{episode}' holds lists; one number or word a row names the episode.")
    if problem := named(number, f"column '{episode}'"):
        raise UserError(f"{origin}: {problem}")
    _, first, member = np.unique(number, return_index=True, return_inverse=True)
    place = np.argsort(np.argsort(first))[member]  # episodes stay in the order in which they begin
    rank = np.zeros(frame.height, int)
    if when is not None:
        rank = frames.moments(frame, when, origin).rank("dense").to_numpy().astype(int)
    order = np.lexsort((rank, place))
    moved = int((order != np.arange(len(order))).sum())
    if moved:
        reader.notes.append(f"{moved} rows were moved to bring episodes together and in order of time.")
    last = np.append(np.diff(place[order]) != 0, True)
    if when is not None:
        equal = np.zeros(len(order), bool)
        equal[order[1:]] = (np.diff(rank[order]) == 0) & ~last[:-1]
        if equal.any():
            reader.notes.append(
                f"Rows of one episode have equal times in column '{when}' ({rows_of(equal)}); they stay in the "
                "order of the table."
            )
    return RowOrder(order, last)


def _ends(reader: TableColumns, roles: Roles, rows: RowOrder) -> tuple[np.ndarray, np.ndarray]:
    """Return terminals and timeouts; raise UserError where the options contradict one another or say too little."""
    origin, ends, terminal, timeout = reader.origin, roles.ends, roles.terminal, roles.timeout
    flagged = terminal is not None or timeout is not None
    if ends not in (None, "terminal", "timeout"):
        raise UserError(f"{origin}: ends must be 'terminal' or 'timeout', got {ends!r}.")
    if ends == "terminal" and flagged:
        raise UserError(
            f"{origin}: ends='terminal' says that every episode ends itself; leave terminal and timeout out."
        )
    if roles.episode is None:
        if flagged or ends == "timeout":
            raise UserError(
                f"{origin}: without episode=COLUMN each row is one decision that ends itself; name the column that "
                "tells episodes apart (--episode COLUMN), or leave terminal, timeout and ends out."
            )
        return rows.last, np.zeros(len(rows.last), bool)
    if not flagged and ends is None:
        reader.notes.append(ENDS_ASSUMED)
    elif terminal is None and ends is None:
        raise UserError(
            f"{origin}: timeout={timeout!r} says which episodes were cut; say how the others end, by terminal=COLUMN "
            "(--terminal COLUMN), or by ends='timeout' (--ends timeout) where all were cut."
        )
    terminals, timeouts = reader.flags(terminal, "terminal", rows), reader.flags(timeout, "timeout", rows)
    return terminals if flagged or ends == "timeout" else rows.last, timeouts


def _durations(reader: TableColumns, roles: Roles, rows: RowOrder) -> Any:
    """Return how long steps took; the times of the steps themselves mean their differences."""
    times = reader.numbers(roles.duration, "duration", "durations", rows)
    if times is None or roles.duration != roles.time:
        return times
    gaps = np.append(np.diff(times.astype(float)), 1.0)
    inside = np.flatnonzero(rows.last) - 1  # the last step of an episode is taken to be as long as the one before
    before = np.where(np.append(True, rows.last[:-1])[rows.last], 1.0, gaps[inside])
    gaps[rows.last] = before
    return gaps
