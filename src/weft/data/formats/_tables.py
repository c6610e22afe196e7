"""Tables as polars data frames: made of whatever holds columns, picked by pattern, turned into arrays.

Every function names the origin, the column and the rows (counted from 0) in its complaints.
"""

import fnmatch
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import UserError, nearest
from ..columns import Ragged
from ..naming import rows_of
from ..narrow import judged, scattered

if TYPE_CHECKING:
    import polars

__all__ = [
    "coded",
    "extra_columns",
    "finite",
    "flags",
    "frame_of",
    "is_text",
    "moments",
    "number",
    "pick",
    "pick_one",
    "typed",
    "values",
    "words",
]

NUMBER = r"^\s*[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|inf|Inf|INF|infinity|Infinity|NaN)\s*$"
"""Numbers as files without types hold them; `NaN` is one, `nan` and `NA` are marks of missing values."""

UNITS = ("ms", "us", "ns")  # of moments, as polars has them

MOMENT = (
    r"^(?:(?P<date>(?:1[789]|2[01])\d\d-\d\d-\d\d)(?:[T ]|$))?"  # the years that nanoseconds can count
    r"(?:(?P<clock>\d\d:\d\d)(?P<second>:\d\d(?:\.\d{1,9})?)?(?P<zone>Z|[+-]\d\d:?\d\d)?)?$"
)
"""Dates and times as ISO 8601 writes them: `2024-05-01`, `2024-05-01T09:05:00.5Z`, `09:05`."""


def frame_of(table: Any, origin: str) -> "polars.DataFrame":
    """Return a polars frame of a polars or pandas one, or of a dictionary of columns.

    Raises UserError for columns of unequal length and for a column that mixes types.
    """
    import polars

    if isinstance(table, polars.LazyFrame):
        return table.collect()
    if isinstance(table, polars.DataFrame):
        return table
    pandas = not isinstance(table, Mapping)
    if len({str(name) for name in (table.columns if pandas else table)}) < len(table.columns if pandas else table):
        raise UserError(f"{origin}: two columns have the same name; rename one.")
    columns = [_series(str(name), _from_pandas(one) if pandas else one, origin) for name, one in table.items()]
    lengths = {column.name: len(column) for column in columns}
    if len(set(lengths.values())) > 1:
        first = next(iter(lengths))
        other = next(name for name, length in lengths.items() if length != lengths[first])
        raise UserError(f"{origin}: column '{other}' has {lengths[other]} rows, column '{first}' has {lengths[first]}.")
    return polars.DataFrame(columns)


def _from_pandas(column: Any) -> Any:
    """Return a pandas column as an array or a list that polars takes without pyarrow."""
    if getattr(column.dtype, "tz", None) is not None:
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    array = column.to_numpy()
    if isinstance(column.dtype, np.dtype) and array.dtype.kind in "biufmM":
        return array
    missing = column.isna().to_numpy()
    return [None if gone else value for value, gone in zip(column.tolist(), missing, strict=True)]


def _series(name: str, column: Any, origin: str) -> "polars.Series":
    import polars

    if isinstance(column, polars.Series):
        return column.alias(name)
    if isinstance(column, np.ndarray) and column.dtype == object:
        column = column.tolist()
    if isinstance(column, np.ndarray) and column.dtype.kind in "mM" and np.datetime_data(column.dtype)[0] not in UNITS:
        column = column.astype(f"{column.dtype.kind}8[us]")
    if isinstance(column, (list, tuple)):
        column = list(column)
        _check_mixed(name, column, origin)
    elif np.ndim(column) == 0:
        raise UserError(f"{origin}: column '{name}' is one value; give one a row.")
    try:
        return polars.Series(name, column, strict=not isinstance(column, list))
    except Exception as problem:  # polars raises many kinds for values that make no column
        raise UserError(f"{origin}: column '{name}' cannot be a column of a table ({problem}).") from None


def _check_mixed(name: str, column: list[Any], origin: str) -> None:
    """Raise UserError for text among numbers, or numbers among text: whatever there is less of."""
    text = np.array([isinstance(value, str) for value in column])
    number = np.array([not isinstance(value, str) and np.isscalar(value) for value in column])
    if text.any() and number.any():
        odd = text if text.sum() <= len(text) / 2 else number
        raise UserError(f"{origin}: column '{name}' mixes text and numbers ({rows_of(odd)}); make them all one type.")


