"""What arrays of other formats say about the ends of episodes: understood where that is simple, else refused.

weft wants `terminals` (the task is over) and `timeouts` (the log was cut). d3rlpy marks ends of either kind in
`episode_terminals`, Gymnasium cuts in `truncations`, OGBench ends of trajectories in `terminals` and ends of the task
by zeros in `masks`; its compact files have rows without a step, where `valids` is 0. None of these is ever passed over
in silence: it agrees with terminals and timeouts, completes them, or is refused by its name.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core.errors import UserError
from .columns import components, like
from .naming import rows_of

__all__ = ["NAMES", "understood"]

CUT = ("truncations", "truncated", "truncation", "truncateds", "time_limits")
OVER = ("terminations", "terminated", "termination", "is_terminal", "is_terminals")
LAST = ("episode_terminals", "dones", "done", "dones_float", "is_last", "episode_dones", "last_steps")
FIRST = ("is_first", "episode_starts", "first_steps")
ON = ("masks", "mask", "discounts", "discount", "not_dones", "not_done", "nonterminals", "continues")
VALID = ("valids", "valid", "is_valid")
COUNTED = ("episode_ends", "episode_lengths", "trajectory_lengths", "traj_lengths")
NAMES = frozenset((*CUT, *OVER, *LAST, *FIRST, *ON, *VALID, *COUNTED))
"""Names of arrays, in small letters, that say how episodes end."""


class _Flags:
    """The flags of one log while they are put together."""

    def __init__(self, parts: Mapping[str, Any], origin: str) -> None:
        self.origin = origin
        self.count = len(parts["actions"])
        self.parts = dict(parts)
        self.notes: list[str] = []
        self.names: dict[str, str] = {}
        self.rows = np.arange(self.count)
        for part in ("terminals", "timeouts", "boundaries"):
            if self.parts.get(part) is not None:
                self.parts[part] = self.flags(self.parts[part], part)

    def flags(self, values: Any, name: str, whole: bool = True) -> np.ndarray:
        """Return one number a step, truth values where they are to be 0 or 1; raise UserError for all else."""
        column = np.asarray(values)
        if column.ndim == 2 and column.shape[1] == 1:
            column = column[:, 0]
        good = column.dtype.kind in "biuf" and column.shape == (self.count,) and not np.ma.is_masked(values)
        if good and whole and column.dtype != bool:
            good = bool(np.isin(column, (0, 1)).all())
        if not good and name in ("terminals", "timeouts", "boundaries"):
            return values  # `assemble` says what is wrong
        if not good or (column.dtype.kind == "f" and np.isnan(column).any()):
            raise UserError(
                f"{self.origin}: the array '{name}' seems to say how episodes end, but is not one flag a step, 0 or "
                f"1; leave it out, and give 'terminals' and 'timeouts'."
            )
        return column.astype(bool) if whole else column

    def refuse(self, name: str, rows: np.ndarray) -> UserError:
        where = f" ({rows_of(rows)})" if rows.any() else ""
        return UserError(
            f"{self.origin}: the array '{name}' and the arrays terminals and timeouts differ in how episodes "
            f"end{where}; leave it out, or make 'terminals' (the task is over) and 'timeouts' (the log was cut) of it."
        )

    @property
    def last(self) -> np.ndarray:
        """Where episodes end as far as it is known."""
        if self.parts.get("boundaries") is not None:
            return self.parts["boundaries"]
        timeouts = self.parts.get("timeouts")
        return self.parts["terminals"] if timeouts is None else self.parts["terminals"] | timeouts


def understood(
    parts: Mapping[str, Any], others: Mapping[str, Any], origin: str
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return the arguments of `from_arrays`, the other arrays, and options, with flags of other formats understood.

    parts: arrays by the names of arguments, `terminals` and `actions` among them. others: all further arrays. Options
    are notes, names and row numbers. Raises UserError, naming the array, where flags contradict one another or cannot
    be understood.
    """
    names = {str(name).lower(): name for name in others if str(name).lower() in NAMES}
    if not names:
        return dict(parts), dict(others), {}
    ends = _Flags(parts, origin)
    terminals, timeouts = ends.parts["terminals"], ends.parts.get("timeouts")
    flags = [column for column in (terminals, timeouts, ends.parts.get("boundaries")) if column is not None]
    if not all(type(one) is np.ndarray and one.dtype == bool and one.shape == (ends.count,) for one in flags):
        return dict(parts), dict(others), {}  # `assemble` refuses them
    others = dict(others)
    for words, understand in (
        (VALID, _valid), (ON, _on), (OVER, _over), (CUT, _cut), (LAST, _last), (FIRST, _first), (COUNTED, _counted),
    ):  # fmt: skip
        for word in words:
            if word in names:
                others = understand(ends, names[word], others)
    options: dict[str, Any] = {"notes": ends.notes, "names": ends.names}
    if len(ends.rows) < len(parts["actions"]):
        options["row_numbers"] = ends.rows
    return ends.parts, others, options


