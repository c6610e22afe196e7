"""What a command is: a frozen dataclass whose fields are its arguments and options, and a `run`.

One final class per file in `commands/`, found by file name. Its docstring is its help, `example` closes it. Nothing
here or there imports JAX before a command runs, so that help answers at once.
"""

import abc
import dataclasses
import itertools
import shlex
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, get_type_hints

import tyro

from ..core.errors import UserError, nearest

if TYPE_CHECKING:
    from rich.console import Console

    from ..data.dataset import Dataset

__all__ = [
    "Chance",
    "Column",
    "Columns",
    "Command",
    "Count",
    "Data",
    "Family",
    "Flag",
    "Log",
    "LogOptions",
    "Minutes",
    "Pair",
    "Place",
    "Source",
    "Sources",
    "Steps",
    "Stopped",
    "Trained",
    "TurnOptions",
    "Turns",
    "World",
    "changed",
    "console",
    "free_folder",
    "pairs",
    "parse",
    "print_cells",
    "print_finetuned",
    "print_lines",
    "seeds",
    "stopped",
]

PACKAGE = "weft.cli.commands"


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
        return parse(cls, arguments, cls.name(), cls.help())

    @classmethod
    def name(cls) -> str:
        """The file name of the command."""
        return cls.__module__.rpartition(".")[2]

    @classmethod
    def title(cls) -> str:
        """The first line of the help."""
        return (cls.__doc__ or "").strip().split("\n")[0]

    @classmethod
    def help(cls) -> str:
        """The text above the options: the docstring and the example."""
        first, _, rest = (cls.__doc__ or "").strip().partition("\n")
        text = f"{first}\n{textwrap.dedent(rest)}".strip()
        return f"{text}\n\nExample: {cls.example}"


def parse(kind: Any, arguments: Sequence[str], name: str, description: str) -> Any:
    """Read a dataclass from a command line; print help or a mistake and exit otherwise.

    Raises UserError that names the nearest option for one that does not exist.
    """
    line, unknown = tyro.cli(
        kind, args=list(arguments), prog=f"weft {name}", description=description, return_unknown_args=True
    )
    for word in unknown:
        guess = nearest(word, _flags(kind)) if word.startswith("-") else ""
        what = "option" if word.startswith("-") else "place for"
        raise UserError(f"`weft {name}` has no {what} '{word}'.{guess} `weft {name} --help` lists all.")
    return line


def _flags(kind: Any) -> Iterator[str]:
    """Yield the options of a dataclass and of those inside it, as they are written on the line."""
    for field, hint in get_type_hints(kind, include_extras=True).items():
        inner = getattr(hint, "__origin__", hint)
        if dataclasses.is_dataclass(inner):
            yield from _flags(inner)
        names = [mark.name for mark in getattr(hint, "__metadata__", ()) if getattr(mark, "name", None)]
        yield f"--{(names[0] if names else field).replace('_', '-')}"


def console(stream: Any = None) -> "Console":
    """Return the console that results are printed on; wide where no terminal limits it, so that tables stay whole."""
    from rich.console import Console

    stream = stream or sys.stdout
    return Console(file=stream, highlight=False, width=None if stream.isatty() else 160)


def print_cells(cells: Sequence[Sequence[str]]) -> None:
    """Print rows of words as a table, its head first."""
    from rich.table import Table
    from rich.text import Text

    head, *rows = cells
    table = Table(*head, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*map(Text, row))
    console().print(table)


def stopped(out: Path, option: Path | None) -> Stopped:
    """Return what is raised where a person stops a command that resumes by itself; option: its --out, if any."""
    where = "" if option else f" and --out {shlex.quote(str(out))}"
    return Stopped(f"Stopped. The same command{where} goes on from the last checkpoints.")


