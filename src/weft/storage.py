"""The one place that writes: whole files, atomically, or one clear sentence and nothing half-written."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from .errors import UserError
from .pytree import named_leaves

__all__ = ["append_lines", "make_folder", "read_json", "read_tree", "write_bytes", "write_json", "write_tree"]

ADVICE = {
    errno.ENOSPC: "the disk is full; free some room, or choose another folder",
    errno.EDQUOT: "the quota is used up; free some room, or choose another folder",
    errno.EFBIG: "the file would exceed the allowed size; raise the limit, or choose another folder",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.EACCES: "permission is denied; choose another folder",
}


def explain(problem: OSError, path: Path) -> UserError:
    """Return the sentence for a failed write; what was there before is intact."""
    reason = ADVICE.get(problem.errno or 0, f"{problem.strerror or problem}")
    return UserError(f"Cannot write {path}: {reason}. What was saved before is intact.")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file under a temporary name, flush it to the disk, and move it into place.

    Raises UserError (full disk, read-only file system, no permission) and leaves no partial file behind.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as problem:
        temporary.unlink(missing_ok=True) if os.access(path.parent, os.W_OK) else None
        raise explain(problem, path) from None


def append_lines(path: Path, lines: list[str]) -> None:
    """Append whole lines to a file; after a failure the last line may be torn, which readers drop."""
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write("".join(line + "\n" for line in lines))
    except OSError as problem:
        raise explain(problem, path) from None


def make_folder(path: Path) -> None:
    """Make a folder and those above it; raise UserError where that fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise explain(problem, path) from None


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically."""
    write_bytes(path, (json.dumps(content, indent=1) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read JSON; raise UserError that names the file when it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"There is no file {path}.") from None
    except (OSError, ValueError) as problem:
        raise UserError(f"{path} cannot be read as JSON: {problem}.") from None


def write_tree(path: Path, tree: PyTree, **about: Any) -> None:
    """Write every array of a tree into one safetensors file; `about` is kept beside them as JSON."""
    arrays = {f"{number:05d} {name}": np.ascontiguousarray(leaf) for number, (name, leaf) in enumerate(named_leaves(tree))}
    write_bytes(path, save_tensors(arrays, {key: json.dumps(value) for key, value in about.items()}))


def read_tree(path: Path, like: PyTree) -> PyTree:
    """Read the arrays of a file back into a tree of the given structure; sizes are those of the file.

    Raises UserError when the file is missing, damaged, or does not fit the structure.
    """
    try:
        arrays = load_tensors(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"There is no file {path}.") from None
    except (OSError, SafetensorError) as problem:
        raise UserError(f"{path} is damaged and cannot be read: {problem}.") from None
    wanted = [f"{number:05d} {name}" for number, (name, _) in enumerate(named_leaves(like))]
    if sorted(arrays) != wanted:
        raise UserError(f"{path} does not fit: it was written by other settings or another version of weft.")
    return jax.tree.unflatten(jax.tree.structure(like), [jnp.asarray(arrays[key]) for key in wanted])


def read_about(path: Path) -> dict[str, Any]:
    """Return what `write_tree` was told beside the arrays, without reading them."""
    try:
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
    except FileNotFoundError:
        raise UserError(f"There is no file {path}.") from None
    except (OSError, ValueError, OverflowError, MemoryError):
        raise UserError(f"{path} is not a file that weft wrote, or it is damaged.") from None
    return {key: json.loads(value) for key, value in header.get("__metadata__", {}).items()}