def pick(
    frame: "polars.DataFrame", patterns: Any, part: str, origin: str, but: Collection[str] = (), left: Any = None
) -> list[str]:
    """Return the columns that a name, a glob, a comma-separated list or a list of these means, in that order.

    but: columns that a glob does not mean; those that it would have meant are appended to `left`.
    """
    if isinstance(patterns, str):
        patterns = [patterns] if patterns in frame.columns else [word.strip() for word in patterns.split(",")]
    if (
        not isinstance(patterns, Sequence)
        or not all(isinstance(word, str) and word for word in patterns)
        or not patterns
    ):
        raise UserError(
            f"{origin}: {part} must be a column, a pattern such as 'x*', or a list of these, got {patterns!r}."
        )
    columns: dict[str, None] = {}
    for word in patterns:
        columns |= dict.fromkeys(_matches(frame, word, part, origin, but, left))
    return list(columns)


def _matches(
    frame: "polars.DataFrame", word: str, part: str, origin: str, but: Collection[str], left: Any
) -> list[str]:
    """Return the columns that one name or glob means; raise UserError where there are none."""
    if word in frame.columns:
        return [word]
    matches = fnmatch.filter(frame.columns, word)
    if not matches:
        what = "no column matches" if set(word) & set("*?[") else "there is no column"
        raise UserError(
            f"{origin}: {what} '{word}' ({part}).{nearest(word, frame.columns)} "
            f"Known: {', '.join(frame.columns) or 'none'}."
        )
    excluded = [name for name in matches if name in but]
    if excluded:
        left += [name for name in excluded if name not in left]
    if len(excluded) == len(matches):
        raise UserError(
            f"{origin}: '{word}' ({part}) matches only columns with another part in the log: {', '.join(left)}."
        )
    return [name for name in matches if name not in but]


def pick_one(frame: "polars.DataFrame", name: Any, part: str, origin: str) -> str:
    """Return the one column that is meant; raise UserError when a pattern means several."""
    columns = pick(frame, name, part, origin)
    if len(columns) > 1:
        raise UserError(f"{origin}: {part} must be one column, '{name}' means {', '.join(columns)}.")
    return columns[0]


def is_text(column: "polars.Series") -> bool:
    """Say whether a column holds words: text, categories or an enumeration."""
    import polars

    return column.dtype in (polars.String, polars.Categorical, polars.Enum)


def values(frame: "polars.DataFrame", name: str, origin: str) -> Any:
    """Return a column without missing values: numbers as an array, words as an array of text, lists as `Ragged`.

    Lists of fixed length, and of fractions that are all of one length, become `(rows, length)`; whole numbers beyond
    64 bits become words. Raises UserError for missing values, moments of time and lists of anything but tokens.
    """
    import polars

    column = frame[name]
    gone = column.is_null().to_numpy()
    if gone.any():
        raise UserError(f"{origin}: column '{name}' has no value ({rows_of(gone)}); mend or drop these rows.")
    if is_text(column):
        return column.cast(polars.String).to_numpy().astype(str)
    if isinstance(column.dtype, polars.List):
        return _tokens(column, name, origin)
    if isinstance(column.dtype, polars.Array):
        return _block(column, name, origin)
    if column.dtype in (polars.Int128, polars.UInt128):
        return _long(column)
    if column.dtype.is_decimal():
        column = column.cast(polars.Float64)
    if not (column.dtype.is_numeric() or column.dtype == polars.Boolean):
        raise UserError(f"{origin}: column '{name}' holds {column.dtype} values; weft takes numbers and words.")
    return column.to_numpy()


def _long(column: "polars.Series") -> np.ndarray:
    """Return whole numbers as 64 bits hold them, else as words: nobody counts so far, they are names."""
    import polars

    for kind in (polars.Int64, polars.UInt64):
        cast = column.cast(kind, strict=False)
        if not cast.is_null().any():
            return cast.to_numpy()
    return column.cast(polars.String).to_numpy().astype(str)


