"""HDF5 files opened for reading, with a sentence for whatever h5py stumbles over.

A file is first read in a child process (`weft.core.trial`): libhdf5 can loop for ever on a damaged one. There it is
also searched for parts that lie in other files, which are never read: a log that was fetched could show files of this
machine.
"""

import contextlib
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import UserError, nearest
from ...core.files import gunzipped, regular
from ...core.memory import Allowance, declared_bytes
from ...core.trial import expect, trial

__all__ = ["address", "array", "examined", "opened"]

SIGNATURE = b"\x89HDF\r\n\x1a\n"  # at byte 0, 512, 1024, 2048, …
POINTER = 16  # bytes of a value of any length, without what it points to
BLOCK = 64 * 2**20  # bytes that are read at a time in a trial
DEEPEST = 64  # groups inside groups; libhdf5 goes down by recursion, and every name grows on the way
OBJECT = 20_000  # bytes that reading what stands about an object is worth in time


@contextlib.contextmanager
def opened(path: Path, allowance: Allowance) -> Iterator[Any]:
    """Open an HDF5 file, or one inside a `.gz`, and yield it as an `h5py.File`.

    Raises UserError when it is no HDF5 file, is cut short or damaged (also when that shows only while it is read),
    unpacks to more than its allowance, or points to other files.
    """
    regular(path)
    content = gunzipped(path, allowance) if path.suffix.lower() == ".gz" else None
    with contextlib.nullcontext(content) if content else path.open("rb") as file:
        _check_signature(file, path)
    trial(path, "weft.data.formats._hdf5:examined", allowance, content)
    with _file(content or path, path) as file:
        yield file


def array(group: Any, name: str, allowance: Allowance) -> np.ndarray:
    """Return a dataset of a group as an array, its size counted before it is read.

    Raises UserError when there is none of that name, or when it is larger than the allowance.
    """
    import h5py

    there = group.get(name)
    place = f" in {group.name}" if group.name != "/" else ""
    if not isinstance(there, h5py.Dataset):
        raise UserError(
            f"{allowance.path}: there is no dataset '{name}'{place}.{nearest(name, group)} "
            f"Known: {', '.join(group) or 'none'}."
        )
    if there.shape is None:
        raise UserError(f"{allowance.path}: the dataset '{name}'{place} holds nothing; write an array.")
    size, chunk = _sizes(there)
    allowance.require(size + chunk)
    allowance.take(size)
    return np.asarray(there[()])


def address(thing: Any) -> int:
    """Return where a group or dataset lies in its file, by which it is known under all its names."""
    import h5py

    return h5py.h5o.get_info(thing.id).addr  # type: ignore[attr-defined]


def examined(source: Any, allowance: Allowance) -> int:
    """Read every dataset of a file (a path or its content) piece by piece, and return the bytes of them all.

    Datasets that are larger than the allowance are left out: whoever asks for them is refused. Raises UserError for
    damage, and for external links, external storage and virtual datasets, which can point to any file.
    """
    import h5py

    total = 0
    with _file(source, allowance.path) as file:
        met = {address(file)}
        groups = [(file, 0)]
        while groups:
            group, depth = groups.pop()
            if depth > DEEPEST:
                raise UserError(f"{allowance.path}: there are groups inside groups, deeper than {DEEPEST}.")
            for name in group:
                expect(OBJECT)
                link = group.get(name, getlink=True)
                if isinstance(link, h5py.ExternalLink):
                    _refuse(group, name, "is a link into another file", allowance)
                if isinstance(link, h5py.SoftLink):
                    continue  # its end has a name of its own, or is missing
                thing = group[name]
                place = address(thing)
                if place in met:
                    continue
                met.add(place)
                if isinstance(thing, h5py.Group):
                    groups.append((thing, depth + 1))
                elif isinstance(thing, h5py.Dataset):
                    total += _examined(thing, group, name, allowance)
    return total


def _examined(thing: Any, group: Any, name: str, allowance: Allowance) -> int:
    """Read a dataset piece by piece, and return its bytes."""
    import h5py

    plan = thing.id.get_create_plist()
    if plan.get_external_count():
        _refuse(group, name, "keeps its values in another file", allowance)
    if plan.get_layout() == h5py.h5d.VIRTUAL:
        _refuse(group, name, "is made of parts of other datasets, which can lie in other files", allowance)
    if thing.shape is None:
        return 0
    size, chunk = _sizes(thing)
    if size + chunk > allowance.most:
        return 0
    expect(size + chunk)
    if size <= BLOCK or not thing.shape or 0 in thing.shape:
        thing[()]
        return size
    rows = thing.chunks[0] if thing.chunks else 1
    step = max(BLOCK * thing.shape[0] // size // rows, 1) * rows
    for first in range(0, thing.shape[0], step):
        thing[first : first + step]
    return size


def _sizes(thing: Any) -> tuple[int, int]:
    """Return the declared bytes of a dataset, and of one of its chunks, which are unpacked as a whole."""
    kind = thing.dtype
    width = max(kind.itemsize, POINTER) if kind.hasobject else kind.itemsize
    return declared_bytes(thing.shape, width), math.prod(thing.chunks or (0,)) * width


def _refuse(group: Any, name: str, what: str, allowance: Allowance) -> None:
    place = f"{group.name.rstrip('/')}/{name}"
    raise UserError(
        f"{allowance.path}: '{place}' {what}; weft reads one file; write its values into this file."
    ) from None


def _check_signature(file: Any, path: Path) -> None:
    """Raise UserError unless a file has the mark of HDF5 at one of the places where it may be."""
    end = file.seek(0, io.SEEK_END)
    place = 0
    while place < end:
        file.seek(place)
        if file.read(len(SIGNATURE)) == SIGNATURE:
            return
        place = max(2 * place, 512)
    raise UserError(f"{path}: this is not an HDF5 file.")


@contextlib.contextmanager
def _file(source: Any, path: Path) -> Iterator[Any]:
    """Open a path or content with h5py, and say in a sentence what it stumbles over while it is read."""
    import h5py

    try:
        with h5py.File(source, "r") as file:
            yield file
    except UserError:
        raise
    except Exception as problem:  # what h5py raises depends on which part of the file is damaged
        reason = "it is cut short" if "truncated" in str(problem) else f"it is damaged ({problem})"
        raise UserError(f"{path}: the HDF5 file cannot be read: {reason}; fetch it again.") from None
