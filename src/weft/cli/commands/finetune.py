"""`weft finetune`: online fine-tuning."""

import dataclasses
import shlex
from pathlib import Path
from typing import Annotated, Any, ClassVar

import tyro

from ...core.errors import UserError
from ..command import Command, Count, Flag, Place, Stopped, TurnOptions, Turns, free_folder, pairs, print_finetuned

__all__ = ["Finetune"]


@dataclasses.dataclass(frozen=True)
class Finetune(Command):
    """Fine-tune a run online, by acting: `weft finetune RUN --env ENVIRONMENT`.

    Networks, target networks, optimiser moments and the units of the log are carried over, and the log stays in the
    replay buffer. The policy is evaluated before the first step and at intervals, so that a drop in return shows.
    """

    example: ClassVar[str] = "weft finetune runs/iql --env maze:shortcut=true --steps 20000"

    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Folder of the run."""
    env: Annotated[str, tyro.conf.arg(metavar="ENVIRONMENT")]
    """Where to act: maze, or Gymnasium's Hopper-v5."""
    steps: int = 50_000
    """Environment steps of every run."""
    data: Annotated[str | None, tyro.conf.arg(metavar="DATA", help_behavior_hint="")] = None
    """The log of the run, if it has moved; its contents must be the same."""
    step: Count = None
    """Checkpoint to start from; by default the last."""
    set: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FIELD=VALUE", help_behavior_hint="")] = ()
    """Hyperparameters to override: learning_rate=1e-4."""
    out: Place = None
    """Folder of the new run; by default the next free runs/ALGORITHM-online-NUMBER."""
    resume: Flag = False
    """Resume from the last checkpoint in --out, bit for bit."""
    checkpoint_seconds: float = 60.0
    """Seconds between checkpoints."""
    quiet: Flag = False
    """Print warnings only."""
    turns: Turns = dataclasses.field(default_factory=TurnOptions)

    def run(self) -> None:
        """Fine-tune, and print how far the return dropped."""
        import weft

        run = weft.load_run(self.folder)
        out = self.out or free_folder(Path("runs"), f"{run.settings[0].name}-online")
        data = None if self.data is None else weft.load(self.data)
        try:
            after = weft.finetune(
                run,
                self.env,
                self.steps,
                out,
                data=data,
                rounds=self.turns.rounds(weft.Rounds()),
                step=self.step,
                evaluate_every=self.turns.evaluate_every or max(self.steps // 20, 1),
                evaluate_episodes=self.turns.evaluate_episodes,
                resume=self.resume,
                progress=not self.quiet,
                checkpoint_seconds=self.checkpoint_seconds,
                changes=self._changes(run.settings[0]),
            )
        except KeyboardInterrupt:
            line = ["weft", "finetune", str(self.folder), "--env", self.env, "--steps", str(self.steps)]
            changed = ["--set", *self.set] if self.set else []
            more = shlex.join([*line, *changed, "--out", str(out), "--resume"])
            raise Stopped(f"Stopped. Go on from the last checkpoint with: {more}") from None
        print_finetuned(after, out, self.env)

    def _changes(self, method: Any) -> dict[str, Any]:
        from ...experiments.search_space import listed

        changes = {}
        for name, text in pairs("set", self.set):
            values = listed(method, name, text)
            if len(values) != 1:
                raise UserError(f"A run goes on with one value of {name}, got '{text}'.")
            changes[name] = values[0]
        return changes
