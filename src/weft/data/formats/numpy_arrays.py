"""NumPy archives (`.npz`) and dictionaries of arrays, named like the arguments of `Dataset.from_arrays`.

Components of an observation or a reward are written `observations/image`, `rewards/click`. Flags of other formats
(`masks`, `valids`, `dones`, …) are understood or refused by name (`weft.data.ends`). Any other array with one entry a
step becomes a column to split by. Pickles are never loaded: they can run any code.
"""

import math
import sys
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ...core.errors import UserError, nearest
from ...core.files import regular
from ...core.memory import Allowance, declared_bytes
from ..dataset import Dataset
from ..ends import understood
from ..format import Format
from ..steps import NEEDED, Facts, Source, StepColumns

OPTIONAL = ("timeouts", "next_observations", "propensities", "durations", "sources", "boundaries")
NESTED = ("observations", "next_observations", "rewards")


class NumpyArrays(Format):
    """A `.npz` archive or a dictionary of arrays: `observations`, `actions`, `rewards`, `terminals`, and more."""

    suffixes: ClassVar[tuple[str, ...]] = (".npz",)

    @classmethod
    def holds(cls, log: Any) -> bool:
        """Claim dictionaries that have observations, actions or rewards by these names (tables have columns)."""
        return isinstance(log, Mapping) and any(str(key).split("/")[0] in ("actions", "observations") for key in log)

    def read(self, log: Any, /, *, gigabytes: float | None = None, **shared: Any) -> Dataset:
        """Read the arrays.

        Raises UserError for a file that is no archive, a pickle, arrays of Python objects, a needed array that is
        missing, or whatever `Dataset.from_arrays` finds.
        """
        origin = "the arrays" if isinstance(log, Mapping) else str(log)
        arrays = dict(log) if isinstance(log, Mapping) else _archive(Path(log), gigabytes)
        parts, others = _named(arrays, origin)
        for name in NEEDED:
            if name not in parts:
                raise UserError(
                    f"{origin}: there is no array '{name}'.{nearest(name, others)} "
                    f"Known: {', '.join(map(str, arrays)) or 'none'}."
                )
        if np.ndim(parts["actions"]) == 0:
            raise UserError(f"{origin}: column 'actions' is one value; give one action a step.")
        parts, others, options = understood(parts, others, origin)
        columns, notes = {}, options.pop("notes", [])
        for name, values in others.items():
            column = _flat(values)
            if column is not None and len(column) == len(parts["actions"]):
                columns[name] = column
            else:
                notes.append(f"The array '{name}' does not have one entry a step; it is left out.")
        source = Source(origin, notes=notes, **options)
        return Dataset.from_steps(StepColumns(**parts, columns=columns), Facts.of(shared), source)


def _named(arrays: Mapping[Any, Any], origin: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sort arrays into arguments of `from_arrays` (with components gathered) and the others."""
    parts: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for key, values in arrays.items():
        head, _, rest = str(key).partition("/")
        if rest and head in NESTED:
            if not isinstance(parts.setdefault(head, {}), dict) or head in arrays:
                raise UserError(f"{origin}: there are both '{head}' and '{key}'; leave one of them out.")
            parts[head][rest] = values
        elif key in NEEDED or key in OPTIONAL:
            parts[key] = values
        else:
            others[str(key)] = values
    return parts, others


def _flat(values: Any) -> np.ndarray | None:
    if np.ma.is_masked(values):
        return None
    try:
        column = np.asarray(values)
    except ValueError:  # rows of different lengths
        return None
    return column if column.ndim == 1 and column.dtype.kind in "biufUS" else None


def _archive(path: Path, gigabytes: float | None) -> dict[str, np.ndarray]:
    with regular(path).open("rb") as file:
        start = file.read(1)
    allowance = Allowance.of(path, gigabytes)
    arrays = {}
    name = ""
    try:
        if not zipfile.is_zipfile(path):
            what = "a pickle, which can run any code and is never loaded" if start == b"\x80" else "no NumPy archive"
            raise UserError(f"{path}: this is {what}; write it with numpy.savez.")
        with zipfile.ZipFile(path) as archive:
            _check_sizes(archive, allowance)
        with warnings.catch_warnings(), path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            warnings.simplefilter("ignore")  # about headers of old versions
            for name in archive.files:
                arrays[name] = _text(np.asarray(archive[name]), name, path)
    except UserError:
        raise
    except Exception as problem:  # what NumPy and zipfile raise depends on which byte is damaged
        if "Object arrays cannot be loaded" in str(problem):
            reason = f"the array '{name}' holds Python objects, which are pickles and never loaded"
        else:
            reason = f"the archive is damaged ({type(problem).__name__}: {problem})"
        raise UserError(f"{path}: {reason}; write it again with numpy.savez.") from None
    return arrays


def _text(values: np.ndarray, name: str, path: Path) -> np.ndarray:
    """Return an array as it is; raise UserError where its letters are none, with which Python cannot go on."""
    if values.dtype.kind == "U" and values.size:
        letters = np.ascontiguousarray(values).view(f"{values.dtype.str[0]}u4")
        if letters.max() > sys.maxunicode:
            raise UserError(f"{path}: the array '{name}' holds words of letters that do not exist; it is damaged.")
    return values


def _check_sizes(archive: zipfile.ZipFile, allowance: Allowance) -> None:
    """Count what an archive declares before anything is unpacked, and see that headers promise what is there.

    Raises UserError where the entries are larger than the allowance, or an array is not as large as its entry.
    """
    for entry in archive.infolist():
        allowance.take(entry.file_size)
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UserError(
                f"{allowance.path}: the entry '{entry.filename}' is packed as NumPy never does; write the archive "
                "again with numpy.savez_compressed."
            )
        if not entry.filename.endswith(".npy"):
            continue
        with warnings.catch_warnings(), archive.open(entry) as file:
            warnings.simplefilter("ignore")
            version = np.lib.format.read_magic(file)
            # the headers of versions 2 and 3 differ in the encoding of names only
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, kind = read(file)
            there = entry.file_size - file.tell()
        if kind.hasobject:
            continue  # a pickle, which is refused by name when it is asked for
        size = math.prod(shape) * kind.itemsize
        if size != there or min(shape, default=0) < 0:
            raise UserError(
                f"{allowance.path}: the array '{entry.filename.removesuffix('.npy')}' is declared as {shape} of "
                f"{kind}, {size:,} bytes, and the archive holds {there:,}; it is damaged, write it again with "
                "numpy.savez."
            )
        allowance.require(declared_bytes(shape, kind.itemsize))
