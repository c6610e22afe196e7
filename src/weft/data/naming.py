"""How the user calls the parts of a log and counts its rows, for sentences."""

from typing import Any

import numpy as np

from ..core.errors import UserError
from .steps import Source

__all__ = ["Naming", "rows_of"]


def rows_of(mask: Any) -> str:
    """Name the first rows of a mask: `3 rows, first 4, 8, 15`."""
    return _listed(np.flatnonzero(mask))


class Naming:
    """The words of sentences about a source: `name("rewards")` is `'click'` where the user calls the rewards so.

    `notes` collects what is to be said about the values, though they are taken.
    """

    def __init__(self, source: Source) -> None:
        self.origin, self.names = source.origin, dict(source.names)
        self.notes: list[str] = []
        self.noted: set[str] = set()
        self.row_numbers = None if source.row_numbers is None else np.asarray(source.row_numbers)

    def __call__(self, part: str) -> str:
        return f"'{self.names.get(part, part)}'"

    def column(self, part: str, place: int, columns: int) -> str:
        """Name one column of an array: `'x1'` of a table, else `1 of 'observations'`."""
        own = self.names.get(f"{part}[{place}]")
        return f"'{own}'" if own else self(part) if columns == 1 else f"{place} of {self(part)}"

    def note(self, sentence: str, about: str | None = None) -> None:
        """Keep a sentence, the first one about a column (whose observations are checked before and after the step)."""
        if about is None or about not in self.noted:
            self.notes.append(sentence)
        self.noted |= {about} if about else set()

    def refuse(self, sentence: str) -> UserError:
        """Return the error that says where the sentence comes from."""
        return UserError(f"{self.origin}: {sentence}")

    def some(self, mask: Any) -> str:
        """Name the first rows of a mask, as the user counts them: `3 rows, first 4, 8, 15`."""
        return _listed(
            np.flatnonzero(mask) if self.row_numbers is None else np.sort(self.row_numbers[np.flatnonzero(mask)])
        )


def _listed(rows: np.ndarray) -> str:
    first = ", ".join(str(row) for row in rows[:5])
    return f"{len(rows)} rows, first {first}" if len(rows) > 1 else f"row {first}"
