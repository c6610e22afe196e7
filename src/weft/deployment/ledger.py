"""The ledger of risk: which sealed folds were opened, when, for which policy, and what may still be spent.

Every test of a policy on a certify fold spends risk (alpha). The rules:

* A fold starts with what is granted, .05 unless said otherwise.
* Where only the decision was shown, a further test may spend what is left of it.
* A fold whose report was shown is spent, because the next policy could be chosen after it. So is one with nothing left.
* Folds are recognised by the fingerprints of their episodes, under whatever name, order or format: a view that shares
  units with folds that were opened shares what they spent. Only new units bring new risk.

The ledger is a folder: `ledger.jsonl` (one line per opening, each with a checksum over all before it), `ledger.last`
(the checksum of a line that must be there), and one file of fingerprints per fold, and per roll-out that a
certificate's wealth was carried into. A fold's file gets its name when its line is written, so that a name without a
line means lost lines; a process killed between the two leaves a `.new` file, which counts if a line names it, and which
is given its name when the next question is asked. It guards against mistakes, not against malice: a deleted ledger is
not missed.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..core import storage
from ..core.errors import UserError
from ..data.dataset import Dataset
from ..data.fingerprints import CONTENT, fingerprints, overlap
from ..data.trace import Trace
from ..evaluation.thresholds import GRANTED

__all__ = ["GRANTED", "Entry", "Ledger"]

SHOWN = ("decision", "report")
LINES, LAST, LOCK = "ledger.jsonl", "ledger.last", ".lock"
WAIT = 10.0  # seconds for another process to finish its line
TINY = 1e-12


@dataclasses.dataclass(frozen=True)
class Entry:
    """One opening of a fold: `fold` (a hash of its contents), the `granted` and the `spent` risk, what was `shown`
    (`decision` or `report`), the `policy` that was judged (the name of the question, `Decision.question`), and when
    (`moment`, ISO, UTC). request: what asked for it, so that the same study is answered again; empty if nothing did."""

    fold: str
    granted: float
    spent: float
    shown: str
    policy: str
    moment: str
    origin: str = ""
    units: int = 0
    request: str = ""

    def text(self) -> str:
        """Return the entry as JSON, as its checksum has it; lines that nothing asked for look as they always did."""
        fields = dataclasses.asdict(self)
        return json.dumps(fields if self.request else {name: fields[name] for name in fields if name != "request"})


class Ledger:
    """The ledger in a folder, by default `$WEFT_LEDGER` or `~/.local/share/weft/ledger`.

    request: what asks for the tests that are written down, kept with each. Raises UserError, and changes nothing, where
    the ledger is damaged: what was spent is then unknown.
    """

    def __init__(self, folder: str | Path | None = None, request: str = "") -> None:
        where = folder or os.environ.get("WEFT_LEDGER") or Path.home() / ".local" / "share" / "weft" / "ledger"
        self.folder, self.request = Path(where), request

    def entries(self) -> list[Entry]:
        """Return every opening, the first one first."""
        return [entry for entry, _ in self._lines()]

    def of(self, fold: Dataset, by: str | None = None) -> list[Entry]:
        """Return every opening of a fold and of folds that share units with it, the first one first."""
        return [entry for entry, _ in self._sharing(fingerprints(fold), _units(fold, by), self._lines())]

    def left(self, fold: Dataset, granted: float = GRANTED, by: str | None = None) -> float:
        """Return the risk that a test on a fold may still spend.

        by: the column of units, by default that of the log's `Spec`, else each episode is a unit. Raises UserError,
        naming the share of known units, the policy, the moment and the log, where the fold or one that it shares units
        with is spent.
        """
        _check(granted, granted, SHOWN[0])
        return self._left(self._sharing(fingerprints(fold), _units(fold, by), self._lines()), fold, granted)

    def ask(
        self, fold: Dataset, risk: float, granted: float = GRANTED, by: str | None = None, question: str = ""
    ) -> None:
        """Raise UserError where a test that comes later could not be paid; nothing is written.

        A fold that only this ledger's `request` has opened, or the `question` that is known to be its answer, may be
        asked for again: the same test is answered without cost, and whether it is the same the test itself finds out.
        """
        _check(granted, risk, SHOWN[0])
        sharing = self._sharing(fingerprints(fold), _units(fold, by), self._lines())
        ours = [entry for entry, _ in sharing if entry.policy == question or self.request == entry.request != ""]
        if len(ours) < len(sharing):
            self._payable(risk, self._left(sharing, fold, granted), granted, fold)

    def spend(
        self,
        fold: Dataset,
        policy: str,
        risk: float | None = None,
        shown: str = "decision",
        granted: float = GRANTED,
        by: str | None = None,
    ) -> Entry:
        """Write down that a fold is opened, before anything of the result is shown; what cannot be paid is refused.

        risk: what this test spends, by default all that is left; 0 for a report on a test that was paid before.
        shown: `decision` (whether the policy is certified, nothing else) or `report`. Raises UserError as `left` does,
        for more risk than is left, and where the ledger is damaged or in use by another process.
        """
        _check(granted, granted if risk is None else risk, shown)
        table, units = fingerprints(fold), _units(fold, by)
        storage.make_folder(self.folder)
        with self._locked():
            lines = self._lines()
            self._settle(lines)
            late = shown == "report" and risk == 0  # of what was paid before; to write it down is never refused
            left = 0.0 if late else self._left(self._sharing(table, units, lines), fold, granted)
            paid = left if risk is None else float(risk)
            self._payable(paid, left, granted, fold)
            moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            entry = Entry(
                _digest(table), float(granted), paid, shown, policy, moment, fold.origin, len(np.unique(units)),
                self.request,
            )  # fmt: skip
            place, fresh = self._fold(entry.fold), self._fresh(entry.fold)
            named = place.exists()
            if not named:
                storage.write_tree(fresh, Trace(table).packed())
            checksum = _chained(lines[-1][1] if lines else "", entry.text())
            line = json.dumps({**json.loads(entry.text()), "checksum": checksum})
            written = self._content()
            written += b"" if not written or written.endswith(b"\n") else b"\n"
            storage.write_bytes(self.folder / LINES, written + line.encode() + b"\n")  # from here on it is spent
            if not named:
                storage.move(fresh, place)
            storage.write_bytes(self.folder / LAST, checksum.encode())
        return entry

    def open(self, fold: Dataset, question: str, risk: float, shown: str) -> None:
        """Write down that a question opens a fold; nothing is spent where the very same one was answered before, but
        for a report after a decision, which is written down. Raises UserError as `spend` does.
        """
        before = [entry for entry in self.entries() if entry.policy == question]
        if not before:
            self.spend(fold, question, risk, shown, granted=max(risk, GRANTED))
        elif shown == "report" and all(entry.shown != "report" for entry in before):
            self.spend(fold, question, 0.0, "report")
        else:
            self.settle()

    def settle(self) -> None:
        """Finish what a killed process left undone: name the folds that have a line, delete what is half written.

        None of it changes an answer, so where it cannot be done nothing is said.
        """
        lines = self._lines()
        if self._undone() or (lines and self._content(LAST) != lines[-1][1].encode()):
            with contextlib.suppress(UserError, OSError), self._locked():
                self._settle(self._lines())

    def carry(self, question: str, dose: float, data: Dataset) -> bool:
        """Remember that a certificate's wealth at a dose is carried on into the episodes of a roll-out.

        question: the name of the test (`Decision.question`). Returns whether the ledger knows that test. Raises
        UserError where units of the roll-out were in the test, so that they would count twice, and where the wealth was
        carried into episodes that this log lacks: a second roll-out has to begin at 1.
        """
        table = fingerprints(data)
        folds = {entry.fold for entry in self.entries() if entry.policy == question}
        for fold in folds:
            share = overlap(self._table(fold), table, _units(data, None))
            if share > 0:
                raise UserError(
                    f"{share:.0%} of the units of {data.origin} are among those of the certificate, which counts them "
                    "already; a roll-out is new units."
                )
        if not folds:
            return False
        place = self.folder / f"carried-{question}-{dose:g}.safetensors"
        with self._locked():
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

    def _fold(self, digest: str) -> Path:
        return self.folder / f"fold-{digest}.safetensors"

    def _fresh(self, digest: str) -> Path:
        """Return where a fold's fingerprints are until its line is written."""
        return self.folder / f"fold-{digest}.safetensors.new"

    def _undone(self) -> list[Path]:
        """Return the files that a process under way, or a killed one, has not given their names yet."""
        return [*self.folder.glob("*.new"), *self.folder.glob(".*.part")]

    def _settle(self, lines: list[tuple[Entry, str]]) -> None:
        """Finish what is undone; only for who holds the lock."""
        named = {self._fresh(entry.fold): self._fold(entry.fold) for entry, _ in lines}
        for path in self._undone():
            if path in named and not named[path].exists():
                storage.move(path, named[path])
            else:
                path.unlink(missing_ok=True)
        if lines and self._content(LAST) != lines[-1][1].encode():
            storage.write_bytes(self.folder / LAST, lines[-1][1].encode())

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        busy = f"The ledger in {self.folder} is in use by another process; try again when it has ended."
        until = time.monotonic() + WAIT
        with contextlib.ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(storage.locked(self.folder / LOCK, busy))
                    break
                except UserError as problem:
                    if str(problem) != busy or time.monotonic() > until:
                        raise
                    time.sleep(0.05)
            yield

    def _damaged(self, what: str) -> UserError:
        return UserError(
            f"The ledger in {self.folder} is damaged ({what}), so what was spent is unknown; restore the folder from "
            "a copy, or judge on new units with a ledger in another folder."
        )

    def _content(self, name: str = LINES) -> bytes:
        path = self.folder / name
        try:
            return path.read_bytes() if path.exists() else b""
        except OSError as problem:
            raise UserError(f"The ledger {path} cannot be read: {problem.strerror or problem}.") from None

    def _lines(self) -> list[tuple[Entry, str]]:
        """Return every opening with its checksum. Raises UserError where lines are damaged or missing."""
        # looked at before the lines, because another process writes a line first
        named = {path.name for path in self.folder.glob("fold-*.safetensors")} if self.folder.is_dir() else set()
        last = self._content(LAST).decode("ascii", "replace").strip() if (self.folder / LAST).exists() else None
        content = self._content()
        if (named or last is not None) and not (self.folder / LINES).exists():
            raise self._damaged(f"{LINES} is missing")
        lines: list[tuple[Entry, str]] = []
        for line in content.splitlines():
            lines.append(self._parsed(line, len(lines) + 1, lines[-1][1] if lines else ""))
        lost = named - {self._fold(entry.fold).name for entry, _ in lines}
        if lost or (last is not None and last not in {checksum for _, checksum in lines}):
            what = f"{len(lost)} opened folds have no line" if lost else "the last lines are gone"
            raise self._damaged(f"{LINES} is not whole: {what}")
        return lines

    def _parsed(self, line: bytes, number: int, before: str) -> tuple[Entry, str]:
        """Return what a line says and its checksum, which follows from the one before."""
        try:
            fields: dict[str, Any] = storage.parsed(line)
            checksum = fields.pop("checksum")
            entry = Entry(**fields)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise self._damaged(f"line {number} of {LINES} cannot be read") from None
        if checksum != _chained(before, entry.text()):
            raise self._damaged(f"line {number} of {LINES} is not what was written")
        return entry, checksum

    def _table(self, digest: str) -> np.ndarray:
        place, table, problems = self._fold(digest), None, []
        for path in (place, self._fresh(digest), place):  # which another process may rename meanwhile
            try:
                table = Trace.unpack(storage.read_tree(path, np.zeros(0))).table
                break
            except storage.DamagedFile as problem:
                problems.append(str(problem).rstrip("."))
                if path.exists():
                    raise self._damaged(problems[-1]) from None
        else:
            raise self._damaged(problems[0])
        if table is None or _digest(table) != digest:
            raise self._damaged(f"{self._fold(digest).name} holds another fold")
        return table

    def _sharing(
        self, table: np.ndarray, units: np.ndarray, lines: list[tuple[Entry, str]]
    ) -> list[tuple[Entry, float]]:
        """Return every opening of a fold that shares units with this one, and the share of this one's units."""
        shares = {
            digest: overlap(self._table(digest), table, units)
            for digest in dict.fromkeys(entry.fold for entry, _ in lines)
        }
        return [(entry, shares[entry.fold]) for entry, _ in lines if shares[entry.fold] > 0]

    def _left(self, sharing: list[tuple[Entry, float]], fold: Dataset, granted: float) -> float:
        """Return what is left for a fold, counting all that was spent on folds that share units with it."""
        used = 0.0
        for entry, share in sharing:
            used += entry.spent
            if entry.shown == "report":
                raise self._spent(fold, share, entry, "its report was shown")
            if used >= granted - TINY:
                raise self._spent(fold, share, entry, f"the risk of {granted:g} is used up")
        return granted - used

    def _payable(self, risk: float, left: float, granted: float, fold: Dataset) -> None:
        if risk > left + TINY:
            raise UserError(
                f"A risk of {risk:g} cannot be spent on this fold of {fold.origin}: {left:g} of {granted:g} is "
                f"left in the ledger {self.folder}; spend at most that, or bring new units."
            )

    def _spent(self, fold: Dataset, share: float, entry: Entry, why: str) -> UserError:
        percent = f"{share:.0%}" if share >= 0.01 else f"{share:.1g}"
        when = entry.moment.replace("T", " ").replace("Z", " UTC")
        source = f" as {entry.origin}" if entry.origin else ""
        return UserError(
            f"This fold of {fold.origin} is spent: {percent} of its units were opened on {when}{source} for "
            f"{entry.policy} and {why} (ledger in {self.folder}); certify on units that no test has seen."
        )


