"""`weft fit`: train."""

import dataclasses
import shlex
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro

from ...core import registry as discovery
from ...core.errors import UserError
from ..command import (
    Command,
    Count,
    Family,
    Flag,
    Log,
    LogOptions,
    Place,
    Steps,
    Stopped,
    TurnOptions,
    Turns,
    World,
    changed,
    console,
    free_folder,
    parse,
    print_finetuned,
    seeds,
)

__all__ = ["Fit"]

UNITS = ("standardise", "scale_rewards", "shift_rewards")


@dataclasses.dataclass(frozen=True)
class Options:
    """How to train, whatever the method."""

    data: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="DATA", help_behavior_hint="")] = None
    """Log: a file, a folder or a URI such as sample:maze or minari:hopper/medium-v0; leave it out with --env."""
    env: World = None
    """Train online in this environment instead: cartpole, or Gymnasium's CartPole-v1."""
    then_online: World = None
    """After training on DATA, fine-tune online in this environment."""
    online_steps: int = 50_000
    """Environment steps of the fine-tuning."""
    steps: int = 100_000
    """Gradient steps of every run; environment steps with --env."""
    seeds: str = "1"
    """Number of seeds (4), or a list of them (3,7)."""
    batch_size: Count = None
    """Batch size; by default the method's own."""
    preset: Family = None
    """Start from the settings for a family of tasks (locomotion, sparse-goal, ...); options override them."""
    out: Place = None
    """Folder of the run; by default the next free runs/ALGORITHM-NUMBER."""
    resume: Flag = False
    """Resume from the last checkpoint in --out, bit for bit."""
    keep: Steps = ()
    """Steps whose checkpoints are kept for good."""
    stack: int = 1
    """Consecutive grey-scale frames stacked into one observation."""
    standardise: bool = True
    """Standardise numeric observations to mean 0 and standard deviation 1."""
    scale_rewards: Literal["size", "largest", "returns", "unit", "none"] = "size"
    """Divide rewards by: size, their root mean square; largest, their largest size; returns, a thousandth of the range
    of returns; unit, their standard deviation; none, nothing."""
    shift_rewards: float = 0.0
    """Constant added to every scaled reward."""
    log_every: Count = None
    """Steps per row of metrics; by default a hundredth of the run."""
    checkpoint_seconds: float = 60.0
    """Seconds between checkpoints."""
    stop_when_hopeless: Flag = False
    """Stop early once every run has diverged; the last states are kept."""
    quiet: Flag = False
    """Print warnings only."""


Shared = Annotated[Options, tyro.conf.arg(name="")]


@dataclasses.dataclass(frozen=True)
class Outline:
    """What the help shows before an algorithm is named."""

    algorithm: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="ALGORITHM")]
    """Method to train; `weft algorithms` lists them."""
    options: Shared
    log: Log = dataclasses.field(default_factory=LogOptions)
    turns: Turns = dataclasses.field(default_factory=TurnOptions)


