"""`weft tune`: search hyperparameters."""

import dataclasses
import shlex
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from ..command import (
    Column,
    Command,
    Count,
    Data,
    Flag,
    Log,
    LogOptions,
    Place,
    console,
    free_folder,
    pairs,
    print_cells,
    seeds,
    stopped,
)

__all__ = ["Tune"]


@dataclasses.dataclass(frozen=True)
class Tune(Command):
    """Search a method's hyperparameters with Optuna where a grid is not enough: `pip install 'weft[tune]'`.

    Trials are trained on 40 % of the units and judged on 20 % by what they would certify, as a study does; the other
    40 % stay sealed for `weft study --tuned`. The same command goes on where it was stopped, repeating nothing.
    """

    example: ClassVar[str] = (
        "weft tune sample:notifications --algorithm iql --trials 30 "
        "--space inverse_temperature=log:0.5:20 expectile=0.6:0.95 hidden=32,32/128,128"
    )

    data: Data
    """A file, a folder, or a URI such as sample:notifications."""
    algorithm: str = "iql"
    """Which method: `weft algorithms` lists them."""
    space: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=SPACE [NAME=SPACE ...]")] = ()
    """What to search: a range (0.6:0.95), one even in the logarithm (log:0.5:20), or a choice (64,64/256,256)."""
    trials: int = 30
    """How many settings to try."""
    together: int = 10
    """How many of them are chosen and trained at once."""
    steps: int = 5000
    """Gradient steps of every run."""
    seeds: str = "2"
    """How many seeds every setting is trained with (4), or which (3,7)."""
    batch_size: Count = None
    """Logged steps per gradient step; by default the method's own."""
    out: Place = None
    """Folder of the search; by default the next free tunings/ALGORITHM-NUMBER."""
    baseline: Place = None
    """File of a policy to be better than; by default the policy that made the log."""
    risk: float = 0.05
    """Of the certificate that is predicted."""
    discount: Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="")] = None
    """Of the return; by default what the log declares, else 1."""
    by_time: Column = None
    """Column with the time of the steps: folds then follow one another in time."""
    seed: int = 0
    """Deals the folds and begins the search."""
    quiet: Flag = False
    """Show nothing but the result."""
    log: Log = dataclasses.field(default_factory=LogOptions)

    def run(self) -> None:
        """Search; print the trials, best first, and what to do with the best."""
        import weft

        from ...core.compilation import keep_compiled_programs

        keep_compiled_programs()
        data = self.log.load(self.data)
        if self.discount is not None:
            data = data.declare(discount=self.discount)
        out = self.out or free_folder(Path("tunings"), self.algorithm)
        baseline = None if self.baseline is None else weft.load_policy(self.baseline)
        try:
            found = weft.tune(
                data, self.algorithm, dict(pairs("space", self.space)), out, trials=self.trials,
                together=self.together, steps=self.steps, seeds=seeds(self.seeds), baseline=baseline, risk=self.risk,
                seed=self.seed, by_time=self.by_time, progress=not self.quiet, batch_size=self.batch_size,
            )  # fmt: skip
        except KeyboardInterrupt:
            raise stopped(out, self.out) from None
        print_cells(found.cells())
        name, dealt = found.setting.name, f" --steps {self.steps}" + (f" --seed {self.seed}" if self.seed else "")
        dealt += f" --by-time {shlex.quote(self.by_time)}" if self.by_time else ""
        console().print(
            f"Written: {out} (policy, tune.json, runs). The certify fold is untouched. Next, with the options of the "
            f"log:\n  weft study {shlex.quote(self.data)} --algorithms {name} --tuned {shlex.quote(str(out))}{dealt}",
            soft_wrap=True,
            markup=False,
        )