def _valid(ends: _Flags, name: str, others: dict[str, Any]) -> dict[str, Any]:
    """Rows without a step (OGBench's compact files) hold the last observation of a trajectory."""
    good = ends.flags(others[name], name)
    if good.all():
        return others
    if not _compact(ends.parts, good):
        raise UserError(
            f"{ends.origin}: the array '{name}' is 0 in some rows ({rows_of(~good)}), but not in the layout of "
            "OGBench, where each trajectory ends with one such row for its last observation, a terminal; drop "
            "these rows, and leave it out."
        )
    others = {
        key: np.asarray(value)[good] if _length(value) == ends.count else value
        for key, value in others.items()
        if key != name
    }
    last = np.append(~good[1:], True)[good]
    ends.parts |= _without_bare_rows(ends.parts, good) | {"boundaries": last, "terminals": last}
    ends.rows, ends.count = np.flatnonzero(good), int(good.sum())
    ends.notes.append(
        f"{int((~good).sum())} rows where '{name}' is 0 hold no step; they are the last observations of their episodes."
    )
    if not any(key.lower() in ON for key in others):
        ends.parts |= {"terminals": np.zeros(ends.count, bool), "timeouts": last}
        ends.notes.append("No array says that the task ended, as 'masks' would; all episodes count as timed out.")
    return others


def _compact(parts: Mapping[str, Any], good: np.ndarray) -> bool:
    """Say whether every trajectory ends in one row without a step, a terminal, and nothing else says how it ends."""
    alone = not (~good[1:] & ~good[:-1]).any()
    clean = bool(good[0] and parts["terminals"][~good].all() and alone and not good[-1])
    return clean and not {"timeouts", "boundaries", "next_observations"} & set(parts)


def _without_bare_rows(parts: Mapping[str, Any], good: np.ndarray) -> dict[str, Any]:
    """Return the arrays of the rows that are steps, and as next observations those of the rows below."""
    arrays = {key: np.asarray(part) for key, part in components(parts["observations"]).items()}
    after = {key: np.concatenate([part[1:], part[-1:]])[good] for key, part in arrays.items()}
    steps = {key: np.asarray(part)[good] for key, part in parts.items() if _length(part) == len(good)}
    before = {key: part[good] for key, part in arrays.items()}
    form = parts["observations"]
    return {**steps, "observations": like(form, before), "next_observations": like(form, after)}


def _length(values: Any) -> int:
    shape = np.shape(values) if not isinstance(values, Mapping) else ()
    return shape[0] if shape else -1


