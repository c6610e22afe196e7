"""`weft advise`: which methods to try on a log, and why."""

import dataclasses
import shlex
from typing import TYPE_CHECKING, ClassVar, Literal

from ..command import Command, Data, Log, LogOptions, console

if TYPE_CHECKING:
    from ...experiments.advice.advice import Advice

__all__ = ["Advise"]

WIDTH = 80  # columns, so that the page can be read in any terminal and in a mail


@dataclasses.dataclass(frozen=True)
class Advise(Command):
    """Say which methods to try on a log, in which order, what they have to beat, and with which commands.

    Takes seconds and trains nothing. Properties of the log are measured; the order follows published comparisons and
    weft's own tables of logs in the same situation. It is where to begin, not a promise of a return.
    """

    example: ClassVar[str] = "weft advise sample:maze --then online"

    data: Data
    """A file, a folder, or a URI such as sample:maze or minari:hopper/medium-v0."""
    then: Literal["offline", "online", "model"] = "offline"
    """What comes after training: the policy is served as it is (offline), it goes on learning by acting (online), or a
    model of the world can be trained and learned from (model)."""
    log: Log = dataclasses.field(default_factory=LogOptions)

    def run(self) -> None:
        """Print the measured properties, the order, the baselines, the warnings, and the commands that come next."""
        from rich.table import Table
        from rich.text import Text

        import weft

        advice = weft.advise(self.log.load(self.data), self.then)
        measured = Table("measured", "", "meaning", width=WIDTH, box=None, pad_edge=False)
        for part in advice.properties:
            measured.add_row(Text(part.name, "bold"), Text(part.value), Text(part.meaning))
        screen = console()
        screen.print(measured)
        screen.print()
        screen.print(Text(advice.situation), width=WIDTH)
        for table in _tables(advice):
            screen.print()
            screen.print(table)
        screen.print()
        screen.print(Text(advice.grounds), width=WIDTH)
        world = self.data.removeprefix("sample:") if self.data.startswith("sample:") else None
        for what, words in advice.commands(self.data, self.log.words(), world).items():
            screen.print(f"\n{what}:\n  {shlex.join(words)}", soft_wrap=True, markup=False)


def _tables(advice: "Advice") -> list:
    """Return the order, what it has to beat, and the warnings, laid out."""
    from rich.table import Table
    from rich.text import Text

    from ...experiments.advice.advice import shown

    order = Table("", "try", "because", width=WIDTH, box=None, pad_edge=False)
    order.columns[1].max_width = WIDTH // 2 - 6
    for places, neighbours in advice.groups():
        names = Text(", ".join(map(shown, neighbours)), "bold")
        order.add_row(places, names, Text(neighbours[0].reason))
    beat = Table("to beat", "", width=WIDTH, box=None, pad_edge=False)
    for part in advice.baselines:
        beat.add_row(Text(part.name, "bold"), Text(f"{part.value} {part.meaning}".strip()))
    notes = Table(width=WIDTH, box=None, show_header=False, pad_edge=False)
    for warning in advice.warnings:
        notes.add_row(Text("warning", "bold yellow"), Text(warning, "bold yellow"))
    notes.add_row(Text("evaluation", "bold"), Text(advice.evaluation))
    return [order, beat, notes] if advice.ranking else [beat, notes]
