"""`weft advise`: which algorithms to try on a log, and why."""

import dataclasses
import shlex
from typing import ClassVar

from ..command import Command, Data, Log, LogOptions, console

__all__ = ["Advise"]


@dataclasses.dataclass(frozen=True)
class Advise(Command):
    """Say which algorithms to try on a log, in which order, with the measured figure behind every reason.

    Takes seconds and trains nothing. The order follows published comparisons on logs with such figures; it is where
    to begin, not a promise of a return.
    """

    example: ClassVar[str] = "weft advise sample:maze"

    data: Data
    """A file, a folder, or a URI such as sample:maze or minari:hopper/medium-v0."""
    log: Log = dataclasses.field(default_factory=LogOptions)

    def run(self) -> None:
        """Print the measured properties, the ranking, the warnings, and what evaluation is possible."""
        from rich.table import Table
        from rich.text import Text

        import weft

        advice = weft.advise(self.log.load(self.data))
        screen = console()
        measured = Table("measured", "", "meaning", box=None, pad_edge=False)
        for part in advice.properties:
            measured.add_row(Text(part.name, "bold"), Text(part.value), Text(part.meaning))
        screen.print(measured)
        ranking = Table("", "try", "settings", "because", box=None, pad_edge=False)
        for place, part in enumerate(advice.ranking, 1):
            settings = ", ".join(f"{name}={value}" for name, value in part.settings.items())
            ranking.add_row(str(place), Text(part.algorithm, "bold"), Text(settings or "defaults"), Text(part.reason))
        notes = Table(box=None, show_header=False, pad_edge=False)
        for warning in advice.warnings:
            notes.add_row(Text("warning", "bold yellow"), Text(warning, "bold yellow"))
        notes.add_row(Text("evaluation", "bold"), Text(advice.evaluation))
        for table in (ranking, notes):
            screen.print()
            screen.print(table)
        if advice.ranking:
            flags = [f"--{name.replace('_', '-')} {value}" for name, value in advice.ranking[0].settings.items()]
            line = " ".join(["weft fit", advice.ranking[0].algorithm, shlex.quote(self.data), *flags])
            rest = "" if self.log == LogOptions() else ", with the options of the log as here"
            screen.print(f"\nBegin with: {line}{rest}", soft_wrap=True, markup=False)