def print_lines(lines: Iterable[tuple[str, str]]) -> None:
    """Print `(what, text)` as a table of two columns."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    for what, text in lines:
        table.add_row(Text(what, "bold"), Text(text))
    console().print(table)


def _shown(kind: Any, metavar: str) -> Any:
    """Annotate an optional field: how its value is called, and nothing about a default that is nothing."""
    return Annotated[kind, tyro.conf.arg(metavar=metavar, help_behavior_hint="")]


def free_folder(parent: Path, name: str) -> Path:
    """Return the first of `parent/name-1`, `parent/name-2`, … that does not exist."""
    return next(path for number in itertools.count(1) if not (path := parent / f"{name}-{number}").exists())


def seeds(text: str) -> int | list[int]:
    """Read how many seeds (4), or which (3,7)."""
    try:
        return int(text) if "," not in text else [int(part) for part in text.split(",") if part]
    except ValueError:
        raise UserError(f"--seeds is a number of seeds (4) or a list of them (3,7), got '{text}'.") from None


Data = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DATA")]
"""The log as the argument of a command."""

if TYPE_CHECKING:
    Columns = tuple[str, ...]
    Column = str | None
    Pair = tuple[float, float] | None
    Count = int | None
    Chance = float | None
    Size = float | None
    Place = Path | None
    Steps = tuple[int, ...]
    Flag = bool
    World = str | None
    Family = str | None
    Minutes = float | None
    Source = str | None
    Sources = tuple[str, ...]
    Trained = str | None
else:
    Columns = _shown(tuple[str, ...], "COLUMN [COLUMN ...]")
    Column = _shown(str | None, "COLUMN")
    Pair = _shown(tuple[float, float] | None, "LOW HIGH")
    Count = _shown(int | None, "COUNT")
    Chance = _shown(float | None, "CHANCE")
    Size = _shown(float | None, "NUMBER")
    Place = _shown(Path | None, "PATH")
    Steps = _shown(tuple[int, ...], "STEP [STEP ...]")
    Flag = tyro.conf.FlagCreatePairsOff[bool]
    World = _shown(str | None, "ENVIRONMENT")
    Family = _shown(str | None, "FAMILY")
    Minutes = _shown(float | None, "MINUTES")
    Source = _shown(str | None, "POLICY")
    Trained = _shown(str | None, "DATA")
    Sources = _shown(tuple[str, ...], "POLICY [POLICY ...]")


def print_finetuned(run: Any, out: Path, env: str) -> None:
    """Print how the return changed when acting began, and what to do next."""
    from ..training.finetune import switch

    returns, where, world = switch(run), shlex.quote(str(out)), shlex.quote(env)
    console().print(
        f"Fine-tuned: {out}. Greedy return in {env}: offline {returns['offline']:.4g}, lowest "
        f"{returns['lowest']:.4g} (at step {returns['lowest_step']:,.0f}, a drop of {returns['dip']:.4g}), online "
        f"{returns['online']:.4g}.\nNext:\n  weft evaluate {where} --env {world}\n  weft report {where}",
        soft_wrap=True,
        markup=False,
    )


@dataclasses.dataclass(frozen=True)
class LogOptions:
    """Which column of a table is what, and what is known about the log beyond its rows."""

    observations: Columns = ()
    """Observation columns, by name or by a quoted pattern: "x*"."""
    action: Columns = ()
    """Action column; several for continuous actions."""
    reward: Columns = ()
    """Reward column, or several with weights: click=1 price=-0.1."""
    episode: Column = None
    """Column that identifies episodes; without it every row is an episode of one step."""
    time: Column = None
    """Column that orders the rows of an episode."""
    propensity: Column = None
    """Probability (discrete) or density (continuous) with which the behaviour policy took the action."""
    terminal: Column = None
    """True where an episode reached a terminal state."""
    timeout: Column = None
    """True where an episode was cut off, although it could have continued."""
    ends: _shown(Literal["terminal", "timeout"] | None, "{terminal,timeout}") = None  # type: ignore[valid-type]
    """How every episode ends, if no column says so."""
    next_observations: Columns = ()
    """Columns of the next observation, in the order of --observations."""
    duration: Column = None
    """Column with the time that a step took."""
    source: Column = None
    """Column that says which policy or person acted."""
    unit: Column = None
    """Column of independent units (users, devices); splits and intervals are made by unit."""
    identity: Columns = ()
    """Columns that together name a decision for good (an id, a time stamp), so that later exports know it again."""
    kinds: _shown(tuple[str, ...], "COLUMN=KIND [COLUMN=KIND ...]") = ()  # type: ignore[valid-type]
    """Kinds of observation columns, such as zone=category."""
    action_bounds: Pair = None
    """Lowest and highest action."""
    action_count: Count = None
    """Number of discrete actions."""
    reward_range: Pair = None
    """Lowest and highest reward that a step can have."""
    horizon: Count = None
    """Maximum number of steps of an episode."""
    propensity_low: Chance = None
    """Lower bound on every action's probability in every decision, taken or not; certificates then need fewer units."""
    terminal_inside: _shown(Literal["error", "keep"] | None, "{error,keep}") = None  # type: ignore[valid-type]
    """What to do with a terminal step inside an episode."""
    gigabytes: Size = None
    """Memory limit for the log; by default a part of what is free."""
    format: _shown(str | None, "NAME") = None  # type: ignore[valid-type]
    """Format of the log, if its name does not tell."""

    def load(self, log: str) -> "Dataset":
        """Load a log with the options that were given."""
        import weft

        options = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        options = {name: value for name, value in options.items() if value not in (None, ())}
        for name in ("observations", "action", "next_observations"):
            if len(options.get(name, ())) > 0:
                options[name] = options[name][0] if len(options[name]) == 1 else list(options[name])
        if "kinds" in options:
            options["kinds"] = dict(pairs("kinds", options["kinds"]))
        weights = {}
        if "reward" in options:
            if any("=" in word for word in options["reward"]):
                weights = {name: _number("reward", text) for name, text in pairs("reward", options["reward"])}
                options["reward"] = list(weights)
            elif len(options["reward"]) > 1:
                raise UserError("Several rewards need weights: --reward click=1 price=-0.1.")
            if len(options["reward"]) == 1:
                options["reward"] = options["reward"][0]
        data = weft.load(log, **options)
        return data.rewarded(list(weights.values())) if weights else data

    def words(self) -> list[str]:
        """Return the options that were given, as they are written on a line."""
        words = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value not in (None, ()):
                words += [
                    f"--{field.name.replace('_', '-')}",
                    *map(str, value if isinstance(value, tuple) else [value]),
                ]
        return words


