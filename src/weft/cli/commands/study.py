"""`weft study`: from a log to a decision in one command."""

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
    Minutes,
    Place,
    Source,
    Sources,
    console,
    free_folder,
    print_cells,
    print_lines,
    seeds,
    stopped,
)

__all__ = ["Study"]


@dataclasses.dataclass(frozen=True)
class Study(Command):
    """Train candidates on one part of a log, select one on another, and certify it on the rest, which is unseen.

    Folds are 40 % to train, 20 % to select and 40 % to certify, by whole units. The study selects the policy with the
    largest improvement that is likely to be certified; where nothing can be certified, imitation, unless two scores
    speak for another. Run the same command again to resume a study that was stopped.
    """

    example: ClassVar[str] = "weft study sample:notifications --algorithms bc iql --steps 2000 --out studies/first"

    data: Data
    """A file, a folder, or a URI such as sample:notifications."""
    algorithms: tuple[str, ...] = ()
    """Methods to train (`weft algorithms` lists them); by default bc, iql, cql, and regression of single decisions."""
    only: Flag = False
    """Train only the methods that are named, without behaviour cloning and its filtered form to compare with."""
    candidates: Sources = ()
    """External policies, which compete with the trained ones, as for `weft certify`."""
    preset: Family = None
    """Start from the settings and units for a family of tasks (locomotion, sparse-goal, ...)."""
    set: Annotated[tuple[str, ...], tyro.conf.arg(metavar="METHOD.FIELD=VALUE", help_behavior_hint="")] = ()
    """Hyperparameters: iql.expectile=0.9, cql.weight.value=0.5."""
    steps: int = 5000
    """Gradient steps of every run."""
    minutes: Minutes = None
    """Time to train each method for, all its seeds together; one with dear updates gets fewer than --steps of them."""
    seeds: str = "2"
    """Number of seeds (4), or a list of them (3,7)."""
    batch_size: Count = None
    """Batch size; by default each method's own."""
    out: Place = None
    """Folder of the study; by default the next free studies/study-NUMBER."""
    tuned: Place = None
    """Folder of `weft tune` on the same folds: adds its method at the best setting, or replaces it in --algorithms."""
    baseline: Source = None
    """Baseline policy, as for `weft certify`; by default the behaviour policy."""
    margin: float = 0.0
    """Required improvement over the baseline, in units of the return."""
    risk: float = 0.05
    """Accepted probability of deploying a policy that does not exceed the margin."""
    discount: Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="")] = None
    """Discount factor of the return; by default the one that the log declares, else 1."""
    by_time: Column = None
    """Time column: split the folds by time instead of at random."""
    ledger: Place = None
    """Folder that records which units were used; by default WEFT_LEDGER, else one per user."""
    seed: int = 0
    """Seed of the folds."""
    quiet: Flag = False
    """Print the result only."""
    log: Log = dataclasses.field(default_factory=LogOptions)

    def run(self) -> None:
        """Train, choose, certify; print the decision and the candidates."""
        import weft

        from ...core.compilation import keep_compiled_programs
        from ...deployment.ledger import Ledger
        from ...experiments.candidates import default_methods
        from ...reports.study import StudyReport
        from ..method_options import listed_methods

        keep_compiled_programs()
        data = self.log.load(self.data)
        if self.discount is not None:
            data = data.declare(discount=self.discount)
        out = self.out or free_folder(Path("studies"), "study")
        names = self.algorithms or default_methods(data, self.preset)
        algorithms = listed_methods("A study", names, self.set, self.preset)
        if self.tuned is not None:
            from ...experiments.tune import best_setting

            tuned = best_setting(self.tuned, weft.seal(data, seed=self.seed, by_time=self.by_time))
            algorithms = [*(method for method in algorithms if method.name != tuned.name), tuned]
        try:
            study = weft.study(
                data, algorithms, out, candidates=self.candidates, steps=self.steps, seeds=seeds(self.seeds),
                baseline=self.baseline, margin=self.margin, risk=self.risk, preset=self.preset, minutes=self.minutes,
                seed=self.seed, by_time=self.by_time, ledger=self.ledger, progress=not self.quiet,
                imitation=not self.only, batch_size=self.batch_size,
            )  # fmt: skip
        except KeyboardInterrupt:
            raise stopped(out, self.out) from None
        screen = console()
        print_lines(study.decision.lines())
        screen.print()
        print_cells(study.cells())
        for note in study.notes:
            screen.print(f"Note: {note}", soft_wrap=True, markup=False)
        spent = Ledger(self.ledger).of(study.folds.certify)
        page = StudyReport(study, spent).write(Path(out) / "report.html")
        screen.print(f"Written: {out} (policy, study.json, runs). Open {page}", soft_wrap=True, markup=False)
        if study.decision.action == "STAGED":
            line = f"weft stage {shlex.quote(str(out))} ROLL_OUT --arm COLUMN --chance 0.5"
            screen.print(f"Next: deal new units to the policy at random, then {line}", soft_wrap=True, markup=False)
