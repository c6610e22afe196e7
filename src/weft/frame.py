"""Tables as polars data frames: made of whatever holds columns, picked by pattern, turned into arrays.

Every function names the origin, the column and the rows (counted from 0) in its complaints.
"""

import fnmatch
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .columns import Ragged
from .errors import UserError, nearest

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
    "rows_of",
    "values",
]

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
    if pandas and len(set(table.columns)) < len(table.columns):
        raise UserError(f"{origin}: two columns have the same name; rename one.")
    given = {str(name): _from_pandas(column) if pandas else column for name, column in table.items()}
    columns = [_series(name, column, origin) for name, column in given.items()]
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
    found = column.to_numpy()
    if isinstance(column.dtype, np.dtype) and found.dtype.kind in "biufmM":
        return found
    missing = column.isna().to_numpy()
    return [None if gone else value for value, gone in zip(column.tolist(), missing, strict=True)]


def _series(name: str, column: Any, origin: str) -> "polars.Series":
    import polars

    if isinstance(column, polars.Series):
        return column.alias(name)
    if isinstance(column, np.ndarray) and column.dtype == object:
        column = column.tolist()
    if isinstance(column, (list, tuple)):
        column = list(column)
        kinds = [str if isinstance(value, str) else float if np.isscalar(value) else None for value in column]
        text = np.array([kind is str for kind in kinds])
        if text.any() and float in kinds:
            odd = text if text.sum() <= len(text) / 2 else np.array([kind is float for kind in kinds])
            raise UserError(
                f"{origin}: column '{name}' mixes text and numbers ({rows_of(odd)}); make them all one type."
            )
    elif np.ndim(column) == 0:
        raise UserError(f"{origin}: column '{name}' is one value; give one a row.")
    try:
        return polars.Series(name, column, strict=not isinstance(column, list))
    except Exception as problem:  # polars raises many kinds for values that make no column
        raise UserError(f"{origin}: column '{name}' cannot be a column of a table ({problem}).") from None


def rows_of(mask: Any) -> str:
    """Name the first rows of a mask: `3 rows, first 4, 8, 15`."""
    rows = np.flatnonzero(mask)
    first = ", ".join(str(row) for row in rows[:5])
    return f"{len(rows)} rows, first {first}" if len(rows) > 1 else f"row {first}"


def pick(frame: "polars.DataFrame", patterns: Any, part: str, origin: str) -> list[str]:
    """Return the columns that a name, a glob, a comma-separated list or a list of these means, in that order."""
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
    found: list[str] = []
    for word in patterns:
        exact = [word] if word in frame.columns else fnmatch.filter(frame.columns, word)
        if not exact:
            what = "no column matches" if set(word) & set("*?[") else "there is no column"
            raise UserError(
                f"{origin}: {what} '{word}' ({part}).{nearest(word, frame.columns)} "
                f"Known: {', '.join(frame.columns) or 'none'}."
            )
        found += [name for name in exact if name not in found]
    return found


def pick_one(frame: "polars.DataFrame", name: Any, part: str, origin: str) -> str:
    """Return the one column that is meant; raise UserError when a pattern means several."""
    found = pick(frame, name, part, origin)
    if len(found) > 1:
        raise UserError(f"{origin}: {part} must be one column, '{name}' means {', '.join(found)}.")
    return found[0]


def is_text(column: "polars.Series") -> bool:
    """Say whether a column holds words: text, categories or an enumeration."""
    import polars

    return column.dtype in (polars.String, polars.Categorical, polars.Enum)


