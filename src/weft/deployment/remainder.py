"""What a log that grows still has for a test: yesterday's rows plus today's, of which today's are new.

What was seen cannot be tested: units that the policy or the baseline was trained on or chosen by (provenance), and
units that a test has opened (the ledger). Both recognise episodes by the same fingerprints (`weft.data.recognition`).
A unit is seen when any of its episodes is: the later ones of a user who was there yesterday depend on those that taught
or passed the policy, so they are left out, too. Units are left out by what they are, never by how they turned out, so
what remains is a sample of new units as good as a log of its own.

Folds that are opened on exports of one log, one after the other, are a *stream*, and so are several parts of one
export. With each, there is another chance of a false answer, and new policies are made after old answers. So the k-th
fold of a stream is granted

    risk                 for k = 1
    risk / (k (k - 1))   for k > 1,

which is spent after what was seen before is fixed. Each test errs with a chance of at most what it spends, given all
that came before (its units are new), so by the union bound all tests of a stream, however many, deploy a policy that is
no better with a chance of at most 2 risk: risk / k is left for all that come after the k-th. A log of which nothing is
recognised begins a stream of its own.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.errors import UserError
from ..data.dataset import Dataset
from ..data.recognition import Sight
from ..evaluation.provenance import experience_of, refuse_touched
from ..evaluation.thresholds import COINCIDENCE
from .ledger import GRANTED, Entry, Ledger, Opening, stream

__all__ = ["Remainder", "granted", "remainder"]

TINY = 1e-12  # of risk, that sums of floats may lack


@dataclasses.dataclass(frozen=True)
class Remainder:
    """What of a log may be tested: a view (`data`) at a `risk`, out of what is `granted` to it.

    after: the folds of its stream that were opened before. sentence: how it differs from the whole, empty where it does
    not. origins: for each policy whether it is known what it was trained on. trust: what has to be taken on trust. new:
    whether no test has seen any of it.
    """

    data: Dataset
    risk: float
    granted: float
    after: tuple[str, ...] = ()
    sentence: str = ""
    origins: tuple[bool, ...] = ()
    trust: tuple[str, ...] = ()
    new: bool = True


def granted(risk: float, place: int) -> float:
    """Return what the fold at a place of its stream, from 1, is granted, where the first was granted a risk."""
    return risk if place < 2 else risk / (place * (place - 1))


def remainder(data: Dataset, policies: Sequence[Any], book: Ledger, risk: float, question: str = "") -> Remainder:
    """Return what of a log neither the policies nor a test has seen, and what its test may spend.

    question: what is known to be the answer of the ledger's `request`; what these have opened counts as new, so that
    they find what they asked of. Where less than two units are new, what tests have opened and not spent is returned,
    and where all is spent the whole, which the ledger will refuse.

    Raises UserError where too little is left that the policies have not seen, where only a guess says what they have
    (declare an `identity`), and where the ledger is damaged.
    """
    past = _past(data, policies, book, question)
    base, new = max(risk, GRANTED), ~past.taught & ~past.opened
    if past.guess or _count(data, new) < 2:  # nobody can say what is new, or nothing is
        return _unspent(data, past, risk)
    related = [one.entry.fold for one in past.every if one.sight.log]  # also by tests of other parts of this log
    after = tuple(stream(book.entries(), related))
    most = granted(base, len(after) + 1)
    words = "" if new.all() else _sentence(data, past, new)
    if after:
        words += _stream_sentence(book.entries(), after, min(risk, most), most, base)
    return Remainder(_view(data, new), min(risk, most), most, after, words, past.origins, past.trust)


@dataclasses.dataclass(frozen=True, eq=False)
class _Past:
    """What has happened to a log: the sights of policies that saw some of it (`lessons`), every opening that the ledger
    knows, masks of the units that taught the policies and of those that tests have `opened`."""

    lessons: list[Sight]
    every: list[Opening]
    taught: np.ndarray
    opened: np.ndarray
    origins: tuple[bool, ...]
    trust: tuple[str, ...]

    @property
    def openings(self) -> list[Opening]:
        """The openings that share units with the view."""
        return [one for one in self.every if one.sight.share > 0]

    @property
    def guess(self) -> bool:
        """Whether nobody can say which units were opened."""
        return any(one.sight.guess for one in self.openings)


def _past(data: Dataset, policies: Sequence[Any], book: Ledger, question: str) -> _Past:
    """Look up what policies and ledger know of a log. Raises UserError where too little is left, or only a guess says
    what the policies have seen."""
    eyes = [_look(policy, data) for policy in policies]
    lessons = [seen for seen in eyes if seen is not None and seen.share > 0]
    taught = _any(data, [seen.units.certain for seen in lessons])
    if lessons and _count(data, ~taught) < 2:
        raise UserError(
            f"Policy and baseline were trained on all units of {data.origin} but {_count(data, ~taught)}; certify on "
            "units that they have not seen."
        )
    every = [one for one in book.sights(data) if not book.own(one.entry, question)]
    opened = _any(data, [one.sight.units.either for one in every])
    trust = _trust(data, [*(seen for seen in eyes if seen is not None), *(one.sight for one in every)])
    return _Past(lessons, every, taught, opened, tuple(seen is not None for seen in eyes), tuple(trust))


def _look(policy: Any, data: Dataset) -> Sight | None:
    """Return what a policy has seen of a log; raise UserError where that is nearly all, or nobody can say what."""
    seen = experience_of(policy, data)
    if seen is not None and seen.guess and seen.share >= COINCIDENCE:
        raise UserError(
            f"The policy seems to have been trained on about {seen.share:.0%} of the units of {data.origin}, and "
            "nothing tells which; declare what identifies a decision (identity) of the logs that train and judge, "
            "or certify on units that it has not seen."
        )
    if seen is not None and _count(data, ~seen.units.certain) < 2:
        refuse_touched(policy, data)
    return seen


def _unspent(data: Dataset, past: _Past, risk: float) -> Remainder:
    """Return what tests have opened and not spent, else all that no policy has seen, which the ledger will refuse."""
    openings = past.openings
    used = {one.entry.fold for one in openings if _is_spent(one.entry.fold, openings)}
    part = ~past.taught & ~_any(data, [one.sight.units.either for one in openings if one.entry.fold in used])
    if past.guess or _count(data, part) < 2:
        part = ~past.taught
    least = min((one.entry.granted for one in openings if (one.sight.units.either & part).any()), default=GRANTED)
    most = max(risk, GRANTED) if least >= GRANTED else least
    words = "" if part.all() else _left_out(data, part, "Only what earlier tests have not spent is tested")
    return Remainder(_view(data, part), min(risk, most), most, (), words, past.origins, past.trust, new=False)


def _is_spent(fold: str, openings: Sequence[Opening]) -> bool:
    entries = [one.entry for one in openings if one.entry.fold == fold]
    used, most = sum(entry.spent for entry in entries), max(entry.granted for entry in entries)
    return any(entry.shown == "report" for entry in entries) or used >= most - TINY


# --- units -------------------------------------------------------------------------------------------------------


def _any(data: Dataset, masks: Sequence[np.ndarray]) -> np.ndarray:
    return np.any([np.zeros(data.episodes, bool), *masks], axis=0)


def _count(data: Dataset, episodes: np.ndarray) -> int:
    """Return how many units some episodes belong to."""
    return len(np.unique(data.units(data.spec.unit)[episodes])) if data.spec.unit else int(episodes.sum())


def _view(data: Dataset, episodes: np.ndarray) -> Dataset:
    return data if episodes.all() else data.select(episodes)


# --- words -------------------------------------------------------------------------------------------------------


def _sentence(data: Dataset, past: _Past, new: np.ndarray) -> str:
    """Return what was seen before, and what is new."""
    before = [(seen.episodes.certain, "in training or choosing the policy") for seen in past.lessons]
    folds: dict[str, Opening] = {}
    for one in past.openings:
        folds.setdefault(one.entry.fold, one)
    before += [(one.sight.episodes.certain, f"by {_called(one.entry)}") for one in folds.values()]
    parts = [f"{_steps(data, mask):,} {where}" for mask, where in before if mask.any()]
    late = ~new & ~_any(data, [mask for mask, _ in before])
    sentence = _left_out(data, new, "Only what is new is tested", f" ({'; '.join(parts)})" if parts else "", late)
    return sentence


def _left_out(data: Dataset, new: np.ndarray, how: str, why: str = "", late: np.ndarray | None = None) -> str:
    extra = 0 if late is None else _steps(data, late)
    seen = _steps(data, ~new) - extra
    later = f" and {extra:,} of units seen before, which depend on those" if extra else ""
    return (
        f"{how}: {_steps(data, new):,} of {data.steps:,} decisions, of {_count(data, new):,} of "
        f"{_count(data, np.ones(data.episodes, bool)):,} units. Left out are {seen:,} seen before{why}{later}."
    )


def _called(entry: Entry) -> str:
    return f"the test of {entry.subject or entry.policy} on {entry.when}"


def _steps(data: Dataset, episodes: np.ndarray) -> int:
    return int(data.lengths[episodes].sum())


def _stream_sentence(entries: Sequence[Entry], after: Sequence[str], risk: float, most: float, base: float) -> str:
    """Return which test of its stream it is, and what all of them may spend."""
    first = {entry.fold: entry.granted for entry in reversed(entries)}
    before, place = sum(first[fold] for fold in after), len(after) + 1
    total, rest = before + most + base / place, base / place
    return (
        f" This is test {place} of a log that grows, at a risk of {risk:.3g}; all tests of it, however many, err with "
        f"a chance of at most {total:.3g}, of which {rest:.3g} is left for those to come."
    )


def _trust(data: Dataset, sights: Sequence[Sight]) -> list[str]:
    if not any(seen.units.possible for seen in sights):
        return []
    return [
        f"The decisions of {data.origin} are too much alike to tell whether some were seen before: that they are new "
        "is taken on trust. Declare what identifies a decision (identity), and nothing has to be."
    ]
