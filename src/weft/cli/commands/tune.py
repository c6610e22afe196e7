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
    Family,
    Flag,
    Log,
    LogOptions,
    Place,
    Source,
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
    """Tune a method's hyperparameters with Optuna, if a grid is not enough: `pip install 'weft[tune]'`.

    Trials are trained on 40 % of the units and scored on 20 % by the improvement they are expected to certify, as in a
    study; the other 40 % stay sealed for `weft study --tuned`. Run the same command again to resume the search.
    """

    example: ClassVar[str] = (
        "weft tune sample:notifications --algorithm iql --trials 30 "
        "--space inverse_temperature=log:0.5:20 expectile=0.6:0.95 hidden=32,32/128,128"
    )

    data: Data
    """A file, a folder, or a URI such as sample:notifications."""
    algorithm: str = "iql"
    """Method to tune; `weft algorithms` lists them."""
    space: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=SPACE [NAME=SPACE ...]")] = ()
    """Search space: a range (0.6:0.95), a logarithmic range (log:0.5:20) or a list of values (64,64/256,256)."""
    trials: int = 30
    """Number of settings to try."""
    together: int = 10
    """Settings that are chosen and trained together as one batch."""
    preset: Family = None
    """Start from the settings and units for a family of tasks (locomotion, sparse-goal, ...)."""
    steps: int = 5000
    """Gradient steps of every run."""
    seeds: str = "2"
    """Number of seeds per setting (4), or a list of them (3,7)."""
    batch_size: Count = None
    """Batch size; by default the method's own."""
    out: Place = None
    """Folder of the search; by default the next free tunings/ALGORITHM-NUMBER."""
    baseline: Source = None
    """Baseline policy, as for `weft certify`; by default the behaviour policy."""
    risk: float = 0.05
    """Risk of the certificate that is predicted."""
    discount: Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="")] = None
    """Discount factor of the return; by default the one that the log declares, else 1."""
    by_time: Column = None
    """Time column: split the folds by time instead of at random."""
    seed: int = 0
    """Seed of the folds and of the search."""
    quiet: Flag = False
    """Print the result only."""
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
        try:
            tuned = weft.tune(
                data, self.algorithm, dict(pairs("space", self.space)), out, trials=self.trials,
                together=self.together, steps=self.steps, seeds=seeds(self.seeds), baseline=self.baseline,
                risk=self.risk, preset=self.preset, seed=self.seed, by_time=self.by_time, progress=not self.quiet,
                batch_size=self.batch_size,
            )  # fmt: skip
        except KeyboardInterrupt:
            raise stopped(out, self.out) from None
        print_cells(tuned.cells())
        name, folds = tuned.setting.name, f" --steps {self.steps}" + (f" --seed {self.seed}" if self.seed else "")
        folds += f" --preset {self.preset}" if self.preset else ""
        folds += f" --by-time {shlex.quote(self.by_time)}" if self.by_time else ""
        console().print(
            f"Written: {out} (policy, tune.json, runs). The certify fold is untouched. Next, with the options of the "
            f"log:\n  weft study {shlex.quote(self.data)} --algorithms {name} --tuned {shlex.quote(str(out))}{folds}",
            soft_wrap=True,
            markup=False,
        )
