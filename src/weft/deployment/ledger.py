"""The ledger of risk: which sealed folds were opened, when, for which policy, and what may still be spent.

Every test of a policy on a certify fold spends risk (alpha). The rules:

* A fold starts with what is granted, .05 unless said otherwise.
* Where only the decision was shown, a further test may spend what is left of it.
* A fold whose report was shown is spent, because the next policy could be chosen after it. So is one with nothing left.
* Folds are recognised by the fingerprints of their episodes, under whatever name, order or format: a view that shares
  units with folds that were opened shares what they spent. Only new units bring new risk.
* A log that grows is a stream: each export may be tested on what is new in it, and the k-th fold of a stream is granted
  1 / (k (k - 1)) of what the first one was, so that all of them together, however many, spend at most twice as much
  (`weft.deployment.remainder`).

The ledger is a folder (`weft.deployment._ledger_files`). It guards against mistakes, not against malice: a deleted
ledger is not missed, and neither is one on another machine.
"""

import contextlib
import dataclasses
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core import storage
from ..core.errors import UserError
from ..data.dataset import Dataset
from ..data.fingerprints import CONTENT, LOG, NUMBER, fingerprints
from ..data.recognition import Sight, sight
from ..data.trace import Trace
from ..evaluation.thresholds import GRANTED
from ._ledger_files import LAST, Entry, LedgerFiles, Line, fold_name

__all__ = ["GRANTED", "Entry", "Ledger", "Opening", "stream"]

SHOWN = ("decision", "report")
TINY = 1e-12


@dataclasses.dataclass(frozen=True)
class Opening:
    """An opening of a fold that shares units with a log: its entry, and what of the log is recognised (`sight`)."""

    entry: Entry
    sight: Sight