def _block(column: "polars.Series", name: str, origin: str) -> np.ndarray:
    try:
        block = np.asarray(column.to_list())
    except ValueError:
        block = np.zeros(0, object)
    if block.dtype.kind not in "biuf" or len(block) != len(column):
        raise UserError(f"{origin}: column '{name}' holds {column.dtype} values with gaps or words; give numbers.")
    return block


def _tokens(column: "polars.Series", name: str, origin: str) -> Any:
    lists = column.to_list()
    block = _numbers(lists)
    if block is not None:
        return block
    try:
        rows = [np.asarray(row) for row in lists]
    except ValueError:
        raise UserError(f"{origin}: column '{name}' holds lists of lists of unequal length.") from None
    bad = [bool(row.size) and (row.dtype.kind not in "iu" or row.ndim != 1 or row.min() < 0) for row in rows]
    if any(bad):
        raise UserError(
            f"{origin}: column '{name}' holds lists that are not tokens, whole numbers from 0 ({rows_of(bad)}); give "
            "lists of numbers as columns of their own or of a fixed length."
        )
    return Ragged.from_rows(rows)


def _numbers(lists: list[Any]) -> np.ndarray | None:
    """Return lists of one length as an array where their numbers cannot be tokens, whole numbers from 0."""
    if len({len(row) for row in lists}) != 1 or not lists[0]:
        return None
    try:
        block = np.asarray(lists, np.float64)
    except (TypeError, ValueError):
        return None
    return block if block.ndim > 2 or (block != np.round(block)).any() or (block < 0).any() else None


def finite(column: Any, name: str, origin: str) -> Any:
    """Return numbers as they are; raise UserError that names the column where one is NaN or infinite."""
    if not isinstance(column, Ragged) and column.dtype.kind == "f":
        bad = ~np.isfinite(column).reshape(len(column), -1).all(1)
        if bad.any():
            raise UserError(f"{origin}: column '{name}' is NaN or infinite ({rows_of(bad)}); mend or drop these rows.")
    return column


def moments(frame: "polars.DataFrame", name: str, origin: str) -> "polars.Series":
    """Return a column that can be sorted by time: numbers, moments, or words that are ISO dates or times.

    Raises UserError for missing values, NaN, and words of any other form, which would be sorted by their letters.
    """
    import polars

    column = frame[name]
    gone = column.is_null().to_numpy()
    if gone.any():
        raise UserError(f"{origin}: column '{name}' has no value ({rows_of(gone)}); mend or drop these rows.")
    if column.dtype.is_float():
        finite(column.to_numpy(), name, origin)
    if column.dtype.is_numeric() or column.dtype.is_temporal():
        return column
    if not is_text(column):
        raise UserError(f"{origin}: column '{name}' holds {column.dtype} values; give numbers, dates or times.")
    problem, _ = judged(column.cast(polars.String).to_numpy().astype(str), f"column '{name}'", "", False)
    if problem is not None and "has no value" in problem:
        raise UserError(f"{origin}: {problem}")
    part = column.cast(polars.String).str.extract_groups(MOMENT).struct.unnest()
    zone = part["zone"].replace("Z", "+00:00")
    date, clock, second = part["date"].fill_null("1970-01-01"), part["clock"].fill_null("00:00"), part["second"]
    whole = date + " " + clock + second.fill_null(":00") + zone.fill_null("+00:00")
    times = whole.str.to_datetime("%Y-%m-%d %H:%M:%S%.f%z", time_unit="ns", strict=False)
    bad = (times.is_null() | (part["date"].is_null() & part["clock"].is_null())).to_numpy()
    if bad.any():
        raise UserError(
            f"{origin}: column '{name}' holds words that are no ISO dates or times, such as 2024-05-01T09:05:00 or "
            f"09:05 ({rows_of(bad)}); they would be sorted by their letters."
        )
    for what, side in (("dates", part["date"]), ("time zones", zone)):
        without = side.is_null().to_numpy()
        if without.any() and not without.all():
            raise UserError(f"{origin}: column '{name}' gives {what} in some rows only ({rows_of(without)} without).")
    return times


