"""Actions: continuous ones with their bounds, choices as codes with their labels, and how to tell them apart."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.errors import UserError
from .naming import Naming
from .narrow import far, judged, plain, scattered
from .spec import ActionSpec
from .steps import Facts
from .validate import MOST, finite

__all__ = ["action_columns"]


def action_columns(actions: Any, facts: Facts, name: Naming) -> tuple[np.ndarray, ActionSpec]:
    """Return the actions in their stored form and what can be done.

    Whole numbers are choices, and whole floats, too, where their number or labels are declared; with bounds, numbers
    are continuous. Whole numbers that are far apart are names of choices and get codes from 0.
    """
    labels, bounds = tuple(facts.action_labels), facts.action_bounds
    if bounds is not None and (facts.action_count is not None or labels):
        raise name.refuse("action bounds mean numbers, a count or labels mean choices; give one of them.")
    sizes = _sizes(facts.action_count, labels, name)
    values = _array(actions, name)
    if values.dtype.kind in "USO":
        kinds = _kinds(values, name)
        if kinds & {"text", "bytes", "int"}:
            if bounds is not None:
                raise name.refuse(f"column {name('actions')} holds words, which have no bounds; leave them out.")
            return _labelled(_words(values, kinds, labels, name), labels, sizes, name)
        values = np.asarray(values.tolist())
    return _numbers(values, labels, sizes, bounds, name)


def _numbers(
    values: np.ndarray, labels: Sequence[str], sizes: tuple[int, ...], bounds: Any, name: Naming
) -> tuple[np.ndarray, ActionSpec]:
    """Return actions that are no words: one choice, several choices or continuous ones."""
    count = len(values)
    if values.dtype == bool:
        values = values.astype(np.int32)
    if values.dtype.kind == "f" and sizes:
        values = _whole(values, name)
    if values.dtype.kind in "iu" and bounds is None:
        if values.ndim == 2 and values.shape[1] == 1 and len(sizes) < 2:
            values = values[:, 0]
        _check_counted(values, name)
        if values.ndim == 1:
            return _codes(values, labels, sizes, name)
        return _several_codes(values.reshape(count, -1), labels, sizes, name)
    if values.dtype.kind not in "iuf":
        raise name.refuse(f"column {name('actions')} holds {values.dtype} values; actions must be numbers or labels.")
    return _continuous(finite(values, count, "actions", name).reshape(count, -1), bounds, name)


def _sizes(number: Any, labels: Sequence[str], name: Naming) -> tuple[int, ...]:
    """Return the declared numbers of choices, none where nothing is declared."""
    if number is None:
        return (len(labels),) if labels else ()
    sizes = tuple(number) if isinstance(number, (tuple, list, np.ndarray)) else (number,)
    if not sizes or not all(isinstance(size, (int, np.integer)) and 0 < size <= MOST for size in sizes):
        raise name.refuse(f"the number of choices must be a whole number from 1 to {MOST:,}, got {number!r}.")
    if labels and sizes != (len(labels),):
        raise name.refuse(f"there are {len(labels)} action labels, but action_count is {number}; give one of them.")
    return tuple(int(size) for size in sizes)


def _array(actions: Any, name: Naming) -> np.ndarray:
    """Return actions as an array that is not empty; one of words has one word a step."""
    try:
        values = plain(actions, "actions", name)
    except UserError:
        raise
    except ValueError:
        raise name.refuse(f"column {name('actions')} has rows of different shapes.") from None
    if values.size == 0:
        raise name.refuse(f"column {name('actions')} has the shape {values.shape}: there is nothing in it.")
    if values.dtype.kind in "US" and isinstance(actions, (list, tuple)):
        # NumPy has made text of the numbers among the labels
        values = plain(np.array(actions, object), "actions", name)
    if values.dtype.kind in "USO" and values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.dtype.kind in "USO" and values.ndim > 1:
        raise name.refuse(f"column {name('actions')} holds several labels a step; give one, or numbers.")
    return values


# --- labels --------------------------------------------------------------------------------------------------------


def _kinds(values: np.ndarray, name: Naming) -> set[str]:
    """Return the one type that Python objects have, by its name; raise UserError where they have several."""
    objects = values.tolist()
    kinds = {type(value).__name__ for value in objects}
    kinds = {"text" if kind == "str" else kind for kind in kinds}
    if len(kinds) > 1:
        odd = np.array([not isinstance(value, type(values[0])) for value in objects])
        raise name.refuse(
            f"column {name('actions')} mixes action types ({', '.join(sorted(kinds))}; unlike the first: "
            f"{name.some(odd)}); make them all numbers or all labels."
        )
    return kinds


def _words(values: np.ndarray, kinds: set[str], labels: Sequence[str], name: Naming) -> np.ndarray:
    """Return labels as text; raise UserError where they seem to be numbers with something else among them."""
    words = np.array([v.decode("latin-1") if isinstance(v, bytes) else str(v) for v in values.tolist()])
    if kinds & {"text", "bytes"}:
        declare = ", or pass action_labels if they are words"
        problem, note = judged(words, f"column {name('actions')}", declare, bool(labels), name.some)
        if problem is not None:
            raise name.refuse(problem)
        if note is not None:
            name.note(note[0].upper() + note[1:])
    return words


def _labelled(
    words: np.ndarray, labels: Sequence[str], sizes: tuple[int, ...], name: Naming
) -> tuple[np.ndarray, ActionSpec]:
    """Return the codes of labels, in the order that is declared or of the alphabet."""
    labels = tuple(labels) or tuple(np.unique(words).tolist())
    code = {label: index for index, label in enumerate(labels)}
    strange = np.array([label not in code for label in words.tolist()])
    if strange.any():
        raise name.refuse(f"column {name('actions')} holds labels that are not declared ({name.some(strange)}).")
    if sizes and sizes != (len(labels),):
        raise name.refuse(
            f"column {name('actions')} holds {len(labels)} different labels, but action_count is {sizes[0]}; pass all "
            "of them as action_labels."
        )
    codes = np.array([code[label] for label in words.tolist()])
    return codes.astype(np.int32), ActionSpec("discrete", (), "int32", counts=(len(labels),), labels=labels)


# --- whole numbers -------------------------------------------------------------------------------------------------


def _whole(values: np.ndarray, name: Naming) -> np.ndarray:
    """Return floats that are declared to be choices as whole numbers; raise UserError for fractions.

    Values that are not finite or beyond the whole numbers of a double stay, to be refused by what they are.
    """
    number = np.isfinite(values)
    whole = (number & (values == np.round(values)) & (np.abs(values) < 2**53)).reshape(len(values), -1).all(1)
    if number.all() and not whole.all():
        raise name.refuse(
            f"column {name('actions')} holds fractions ({name.some(~whole)}), though a number of choices or labels "
            "are declared; leave these out for continuous actions."
        )
    return values.astype(np.int64) if whole.all() else values


def _check_counted(values: np.ndarray, name: Naming) -> None:
    below = (values < 0).reshape(len(values), -1).any(1)
    if below.any():
        raise name.refuse(
            f"column {name('actions')} is outside its bounds: a choice is counted from 0 ({name.some(below)})."
        )


def _codes(
    values: np.ndarray, labels: Sequence[str], sizes: tuple[int, ...], name: Naming
) -> tuple[np.ndarray, ActionSpec]:
    """Return whole numbers `(rows,)` as codes of choices; those that are far apart are labels."""
    if not sizes and scattered(values):
        distinct, codes = np.unique(values, return_inverse=True)
        name.note(
            f"Column {name('actions')} holds {len(distinct)} whole numbers from {distinct[0]} to {distinct[-1]}; they "
            "are labels of choices, with codes from 0. Pass action_count= (--action-count) if there are more choices."
        )
        labels = tuple(str(value) for value in distinct.tolist())
        return codes.astype(np.int32), ActionSpec("discrete", (), "int32", counts=(len(labels),), labels=labels)
    size = sizes[0] if sizes else int(values.max()) + 1
    if (values >= size).any():
        raise name.refuse(
            f"column {name('actions')} is outside its bounds [0, {size - 1}] ({name.some(values >= size)})."
        )
    never = np.flatnonzero(np.bincount(values.astype(np.int64), minlength=size) == 0)
    if not sizes and len(never):
        first = ", ".join(map(str, never[:5])) + (", …" if len(never) > 5 else "")
        name.note(
            f"Column {name('actions')} never holds {first}; all whole numbers from 0 to {size - 1} count as "
            "choices. Give the actions as words if there are no such choices."
        )
    return values.astype(np.int32), ActionSpec("discrete", (), "int32", counts=(size,), labels=tuple(labels))


def _several_codes(
    values: np.ndarray, labels: Sequence[str], sizes: tuple[int, ...], name: Naming
) -> tuple[np.ndarray, ActionSpec]:
    """Return whole numbers `(rows, choices)` as codes of several choices a step."""
    if sizes and len(sizes) != values.shape[1]:
        what = "labels are" if labels else "action_count is"
        raise name.refuse(
            f"{what} for {len(sizes)} choices a step, but {name('actions')} has {values.shape[1]} columns."
        )
    counts = sizes or tuple(int(most) + 1 for most in values.max(0))
    beyond = (values >= np.array(counts)).any(1)
    if beyond.any():
        raise name.refuse(
            f"column {name('actions')} is outside its bounds, choices out of {counts} ({name.some(beyond)})."
        )
    if max(counts) > MOST:
        raise name.refuse(
            f"column {name('actions')} reaches to {max(counts) - 1:,}, and there may be {MOST:,} choices; count them "
            "from 0, or pass action_bounds if they are numbers."
        )
    for place in np.flatnonzero([not sizes and scattered(column) for column in values.T]):
        name.note(
            f"Column {place} of {name('actions')} holds {len(np.unique(values[:, place]))} of the whole numbers up to "
            f"{counts[place] - 1}, which all count as choices. Pass action_bounds if they are numbers."
        )
    return values.astype(np.int32), ActionSpec("multidiscrete", values.shape[1:], "int32", counts=counts)


# --- numbers -------------------------------------------------------------------------------------------------------


def _continuous(values: np.ndarray, bounds: Any, name: Naming) -> tuple[np.ndarray, ActionSpec]:
    """Return numbers `(rows, act)` and their bounds; raise UserError for those outside."""
    shape = values.shape[1:]
    if bounds is None:
        _note_range(values, name)
        return values, ActionSpec("continuous", shape, "float32")
    low, high = _bounds(bounds, values.shape[1], name)
    room = 1e-6 * np.minimum(1.0, (high - low) / 2)
    outside = ((values < low - room) | (values > high + room)).any(1)
    if outside.any():
        raise name.refuse(
            f"column {name('actions')} is outside its bounds [{low.tolist()}, {high.tolist()}] ({name.some(outside)})."
        )
    return values, ActionSpec("continuous", shape, "float32", tuple(low.tolist()), tuple(high.tolist()))


def _note_range(values: np.ndarray, name: Naming) -> None:
    """Note what makes the range of the log a bad guess of the bounds of continuous actions."""
    if values.shape[1] == 1 and (values == np.round(values)).all() and 1 < len(np.unique(values)) <= 50:
        name.note(
            f"All values of {name('actions')} are whole numbers written as fractions; they count as continuous "
            "actions. Pass action_count= (--action-count) if they are choices."
        )
    for place, low, high, rows in far(values):
        column = values[:, place]
        name.note(
            f"Action {place} ranges from {column.min():.4g} to {column.max():.4g}, most of it from "
            f"{low:.4g} to {high:.4g}: without declared bounds actions are scaled by the whole range, so that the far "
            f"values ({name.some(rows)}) leave little of it for the others. Mend or drop them, or pass action_bounds."
        )


def _bounds(bounds: Any, size: int, name: Naming) -> tuple[np.ndarray, np.ndarray]:
    """Return the declared bounds as one number a dimension."""
    try:
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, which is refused below
            low, high = (np.broadcast_to(np.asarray(bound, np.float32), (size,)) for bound in bounds)
    except (TypeError, ValueError):
        raise name.refuse(f"the action bounds must be a pair (low, high), each one number or {size}.") from None
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
        raise name.refuse(f"the action bounds [{low.tolist()}, {high.tolist()}] must be finite, the lower ones lower.")
    return low, high
