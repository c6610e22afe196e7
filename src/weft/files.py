"""What may be opened at all: regular files. A pipe, a device or a socket can block for ever or never end."""

import stat
from pathlib import Path

from .errors import UserError

__all__ = ["regular"]

KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def regular(path: Path) -> Path:
    """Return a path that leads to a regular file, also through symbolic links.

    Raises UserError, one sentence with the path, for a folder, named pipe, device or socket, for a file that is not
    there, and for one that cannot be reached. The file itself is not opened.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        what = "the link leads to no file" if path.is_symlink() else "there is no such file"
        raise UserError(f"{path}: {what}.") from None
    except (OSError, ValueError) as problem:  # no permission, a loop of links, a name too long, a zero byte
        reason = getattr(problem, "strerror", None) or problem
        raise UserError(f"{path}: the file cannot be reached ({reason}).") from None
    if not stat.S_ISREG(mode):
        what = next((name for test, name in KINDS if test(mode)), "no regular file")
        raise UserError(f"{path}: this is {what}, and weft opens regular files only; give the path of a file.")
    return path
