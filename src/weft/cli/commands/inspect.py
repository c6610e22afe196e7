"""`weft inspect`: what a log holds."""

import dataclasses
from typing import ClassVar

from ..command import Command, Data, Log, LogOptions, console

__all__ = ["Inspect"]


@dataclasses.dataclass(frozen=True)
class Inspect(Command):
    """Summarise a log before training: size, returns, actions, propensities, and warnings."""

    example: ClassVar[str] = 'weft inspect log.csv --observations "x*" --action item --reward click --propensity p'

    data: Data
    """A file, a folder, or a URI such as sample:maze or minari:hopper/medium-v0."""
    log: Log = dataclasses.field(default_factory=LogOptions)

    def run(self) -> None:
        """Print the findings."""
        from rich.table import Table
        from rich.text import Text

        import weft

        summary = weft.inspect(self.log.load(self.data))
        table = Table(box=None, show_header=False, pad_edge=False)
        for what, words in summary.lines():
            style = "bold yellow" if what == "warning" else ""
            table.add_row(Text(what, style or "bold"), Text(words, style))
        console().print(table)