class Ledger:
    """The ledger in a folder, by default `$WEFT_LEDGER` or `~/.local/share/weft/ledger`.

    request: what asks for the tests that are written down, and subject: whose policy they are about, in words; both are
    kept with each. Raises UserError, and changes nothing, where the ledger is damaged: what was spent is then unknown.
    """

    def __init__(self, folder: str | Path | None = None, request: str = "", subject: str = "") -> None:
        where = folder or os.environ.get("WEFT_LEDGER") or Path.home() / ".local" / "share" / "weft" / "ledger"
        self.folder, self.request, self.subject = Path(where), request, subject
        self.files = LedgerFiles(self.folder)

    def entries(self) -> list[Entry]:
        """Return every opening, the first one first."""
        return [entry for entry, _ in self.files.lines()]

    def answers(self) -> dict[str, Mapping[str, Any]]:
        """Return `action` and `dose` of what was decided, by the name of the question, as far as it is remembered."""
        return self.files.answers()

    def of(self, fold: Dataset, by: str | None = None) -> list[Entry]:
        """Return every opening of a fold and of folds that share units with it, the first one first."""
        return [opening.entry for opening in self.openings(fold, by)]

    def openings(self, fold: Dataset, by: str | None = None) -> list[Opening]:
        """Return every opening of folds that share units with a view, the first one first, and what they share."""
        return self._sharing(fold, by, self.files.lines())

    def sights(self, fold: Dataset, by: str | None = None) -> list[Opening]:
        """Return the same of every opening, also of folds that seem to share nothing with the view."""
        return self._sights(fold, by, self.files.lines())

    def left(self, fold: Dataset, granted: float = GRANTED, by: str | None = None) -> float:
        """Return the risk that a test on a fold may still spend.

        by: the column of units, by default that of the log's `Spec`, else each episode is a unit. Raises UserError,
        naming the share of known units, the policy, the moment and the log, where the fold or one that it shares units
        with is spent.
        """
        _check(granted, granted, SHOWN[0])
        return self._left(self.openings(fold, by), fold, granted)

    def ask(
        self, fold: Dataset, risk: float, granted: float = GRANTED, by: str | None = None, question: str = ""
    ) -> None:
        """Raise UserError where a test that comes later could not be paid; nothing is written.

        A fold that only this ledger's `request` has opened, or the `question` that is known to be its answer, may be
        asked for again: the same test is answered without cost, and whether it is the same the test itself finds out.
        """
        _check(granted, risk, SHOWN[0])
        sharing = self.openings(fold, by)
        if not all(self.own(opening.entry, question) for opening in sharing):
            self._payable(risk, self._left(sharing, fold, granted), granted, fold)

    def own(self, entry: Entry, question: str = "") -> bool:
        """Say whether an opening was asked for by this ledger's `request`, or is that of a `question`."""
        return entry.policy == question or self.request == entry.request != ""

    def spend(
        self,
        fold: Dataset,
        policy: str,
        risk: float | None = None,
        shown: str = "decision",
        granted: float = GRANTED,
        by: str | None = None,
        after: Sequence[str] = (),
    ) -> Entry:
        """Write down that a fold is opened, before anything of the result is shown; what cannot be paid is refused.

        risk: what this test spends, by default all that is left; 0 for a report on a test that was paid before.
        shown: `decision` (whether the policy is certified, nothing else) or `report`. after: the folds of its stream
        that were opened before. Raises UserError as `left` does, for more risk than is left, and where the ledger is
        damaged or in use by another process.
        """
        _check(granted, granted if risk is None else risk, shown)
        table, units = fingerprints(fold), _units(fold, by)
        storage.make_folder(self.folder)
        with self.files.locked():
            lines = self.files.lines()
            self.files.settle(lines)
            late = shown == "report" and risk == 0  # of what was paid before; to write it down is never refused
            left = 0.0 if late else self._left(self._sharing(fold, by, lines), fold, granted)
            paid = left if risk is None else float(risk)
            self._payable(paid, left, granted, fold)
            moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            entry = Entry(
                fold_name(table), float(granted), paid, shown, policy, moment, fold.origin, len(np.unique(units)),
                self.request, self.subject, tuple(after),
            )  # fmt: skip
            self.files.write(lines, entry, table)
        return entry

    def open(
        self, fold: Dataset, question: str, risk: float, shown: str, granted: float | None = None,
        after: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """Write down that a question opens a fold; nothing is spent where the very same one was answered before, but
        for a report after a decision, which is written down. granted, after: see `spend`; by default the larger of
        `risk` and `GRANTED`. Raises UserError as `spend` does.
        """
        before = [entry for entry in self.entries() if entry.policy == question]
        if not before:
            self.spend(fold, question, risk, shown, max(risk, GRANTED) if granted is None else granted, after=after)
        elif shown == "report" and all(entry.shown != "report" for entry in before):
            self.spend(fold, question, 0.0, "report", before[0].granted, after=before[0].after)
        else:
            self.settle()

    def settle(self) -> None:
        """Finish what a killed process left undone: name the folds that have a line, delete what is half written.

        None of it changes an answer, so where it cannot be done nothing is said.
        """
        lines = self.files.lines()
        if self.files.undone() or (lines and self.files.content(LAST) != lines[-1][1].encode()):
            with contextlib.suppress(UserError, OSError), self.files.locked():
                self.files.settle(self.files.lines())

    def tested(self, data: Dataset) -> list[tuple[Dataset, Entry]]:
        """Return the views of this very log that were opened before, the last one first, each with its opening."""
        log, views = fingerprints(data)[0, LOG], []
        for entry in reversed(self.entries()):
            table = self.files.table(entry.fold)
            if entry.spent > 0 and (table[:, LOG] == log).all() and np.isin(table[:, NUMBER], data.chosen).all():
                views.append((data.select(np.isin(data.chosen, table[:, NUMBER])), entry))
        return views

    def carry(self, question: str, dose: float, data: Dataset) -> bool:
        """Remember that a certificate's wealth at a dose is carried on into the episodes of a roll-out.

        question: the name of the test (`Decision.question`). Returns whether the ledger knows that test. Raises
        UserError where units of the roll-out were in the test, so that they would count twice, and where the wealth was
        carried into episodes that this log lacks: a second roll-out has to begin at 1.
        """
        table = fingerprints(data)
        folds = {entry.fold for entry in self.entries() if entry.policy == question}
        for fold in folds:
            share = sight(self.files.table(fold), data).share
            if share > 0:
                raise UserError(
                    f"{share:.0%} of the units of {data.origin} are among those of the certificate, which counts them "
                    "already; a roll-out is new units."
                )
        if not folds:
            return False
        place = self.folder / f"carried-{question}-{dose:g}.safetensors"
        with self.files.locked():
            if place.exists():
                before = Trace.unpack(storage.read_tree(place, np.zeros(0))).table
                gone = _lacking(before, table)
                if gone:
                    raise UserError(
                        f"The certificate's wealth at dose {dose:g} was carried on before, into {gone} episodes that "
                        f"{data.origin} lacks; give the whole roll-out from its beginning, or restart (drift)."
                    )
            storage.write_tree(place, Trace(table).packed())
        return True

    def _sharing(self, fold: Dataset, by: str | None, lines: list[Line]) -> list[Opening]:
        """Return every opening of a fold that shares units with this one, and what of this one is recognised."""
        return [opening for opening in self._sights(fold, by, lines) if opening.sight.share > 0]

    def _sights(self, fold: Dataset, by: str | None, lines: list[Line]) -> list[Opening]:
        names = dict.fromkeys(entry.fold for entry, _ in lines)
        shared = {name: sight(self.files.table(name), fold, by) for name in names}
        return [Opening(entry, shared[entry.fold]) for entry, _ in lines]

    def _left(self, sharing: list[Opening], fold: Dataset, granted: float) -> float:
        """Return what is left for a fold, counting all that was spent on folds that share units with it."""
        used = 0.0
        for opening in sharing:
            used += opening.entry.spent
            if opening.entry.shown == "report":
                raise self._spent(fold, opening, "its report was shown")
            if used >= granted - TINY:
                raise self._spent(fold, opening, f"the risk of {granted:g} is used up")
        return granted - used

    def _payable(self, risk: float, left: float, granted: float, fold: Dataset) -> None:
        if risk > left + TINY:
            raise UserError(
                f"A risk of {risk:g} cannot be spent on this fold of {fold.origin}: {left:g} of {granted:g} is "
                f"left in the ledger {self.folder}; spend at most that, or bring new units."
            )

    def _spent(self, fold: Dataset, opening: Opening, why: str) -> UserError:
        entry, share = opening.entry, opening.sight.share
        percent = f"{share:.0%}" if share >= 0.01 else f"{share:.1g}"
        about = "about " if opening.sight.guess else ""
        source = f" as {entry.origin}" if entry.origin else ""
        hint = "" if fold.spec.identity or not about else ", or declare what identifies a decision (identity)"
        return UserError(
            f"This fold of {fold.origin} is spent: {about}{percent} of its units were opened on {entry.when}{source} "
            f"for {entry.policy} and {why} (ledger in {self.folder}); certify on units that no test has seen{hint}."
        )


def stream(entries: Sequence[Entry], folds: Sequence[str]) -> list[str]:
    """Return the folds of the stream that some folds belong to, the first one first: those that were opened on exports
    of one log, each `after` others.
    """
    members = {*folds}
    before = -1
    while len(members) != before:
        before = len(members)
        for entry in entries:
            if members & {entry.fold, *entry.after}:
                members |= {entry.fold, *entry.after}
    return list(dict.fromkeys(entry.fold for entry in entries if entry.fold in members and entry.spent > 0))


def _units(fold: Dataset, by: str | None) -> np.ndarray:
    by = by or fold.spec.unit
    return fold.units(by) if by else np.arange(fold.episodes)


def _lacking(before: np.ndarray | None, table: np.ndarray) -> int:
    """Return how many of the episodes looked at before are not among those of a table, each as often as it occurs."""
    if before is None:
        return 0
    contents, times = np.unique(before[:, CONTENT], return_counts=True)
    there = np.array([(table[:, CONTENT] == content).sum() for content in contents])
    return int(np.maximum(times - there, 0).sum())


def _check(granted: float, risk: float, shown: str) -> None:
    if not 0 < granted < 1:
        raise UserError(f"The risk granted to a fold must lie between 0 and 1, got {granted:g}.")
    if not 0 <= risk < 1:
        raise UserError(f"The risk to spend must be at least 0 and less than 1, got {risk:g}.")
    if shown not in SHOWN:
        raise UserError(f"What is shown of a test is 'decision' or 'report', got {shown!r}.")
