"""What a ledger says, to be read: what was opened, for which policy, when, what was decided, and what risk is left."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..core.errors import UserError
from ..data.dataset import Dataset
from .ledger import GRANTED, Entry, Ledger, stream
from .remainder import Remainder, granted, remainder

__all__ = ["Account", "account"]

HEAD = ("opened (UTC)", "policy", "log", "units", "shown", "decided", "risk", "left", "test", "question")
EMPTY = (
    "There is no ledger in {folder} yet: nothing was opened with it. It is made by the first test; --ledger or "
    "WEFT_LEDGER names another folder, and what was opened on another machine lies there."
)


@dataclasses.dataclass(frozen=True)
class Opened:
    """One opening: its entry, what was `decided` (empty: not remembered), what is `left` of its fold, and the place of
    the fold in its stream, from 1, named by the first."""

    entry: Entry
    decided: str
    left: float
    place: int
    stream: str


@dataclasses.dataclass(frozen=True)
class Account:
    """What a ledger says: its `folder` and its `openings`.

    streams: of the logs that grow, how many tests they had and what these spent. undone: files that a killed process
    left. Where it was asked about a log (`data`): what of it may be tested (`part`), or why nothing (`refusal`).
    """

    folder: str
    openings: tuple[Opened, ...]
    streams: Mapping[str, tuple[int, float]] = dataclasses.field(default_factory=dict)
    undone: int = 0
    data: Dataset | None = None
    part: Remainder | None = None
    refusal: str = ""

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield `(what, text)` in plain words."""
        yield "ledger", self.folder
        yield "opened", self._opened()
        for name, (place, spent) in self.streams.items():
            if place > 1:
                later = f"the next has {granted(GRANTED, place + 1):.3g}, all to come together {GRANTED / place:.3g}"
                yield "log that grows", f"{name[:6]}: {place} tests, {spent:.3g} spent; {later}"
        if self.undone:
            yield (
                "left undone",
                f"{self.undone} half-written files, of a process under way or killed; the next test mends",
            )
        yield from self._about_the_log()

    def _opened(self) -> str:
        folds, times = len({one.entry.fold for one in self.openings}), len(self.openings)
        if not folds:
            return "nothing" if self.data is None else "nothing of this log"
        return f"{folds:,} fold{'s' * (folds > 1)} in {times:,} opening{'s' * (times > 1)}"

    def _about_the_log(self) -> Iterator[tuple[str, str]]:
        if self.data is None:
            return
        yield "log", f"{self.data.origin}, {self.data.steps:,} decisions"
        if self.part is None or (self.refusal and not self.part.new):
            yield "new", "nothing"
        else:
            yield "new", self.part.sentence or "all of it"
        risk = "" if self.part is None else f"{self.part.risk:.3g}"
        yield "risk left", f"none: {self.refusal}" if self.refusal else risk
        if self.part is not None:
            for sentence in self.part.trust:
                yield "assumes", sentence

    def cells(self) -> list[tuple[str, ...]]:
        """Return the openings as a table, its head first."""
        rows: list[tuple[str, ...]] = [HEAD]
        for one in self.openings:
            entry = one.entry
            rows.append((
                entry.moment.replace("T", " ").rstrip("Z"), entry.subject or "–", entry.origin or "–",
                f"{entry.units:,}", entry.shown, one.decided or "–", f"{entry.spent:.3g} of {entry.granted:.3g}",
                f"{one.left:.3g}", f"{one.place} of {one.stream[:6]}", entry.policy,
            ))  # fmt: skip
        return rows

    def record(self) -> dict[str, Any]:
        """Return all of it as plain JSON."""
        rows = [
            {**dataclasses.asdict(one.entry), "decided": one.decided, "left": one.left, "place": one.place,
             "stream": one.stream}
            for one in self.openings
        ]  # fmt: skip
        record: dict[str, Any] = {
            "ledger": self.folder,
            "openings": rows,
            "undone": self.undone,
            "streams": {name: {"tests": place, "spent": spent} for name, (place, spent) in self.streams.items()},
        }
        if self.data is not None:
            new = 0 if self.part is None or self.refusal else self.part.data.steps
            record["log"] = {
                "origin": self.data.origin, "decisions": self.data.steps, "new": new,
                "risk": self.part.risk if self.part is not None and not self.refusal else 0.0,
                "sentence": self.refusal or (self.part.sentence if self.part else ""),
            }  # fmt: skip
        return record


def account(
    book: Ledger, data: Dataset | None = None, policies: Sequence[Any] = (), words: str = "", risk: float = GRANTED
) -> Account:
    """Return what a ledger says of all that was opened; with a log, of what shares units with it, and what is new.

    policies: what these were trained on or chosen by is not new, either. words: without a log, only openings whose
    policy or question holds them. risk: what a test of the log would ask for. Raises UserError where the ledger is
    missing or damaged.
    """
    if not book.files.there():
        raise UserError(EMPTY.format(folder=book.folder))
    entries, answers = book.entries(), book.answers()
    chosen = {*(entries if data is None else book.of(data))}
    every = [_opened(entry, entries, answers) for entry in entries]
    openings = tuple(
        one for one in every
        if one.entry in chosen and (data is not None or words in one.entry.subject or words in one.entry.policy)
    )  # fmt: skip
    streams = _streams(openings, every)
    answer = Account(str(book.folder), openings, streams, len(book.files.undone()), data)
    return answer if data is None else _about(answer, data, policies, book, risk)


def _streams(openings: Sequence[Opened], every: Sequence[Opened]) -> dict[str, tuple[int, float]]:
    """Return the number of tests of the streams of some openings, and what they spent."""
    streams = {}
    for name in dict.fromkeys(one.stream for one in openings):
        ones = [one for one in every if one.stream == name]
        streams[name] = (max(one.place for one in ones), sum(one.entry.spent for one in ones))
    return streams


def _about(answer: Account, data: Dataset, policies: Sequence[Any], book: Ledger, risk: float) -> Account:
    """Return the same with what of a log may be tested."""
    try:
        part = remainder(data, policies, book, risk)
    except UserError as problem:
        return dataclasses.replace(answer, refusal=str(problem))
    try:
        left = min(part.risk, book.left(part.data, part.granted))
    except UserError as problem:
        return dataclasses.replace(answer, part=part, refusal=str(problem))
    return dataclasses.replace(answer, part=dataclasses.replace(part, risk=left))


def _opened(entry: Entry, entries: Sequence[Entry], answers: Any) -> Opened:
    same = [other for other in entries if other.fold == entry.fold]
    reported = any(other.shown == "report" for other in same)
    most = max(other.granted for other in same)
    folds = stream(entries, [entry.fold]) or [entry.fold]
    decided = answers.get(entry.policy)
    words = "" if decided is None else decided["action"] + (f" ({decided['dose']:g})" if decided["dose"] else "")
    left = 0.0 if reported else max(0.0, most - sum(other.spent for other in same))
    place = folds.index(entry.fold) + 1 if entry.fold in folds else 1
    return Opened(entry, words, left, place, folds[0])
