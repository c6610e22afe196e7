"""`weft certify`: whether a policy may be deployed, from a log that nothing has seen."""

import dataclasses
from typing import Annotated, ClassVar, Literal

import tyro

from ..command import Command, Count, Data, Flag, Log, LogOptions, Place, Source, Trained, console, print_lines

__all__ = ["Certify"]


@dataclasses.dataclass(frozen=True)
class Certify(Command):
    """Decide whether a policy may replace the behaviour policy: DEPLOY, STAGED, COLLECT, REJECT or ABSTAIN.

    Nothing may have been trained or selected on the log, which needs propensities, --reward-range and --horizon;
    without these the answer is never more than a staged test. A log can be used once: the ledger (WEFT_LEDGER, `weft
    ledger`) records it. An export that holds rows from before is tested on what is new in it, at a smaller risk.
    """

    example: ClassVar[str] = (
        "weft certify runs/iql-1 new.csv --action item --reward click --propensity p --reward-range 0 1 --horizon 1"
    )

    policy: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN_OR_POLICY")]
    """Folder of a run, a file that run.save_policy wrote, or an external policy: model.onnx, module:function,
    file.py:function, table.csv or table.parquet with probabilities by decision, column:NAME of the log."""
    data: Data
    """A file, a folder, or a URI such as sample:notifications."""
    baseline: Source = None
    """Baseline run or policy, weft's or not; by default the behaviour policy."""
    margin: float = 0.0
    """Required improvement over the baseline, in units of the return."""
    risk: float = 0.05
    """Accepted probability of deploying a policy that does not exceed the margin."""
    trained_on: Trained = None
    """Log that an external policy was trained on, with the same options; units of it are left out."""
    seed_of_run: int = 0
    """Which of a run's seeds, counted from 0."""
    setting: int = 0
    """Which of a run's settings, counted from 0."""
    step: Count = None
    """Checkpoint of a run; by default the last."""
    sample: Flag = False
    """Judge policy and baseline as they sample actions; by default as their files say, and runs greedily."""
    discount: Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="")] = None
    """Discount factor of the return; by default the one that the log declares, else 1."""
    show: Literal["report", "decision"] = "report"
    """decision: print only whether it is certified, which leaves unspent risk for another policy."""
    diagnose: Flag = False
    """Also print the diagnostics of the log."""
    ledger: Place = None
    """Folder that records which units were used; by default WEFT_LEDGER, else one per user."""
    seed: int = 0
    """Random seed of the test."""
    out: Place = None
    """Also write all figures to this JSON file."""
    log: Log = dataclasses.field(default_factory=LogOptions)

    def run(self) -> None:
        """Print the decision with its bounds, its promise and what it assumes."""
        import weft

        from ...core.compilation import keep_compiled_programs
        from ...deployment.ledger import Ledger
        from ...evaluation.subject import subject

        keep_compiled_programs()
        data = self.log.load(self.data)
        trained_on = None if self.trained_on is None else self.log.load(self.trained_on)
        where = self.seed_of_run, self.setting, self.step
        policy = subject(self.policy, *where, trained_on=trained_on)
        baseline = None if self.baseline is None else subject(self.baseline, *where)
        if self.discount is not None:
            data = data.declare(discount=self.discount)
        decision = weft.certify(
            policy, data, baseline, self.margin, self.risk, greedy=False if self.sample else None, seed=self.seed,
            show=self.show, ledger=Ledger(self.ledger, subject=str(self.policy)), diagnostics=self.diagnose,
        )  # fmt: skip
        print_lines(decision.lines())
        if self.diagnose and decision.diagnostics is not None:
            console().print()
            print_lines(decision.diagnostics.lines())
        if self.out is not None:
            from ...core.storage import write_record

            write_record(self.out, decision.record())
