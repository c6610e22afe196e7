"""Tables as polars data frames: made of whatever holds columns, picked by pattern, turned into arrays.

Every function names the origin, the column and the rows (counted from 0) in its complaints.
"""

import fnmatch
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import UserError, nearest
from ..columns import Ragged
from ..narrow import judged, rows_of, scattered

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
    if isinstance(column, np.ndarray) and column.dtype.kind in "mM" and np.datetime_data(column.dtype)[0] not in UNITS:
        column = column.astype(f"{column.dtype.kind}8[us]")
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
    found: list[str] = []
    for word in patterns:
        exact = [word] if word in frame.columns else fnmatch.filter(frame.columns, word)
        if word not in frame.columns and any(name in but for name in exact):
            left += [name for name in exact if name in but and name not in left]
            exact = [name for name in exact if name not in but]
            if not exact:
                raise UserError(
                    f"{origin}: '{word}' ({part}) matches only columns with another part in the log: {', '.join(left)}."
                )
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
        found = np.asarray(column.to_list())
    except ValueError:
        found = np.zeros(0, object)
    if found.dtype.kind not in "biuf" or len(found) != len(column):
        raise UserError(f"{origin}: column '{name}' holds {column.dtype} values with gaps or words; give numbers.")
    return found


def _tokens(column: "polars.Series", name: str, origin: str) -> Any:
    lists = column.to_list()
    lengths = {len(row) for row in lists}
    if len(lengths) == 1 and lengths != {0}:
        try:
            block = np.asarray(lists, np.float64)
        except (TypeError, ValueError):
            block = np.zeros(0)
        if len(block) == len(lists) and (block.ndim > 2 or (block != np.round(block)).any() or (block < 0).any()):
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
    refused, _ = judged(column.cast(polars.String).to_numpy().astype(str), f"column '{name}'", "", False)
    if refused is not None and "has no value" in refused:
        raise UserError(f"{origin}: {refused}")
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
    """Return a column of numbers, written as text, too; raise UserError that names the rows whose words are none."""
    import polars

    found = values(frame, name, origin)
    if isinstance(found, Ragged) or found.ndim > 1:
        raise UserError(f"{origin}: column '{name}' holds lists; one number a row is needed.")
    if found.dtype.kind == "U":
        cast = polars.Series(found.tolist(), dtype=polars.String).str.strip_chars().cast(polars.Float64, strict=False)
        bad = cast.is_null().to_numpy()
        if not bad.any():
            return finite(cast.to_numpy(), name, origin)
        raise UserError(f"{origin}: column '{name}' holds words where numbers are needed ({rows_of(bad)}).")
    return found


def flags(frame: "polars.DataFrame", name: str, origin: str) -> np.ndarray:
    """Return a column of truth values, numbers 0 and 1 left to be checked, the words true and false understood."""
    found = values(frame, name, origin)
    if not isinstance(found, Ragged) and found.dtype.kind == "U":
        lowered = np.char.lower(np.char.strip(found))
        true = np.isin(lowered, ["true", "1", "1.0"])
        good = true | np.isin(lowered, ["false", "0", "0.0"])
        if not good.all():
            raise UserError(f"{origin}: column '{name}' must hold true or false, 0 or 1 ({rows_of(~good)}).")
        return true
    return number(frame, name, origin)


def words(found: np.ndarray, name: str, origin: str, declare: str, declared: bool, notes: list[str]) -> None:
    """Look for missing values and numbers among the words of a column; add to the notes what is doubtful.

    Raises UserError where they are most likely numbers with marks of missing values, units or slips among them.
    """
    refused, note = judged(found, f"column '{name}'", declare, declared)
    if refused is not None:
        raise UserError(f"{origin}: {refused}")
    if note is not None:
        notes.append(note[0].upper() + note[1:])


def typed(frame: "polars.DataFrame") -> "polars.DataFrame":
    """Return a table read from a file without types, with columns of numbers beside spaces, NaN and inf understood."""
    import polars

    made = []
    for column in frame.get_columns():
        there = column.drop_nulls()
        if column.dtype == polars.String and len(there) and there.str.contains(NUMBER).all():
            stripped = column.str.strip_chars()
            whole = stripped.cast(polars.Int64, strict=False)
            fits = (whole.is_null() == column.is_null()).all()
            column = whole if fits else stripped.cast(polars.Float64, strict=False)  # noqa: PLW2901
        made.append(column)
    return polars.DataFrame(made)


def coded(found: list[np.ndarray]) -> tuple[list[np.ndarray], list[str]]:
    """Return integer codes of columns that share their words, and the words in order.

    Whole numbers from 0 without large gaps are their own codes, so that they mean the same when a policy is asked.
    """
    every = np.concatenate(found)
    if every.dtype.kind in "biuf" and (every == np.round(every)).all() and not scattered(every):
        most = int(every.max())
        return [part.astype(np.int32) for part in found], [str(code) for code in range(most + 1)]
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
        wide = column.dtype in (polars.Int128, polars.UInt128)
        exact = column.null_count() == 0 or not column.dtype.is_integer() or (column.abs().max() or 0) < 2**53
        if is_text(column) or wide or not exact:
            made[name] = column.cast(polars.String).fill_null("").to_numpy().astype(str)
        elif column.dtype.is_numeric() or column.dtype == polars.Boolean:
            made[name] = column.to_numpy()
        else:
            made[name] = column.cast(polars.String, strict=False).fill_null("").to_numpy().astype(str)
    return made
