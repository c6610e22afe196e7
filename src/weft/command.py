"""What a command is: a frozen dataclass whose fields are its arguments and options, and a `run`.

One final class per file in `commands/`, found by file name. Its docstring is its help, `example` closes it. Nothing
here or there imports JAX before a command runs, so that help answers at once.
"""

import abc
import dataclasses
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import tyro

from .errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from .dataset import Dataset

__all__ = ["Command", "LogOptions", "Stopped", "console", "parse"]

PACKAGE = "weft.commands"


class Stopped(Exception):
    """The person stopped a command; the message says how to go on."""


class Command(abc.ABC):
    """One thing that the command line can do."""

    example: ClassVar[str]

    @abc.abstractmethod
    def run(self) -> None:
        """Do it, and print what came of it. Raises UserError for whatever the person can mend."""

    @classmethod
    def read(cls, arguments: Sequence[str]) -> Self:
        """Return the command with its fields read from the line; print help or a mistake and exit otherwise."""
        return parse(cls, arguments, cls.name(), f"{textwrap.dedent(cls.__doc__ or '')}\n\nExample: {cls.example}")

    @classmethod
    def name(cls) -> str:
        """The file name of the command."""
        return cls.__module__.rpartition(".")[2]

    @classmethod
    def title(cls) -> str:
        """The first sentence of the help."""
        return (cls.__doc__ or "").strip().split("\n")[0]


def parse(kind: Any, arguments: Sequence[str], name: str, description: str) -> Any:
    """Read a dataclass from a command line. A mistake is printed on standard error, with exit code 2."""
    shown = tyro.conf.configure(tyro.conf.FlagConversionOff) if False else ()
    return tyro.cli(kind, args=list(arguments), prog=f"weft {name}", description=description, config=shown)
