"""How much memory there is, so that what does not fit is refused before it is begun."""

import os
import resource
from pathlib import Path

from .errors import UserError

__all__ = ["available_memory", "require_memory"]

LIMITS = (  # of a container, by version: the limit, what is used of it, and what of that can be given back
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat", "inactive_file"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        "/sys/fs/cgroup/memory/memory.stat",
        "total_inactive_file",
    ),
)


def available_memory() -> int | None:
    """Return the bytes that this process can still have: of the machine, its container and its own limit (`ulimit -v`).

    None where the system does not say.
    """
    rooms = []
    free = _entry(Path("/proc/meminfo"), "MemAvailable:")
    if free is not None:
        rooms.append(free * 1024)
    for limit, used, stat, spare in LIMITS:
        most, now = _number(Path(limit)), _number(Path(used))
        if most is not None and now is not None and most < 2**60:
            rooms.append(most - now + (_entry(Path(stat), spare) or 0))
    own = resource.getrlimit(resource.RLIMIT_AS)[0]
    if own != resource.RLIM_INFINITY:
        pages = _number(Path("/proc/self/statm"))
        rooms.append(own - (pages or 0) * os.sysconf("SC_PAGE_SIZE"))
    return max(min(rooms), 0) if rooms else None


def require_memory(needed: int, what: str, remedy: str) -> None:
    """Raise UserError where `what` needs more bytes than there are; `remedy` says what to do instead."""
    free = available_memory()
    if free is not None and needed > free:
        raise UserError(f"{what} needs {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free; {remedy}.")


def _number(path: Path) -> int | None:
    """Return the first word of a file as a number, None where it is none."""
    try:
        return int(path.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def _entry(path: Path, name: str) -> int | None:
    """Return the number behind a name in a file of names and numbers."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.split()[:1] == [name]), None)
