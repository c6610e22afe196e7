"""HDF5 files opened for reading, with a sentence for whatever h5py stumbles over."""

import contextlib
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .errors import UserError, nearest

__all__ = ["array", "opened"]


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open an HDF5 file, or one inside a `.gz`, and yield it as an `h5py.File`.

    Raises UserError when it is no HDF5 file or is cut short, also when that shows only while it is read.
    """
    import h5py

    content: Any = path
    if path.suffix == ".gz":
        try:
            content = io.BytesIO(gzip.decompress(path.read_bytes()))
        except (OSError, EOFError, zlib.error) as problem:
            raise UserError(f"{path}: the gzip file cannot be read ({problem}); fetch it again.") from None
    elif not h5py.is_hdf5(path):
        raise UserError(f"{path}: this is not an HDF5 file.")
    try:
        with h5py.File(content, "r") as file:
            yield file
    except UserError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as problem:
        # what h5py raises depends on which part of the file is damaged
        reason = "it is cut short" if "truncated" in str(problem) else f"it is damaged ({problem})"
        raise UserError(f"{path}: the HDF5 file cannot be read: {reason}; fetch it again.") from None


def array(group: Any, name: str, path: Path) -> np.ndarray:
    """Return a dataset of a group as an array; raise UserError when there is none of that name."""
    import h5py

    found = group.get(name)
    if not isinstance(found, h5py.Dataset):
        place = f" in {group.name}" if group.name != "/" else ""
        raise UserError(
            f"{path}: there is no dataset '{name}'{place}.{nearest(name, group)} Known: {', '.join(group) or 'none'}."
        )
    return np.asarray(found[()])