def values(frame: "polars.DataFrame", name: str, origin: str) -> Any:
    """Return a column without missing values: numbers as an array, words as an array of text, lists as `Ragged`.

    Lists of fixed length become `(rows, length)`. Raises UserError for missing values, moments of time and lists of
    anything but tokens.
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
        return np.asarray(column.to_list())
    if column.dtype.is_decimal():
        column = column.cast(polars.Float64)
    if not (column.dtype.is_numeric() or column.dtype == polars.Boolean):
        raise UserError(f"{origin}: column '{name}' holds {column.dtype} values; weft takes numbers and words.")
    return column.to_numpy()


def _tokens(column: "polars.Series", name: str, origin: str) -> Ragged:
    rows = [np.asarray(row) for row in column.to_list()]
    bad = [bool(row.size) and (row.dtype.kind not in "iu" or row.min() < 0) for row in rows]
    if any(bad):
        raise UserError(
            f"{origin}: column '{name}' holds lists that are not tokens, whole numbers from 0 ({rows_of(bad)}); give "
            "lists of numbers as columns of their own or of a fixed length."
        )
    return Ragged.from_rows(rows)


def finite(found: Any, name: str, origin: str) -> Any:
    """Return numbers as they are; raise UserError that names the column where one is NaN or infinite."""
    if not isinstance(found, Ragged) and found.dtype.kind == "f":
        bad = ~np.isfinite(found).reshape(len(found), -1).all(1)
        if bad.any():
            raise UserError(f"{origin}: column '{name}' is NaN or infinite ({rows_of(bad)}); mend or drop these rows.")
    return found


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
    part = column.cast(polars.String).str.extract_groups(MOMENT).struct.unnest()
    zone = part["zone"].replace("Z", "+00:00")
    date, clock, second = part["date"].fill_null("1970-01-01"), part["clock"].fill_null("00:00"), part["second"]
    whole = date + " " + clock + second.fill_null(":00") + zone.fill_null("+00:00")
    found = whole.str.to_datetime("%Y-%m-%d %H:%M:%S%.f%z", time_unit="ns", strict=False)
    bad = (found.is_null() | (part["date"].is_null() & part["clock"].is_null())).to_numpy()
    if bad.any():
        raise UserError(
            f"{origin}: column '{name}' holds words that are no ISO dates or times, such as 2024-05-01T09:05:00 or "
            f"09:05 ({rows_of(bad)}); they would be sorted by their letters."
        )
    for what, side in (("dates", part["date"]), ("time zones", zone)):
        without = side.is_null().to_numpy()
        if without.any() and not without.all():
            raise UserError(f"{origin}: column '{name}' gives {what} in some rows only ({rows_of(without)} without).")
    return found


def number(frame: "polars.DataFrame", name: str, origin: str) -> np.ndarray:
    """Return a column of numbers; raise UserError that names the rows whose words are no numbers."""
    import polars

    found = values(frame, name, origin)
    if isinstance(found, Ragged) or found.ndim > 1:
        raise UserError(f"{origin}: column '{name}' holds lists; one number a row is needed.")
    if found.dtype.kind == "U":
        bad = polars.Series(found.tolist(), dtype=polars.String).cast(polars.Float64, strict=False).is_null().to_numpy()
        raise UserError(f"{origin}: column '{name}' holds words where numbers are needed ({rows_of(bad)}).")
    return found


def flags(frame: "polars.DataFrame", name: str, origin: str) -> np.ndarray:
    """Return a column of truth values, numbers 0 and 1 left to be checked, the words true and false understood."""
    found = values(frame, name, origin)
    if not isinstance(found, Ragged) and found.dtype.kind == "U":
        lowered = np.char.lower(found)
        good = np.isin(lowered, ["true", "false"])
        if not good.all():
            raise UserError(f"{origin}: column '{name}' must hold true or false, 0 or 1 ({rows_of(~good)}).")
        return lowered == "true"
    return number(frame, name, origin)


def coded(found: list[np.ndarray]) -> tuple[list[np.ndarray], list[str]]:
    """Return integer codes of columns that share their words, and the words in order."""
    words, codes = np.unique(np.concatenate(found), return_inverse=True)
    return np.split(codes.astype(np.int32), np.cumsum([len(part) for part in found])[:-1]), [str(w) for w in words]


def extra_columns(frame: "polars.DataFrame") -> dict[str, np.ndarray]:
    """Return every column of single values as an array to split by; missing words become empty ones."""
    import polars

    made = {}
    for name in frame.columns:
        column = frame[name]
        if column.dtype.is_nested() or column.dtype in (polars.Object, polars.Binary, polars.Null):
            continue
        if is_text(column):
            made[name] = column.cast(polars.String).fill_null("").to_numpy().astype(str)
        elif column.dtype.is_numeric() or column.dtype == polars.Boolean:
            made[name] = column.to_numpy()
        else:
            made[name] = column.cast(polars.String, strict=False).fill_null("").to_numpy().astype(str)
    return made
