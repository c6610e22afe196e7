"""Values of any type brought to the 32 bits that a log holds, and a sentence for whatever does not come through.

`plain` takes the odd types apart (masked, complex, records, moments, Python objects), `narrowed` casts numbers and
says what the cast merges, `judged` looks for missing values and numbers among words. A word or number that names an
episode or a unit goes through `named`.
"""

import decimal
import numbers
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from .naming import Naming, rows_of

__all__ = ["far", "fractions", "judged", "missing", "named", "narrowed", "plain", "scattered"]

MARKS = frozenset(
    (
        "", "na", "n/a", "n.a.", "nan", "nat", "null", "none", "nil", "missing", "undefined", "?", "-", "--", ".",
        "<na>", "#n/a", "#na", "#null!", "#value!", "#div/0!", "#ref!", "#name?", "#num!",
    )
)  # fmt: skip
"""What tables hold where there is no value, in small letters; the empty word is one of them."""

NUMBERLIKE = re.compile(
    r"^[<>≤≥~]?\s*[-+]?[$€£]?\s*\d+(?:[,' ]\d{3})*(?:[.,]\d+)?(?:[eE][-+]?\d+)?\s*[%$€£]?$", re.ASCII
)
"""Numbers as people write them: `<0.1`, `1,234.5`, `0,5`, `12 %`."""

FAR = 20
"""How many times the width of the middle 90 % a value may lie away from them before it is called far."""

LOOKED_AT = 20_000
"""Rows that the middle 90 % are taken from."""

TINY = float(np.finfo(np.float32).tiny)


def missing(values: Any) -> np.ndarray:
    """Say which of some values `(rows,)` are none: masked, None, NaN, NaT, or a word that marks a missing value."""
    gone = np.ma.getmaskarray(values) if isinstance(values, np.ma.MaskedArray) else False
    array = np.ma.getdata(values) if isinstance(values, np.ma.MaskedArray) else np.asarray(values)
    kind = array.dtype.kind
    if kind in "fc":
        return np.isnan(array) | gone
    if kind in "mM":
        return np.isnat(array) | gone
    if kind in "US":
        distinct, member = np.unique(array, return_inverse=True)
        return np.array([_marks(word) for word in distinct.astype(str).tolist()], bool)[member] | gone
    if kind == "O":
        absent = [_nothing(value) or (isinstance(value, str) and _marks(value)) for value in array]
        return np.array(absent, bool) | gone
    return np.zeros(len(array), bool) | gone


def _marks(word: str) -> bool:
    return word.strip().lower() in MARKS


