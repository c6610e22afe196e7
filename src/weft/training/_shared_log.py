"""A log in the units of a method, in a file without a name: workers map it, so that there is one copy of it in all."""

import dataclasses
import mmap
import tempfile
from typing import Any, BinaryIO

import jax
import numpy as np

from ..core.errors import UserError
from ..data.columns import Columns

__all__ = ["mapped", "written"]

ALIGNED = 64  # bytes: what JAX asks for of memory that it uses in place


def written(columns: Columns) -> tuple[BinaryIO, dict[str, Any]]:
    """Write a log into a temporary file, which goes with the last process that holds it; return what lies where.

    Raises UserError where there is no room for it.
    """
    parts, place = [], 0
    file: Any = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
    try:
        for name, leaf in _leaves(columns):
            array = np.ascontiguousarray(leaf)
            place += -place % ALIGNED
            file.seek(place)
            file.write(array.reshape(-1).view(np.uint8).data)
            parts.append([name, array.dtype.name, list(np.shape(leaf)), place])
            place += array.nbytes
        file.write(bytes(ALIGNED))  # nothing can be mapped of an empty file
        file.flush()
    except OSError as problem:
        file.close()
        raise UserError(
            f"The log cannot be shared with workers in {tempfile.gettempdir()}: {problem.strerror}. Free some room "
            "there, or name another folder in TMPDIR."
        ) from None
    return file, {"parts": parts, "stack": columns.stack}


def mapped(file: int, about: dict[str, Any]) -> Columns:
    """Return a log of `written`, whose memory is the file's."""
    memory = mmap.mmap(file, 0, access=mmap.ACCESS_READ)
    fields: dict[str, Any] = {"log_propensity": None}
    for name, kind, shape, place in about["parts"]:
        count = int(np.prod(shape, dtype=np.int64))
        array = jax.device_put(np.frombuffer(memory, kind, count, place).reshape(shape))
        head, _, component = name.partition("/")
        if component:
            fields.setdefault(head, {})[component.removeprefix("=")] = array
        else:
            fields[head] = array
    return Columns(**fields, stack=about["stack"])


def _leaves(columns: Columns) -> list[tuple[str, Any]]:
    """Return all arrays of a log by name; the components of an observation are `observation/=NAME`."""
    leaves = []
    for field in dataclasses.fields(columns):
        value = getattr(columns, field.name)
        if field.name in ("lanes", "stack") or value is None:
            continue
        parts = value.items() if isinstance(value, dict) else [(None, value)]
        leaves += [(field.name if name is None else f"{field.name}/={name}", part) for name, part in parts]
    return leaves
