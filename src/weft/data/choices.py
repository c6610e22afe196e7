"""Actions: continuous ones with their bounds, choices as codes with their labels, and how to tell them apart."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.errors import UserError
from .narrow import far, judged, plain, scattered
from .spec import ActionSpec
from .validate import MOST, Naming, finite

__all__ = ["action_columns"]


def action_columns(
    actions: Any, count: int, bounds: Any, labels: Sequence[str], number: Any, name: Naming
) -> tuple[np.ndarray, ActionSpec]:
    """Return the actions in their stored form and what can be done.

    Whole numbers are choices, and whole floats, too, where their number or labels are declared; with bounds, numbers
    are continuous. Whole numbers that are far apart are names of choices and get codes from 0.
    """
    if bounds is not None and (number is not None or len(labels)):
        raise name.refuse("action bounds mean numbers, a count or labels mean choices; give one of them.")
    sizes = _sizes(number, labels, name)
    try:
        found = plain(actions, "actions", name)
    except UserError:
        raise
    except ValueError:
        raise name.refuse(f"column {name('actions')} has rows of different shapes.") from None
    if found.size == 0:
        raise name.refuse(f"column {name('actions')} has the shape {found.shape}: there is nothing in it.")
    if found.dtype.kind in "US" and isinstance(actions, (list, tuple)):
        found = plain(np.array(actions, object), "actions", name)  # NumPy has made text of the numbers among the labels
    if found.dtype.kind in "USO" and found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.dtype.kind in "USO" and found.ndim > 1:
        raise name.refuse(f"column {name('actions')} holds several labels a step; give one, or numbers.")
    if found.dtype.kind in "USO":
        kinds = {type(value).__name__ for value in found.reshape(-1).tolist()}
        kinds = {"text" if kind == "str" else kind for kind in kinds}
        if len(kinds) > 1:
            odd = np.array([not isinstance(value, type(found.reshape(-1)[0])) for value in found.reshape(-1).tolist()])
            raise name.refuse(
                f"column {name('actions')} mixes action types ({', '.join(sorted(kinds))}; unlike the first: "
                f"{name.some(odd)}); make them all numbers or all labels."
            )
        if kinds & {"text", "bytes", "int"}:
            if bounds is not None:
                raise name.refuse(f"column {name('actions')} holds words, which have no bounds; leave them out.")
            words = np.array([v.decode("latin-1") if isinstance(v, bytes) else str(v) for v in found.tolist()])
            return _labelled(words, labels, sizes, name, "text" in kinds or "bytes" in kinds)
        found = np.asarray(found.tolist())
    if found.dtype == bool:
        found = found.astype(np.int32)
    if found.dtype.kind == "f" and sizes:
        whole = (np.isfinite(found) & (found == np.round(found)) & (np.abs(found) < 2**53)).reshape(count, -1).all(1)
        if np.isfinite(found).all() and not whole.all():
            raise name.refuse(
                f"column {name('actions')} holds fractions ({name.some(~whole)}), though a number of choices or labels "
                "are declared; leave these out for continuous actions."
            )
        found = found.astype(np.int64) if whole.all() else found
    if found.dtype.kind in "iu" and bounds is None:
        return _integer_actions(found, labels, sizes, name)
    if found.dtype.kind not in "iuf":
        raise name.refuse(f"column {name('actions')} holds {found.dtype} values; actions must be numbers or labels.")
    found = finite(found, count, "actions", name).reshape(count, -1)
    low, high = _action_bounds(bounds, found.shape[1], name)
    if low is not None and high is not None:
        room = 1e-6 * np.minimum(1.0, (high - low) / 2)
        outside = ((found < low - room) | (found > high + room)).any(1)
        if outside.any():
            raise name.refuse(
                f"column {name('actions')} is outside its bounds [{low.tolist()}, {high.tolist()}] "
                f"({name.some(outside)})."
            )
    else:
        _unbounded(found, name)
    return found, ActionSpec(
        "continuous",
        found.shape[1:],
        "float32",
        None if low is None else tuple(low.tolist()),
        None if high is None else tuple(high.tolist()),
    )


def _unbounded(found: np.ndarray, name: Naming) -> None:
    """Note what makes the range of the log a bad guess of the bounds of continuous actions."""
    if found.shape[1] == 1 and (found == np.round(found)).all() and 1 < len(np.unique(found)) <= 50:
        name.note(
            f"All values of {name('actions')} are whole numbers written as fractions; they count as continuous "
            "actions. Pass action_count= (--action-count) if they are choices."
        )
    for place, low, high, rows in far(found):
        name.note(
            f"Action {place} ranges from {found[:, place].min():.4g} to {found[:, place].max():.4g}, most of it from "
            f"{low:.4g} to {high:.4g}: without declared bounds actions are scaled by the whole range, so that the far "
            f"values ({name.some(rows)}) leave little of it for the others. Mend or drop them, or pass action_bounds."
        )


def _sizes(number: Any, labels: Sequence[str], name: Naming) -> tuple[int, ...]:
    """Return the declared numbers of choices, none where nothing is declared."""
    if number is None:
        return (len(labels),) if len(labels) else ()
    sizes = tuple(number) if isinstance(number, (tuple, list, np.ndarray)) else (number,)
    if not sizes or not all(isinstance(size, (int, np.integer)) and 0 < size <= MOST for size in sizes):
        raise name.refuse(f"the number of choices must be a whole number from 1 to {MOST:,}, got {number!r}.")
    if len(labels) and sizes != (len(labels),):
        raise name.refuse(f"there are {len(labels)} action labels, but action_count is {number}; give one of them.")
    return tuple(int(size) for size in sizes)


def _labelled(
    words: np.ndarray, labels: Sequence[str], sizes: tuple[int, ...], name: Naming, text: bool
) -> tuple[np.ndarray, ActionSpec]:
    if text:
        declare = ", or pass action_labels if they are words"
        refused, note = judged(words, f"column {name('actions')}", declare, bool(labels), name.some)
        if refused is not None:
            raise name.refuse(refused)
        if note is not None:
            name.note(note[0].upper() + note[1:])
    known = tuple(labels) or tuple(np.unique(words).tolist())
    code = {label: index for index, label in enumerate(known)}
    strange = np.array([label not in code for label in words.tolist()])
    if strange.any():
        raise name.refuse(f"column {name('actions')} holds labels that are not declared ({name.some(strange)}).")
    if sizes and sizes != (len(known),):
        raise name.refuse(
            f"column {name('actions')} holds {len(known)} different labels, but action_count is {sizes[0]}; pass all "
            "of them as action_labels."
        )
    found = np.array([code[label] for label in words.tolist()])
    return found.astype(np.int32), ActionSpec("discrete", (), "int32", counts=(len(known),), labels=known)


def _action_bounds(bounds: Any, size: int, name: Naming) -> tuple[np.ndarray | None, np.ndarray | None]:
    if bounds is None:
        return None, None
    try:
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, which is refused below
            low, high = (np.broadcast_to(np.asarray(bound, np.float32), (size,)) for bound in bounds)
    except (TypeError, ValueError):
        raise name.refuse(f"the action bounds must be a pair (low, high), each one number or {size}.") from None
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
        raise name.refuse(f"the action bounds [{low.tolist()}, {high.tolist()}] must be finite, the lower ones lower.")
    return low, high


def _integer_actions(
    found: np.ndarray, labels: Sequence[str], sizes: tuple[int, ...], name: Naming
) -> tuple[np.ndarray, ActionSpec]:
    if found.ndim == 2 and found.shape[1] == 1 and len(sizes) < 2:
        found = found[:, 0]
    if (found < 0).any():
        below = (found < 0).reshape(len(found), -1).any(1)
        raise name.refuse(
            f"column {name('actions')} is outside its bounds: a choice is counted from 0 ({name.some(below)})."
        )
    if found.ndim == 1:
        if not sizes and scattered(found):
            names, codes = np.unique(found, return_inverse=True)
            name.note(
                f"Column {name('actions')} holds {len(names)} whole numbers from {names[0]} to {names[-1]}; they are "
                "labels of choices, with codes from 0. Pass action_count= (--action-count) if there are more choices."
            )
            labels = tuple(str(value) for value in names.tolist())
            return codes.astype(np.int32), ActionSpec("discrete", (), "int32", counts=(len(labels),), labels=labels)
        size = sizes[0] if sizes else int(found.max()) + 1
        if (found >= size).any():
            raise name.refuse(
                f"column {name('actions')} is outside its bounds [0, {size - 1}] ({name.some(found >= size)})."
            )
        never = np.flatnonzero(np.bincount(found.astype(np.int64), minlength=size) == 0)
        if not sizes and len(never):
            shown = ", ".join(map(str, never[:5])) + (", …" if len(never) > 5 else "")
            name.note(
                f"Column {name('actions')} never holds {shown}; all whole numbers from 0 to {size - 1} count as "
                "choices. Give the actions as words if there are no such choices."
            )
        return found.astype(np.int32), ActionSpec("discrete", (), "int32", counts=(size,), labels=tuple(labels))
    found = found.reshape(len(found), -1)
    if sizes and len(sizes) != found.shape[1]:
        what = "labels are" if labels else "action_count is"
        raise name.refuse(
            f"{what} for {len(sizes)} choices a step, but {name('actions')} has {found.shape[1]} columns."
        )
    counts = sizes or tuple(int(part) + 1 for part in found.max(0))
    beyond = (found >= np.array(counts)).any(1)
    if beyond.any():
        raise name.refuse(
            f"column {name('actions')} is outside its bounds, choices out of {counts} ({name.some(beyond)})."
        )
    if max(counts) > MOST:
        raise name.refuse(
            f"column {name('actions')} reaches to {max(counts) - 1:,}, and there may be {MOST:,} choices; count them "
            "from 0, or pass action_bounds if they are numbers."
        )
    for place in np.flatnonzero([not sizes and scattered(found[:, place]) for place in range(found.shape[1])]):
        name.note(
            f"Column {place} of {name('actions')} holds {len(np.unique(found[:, place]))} of the whole numbers up to "
            f"{counts[place] - 1}, which all count as choices. Pass action_bounds if they are numbers."
        )
    return found.astype(np.int32), ActionSpec("multidiscrete", found.shape[1:], "int32", counts=counts)