def _on(ends: _Flags, name: str, others: dict[str, Any]) -> dict[str, Any]:
    """Zeros say that nothing follows: `terminals` beside them may be the ends of trajectories, cut ones too."""
    shape = np.shape(others[name])
    if len(shape) != 1 and shape[1:] != (1,):
        return others  # masks of choices or of pixels
    discount = name.lower().startswith("discount")
    goes_on = ends.flags(others[name], name, whole=not discount)
    over, terminals = goes_on == 0, ends.parts["terminals"]
    if (over == terminals).all():
        return others
    if discount and not over.any():
        ends.notes.append(f"The array '{name}' is nowhere 0; 'terminals' alone say where the task ends.")
        return others
    if ends.parts.get("timeouts") is not None:
        raise ends.refuse(name, over != terminals)
    if discount and (over & ~terminals).any():
        raise ends.refuse(name, over != terminals)
    boundaries = ends.last
    ends.parts |= {"terminals": over, "timeouts": boundaries & ~over, "boundaries": boundaries}
    ends.names["terminals"] = name
    ends.notes.append(
        f"The task ends where '{name}' is 0 ({int(over.sum())} steps); 'terminals' are the ends of trajectories, and "
        f"{int((boundaries & ~over).sum())} of them count as timed out."
    )
    return others


def _over(ends: _Flags, name: str, others: dict[str, Any]) -> dict[str, Any]:
    differs = ends.flags(others[name], name) != ends.parts["terminals"]
    if differs.any():
        raise ends.refuse(name, differs)
    return others


def _cut(ends: _Flags, name: str, others: dict[str, Any]) -> dict[str, Any]:
    cut, timeouts = ends.flags(others[name], name), ends.parts.get("timeouts")
    if timeouts is None:
        ends.parts["timeouts"] = cut
        ends.names["timeouts"] = name
        ends.notes.append(f"The array '{name}' is taken for the timeouts ({int(cut.sum())} steps).")
        return others
    differs = (cut != timeouts) & ~ends.parts["terminals"]
    if differs.any():
        raise ends.refuse(name, differs)
    return others


def _last(ends: _Flags, name: str, others: dict[str, Any]) -> dict[str, Any]:
    _ended(ends, name, ends.flags(others[name], name))
    return others


def _first(ends: _Flags, name: str, others: dict[str, Any]) -> dict[str, Any]:
    begins = ends.flags(others[name], name)
    if not begins[0]:
        raise ends.refuse(name, ~begins & (np.arange(ends.count) == 0))
    _ended(ends, name, np.append(begins[1:], True))
    return others


def _counted(ends: _Flags, name: str, others: dict[str, Any]) -> dict[str, Any]:
    """Ends as numbers of rows, or lengths of episodes."""
    column = np.asarray(others[name])
    flags = column.shape == (ends.count,) and (ends.count < 2 or np.isin(column, (0, 1)).all())
    if flags and column.sum() != ends.count:
        return _last(ends, name, others)
    counts = column.reshape(-1).astype(np.int64) if column.dtype.kind in "iu" else np.zeros(0, np.int64)
    stops = counts if name.lower() == "episode_ends" else np.cumsum(counts)
    good = len(stops) and stops[0] > 0 and (np.diff(stops) > 0).all() and stops[-1] == ends.count
    if not good:
        raise UserError(
            f"{ends.origin}: the array '{name}' seems to say where episodes end, but its numbers do not lead to the "
            f"{ends.count} steps; leave it out, and give 'terminals' and 'timeouts'."
        )
    last = np.zeros(ends.count, bool)
    last[stops - 1] = True
    _ended(ends, name, last)
    return others


def _ended(ends: _Flags, name: str, last: np.ndarray) -> None:
    """Compare the last steps of episodes with those that are known, or complete these by timeouts."""
    boundaries, terminals = ends.last.copy(), ends.parts["terminals"]
    boundaries[-1] = last[-1] = True
    if (boundaries == last).all():
        return
    if ends.parts.get("timeouts") is not None or ends.parts.get("boundaries") is not None or (terminals & ~last).any():
        raise ends.refuse(name, boundaries != last)
    ends.parts["timeouts"] = last & ~terminals
    ends.names["timeouts"] = name
    ends.notes.append(
        f"Episodes end where '{name}' says so; {int((last & ~terminals).sum())} that are no terminals count as timed "
        "out."
    )
