"""The files of a ledger: lines that hold together, fingerprints of folds, and what a killed process leaves behind.

`ledger.jsonl` has one line per opening, each with a checksum over all before it; `ledger.last` the checksum of a line
that must be there; `fold-….safetensors` the fingerprints of a fold, and of a roll-out that a certificate's wealth was
carried into. A fold's file gets its name when its line is written, so that a name without a line means lost lines; a
process killed between the two leaves a `.new` file, which counts if a line names it, and which is given its name when
the next question is asked. `answers.jsonl` says what was decided; it guards nothing, and may be lost.
"""

import contextlib
import dataclasses
import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..core import storage
from ..core.errors import UserError
from ..data.fingerprints import CONTENT, FINE
from ..data.trace import Trace

__all__ = ["Entry", "LedgerFiles", "Line", "fold_name"]

LINES, LAST, LOCK, ANSWERS = "ledger.jsonl", "ledger.last", ".lock", "answers.jsonl"
WAIT = 10.0  # seconds for another process to finish its line
LATER = ("request", "subject", "after")  # fields that older ledgers lack


@dataclasses.dataclass(frozen=True)
class Entry:
    """One opening of a fold: `fold` (a hash of its contents), the `granted` and the `spent` risk, what was `shown`
    (`decision` or `report`), the `policy` that was judged (the name of the question, `Decision.question`), and when
    (`moment`, ISO, UTC). request: what asked for it, so that the same study is answered again; empty if nothing did.
    subject: the policy in words. after: the folds that were opened before in the same stream of exports
    (`weft.deployment.remainder`). Ledgers of older versions lack the last three."""

    fold: str
    granted: float
    spent: float
    shown: str
    policy: str
    moment: str
    origin: str = ""
    units: int = 0
    request: str = ""
    subject: str = ""
    after: tuple[str, ...] = ()

    def text(self) -> str:
        """Return the entry as JSON, as its checksum has it; what is not said looks as it did before it could be."""
        fields = dataclasses.asdict(self)
        return json.dumps({name: value for name, value in fields.items() if name not in LATER or value})

    @property
    def when(self) -> str:
        """The moment in words."""
        return self.moment.replace("T", " ").replace("Z", " UTC")


Line = tuple[Entry, str]
"""An opening and its checksum."""