@dataclasses.dataclass(frozen=True)
class Fit(Command):
    """Train a method on a log, `weft fit ALGORITHM DATA`, or online, `weft fit ALGORITHM --env ENVIRONMENT`.

    Several values of a hyperparameter sweep it; every setting is trained with every seed. `weft fit ALGORITHM
    --help` shows the hyperparameters.
    """

    example: ClassVar[str] = "weft fit iql sample:maze --steps 2000 --seeds 4 --expectile 0.7 0.9 --hidden 64,64"

    settings: list[Any]
    options: Options
    log: LogOptions
    turns: TurnOptions
    arguments: list[str]

    @classmethod
    def read(cls, arguments: Sequence[str]) -> "Fit":
        """Read the line in two parts: the algorithm, which decides what hyperparameters there are, and the rest."""
        if not arguments or {"-h", "--help"} & {arguments[0]}:
            methods = f"Algorithms: {', '.join(discovery.names('weft.agents.algorithms'))}."
            parse(Outline, arguments, "fit", f"{cls.help()}\n\n{methods}")
        if arguments[0].startswith("-"):
            raise UserError(f"The algorithm comes first: weft fit ALGORITHM DATA {shlex.join(arguments)}.")
        from ...agents.algorithm import algorithm
        from ..method_options import build, options

        method = algorithm(arguments[0])
        family, begin, shared = _family(arguments), None, Options()
        if family is not None:
            begin, units = family.setting(arguments[0]), family.units_for(arguments[0])
            standardise, shift = units["observations"] == "standardise", units["reward_shift"]
            shared = Options(standardise=standardise, scale_rewards=units["rewards"], shift_rewards=shift)
        hyperparameters = Annotated[options(method, begin), tyro.conf.OmitArgPrefixes]
        fields: list[Any] = [("log", Log), ("turns", Turns), ("hyperparameters", hyperparameters)]
        fields.append(("options", Shared, dataclasses.field(default=shared)))
        kind = dataclasses.make_dataclass("Line", fields)
        name = file_name(method)
        about = f"Train {method.title} ({method.paper}).\n\nSeveral values of a hyperparameter sweep it."
        line = parse(kind, arguments[1:], f"fit {name}", f"{about}\n\nExample: weft fit {name} sample:maze --seeds 4")
        return cls(build(method, line.hyperparameters, begin), line.options, line.log, line.turns, list(arguments))

    def run(self) -> None:
        """Train, and say where the run is and what to do with it."""
        import weft

        from ...core.compilation import keep_compiled_programs

        options = self.options
        if options.resume and options.out is None:
            raise UserError("--resume needs --out FOLDER, the run to go on with.")
        if (options.data is None) == (options.env is None):
            raise UserError("Give a log, weft fit ALGORITHM DATA, or a world to act in, weft fit ALGORITHM --env ENV.")
        if options.then_online and options.data is None:
            raise UserError("--then-online goes on from what was learned on a log: give DATA.")
        self._check_use()
        keep_compiled_programs()
        acts = options.env is not None
        data = None if acts else self.log.load(str(options.data))
        out = options.out or free_folder(Path("runs"), self.settings[0].name)
        rounds = self.turns.rounds(self.settings[0].rounds)
        shared: dict[str, Any] = {
            "resume": options.resume,
            "progress": not options.quiet,
            "keep": options.keep,
            "log_every": options.log_every,
            "checkpoint_seconds": options.checkpoint_seconds,
            "stop_when_hopeless": options.stop_when_hopeless,
        }
        own: dict[str, Any] = {
            "batch_size": options.batch_size,
            "stack": options.stack,
        }
        own |= {"observations": "standardise" if options.standardise else "none", "rewards": options.scale_rewards}
        own |= {"reward_shift": options.shift_rewards}
        if acts:
            own |= {"rounds": rounds, "evaluate_every": self.turns.evaluate_every}
            own |= {"evaluate_episodes": self.turns.evaluate_episodes}
        try:
            run = weft.fit(
                self.settings, data, options.steps, seeds(options.seeds), out, env=options.env, **shared, **own
            )
            self._report(run, out, options.env or (options.data or "").removeprefix("sample:"))
            if options.then_online:
                later = out.with_name(out.name + "-online")
                every = self.turns.evaluate_every or max(options.online_steps // 20, 1)
                after = weft.finetune(
                    run,
                    options.then_online,
                    options.online_steps,
                    later,
                    data=data,
                    rounds=self.turns.rounds(weft.Rounds()),
                    evaluate_every=every,
                    evaluate_episodes=self.turns.evaluate_episodes,
                    **{**shared, "keep": ()},
                )
                print_finetuned(after, later, options.then_online)
        except KeyboardInterrupt:
            raise Stopped(self._how_to_go_on(out)) from None

    def _check_use(self) -> None:
        """Raise UserError for an option that this way of learning has no use for."""
        options = self.options
        acts, later = options.env is not None, options.then_online is not None
        unused = changed(self.log, "is about a log, and with --env there is none") if acts else []
        if acts:
            units = dataclasses.replace(Options(), **{name: getattr(options, name) for name in UNITS})
            whose = f" (the preset {options.preset} sets it)" if options.preset else ""
            unused += changed(units, f"is about a log; with --env what the world declares decides{whose}")
        if not acts and not later:
            unused += changed(self.turns, "is for acting: give --env, or --then-online beside DATA")
        if not later:
            steps = dataclasses.replace(Options(), online_steps=options.online_steps)
            unused += changed(steps, "goes with --then-online")
        for sentence in unused[:1]:
            raise UserError(sentence)

    def _report(self, run: Any, out: Path, world: str) -> None:
        early = len(run.record.get("stopped", []))
        ended = f", {'all' if early == len(run.groups) else 'some'} stopped early" if early else ""
        acted = self.options.env is not None
        sample = acted or str(self.options.data).startswith("sample:")
        env = shlex.quote(world) if sample else "ENVIRONMENT"
        next_ = "" if acted else f"  weft evaluate {shlex.quote(str(out))} --data LOG    (from another log)\n"
        console().print(
            f"Trained: {out} ({len(run.settings)} × {len(run.seeds)} runs, {self.options.steps:,} steps{ended}).\n"
            "Next:\n"
            f"  weft triage {shlex.quote(str(out))}    (did training go well, and which checkpoint to take)\n"
            f"  weft evaluate {shlex.quote(str(out))} --env {env}    (real roll-outs)\n"
            f"{next_}"
            f"  weft report {shlex.quote(str(out))}",
            soft_wrap=True,
            markup=False,
        )

    def _how_to_go_on(self, out: Path) -> str:
        if not (out / "run.json").exists():
            return "Stopped before training began; nothing was saved."
        more = [] if self.options.out else ["--out", str(out)]
        more += [] if self.options.resume else ["--resume"]
        return f"Stopped. Go on from the last checkpoint with: {shlex.join(['weft', 'fit', *self.arguments, *more])}"


def _family(arguments: Sequence[str]) -> Any:
    """Return the preset that a line names, which decides what is there by default; None if it names none."""
    from ...agents.preset import preset

    named = [word.partition("=")[2] for word in arguments if word.startswith("--preset=")]
    named += [after for word, after in pairwise(arguments) if word == "--preset"]
    return preset(named[-1]) if named else None


def file_name(method: Any) -> str:
    """Return the file name of a method."""
    return method.__module__.rpartition(".")[2]