def number(frame: "polars.DataFrame", name: str, origin: str) -> np.ndarray:
    """Return a column of numbers, written as text, too; raise UserError that names the rows whose words are none."""
    import polars

    column = values(frame, name, origin)
    if isinstance(column, Ragged) or column.ndim > 1:
        raise UserError(f"{origin}: column '{name}' holds lists; one number a row is needed.")
    if column.dtype.kind == "U":
        cast = polars.Series(column.tolist(), dtype=polars.String).str.strip_chars().cast(polars.Float64, strict=False)
        bad = cast.is_null().to_numpy()
        if not bad.any():
            return finite(cast.to_numpy(), name, origin)
        raise UserError(f"{origin}: column '{name}' holds words where numbers are needed ({rows_of(bad)}).")
    return column


def flags(frame: "polars.DataFrame", name: str, origin: str) -> np.ndarray:
    """Return a column of truth values, numbers 0 and 1 left to be checked, the words true and false understood."""
    column = values(frame, name, origin)
    if not isinstance(column, Ragged) and column.dtype.kind == "U":
        lowered = np.char.lower(np.char.strip(column))
        true = np.isin(lowered, ["true", "1", "1.0"])
        good = true | np.isin(lowered, ["false", "0", "0.0"])
        if not good.all():
            raise UserError(f"{origin}: column '{name}' must hold true or false, 0 or 1 ({rows_of(~good)}).")
        return true
    return number(frame, name, origin)


def words(column: np.ndarray, name: str, origin: str, declare: str, declared: bool, notes: list[str]) -> None:
    """Look for missing values and numbers among the words of a column; add to the notes what is doubtful.

    Raises UserError where they are most likely numbers with marks of missing values, units or slips among them.
    """
    problem, note = judged(column, f"column '{name}'", declare, declared)
    if problem is not None:
        raise UserError(f"{origin}: {problem}")
    if note is not None:
        notes.append(note[0].upper() + note[1:])


def typed(frame: "polars.DataFrame") -> "polars.DataFrame":
    """Return a table read from a file without types, with columns of numbers beside spaces, NaN and inf understood."""
    import polars

    columns = []
    for column in frame.get_columns():
        there = column.drop_nulls()
        if column.dtype == polars.String and len(there) and there.str.contains(NUMBER).all():
            stripped = column.str.strip_chars()
            whole = stripped.cast(polars.Int64, strict=False)
            fits = (whole.is_null() == column.is_null()).all()
            column = whole if fits else stripped.cast(polars.Float64, strict=False)  # noqa: PLW2901
        columns.append(column)
    return polars.DataFrame(columns)


def coded(columns: list[np.ndarray]) -> tuple[list[np.ndarray], list[str]]:
    """Return integer codes of columns that share their words, and the words in order.

    Whole numbers from 0 without large gaps are their own codes, so that they mean the same when a policy is asked.
    """
    every = np.concatenate(columns)
    if every.dtype.kind in "biuf" and (every == np.round(every)).all() and not scattered(every):
        most = int(every.max())
        return [part.astype(np.int32) for part in columns], [str(code) for code in range(most + 1)]
    words, codes = np.unique(every, return_inverse=True)
    return np.split(codes.astype(np.int32), np.cumsum([len(part) for part in columns])[:-1]), [str(w) for w in words]


def extra_columns(frame: "polars.DataFrame") -> dict[str, np.ndarray]:
    """Return every column of single values as an array to split by; missing words become empty ones."""
    import polars

    arrays = {}
    for name in frame.columns:
        column = frame[name]
        if column.dtype.is_nested() or column.dtype in (polars.Object, polars.Binary, polars.Null):
            continue
        wide = column.dtype in (polars.Int128, polars.UInt128)
        exact = column.null_count() == 0 or not column.dtype.is_integer() or (column.abs().max() or 0) < 2**53
        if is_text(column) or wide or not exact:
            arrays[name] = column.cast(polars.String).fill_null("").to_numpy().astype(str)
        elif column.dtype.is_numeric() or column.dtype == polars.Boolean:
            arrays[name] = column.to_numpy()
        else:
            arrays[name] = column.cast(polars.String, strict=False).fill_null("").to_numpy().astype(str)
    return arrays
