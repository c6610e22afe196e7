"""`weft demo`: the whole path on a log made on the spot."""

import dataclasses
from pathlib import Path
from typing import ClassVar

from ..command import Command

__all__ = ["Demo"]


@dataclasses.dataclass(frozen=True)
class Demo(Command):
    """Make a log, train several methods on it, evaluate them, and write one page with pictures."""

    example: ClassVar[str] = "weft demo --out report.html"

    out: Path = Path("report.html")
    """The page to write."""

    def run(self) -> None:
        """Run the demonstration."""
        from ...reports.demonstration import demonstrate

        demonstrate(self.out)
