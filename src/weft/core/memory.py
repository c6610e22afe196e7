"""How much memory there is, so that what does not fit is refused before it is begun."""

import dataclasses
import math
import os
import resource
from collections.abc import Iterable
from pathlib import Path

from .errors import UserError

__all__ = ["Allowance", "available_memory", "declared_bytes", "require_memory"]

LIMITS = (  # of a container, by version: the limit, what is used of it, and what of that can be given back
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat", "inactive_file"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        "/sys/fs/cgroup/memory/memory.stat",
        "total_inactive_file",
    ),
)
UNKNOWN = 8 * 10**9  # bytes taken to be free where the system does not say
PART = 32  # of the free memory, which a log may always take
TIMES = 20  # the size of its file, up to which a log may take more; files of numbers unpack to 10 times at most

SIZES = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


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


@dataclasses.dataclass
class Allowance:
    """The memory that the log in a file may take, counted up before each part of it is unpacked.

    A log takes at most half of the free memory; beyond a 32nd of it, at most 20 times the size of its file, because
    what expands further is damaged, made to do harm, or worth a question. `gigabytes`, where the user gives it, is the
    only limit. `size` and `free` are bytes, `taken` is what was counted so far.
    """

    path: Path
    size: int
    free: int
    gigabytes: float | None = None
    taken: int = 0

    @classmethod
    def of(cls, path: Path, gigabytes: float | None = None) -> "Allowance":
        """Return the allowance of a file, given the memory that is free now."""
        free = available_memory()
        return cls(path, path.stat().st_size, UNKNOWN if free is None else free, gigabytes)

    @property
    def most(self) -> int:
        """The most bytes that the log may take."""
        if self.gigabytes is not None:
            return int(self.gigabytes * 1e9)
        return min(self.free // 2, max(self.free // PART, TIMES * self.size))

    def take(self, amount: int) -> None:
        """Count bytes that are about to be unpacked. Raises UserError where the log then takes more than it may."""
        self.require(amount)
        self.taken += amount

    def require(self, amount: int) -> None:
        """Raise UserError where so many bytes more would be too much, without counting them."""
        needed = self.taken + amount
        if needed <= self.most:
            return
        if self.gigabytes is not None:
            raise UserError(
                f"{self.path}: the log takes {_shown(needed)} of memory or more (its file has {_shown(self.size)}), "
                f"and gigabytes={self.gigabytes:g} allows {_shown(self.most)}; raise it if you trust the file."
            )
        rule = f"more than half of the free memory ({_shown(self.free)})"
        if needed <= self.free // 2:
            rule = f"more than {TIMES} times that and a {PART}nd of the free memory ({_shown(self.free)})"
        raise UserError(
            f"{self.path}: the log takes {_shown(needed)} of memory or more, its file has {_shown(self.size)}; {rule} "
            "is refused; if you trust the file, say how much it may take: gigabytes=NUMBER (--gigabytes NUMBER)."
        )


def declared_bytes(shape: Iterable[int], width: int) -> int:
    """Return the bytes that an array of a declared shape stands for; empty axes count as one.

    An array of no columns and 10¹² rows takes no memory itself, but whatever has one entry a row does.
    """
    return math.prod(max(int(length), 1) for length in shape) * max(width, 1)


def _shown(size: int) -> str:
    """Return a number of bytes in words."""
    for unit, word in SIZES:
        if size >= unit:
            return f"{size / unit:.1f} {word}"
    return f"{size} bytes"


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
