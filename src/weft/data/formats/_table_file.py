"""Table files, Parquet and CSV, as polars data frames.

polars unpacks whatever it recognises, and without a limit; so sizes are looked at first. A Parquet file is first read
in a child process (`weft.core.trial`), because polars aborts the process on some damaged ones.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import UserError
from ...core.files import gunzipped, regular
from ...core.memory import Allowance
from ...core.trial import expect, trial

if TYPE_CHECKING:
    import polars

__all__ = ["examined", "table"]

PARQUET = b"PAR1"
GZIP = b"\x1f\x8b"
PACKED = {
    GZIP: "gzip",
    b"\x78\x01": "zlib",
    b"\x78\x5e": "zlib",
    b"\x78\x9c": "zlib",
    b"\x78\xda": "zlib",
    b"\x28\xb5\x2f\xfd": "zstd",
}  # how content begins that polars unpacks by itself
WIDTHS = {"Boolean": 1, "Int8": 1, "UInt8": 1, "Int16": 2, "UInt16": 2, "Int32": 4, "UInt32": 4, "Float32": 4}
WIDTH = 8  # bytes of a value of any other type, at the least
CELL = 16  # bytes of a cell of a CSV while it is read
COLUMN = 2048  # bytes of a column of a CSV while it is read, however few rows it has
LETTER = 4  # bytes of a letter in an array of words, which are all as long as the longest
PIECE = 2**20  # bytes that are looked through at a time
PASSED_ON = (UserError, KeyboardInterrupt, SystemExit, GeneratorExit)


def table(path: Path, allowance: Allowance) -> "polars.DataFrame":
    """Return the table in a Parquet or CSV file, the latter also packed by gzip.

    Raises UserError for a damaged or empty file, two columns of one name, and more content than the allowance.
    """
    import polars

    from ._tables import is_text  # which takes JAX along, and a child process has no use for it

    regular(path)
    kind = "Parquet" if path.name.lower().endswith(".parquet") else "CSV"
    try:
        if kind == "Parquet":
            _check_ends(path)
            allowance.take(trial(path, "weft.data.formats._table_file:examined", allowance))
            frame = polars.read_parquet(path, glob=False, hive_partitioning=False)
        else:
            frame = _csv(path, allowance)
    except PASSED_ON:
        raise
    except BaseException as problem:  # a panic of polars, which damaged files can cause, is no Exception
        raise _unreadable(path, kind, problem) from None
    for name in frame.columns:
        if is_text(frame[name]):
            longest: Any = frame[name].cast(polars.String).str.len_chars().max()
            allowance.take(LETTER * (longest or 0) * frame.height)
    return frame


def _check_ends(path: Path) -> None:
    """Raise UserError unless a file begins and ends as Parquet does, so that most other files start no process."""
    size = path.stat().st_size
    if size == 0:
        raise UserError(f"{path}: the file is empty.")
    with path.open("rb") as file:
        start = file.read(4)
        file.seek(max(size - 8, 0))
        end = file.read()
    if start != PARQUET or end[-4:] != PARQUET or not 12 <= int.from_bytes(end[:4], "little") + 12 <= size:
        raise UserError(f"{path}: the file cannot be read as Parquet (it does not begin and end like one).")


def examined(path: Path, allowance: Allowance) -> int:
    """Read a Parquet file and return the bytes of its table; raise UserError for damage and for too much of it."""
    import polars

    try:
        names = polars.read_parquet_schema(path)
        rows = polars.scan_parquet(path, glob=False, hive_partitioning=False).select(polars.len()).collect().item()
        width = sum(WIDTHS.get(str(kind), WIDTH) for kind in names.values())
        allowance.require(rows * max(width, 1))
        expect(rows * width)
        return int(polars.read_parquet(path, glob=False, hive_partitioning=False).estimated_size())
    except PASSED_ON:
        raise
    except BaseException as problem:
        raise _unreadable(path, "Parquet", problem) from None


def _unreadable(path: Path, kind: str, problem: BaseException) -> UserError:
    """Return the sentence about what polars raised."""
    import polars

    if isinstance(problem, polars.exceptions.NoDataError):
        return UserError(f"{path}: the file is empty.")
    reason = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
    return UserError(f"{path}: the file cannot be read as {kind} ({reason}).")


def _csv(path: Path, allowance: Allowance) -> "polars.DataFrame":
    import polars

    from ._tables import typed

    with path.open("rb") as file:
        source: Any = gunzipped(path, allowance) if file.read(2) == GZIP else path
    with path.open("rb") if source is path else source as file:
        file.seek(0)
        start = file.read(4)
        for mark, packing in PACKED.items():
            if start.startswith(mark):
                twice = "twice, the second time " if source is not path else ""
                raise UserError(f"{path}: the file is packed {twice}by {packing}; unpack it, or pack it by gzip once.")
        file.seek(0)
        lines, fields = _extent(file)
        allowance.require(fields * max(lines * CELL, COLUMN))
        file.seek(0)
        frame = polars.read_csv(path if source is path else file, infer_schema_length=None, glob=False)
    frame = typed(_unlike(frame, path))
    allowance.take(int(frame.estimated_size()))
    return frame


def _extent(file: Any) -> tuple[int, int]:
    """Return how many lines a CSV has and how many fields its first record declares: rows may be shorter than that."""
    head, quotes, lines = [], 0, 0
    for line in file:
        head.append(line)
        lines += 1
        quotes += line.count(b'"')
        if quotes % 2 == 0:
            break
    while piece := file.read(PIECE):
        lines += piece.count(b"\n")
    return lines + 1, re.sub(rb'"[^"]*"', b"", b"".join(head)).count(b",") + 1


def _unlike(frame: "polars.DataFrame", path: Path) -> "polars.DataFrame":
    """Refuse a file with two columns of one name, of which polars has renamed the second."""
    columns = set(frame.columns)
    for name in frame.columns:
        first, mark, number = name.rpartition("_duplicated_")
        if mark and first in columns and number.isdigit():
            raise UserError(f"{path}: two columns have the name '{first}'; rename one.")
    return frame