Log = Annotated[LogOptions, tyro.conf.OmitArgPrefixes]
"""The options of a log as a part of a command; its options carry no prefix."""


@dataclasses.dataclass(frozen=True)
class TurnOptions:
    """How acting and learning alternate, and how often the policy is evaluated; for online training."""

    lanes: Count = None
    """Parallel environments per run; by default the method's own, as for the next five."""
    round_steps: Count = None
    """Steps in every environment between updates; 0: one whole episode."""
    updates: Count = None
    """Gradient updates after each of these rounds."""
    warm_up_steps: Count = None
    """Environment steps before the first update."""
    capacity: Count = None
    """Capacity of the replay buffer in environment steps."""
    logged_share: Chance = None
    """Share of every batch drawn from the log; by default log and replay buffer are sampled as one."""
    evaluate_every: Count = None
    """Environment steps between evaluations of the greedy policy."""
    evaluate_episodes: int = 10
    """Greedy episodes per evaluation, with the same initial states every time."""

    def rounds(self, default: Any) -> Any:
        """Return the method's `Rounds` with what was given."""
        changes = {
            "lanes": self.lanes, "steps": self.round_steps, "updates": self.updates, "warm_up": self.warm_up_steps,
            "capacity": self.capacity, "logged_share": self.logged_share,
        }  # fmt: skip
        return dataclasses.replace(default, **{name: value for name, value in changes.items() if value is not None})


Turns = Annotated[TurnOptions, tyro.conf.OmitArgPrefixes]
"""The options of acting as a part of a command; they carry no prefix."""


def changed(options: Any, why: str) -> list[str]:
    """Return a sentence for every option that is not at its default, for those that this command has no use for."""
    fields = [field for field in dataclasses.fields(options) if getattr(options, field.name) != field.default]
    return [f"--{field.name.replace('_', '-')} {why}." for field in fields]


def pairs(option: str, words: Sequence[str]) -> list[tuple[str, str]]:
    """Read words of the form name=value. Raises UserError for another form."""
    for word in words:
        if "=" not in word:
            raise UserError(f"--{option} is written name=value, got '{word}'.")
    return [tuple(word.rsplit("=", 1)) for word in words]  # type: ignore[misc]


def _number(option: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UserError(f"--{option} needs a number behind the '=', got '{text}'.") from None
