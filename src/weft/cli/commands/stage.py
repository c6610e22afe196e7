"""`weft stage`: what a staged roll-out has shown so far, the certificate's evidence carried on."""

import dataclasses
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from ..command import Column, Command, Flag, Log, LogOptions, Place, Source, print_lines

__all__ = ["Stage"]


@dataclasses.dataclass(frozen=True)
class Stage(Command):
    """Decide from a randomised roll-out whether to deploy the policy: DEPLOY, CONTINUE or REJECT.

    The test continues from the evidence of the study's certificate, at no additional risk. Give the whole roll-out from
    its beginning, with --reward-range and --horizon; looking at it repeatedly is safe.
    """

    example: ClassVar[str] = (
        "weft stage studies/first rollout.csv --arm new --chance 0.5 --action item --reward click --observations age "
        "--unit user --reward-range 0 1 --horizon 1"
    )

    study: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="STUDY")]
    """Folder of a study, or a file that `weft certify --out` wrote."""
    data: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="ROLL_OUT")]
    """Log of the roll-out: a file or a folder."""
    arm: Annotated[str, tyro.conf.arg(metavar="COLUMN")] = "arm"
    """Column with 1 for units of the policy and 0 for the others."""
    chance: Annotated[str, tyro.conf.arg(metavar="CHANCE")] = "0.5"
    """Probability of the policy's arm: a number, or a column."""
    dose: Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="")] = None
    """Share of decisions that the policy takes in its arm; by default the dose of the decision."""
    drift: Flag = False
    """The environment may have changed since the certificate's log: decide by the roll-out's evidence alone."""
    centre: Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="")] = None
    """Return to centre on, fixed before the roll-out; by default the mean of the certificate's log."""
    by_time: Column = None
    """Time column that orders the units; by default they are in order."""
    lost: Column = None
    """Column with 1 for units whose outcome has not arrived (any reward in range); by default all have."""
    discount: Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="")] = None
    """Discount factor of the return; by default the one that the log declares, else 1."""
    policy: Source = None
    """The policy, as for `weft certify`; by default that of the study."""
    ledger: Place = None
    """Folder that records which units were used; by default WEFT_LEDGER, else one per user."""
    out: Place = None
    """Also write all figures to this JSON file."""
    log: Log = dataclasses.field(default_factory=LogOptions)

    def run(self) -> None:
        """Print the decision with both kinds of wealth, its bounds, its promise and what it assumes."""
        import weft

        from ...core.compilation import keep_compiled_programs

        keep_compiled_programs()
        data = self.log.load(self.data)
        if self.discount is not None:
            data = data.declare(discount=self.discount)
        try:
            chance: float | str = float(self.chance)
        except ValueError:
            chance = self.chance
        answer = weft.stage(
            self.study, data, self.arm, chance, dose=self.dose, drift=self.drift, centre=self.centre,
            by_time=self.by_time, lost=self.lost, policy=self.policy, ledger=self.ledger,
        )  # fmt: skip
        print_lines(answer.lines())
        if self.out is not None:
            from ...core.storage import write_json

            write_json(self.out, answer.record())
