"""`weft algorithms`: what there is to train."""

import dataclasses
from typing import ClassVar

from ...core import registry as discovery
from ..command import Command, console

__all__ = ["Algorithms"]


@dataclasses.dataclass(frozen=True)
class Algorithms(Command):
    """List every method: name, title, family, the actions it learns from, and its paper."""

    example: ClassVar[str] = "weft algorithms"

    def run(self) -> None:
        """Print the table."""
        from rich.table import Table

        from ...agents.algorithm import algorithms

        table = Table("name", "title", "family", "actions", "paper", box=None, pad_edge=False)
        for name, kind in algorithms().items():
            table.add_row(name, kind.title, kind.family, ", ".join(sorted(kind.actions)), kind.paper)
        screen = console()
        screen.print(table)
        families = ", ".join(name.replace("_", "-") for name in discovery.names("weft.agents.presets"))
        screen.print("\n`weft fit NAME --help` shows a method's hyperparameters.", soft_wrap=True)
        screen.print(f"`--preset FAMILY` starts from the settings for a family of tasks: {families}.", soft_wrap=True)