def _units(fold: Dataset, by: str | None) -> np.ndarray:
    by = by or fold.spec.unit
    return fold.units(by) if by else np.arange(fold.episodes)


def _digest(table: np.ndarray) -> str:
    """Return a name for a fold that the order of its episodes does not change."""
    rows = table[np.lexsort(table.T)]
    return hashlib.sha256(np.ascontiguousarray(rows[:, : CONTENT + 1]).astype("<u8").tobytes()).hexdigest()[:24]


def _lacking(before: np.ndarray | None, table: np.ndarray) -> int:
    """Return how many of the episodes looked at before are not among those of a table, each as often as it occurs."""
    if before is None:
        return 0
    contents, times = np.unique(before[:, CONTENT], return_counts=True)
    there = np.array([(table[:, CONTENT] == content).sum() for content in contents])
    return int(np.maximum(times - there, 0).sum())


def _chained(before: str, text: str) -> str:
    return hashlib.sha256((before + text).encode()).hexdigest()[:16]


def _check(granted: float, risk: float, shown: str) -> None:
    if not 0 < granted < 1:
        raise UserError(f"The risk granted to a fold must lie between 0 and 1, got {granted:g}.")
    if not 0 <= risk < 1:
        raise UserError(f"The risk to spend must be at least 0 and less than 1, got {risk:g}.")
    if shown not in SHOWN:
        raise UserError(f"What is shown of a test is 'decision' or 'report', got {shown!r}.")
