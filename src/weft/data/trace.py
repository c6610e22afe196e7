"""Where a policy comes from: the fingerprints of what it was trained on."""

from typing import Any

import numpy as np

__all__ = ["WIDTH", "Trace"]

WIDTH = 7
"""Numbers that recognise an episode (`weft.data.fingerprints`); files of older versions hold the first five."""
OLDER = 5


class Trace:
    """The fingerprints of the log that something was trained on, or None where nobody knows.

    All traces are equal: they say where a policy comes from and nothing about what it computes, so a compiled program
    serves policies of any origin.
    """

    def __init__(self, table: np.ndarray | None = None) -> None:
        self.table = table

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Trace)

    def __hash__(self) -> int:
        return hash(Trace)

    def __repr__(self) -> str:
        return "Trace()" if self.table is None else f"Trace({len(self.table)} episodes)"

    def packed(self) -> np.ndarray:
        """Return the table as uint32 `(episodes, 14)`, as files hold it."""
        table = np.zeros((0, WIDTH), np.uint64) if self.table is None else self.table
        return np.ascontiguousarray(table).view(np.uint32)

    @classmethod
    def unpack(cls, packed: Any) -> "Trace":
        """Return the trace that `packed` gave."""
        table = np.ascontiguousarray(np.asarray(packed, np.uint32))
        if not len(table):
            return cls()
        numbers = table.view(np.uint64)
        return cls(np.pad(numbers, ((0, 0), (0, WIDTH - OLDER))) if numbers.shape[1] == OLDER else numbers)

    def joined(self, table: np.ndarray) -> "Trace":
        """Return the trace of something that has seen these episodes as well; nobody knows still where nobody knew."""
        return self if self.table is None else Trace(np.concatenate([self.table, table]))
