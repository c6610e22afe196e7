"""`weft study`: from a log to a decision in one command."""

import dataclasses
import shlex
from pathlib import Path
from typing import Annotated, Any, ClassVar

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
    print_cells,
    print_lines,
    seeds,
    stopped,
)

__all__ = ["Study"]


@dataclasses.dataclass(frozen=True)
class Study(Command):
    """Train candidates on a part of a log, choose one on another, and certify it on the rest, which nothing has seen.

    Folds are 40 % to train, 20 % to select, 40 % to certify, by whole units. The policy that is chosen is the one that
    would certify most, not the one that looks best. The same command goes on where it was stopped.
    """

    example: ClassVar[str] = "weft study sample:notifications --algorithms bc iql --steps 2000 --out studies/first"

    data: Data
    """A file, a folder, or a URI such as sample:notifications."""
    algorithms: tuple[str, ...] = ("bc", "iql", "cql")
    """Which methods to train: `weft algorithms` lists them."""
    steps: int = 5000
    """Gradient steps of every run."""
    seeds: str = "2"
    """How many seeds (4), or which (3,7)."""
    batch_size: Count = None
    """Logged steps per gradient step; by default the methods' own."""
    out: Place = None
    """Folder of the study; by default the next free studies/study-NUMBER."""
    tuned: Place = None
    """Folder of `weft tune`: its method joins, or replaces, with the best settings that it found on the same folds."""
    baseline: Place = None
    """File of a policy to be better than; by default the policy that made the log."""
    margin: float = 0.0
    """How much better the policy must be, in units of the return."""
    risk: float = 0.05
    """Of deploying a policy that is no better than the margin."""
    discount: Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="")] = None
    """Of the return; by default what the log declares, else 1."""
    by_time: Column = None
    """Column with the time of the steps: folds then follow one another in time."""
    ledger: Place = None
    """Folder that remembers which units were opened; by default WEFT_LEDGER, else one per user."""
    seed: int = 0
    """Deals the folds."""
    quiet: Flag = False
    """Show nothing but the result."""
    log: Log = dataclasses.field(default_factory=LogOptions)

    def run(self) -> None:
        """Train, choose, certify; print the decision and the candidates."""
        import weft

        from ...core.compilation import keep_compiled_programs
        from ...deployment.ledger import Ledger
        from ...reports.study import StudyReport

        keep_compiled_programs()
        data = self.log.load(self.data)
        if self.discount is not None:
            data = data.declare(discount=self.discount)
        out = self.out or free_folder(Path("studies"), "study")
        baseline = None if self.baseline is None else weft.load_policy(self.baseline)
        algorithms: list[Any] = list(self.algorithms)
        if self.tuned is not None:
            from ...experiments.tune import best_setting

            found = best_setting(self.tuned, weft.seal(data, seed=self.seed, by_time=self.by_time))
            algorithms = [*(name for name in algorithms if name != found.name), found]
        try:
            found = weft.study(
                data, algorithms, out, steps=self.steps, seeds=seeds(self.seeds), baseline=baseline,
                margin=self.margin, risk=self.risk, seed=self.seed, by_time=self.by_time, ledger=self.ledger,
                progress=not self.quiet, batch_size=self.batch_size,
            )  # fmt: skip
        except KeyboardInterrupt:
            raise stopped(out, self.out) from None
        screen = console()
        print_lines(found.decision.lines())
        screen.print()
        print_cells(found.cells())
        for note in found.notes:
            screen.print(f"Note: {note}", soft_wrap=True, markup=False)
        spent = Ledger(self.ledger).of(found.folds.certify)
        page = StudyReport(found, spent).write(Path(out) / "report.html")
        screen.print(f"Written: {out} (policy, study.json, runs). Open {page}", soft_wrap=True, markup=False)
        if found.decision.action == "STAGED":
            line = f"weft stage {shlex.quote(str(out))} ROLL_OUT --arm COLUMN --chance 0.5"
            screen.print(f"Next: deal new units to the policy at random, then {line}", soft_wrap=True, markup=False)