def _nothing(value: Any) -> bool:
    """Say whether a Python object stands for no value: None, NaN, pandas' NA and NaT."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, (float, np.floating, decimal.Decimal)) and bool(np.isnan(float(value)))


def plain(values: Any, part: str, name: Naming) -> np.ndarray:
    """Return values as an array of numbers, truth values or words, in this machine's order of bytes.

    Raises UserError for masked and missing values, complex numbers, records, moments and spans of time. Objects that
    are neither numbers nor arrays of one shape are returned as they are.
    """
    if isinstance(values, np.ma.MaskedArray):
        gone = np.ma.getmaskarray(values)
        gone = gone.reshape(len(gone), -1).any(1) if gone.ndim else gone
        if gone.any():
            raise name.refuse(f"column {name(part)} has no value ({name.some(gone)}); mend or drop these rows.")
        values = np.ma.getdata(values)
    array = np.asarray(values)
    if array.dtype == object and array.ndim:
        array = _of_objects(array, part, name)
    if array.dtype.names is not None:
        raise name.refuse(
            f"column {name(part)} holds records ({', '.join(array.dtype.names)}); give their fields as columns of "
            "their own."
        )
    if array.dtype.kind == "c":
        raise name.refuse(
            f"column {name(part)} holds complex numbers; give real and imaginary parts as columns of their own."
        )
    if array.dtype.kind in "mM":
        raise name.refuse(
            f"column {name(part)} holds {array.dtype} values; give numbers, such as the seconds since a start."
        )
    if array.dtype.kind == "V":  # numbers of 16 and 8 bits that NumPy itself does not know
        try:
            array = array.astype(np.float32)
        except (TypeError, ValueError):
            raise name.refuse(f"column {name(part)} holds {array.dtype} values that are not numbers.") from None
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _of_objects(column: np.ndarray, part: str, name: Naming) -> np.ndarray:
    """Return Python objects as an array of one type where they are all numbers, or arrays of one shape."""
    objects = column.reshape(-1).tolist()
    gone = np.array([_nothing(value) for value in objects]).reshape(len(column), -1).any(1)
    if gone.any():
        raise name.refuse(f"column {name(part)} has no value ({name.some(gone)}); mend or drop these rows.")
    kind = _number_type(objects)
    if kind is not None:
        try:
            return column.astype(kind)
        except OverflowError:
            return column  # whole numbers beyond 64 bits are names, not amounts
    if column.ndim == 1 and len({np.shape(value) for value in objects}) == 1 and np.ndim(objects[0]) > 0:
        stacked = np.asarray([np.asarray(value) for value in objects])
        return _of_objects(stacked, part, name) if stacked.dtype == object and stacked.ndim > 1 else stacked
    return column


def _number_type(objects: list[Any]) -> type | None:
    """Return the narrowest type that holds Python objects, or None where one of them is no number."""
    if all(isinstance(value, (bool, np.bool_)) for value in objects):
        return bool
    if not all(isinstance(value, (numbers.Number, decimal.Decimal)) for value in objects):
        return None
    if any(isinstance(value, numbers.Complex) and not isinstance(value, numbers.Real) for value in objects):
        return complex
    return np.int64 if all(isinstance(value, numbers.Integral) for value in objects) else np.float64


def narrowed(column: np.ndarray, part: str, name: Naming) -> np.ndarray:
    """Return numbers `(rows, …)` as float32, and note where numbers that differ become the same.

    Raises UserError for numbers that are NaN, infinite, or too large for 32 bits.
    """
    count, kind = len(column), column.dtype.kind
    if kind == "f":
        bad = ~np.isfinite(column).reshape(count, -1).all(1)
        if bad.any():
            raise name.refuse(f"column {name(part)} is NaN or infinite ({name.some(bad)}); mend or drop these rows.")
    with np.errstate(over="ignore", under="ignore"):
        single = column.astype(np.float32, copy=False)
    if column.dtype.itemsize > 2 and kind in "fiu" and column.dtype != np.float32:
        wide, narrow = column.reshape(count, -1), single.reshape(count, -1)
        if kind == "f" and (beyond := ~np.isfinite(narrow)).any():
            place = int(np.flatnonzero(beyond.any(0))[0])
            raise name.refuse(
                f"column {name.column(part, place, wide.shape[1])} holds numbers beyond 3.4e38, the largest that "
                f"32 bits can hold ({name.some(beyond[:, place])}); change the unit, or mend or drop these rows."
            )
        say_merged(wide, narrow, part, name)
    return single


def say_merged(wide: np.ndarray, narrow: np.ndarray, part: str, name: Naming) -> None:
    """Note the columns `(rows, columns)` whose different numbers float32 makes equal, so that information is lost.

    Numbers far finer than float32 that spread around zero always lose some digits, which is nobody's concern; what
    counts are whole numbers beyond 2**24, numbers whose distance from zero hides their differences, and numbers so
    small that they become 0.
    """
    least, most = wide.min(0).astype(np.float64), wide.max(0).astype(np.float64)
    size, spread = np.maximum(np.abs(least), np.abs(most)), most - least
    doubtful = (spread > 0) & ((size > 2**24) | (size > 8 * spread) | (size < 1024 * TINY))
    for place in np.flatnonzero(doubtful):
        before, after = wide[:, place], narrow[:, place]
        faint = (before != 0) & (np.abs(after) < TINY)
        distinct, first = np.unique(before, return_index=True)
        left = len(np.unique(np.where(faint, np.float32(0), after)))
        lost = len(distinct) - left
        matters = bool(size[place] > 8 * spread[place]) or faint.any() or bool((before == np.round(before)).all())
        if not lost or not (matters or lost > len(distinct) / 2):
            continue
        order = np.sort(first[1:][np.diff(np.where(faint, np.float32(0), after)[first]) == 0])
        merged = np.zeros(len(before), bool)
        merged[order] = True
        called = name.column(part, int(place), wide.shape[1])
        name.note(
            f"Column {called} has {len(distinct):,} different values, of which "
            f"float32 keeps {left:,} apart ({name.some(merged)}: numbers near {size[place]:.4g} lose their precision); "
            "subtract a start or change the unit, and leave it out if it is the name of something.",
            about=called,
        )


def far(table: np.ndarray) -> list[tuple[int, float, float, np.ndarray]]:
    """Return the columns `(rows, columns)` with values far from all others: `(column, low, high, rows as a mask)`.

    low, high: the ends of the middle 90 %, among the values that are not the most frequent one where that is most of
    them. Far is further away from these than 20 times their width.
    """
    columns = []
    if len(table) < 20:
        return columns
    sample = table[:: max(1, len(table) // LOOKED_AT)]
    low, high = np.quantile(sample, (0.05, 0.95), axis=0)
    for place in range(table.shape[1]):
        ends = (float(low[place]), float(high[place]))
        if ends[0] == ends[1]:
            rest = sample[:, place][sample[:, place] != ends[0]]
            if len(rest) < 20:
                continue
            ends = tuple(np.quantile(rest, (0.05, 0.95)).tolist())
        width = ends[1] - ends[0]
        column = table[:, place]
        if width <= 0 or (column.min() >= ends[0] - FAR * width and column.max() <= ends[1] + FAR * width):
            continue
        columns.append((place, *ends, (column < ends[0] - FAR * width) | (column > ends[1] + FAR * width)))
    return columns


def scattered(codes: np.ndarray) -> bool:
    """Say whether whole numbers are names rather than codes counted from 0: below 0, or far more than there are."""
    most = int(codes.max())
    return int(codes.min()) < 0 or (most >= 19 and most + 1 > 4 * len(np.unique(codes)))


def named(values: Any, what: str, some: Callable[[Any], str] = rows_of) -> str | None:
    """Return what is wrong with values `(rows,)` that name episodes or units, or None.

    Missing names would make one unit of all rows without, and so would numbers that their type has rounded.
    """
    gone = missing(values)
    if gone.any():
        return f"{what} has no value, or a mark such as 'NA' ({some(gone)}); mend or drop these rows."
    names = np.asarray(values)
    if names.dtype.kind == "f":
        exact = float(2 ** (np.finfo(names.dtype).nmant + 1))
        bad = ~(np.abs(names) < exact)
        if bad.any():
            return (
                f"{what} holds names as {names.dtype} numbers of {exact:.0f} or more, where different ones become the "
                f"same ({some(bad)}); give them as whole numbers or words."
            )
    return None


def judged(
    words: np.ndarray, what: str, declare: str, declared: bool, some: Callable[[Any], str] = rows_of
) -> tuple[str | None, str | None]:
    """Return what is wrong with words `(rows,)`, or None, and what is to be noted about them, or None.

    Words of which most are numbers are a column of numbers with marks of missing values, units or slips among them;
    taken for words they would become hundreds of categories. `declare` says how to call them words all the same,
    `declared` that somebody did.
    """
    distinct, member = np.unique(words, return_inverse=True)
    texts = distinct.astype(str).tolist()
    marks = np.array([_marks(word) for word in texts])
    exact = np.array([_is_number(word) for word in texts]) & ~marks
    alike = np.array([NUMBERLIKE.match(word.strip()) is not None for word in texts]) & ~marks & ~exact
    mark, number, odd = marks[member], exact[member], (~marks & ~exact)[member]
    missing_word = f"'{texts[int(member[np.flatnonzero(mark)[0]])]}'" if mark.any() else ""
    if declared:
        numeric = False
    elif not odd.any():
        numeric = bool(number.any() and mark.any())
    else:
        numeric = bool((number | alike[member]).sum() * 2 >= len(words))
    if numeric and not odd.any():
        return f"{what} has no value, but {missing_word}, in some rows ({some(mark)}); mend or drop these rows.", None
    if numeric:
        first = texts[int(member[np.flatnonzero(odd)[0]])]
        return (
            f"{what} mixes numbers and words such as '{first}' ({some(odd)}); mend or drop these rows{declare}.",
            None,
        )
    if mark.any():
        return None, (
            f"{what} holds {missing_word} ({some(mark)}), which may mean that there is no value; it counts as one of "
            f"{len(texts)} words."
        )
    if number.all() and not declared:
        return None, f"{what} holds numbers written as text; they count as {len(texts)} words, not as numbers."
    return None, None


def fractions(words: np.ndarray) -> np.ndarray | None:
    """Return the numbers that words `(rows,)` are, or None where some are none, or all are whole, as names may be."""
    distinct, member = np.unique(words, return_inverse=True)
    texts = [word.strip() for word in distinct.astype(str).tolist()]
    if not all(_is_number(word) and not _marks(word) for word in texts):
        return None
    if all(word.lstrip("+-").isdigit() for word in texts):
        return None
    return np.array([float(word) for word in texts])[member]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return "_" not in word
