"""What may be opened at all, and how far it unpacks.

Only regular files are opened: a pipe, a device or a socket can block for ever or never end.
"""

import gzip
import io
import os
import stat
import zlib
from pathlib import Path

from .errors import UserError
from .memory import Allowance

__all__ = ["gunzipped", "mode", "regular"]

KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
PIECE = 2**20  # bytes that are unpacked at a time


def mode(path: Path) -> int | None:
    """Return the kind and permissions of what a path leads to (`st_mode`), None where there is nothing.

    Raises UserError for a path that cannot be followed: no permission, a loop of links, a name that is too long.
    """
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise UserError(f"{path}: the file cannot be reached ({reason}).") from None


def regular(path: Path) -> Path:
    """Return a path that leads to a regular file, also through symbolic links.

    Raises UserError, one sentence with the path, for a folder, named pipe, device or socket, for a file that is not
    there, and for one that cannot be reached or may not be read. The file itself is not opened.
    """
    bits = mode(path)
    if bits is None:
        what = "the link leads to no file" if path.is_symlink() else "there is no such file"
        raise UserError(f"{path}: {what}.")
    if not stat.S_ISREG(bits):
        what = next((name for test, name in KINDS if test(bits)), "no regular file")
        raise UserError(f"{path}: this is {what}, and weft opens regular files only; give the path of a file.")
    if not os.access(path, os.R_OK):
        raise UserError(f"{path}: you may not read this file; ask for permission, or copy it.")
    return path


def gunzipped(path: Path, allowance: Allowance) -> io.BytesIO:
    """Return the content of a gzip file, unpacked piece by piece.

    Raises UserError for a damaged file, and as soon as more comes out than the log may take.
    """
    content = io.BytesIO()
    try:
        with gzip.open(path) as file:
            while piece := file.read(PIECE):
                allowance.take(len(piece))
                content.write(piece)
    except (OSError, EOFError, zlib.error) as problem:
        raise UserError(f"{path}: the gzip file cannot be read ({problem}); fetch it again.") from None
    content.seek(0)
    return content
