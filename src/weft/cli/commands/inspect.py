"""`weft inspect`: what a log holds."""

import dataclasses
from typing import ClassVar

from ..command import Command, Data, Log, LogOptions, console

__all__ = ["Inspect"]


@dataclasses.dataclass(frozen=True)
class Inspect(Command):
    """Say what a log holds, in numbers and in warnings, before anything is trained on it."""

    example: ClassVar[str] = 'weft inspect log.csv --observations "x*" --action item --reward click --propensity p'

    data: Data
    """A file, a folder, or a URI such as sample:maze or minari:hopper/medium-v0."""
    log: Log = dataclasses.field(default_factory=LogOptions)

    def run(self) -> None:
        """Print the findings."""
        from rich.table import Table
        from rich.text import Text

        import weft

        found = weft.inspect(self.log.load(self.data))
        table = Table(box=None, show_header=False, pad_edge=False)
        for what, words in found.lines():
            style = "bold yellow" if what == "warning" else ""
            table.add_row(Text(what, style or "bold"), Text(words, style))
        console().print(table)
