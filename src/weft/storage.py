"""The one place that writes: whole files, atomically, or one clear sentence and nothing half-written."""

import contextlib
import errno
import json
import os
import zlib
from collections.abc import Iterator
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

__all__ = [
    "DamagedFile",
    "append_lines",
    "locked",
    "make_folder",
    "move",
    "read_about",
    "read_json",
    "read_tree",
    "write_bytes",
    "write_json",
    "write_tree",
]

ADVICE = {
    errno.ENOSPC: "the disk is full; free some room, or choose another folder",
    errno.EDQUOT: "the quota is used up; free some room, or choose another folder",
    errno.EFBIG: "the file would exceed the allowed size; raise the limit, or choose another folder",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.EACCES: "permission is denied; choose another folder",
}


class DamagedFile(UserError):
    """A file that weft wrote and that is no longer what was written."""


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
        _flush_folder(path.parent)
    except OSError as problem:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise explain(problem, path) from None


def move(source: Path, target: Path) -> None:
    """Give a whole file another name in its folder, for good. Raises UserError where that fails."""
    try:
        os.replace(source, target)
        _flush_folder(target.parent)
    except OSError as problem:
        raise explain(problem, target) from None


def append_lines(path: Path, lines: list[str], durable: bool = False) -> None:
    """Append whole lines to a file; after a failure the last line may be torn, which readers drop.

    `durable` waits until this and what was appended before it are on the disk.
    """
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write("".join(line + "\n" for line in lines))
            if durable:
                file.flush()
                os.fsync(file.fileno())
    except OSError as problem:
        raise explain(problem, path) from None


@contextlib.contextmanager
def locked(path: Path, busy: str) -> Iterator[None]:
    """Hold a lock file while the block runs; raise UserError with the sentence `busy` if another holds it.

    The lock ends with the process, however that ends. Where the system offers no such locks there is none.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    try:
        file = open(path, "w")  # noqa: SIM115 (closed below)
    except OSError as problem:
        raise explain(problem, path) from None
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(busy) from None
        except OSError:
            pass  # some network folders offer none
        yield
    finally:
        file.close()


def _flush_folder(folder: Path) -> None:
    """Bring a folder's list of names to the disk, where the system can do that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


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
    arrays = {
        f"{number:05d} {name}": np.asarray(leaf, order="C") for number, (name, leaf) in enumerate(named_leaves(tree))
    }
    # one entry, because several would be written in an order that changes from process to process
    write_bytes(path, save_tensors(arrays, {"weft": json.dumps({**about, "checksum": _checksum(arrays)})}))


def _checksum(arrays: dict[str, np.ndarray]) -> int:
    total = 0
    for name in sorted(arrays):
        total = zlib.crc32(arrays[name].tobytes(), zlib.crc32(name.encode(), total))
    return total


def read_tree(path: Path, like: PyTree) -> PyTree:
    """Read the arrays of a file back into a tree of the given structure; sizes are those of the file.

    Raises DamagedFile when the file is missing or damaged, and UserError when it does not fit the structure.
    """
    about = read_about(path)
    try:
        arrays = load_tensors(path.read_bytes())
    except (OSError, SafetensorError) as problem:
        raise DamagedFile(f"{path} is damaged and cannot be read: {problem}.") from None
    if about.get("checksum") != _checksum(arrays):
        raise DamagedFile(f"{path} is damaged: its content is not what was written.")
    wanted = [f"{number:05d} {name}" for number, (name, _) in enumerate(named_leaves(like))]
    if sorted(arrays) != wanted:
        raise UserError(f"{path} does not fit: it was written by other settings or another version of weft.")
    # copies of our own, because a step of training gives its input's memory away
    return jax.tree.unflatten(jax.tree.structure(like), [jnp.array(arrays[key]) for key in wanted])


def read_about(path: Path) -> dict[str, Any]:
    """Return what `write_tree` was told beside the arrays, without reading them."""
    try:
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
        return dict(json.loads(header["__metadata__"]["weft"]))
    except FileNotFoundError:
        raise DamagedFile(f"There is no file {path}.") from None
    except (OSError, ValueError, OverflowError, MemoryError, KeyError, TypeError):
        raise DamagedFile(f"{path} is not a file that weft wrote, or it is damaged.") from None