class LedgerFiles:
    """The files of a ledger in a folder. Raises UserError, and changes nothing, where they are damaged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fold(self, digest: str) -> Path:
        return self.folder / f"fold-{digest}.safetensors"

    def fresh(self, digest: str) -> Path:
        """Return where a fold's fingerprints are until its line is written."""
        return self.folder / f"fold-{digest}.safetensors.new"

    def undone(self) -> list[Path]:
        """Return the files that a process under way, or a killed one, has not given their names yet."""
        return [*self.folder.glob("*.new"), *self.folder.glob(".*.part")]

    def settle(self, lines: list[Line]) -> None:
        """Finish what is undone; only for who holds the lock."""
        named = {self.fresh(entry.fold): self.fold(entry.fold) for entry, _ in lines}
        for path in self.undone():
            if path in named and not named[path].exists():
                storage.move(path, named[path])
            else:
                path.unlink(missing_ok=True)
        if lines and self.content(LAST) != lines[-1][1].encode():
            storage.write_bytes(self.folder / LAST, lines[-1][1].encode())

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
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

    def content(self, name: str = LINES) -> bytes:
        path = self.folder / name
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return b""
        except OSError as problem:
            raise UserError(f"The ledger {path} cannot be read: {problem.strerror or problem}.") from None

    def lines(self) -> list[Line]:
        """Return every opening with its checksum. Raises UserError where lines are damaged or missing."""
        # looked at before the lines, because another process writes a line first
        named = {path.name for path in self.folder.glob("fold-*.safetensors")} if self.there() else set()
        last = self.content(LAST).decode("ascii", "replace").strip() if self._holds(LAST) else None
        content = self.content()
        if (named or last is not None) and not self._holds(LINES):
            raise self._damaged(f"{LINES} is missing")
        lines: list[Line] = []
        for line in content.splitlines():
            lines.append(self._parsed(line, len(lines) + 1, lines[-1][1] if lines else ""))
        lost = named - {self.fold(entry.fold).name for entry, _ in lines}
        if lost or (last is not None and last not in {checksum for _, checksum in lines}):
            what = f"{len(lost)} opened folds have no line" if lost else "the last lines are gone"
            raise self._damaged(f"{LINES} is not whole: {what}")
        return lines

    def _parsed(self, line: bytes, number: int, before: str) -> tuple[Entry, str]:
        """Return what a line says and its checksum, which follows from the one before."""
        try:
            fields: dict[str, Any] = storage.parsed(line)
            checksum = fields.pop("checksum")
            if "after" in fields:
                fields["after"] = tuple(map(str, fields["after"]))
            entry = Entry(**fields)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise self._damaged(f"line {number} of {LINES} cannot be read") from None
        if checksum != _chained(before, entry.text()):
            raise self._damaged(f"line {number} of {LINES} is not what was written")
        return entry, checksum

    def table(self, digest: str) -> np.ndarray:
        place, table, problems = self.fold(digest), None, []
        for path in (place, self.fresh(digest), place):  # which another process may rename meanwhile
            try:
                table = Trace.unpack(storage.read_tree(path, np.zeros(0))).table
                break
            except storage.DamagedFile as problem:
                problems.append(str(problem).rstrip("."))
                if path.exists():
                    raise self._damaged(problems[-1]) from None
        else:
            raise self._damaged(problems[0])
        if table is None or fold_name(table) != digest:
            raise self._damaged(f"{self.fold(digest).name} holds another fold")
        return table

    def there(self) -> bool:
        """Say whether there is a ledger. Raises UserError for a place that is no folder, and for one that is shut."""
        try:
            inside = self.folder.is_dir()
            if not inside and self.folder.exists():
                raise UserError(f"The ledger {self.folder} is no folder; name one (--ledger, WEFT_LEDGER).")
            if inside:
                next(self.folder.iterdir(), None)
        except OSError as problem:
            raise UserError(f"The ledger {self.folder} cannot be read: {problem.strerror or problem}.") from None
        return inside

    def _holds(self, name: str) -> bool:
        return self.there() and (self.folder / name).exists()

    def write(self, lines: list[Line], entry: Entry, table: np.ndarray) -> None:
        """Write a further line, and the fold that it names; only for who holds the lock."""
        place, fresh = self.fold(entry.fold), self.fresh(entry.fold)
        named = place.exists()
        if not named:
            storage.write_tree(fresh, Trace(table).packed())
        checksum = _chained(lines[-1][1] if lines else "", entry.text())
        line = json.dumps({**json.loads(entry.text()), "checksum": checksum})
        written = self.content()
        written += b"" if not written or written.endswith(b"\n") else b"\n"
        storage.write_bytes(self.folder / LINES, written + line.encode() + b"\n")  # from here on it is spent
        if not named:
            storage.move(fresh, place)
        storage.write_bytes(self.folder / LAST, checksum.encode())

    def answers(self) -> dict[str, Mapping[str, Any]]:
        """Return what was decided last, by the name of the question; lines that cannot be read are as if not there."""
        answers: dict[str, Mapping[str, Any]] = {}
        for line in self.content(ANSWERS).splitlines():
            with contextlib.suppress(ValueError, TypeError, KeyError):
                record = storage.parsed(line)
                answers[str(record["question"])] = {"action": str(record["action"]), "dose": float(record["dose"])}
        return answers

    def answered(self, question: str, action: str, dose: float) -> None:
        """Remember what was decided. It guards nothing, so where it cannot be written nothing is said."""
        record = {"question": question, "action": action, "dose": float(dose)}
        if self.answers().get(question) != {"action": action, "dose": float(dose)}:
            with contextlib.suppress(UserError):
                torn = self.content(ANSWERS)
                start = "" if not torn or torn.endswith(b"\n") else "\n"
                storage.append_lines(self.folder / ANSWERS, [start + json.dumps(record)])


def fold_name(table: np.ndarray) -> str:
    """Return a name for a fold that the order of its episodes does not change."""
    rows = table[np.lexsort(table[:, : FINE + 1].T)]
    return hashlib.sha256(np.ascontiguousarray(rows[:, : CONTENT + 1]).astype("<u8").tobytes()).hexdigest()[:24]


def _chained(before: str, text: str) -> str:
    return hashlib.sha256((before + text).encode()).hexdigest()[:16]
