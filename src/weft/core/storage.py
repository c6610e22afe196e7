"""The one place that writes: whole files, atomically, or one clear sentence and nothing half-written."""

import contextlib
import dataclasses
import errno
import functools
import hashlib
import json
import logging
import os
import zlib
from collections.abc import Iterator, Mapping
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
from .files import regular
from .pytree import named_leaves

__all__ = [
    "DamagedFile",
    "Stored",
    "append_lines",
    "digest",
    "locked",
    "make_folder",
    "move",
    "parsed",
    "read_json",
    "read_record",
    "read_tree",
    "rebuilding",
    "stored",
    "unvouched",
    "write_bytes",
    "write_json",
    "write_record",
    "write_tree",
]

ADVICE = {
    errno.ENOSPC: "the disk is full; free some room, or choose another folder",
    errno.EDQUOT: "the quota is used up; free some room, or choose another folder",
    errno.EFBIG: "the file would exceed the allowed size; raise the limit, or choose another folder",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.EACCES: "permission is denied; choose another folder",
}


FORMAT = 2
"""Of records: the first had no digest."""


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
        if durable:
            _flush_folder(path.parent)  # the file may be new
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
        file = open(regular(path) if path.exists() else path, "w")  # noqa: SIM115 (closed below)
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


def digest(content: Any, arrays: Mapping[str, np.ndarray] | None = None) -> str:
    """Return the SHA-256 of JSON content, whatever the order of its keys, and of named arrays with shapes and types."""
    sha256 = hashlib.sha256(json.dumps(json.loads(json.dumps(content)), sort_keys=True).encode())
    for name, array in sorted((arrays or {}).items()):
        sha256.update(f"\n{name} {array.dtype.name} {array.shape}\n".encode())
        sha256.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return sha256.hexdigest()


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically."""
    write_bytes(path, (json.dumps(content, indent=1) + "\n").encode())


def parsed(text: str | bytes) -> Any:
    """Return what JSON says. Raises ValueError where it is none, nested too deeply to follow included."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_json(path: Path) -> Any:
    """Read JSON; raise UserError that names the file when it is missing or broken."""
    try:
        return parsed(_content(path))
    except ValueError as problem:
        raise DamagedFile(f"{path} cannot be read as JSON: {problem}.") from None


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record of `FORMAT` as JSON, with a digest of all that it says."""
    content = {**record, "format": FORMAT}
    write_json(path, {**content, "digest": digest(content)})


def read_record(path: Path, alone: bool = True) -> dict[str, Any]:
    """Return a record as it was written, without its digest.

    Records of the first format have no digest: that nothing vouches for them is said, unless another record speaks for
    them (`alone`). Raises DamagedFile where one is not what was written.
    """
    record = read_json(path)
    with rebuilding(path):
        written, form = record.pop("digest", None), record.get("format", record.get("version", 1))
        if written is None and form == 1:
            if alone:
                unvouched(path)
            return record
        if written == digest(record) and form == FORMAT:
            return record
    raise DamagedFile(f"{path} is damaged, or another version of weft wrote it.")


@functools.cache
def unvouched(path: Path) -> None:
    """Say, once a process, that a file is of the time when nothing vouched for what its header says."""
    logging.getLogger("weft").warning(
        "%s was written by an older weft, without a digest of all that it says: a change since then would not be "
        "noticed. Write it anew to have one.", path,
    )  # fmt: skip


@contextlib.contextmanager
def rebuilding(path: Path) -> Iterator[None]:
    """Name the file in what goes wrong while what it says is made into objects. Raises DamagedFile."""
    try:
        yield
    except DamagedFile:
        raise
    except UserError as problem:
        raise DamagedFile(f"{path}: {problem}") from None
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        raise DamagedFile(f"{path} is damaged, or another version of weft wrote it.") from None


def write_tree(path: Path, tree: PyTree, **about: Any) -> None:
    """Write every array of a tree into one safetensors file, with a digest; `about` is kept beside them as JSON."""
    arrays = {
        f"{number:05d} {name}": np.asarray(leaf, order="C") for number, (name, leaf) in enumerate(named_leaves(tree))
    }
    # one entry, because several would be written in an order that changes from process to process
    header = json.dumps({**about, "digest": digest(about, arrays)})
    write_bytes(path, save_tensors(arrays, {"weft": header}))


def _checksum(arrays: dict[str, np.ndarray]) -> int:
    """Return the checksum of files without a digest, which covers the arrays alone."""
    total = 0
    for name in sorted(arrays):
        total = zlib.crc32(arrays[name].tobytes(), zlib.crc32(name.encode(), total))
    return total


@dataclasses.dataclass(frozen=True)
class Stored:
    """A file of `write_tree` that is as it was written: what was told beside the arrays (`about`), and the arrays."""

    path: Path
    about: dict[str, Any]
    arrays: dict[str, np.ndarray]

    def tree(self, like: PyTree) -> PyTree:
        """Return the arrays in a given structure, sizes as in the file. Raises UserError where they do not fit it."""
        wanted = [f"{number:05d} {name}" for number, (name, _) in enumerate(named_leaves(like))]
        if sorted(self.arrays) != wanted:
            raise UserError(f"{self.path} does not fit: it was written by other settings or another version of weft.")
        # copies of our own, because a step of training gives its input's memory away
        return jax.tree.unflatten(jax.tree.structure(like), [jnp.array(self.arrays[key]) for key in wanted])


def read_tree(path: Path, like: PyTree, **expected: Any) -> PyTree:
    """Read the arrays of a file back into a tree of the given structure; sizes are those of the file.

    expected: what was kept beside the arrays. Raises DamagedFile when the file is missing, damaged or not the one that
    was expected, and UserError when it does not fit the structure.
    """
    file = stored(path)
    if changed := [name for name, value in expected.items() if file.about.get(name, value) != value]:
        raise DamagedFile(f"{path} is not the file that belongs here: it is of another {' and '.join(changed)}.")
    return file.tree(like)


def stored(path: Path) -> Stored:
    """Read a file of `write_tree`, for whoever learns its structure from it. Raises DamagedFile unless it is whole."""
    content = _content(path)
    try:
        size = int.from_bytes(content[:8], "little")
        about = dict(parsed(parsed(content[8 : 8 + size])["__metadata__"]["weft"]))
    except (ValueError, KeyError, TypeError):
        raise DamagedFile(f"{path} is not a file that weft wrote, or it is damaged.") from None
    try:
        arrays = load_tensors(content)
    except (SafetensorError, TypeError, ValueError) as problem:
        raise DamagedFile(f"{path} is damaged and cannot be read: {problem}.") from None
    written = about.pop("digest", None)
    # files of the first format have a checksum of their arrays alone
    whole = about.get("checksum") == _checksum(arrays) if written is None else written == digest(about, arrays)
    if not whole:
        raise DamagedFile(f"{path} is damaged: its content is not what was written.")
    return Stored(path, about, arrays)


def _content(path: Path) -> bytes:
    if not path.exists():
        raise DamagedFile(f"There is no file {path}.")
    try:
        return regular(path).read_bytes()
    except UserError as problem:
        raise DamagedFile(str(problem)) from None
    except OSError as problem:
        raise DamagedFile(f"{path} cannot be read: {problem.strerror or problem}.") from None
