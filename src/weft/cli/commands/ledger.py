"""`weft ledger`: which logs were opened, for which policy, what was decided, and what risk is left."""

import dataclasses
from typing import Annotated, Any, ClassVar

import tyro

from ..command import Command, Log, LogOptions, Place, console, print_cells, print_lines

__all__ = ["Ledger"]


@dataclasses.dataclass(frozen=True)
class Ledger(Command):
    """List what was opened to certify policies, when, what was decided, what risk is left, and where the ledger lies.

    With --data: what of a log was seen before, what is new, and at which risk that may be tested. Nothing is opened and
    nothing is spent. `test` says which test of a log that grows it was, and of which log.
    """

    example: ClassVar[str] = (
        "weft ledger --data today.csv --policy runs/iql-1 --action item --reward click --observations age "
        "--identity decision"
    )

    data: Annotated[str | None, tyro.conf.arg(metavar="LOG", help_behavior_hint="")] = None
    """Log to ask about: a file, a folder, or a URI such as sample:notifications."""
    policy: Annotated[str | None, tyro.conf.arg(metavar="RUN_OR_POLICY", help_behavior_hint="")] = None
    """With --data, a policy as for `weft certify`: what trained it is not new. Else part of a name: only its tests."""
    ledger: Place = None
    """Folder of the ledger; by default WEFT_LEDGER, else one per user."""
    out: Place = None
    """Also write it to this JSON file."""
    log: Log = dataclasses.field(default_factory=LogOptions)

    def run(self) -> None:
        """Print where the ledger lies, what it says, and what of the log is new."""
        from ...deployment.account import account
        from ...deployment.ledger import Ledger as Book

        data = None if self.data is None else self.log.load(self.data)
        answer = account(Book(self.ledger), data, self._policies(), self.policy or "")
        print_lines(answer.lines())
        if answer.openings:
            console().print()
            print_cells(answer.cells())
        if self.out is not None:
            from ...core.storage import write_json

            write_json(self.out, answer.record())

    def _policies(self) -> list[Any]:
        """Return the policy that is asked about, where it is asked about a log."""
        if self.policy is None or self.data is None:
            return []
        from ...evaluation.subject import subject

        return [subject(self.policy)]
