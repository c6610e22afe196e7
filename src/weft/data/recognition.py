"""Which episodes of a log were seen before: two tables of fingerprints compared, exactly where that can be done.

In this order, each for what the ones before leave open:

1. *The same log*, loaded again: episodes are told apart by their numbers.
2. *Declared identities* (`weft.data.identity`), where both sides have them and any agree: they alone decide.
3. *The order of the rows.* An export that goes on where another ended holds its rows in their order, at a constant
   distance (0 where rows are appended). Where nearly every content at that distance agrees and no distance beside it
   does as well, episodes at the places of seen ones are seen, whatever has become of their rewards.
4. *Multisets.* Two alike decisions are two decisions. Where every content that was seen is there again at least as
   often and chance does not explain it, so many of each are seen, the first ones.
5. Contents that occur once on either side, where episodes of one log are hardly ever alike.
6. What is more alike than chance explains, although nobody can say which episodes they are: a *guess* (`_shared`).

Rows that were loaded twice are no second decisions: 3 and 4 are asked again of what they leave.
What 1 to 5 say holds for single episodes, so that the others can be told to be new. In small discrete worlds a log that
was sorted anew, without identities, may only be guessed at, or not even that: `possible` says that it cannot be ruled
out.
"""

import dataclasses

import numpy as np
from scipy.stats import binom, hypergeom

from .alignment import in_order
from .dataset import Dataset
from .fingerprints import COINCIDENCE, CONTENT, ENOUGH, FINE, KEY, LEAST, LOG, NUMBER, UNIT, fingerprints
from .memo import once_per_dataset

__all__ = ["Recognition", "Sight", "overlap", "recognise", "seen", "sight"]

RARE = (2, 8, np.iinfo(np.int64).max)  # contents looked at: pairs alone, rare ones, all
EQUAL = 8  # how often contents occur of which each counts the same for the share
OFTEN = 200  # times up to which a content is counted in the chance of all
COPIES = 3  # times that rows may be there, and one more to see that no others are
WHOLE = 0.9  # of the known episodes that seem to be there: then all are taken to be
RARELY = 0.01  # of the contents met once on either side may be alike by chance


@dataclasses.dataclass(frozen=True, eq=False)
class Recognition:
    """Which episodes of a table are among known ones.

    certain: a mask of those that are surely; guess: a mask of so many others as seem to be, though not of which.
    possible: more may be, and nothing tells.
    """

    certain: np.ndarray
    guess: np.ndarray
    possible: bool = False

    @property
    def either(self) -> np.ndarray:
        """Both masks as one."""
        return self.certain | self.guess

    def of(self, episodes: np.ndarray) -> "Recognition":
        """Return the same of some episodes."""
        return Recognition(self.certain[episodes], self.guess[episodes], self.possible)

    def spread(self, units: np.ndarray) -> "Recognition":
        """Return the same with every episode of a unit marked of which one is."""
        member = np.unique(units, return_inverse=True)[1]
        certain, guess = (np.bincount(member, mask)[member] > 0 for mask in (self.certain, self.guess))
        return Recognition(certain, guess & ~certain, self.possible)


@dataclasses.dataclass(frozen=True, eq=False)
class Sight:
    """What of a view was seen: its `episodes`, all those of `units` of which one was, and the `share` of its units.

    log: whether anything was seen of the whole log that it belongs to. guess: whether nobody can say what; then the
    share is that of the whole.
    """

    episodes: Recognition
    units: Recognition
    share: float
    log: bool
    guess: bool


def recognise(known: np.ndarray, found: np.ndarray) -> Recognition:
    """Say which episodes of `found` are among those of `known` (tables of fingerprints; `found` of one log)."""
    certain = np.zeros(len(found), bool)
    if not len(found):
        return Recognition(certain, certain)
    log = found[0, LOG]
    here = known[:, LOG] == log
    certain |= np.isin(found[:, NUMBER], known[here, NUMBER])
    if found[:, UNIT].all():
        certain |= np.isin(found[:, UNIT], known[known[:, UNIT] > 0, UNIT])
    others = [_once(known[known[:, LOG] == other]) for other in _distinct(known[~here, LOG])]
    nameless = []
    for part in others:
        same = np.isin(found[:, KEY], part[:, KEY])
        if found[:, KEY].all() and part[:, KEY].all() and same.any():
            certain |= same
        else:
            nameless.append(part)
    answer = Recognition(certain, np.zeros(len(found), bool))
    for again in range(COPIES):
        before = int(answer.certain.sum())
        answer = _pass(nameless, found, answer, again > 0)
        if int(answer.certain.sum()) == before or answer.guess.any():
            break
    return answer


def _pass(known: list[np.ndarray], found: np.ndarray, answer: Recognition, again: bool) -> Recognition:
    """Return what order and contents say of the episodes that are not certain yet; again: only what copies all."""
    certain, rest = answer.certain.copy(), []
    for part in known:
        left = np.flatnonzero(~certain)
        if not len(left):
            break
        places, met = in_order(part, found[left])
        certain[left[places]] = True
        rest.append(part[~met])
    return _by_contents(
        [part for part in rest if len(part)], found, dataclasses.replace(answer, certain=certain), again
    )


def seen(known: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Say for each episode of `found` whether it is among those of `known`, for certain or by a guess."""
    result = np.zeros(len(found), bool)
    for log in _distinct(found[:, LOG]):
        here = found[:, LOG] == log
        result[here] = recognise(known, found[here]).either
    return result


def overlap(known: np.ndarray, found: np.ndarray, units: np.ndarray | None = None) -> float:
    """Return the share of the units of `found` of which an episode is among those of `known`.

    units: the unit of each episode of `found`; by default every episode is one.
    """
    recognised = seen(known, found)
    units = np.arange(len(found)) if units is None else np.asarray(units)
    return len(np.unique(units[recognised])) / len(np.unique(units))


def sight(known: np.ndarray, data: Dataset, by: str | None = None) -> Sight:
    """Say which episodes of a view, and which units, were seen.

    The whole log is looked at that the view belongs to, because its order and its counts tell more than a part's. by:
    the column of units, by default that of the log's `Spec`, else each episode is a unit.
    """
    whole, by = data if data.whole else _whole(data), by or data.spec.unit
    every = recognise(known, fingerprints(whole))
    episodes, units = every.of(data.chosen), every.spread(whole.units(by)).of(data.chosen) if by else None
    units, guess = episodes if units is None else units, bool(every.guess.any())
    mask, view = (every.either, whole) if guess else (units.either, data)
    share = len(np.unique(view.units(by)[mask])) / len(np.unique(view.units(by))) if by else float(mask.mean())
    return Sight(episodes, units, share, bool(every.either.any()), guess)


@once_per_dataset
def _whole(data: Dataset) -> Dataset:
    """Return the log that a view belongs to; a copy, because what is remembered of a log must not hold it."""
    return dataclasses.replace(data, chosen=np.arange(len(data.starts) - 1))


# --- contents ----------------------------------------------------------------------------------------------------


def _by_contents(rest: list[np.ndarray], found: np.ndarray, answer: Recognition, again: bool) -> Recognition:
    """Return the recognition of episodes by their contents, for those that are not certain yet.

    rest: by log, the known episodes that were not met. An episode that several logs hold was seen once.
    """
    certain, nobody = answer.certain, np.zeros(len(found), bool)
    left = np.flatnonzero(~certain)
    if not rest or not len(left):
        return Recognition(certain, nobody, answer.possible)
    every = np.concatenate(rest)
    there, ours = _counted(every, found[left])
    theirs = np.bincount(there, minlength=len(ours))
    plain = int(ours.sum()) == len(every) or bool((every[:, FINE] >= ENOUGH).all())
    inside = plain and bool((ours <= theirs).all())
    sure, guess = nobody.copy(), nobody.copy()
    whole = inside and _no_chance(ours, theirs)
    if not whole:
        if again:
            return Recognition(certain, nobody, answer.possible)
        sure[left], guess[left] = _alike(every, found[left])
        whole = inside and int((sure | guess).sum()) >= WHOLE * ours.sum()
    if whole:
        sure, guess = nobody.copy(), nobody
        sure[left] = _rank(there) < ours[there]
    if guess.any():  # if some cannot be told, none can
        return Recognition(certain, guess | sure, possible=True)
    return Recognition(certain | sure, nobody, answer.possible or (inside and not sure.any()))


def _counted(known: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the contents of `found`, and how often each is known: from that log which has most, for an
    episode that several logs hold was seen once."""
    contents, place = np.unique(np.concatenate([known[:, CONTENT], found[:, CONTENT]]), return_inverse=True)
    here, there = place[: len(known)], place[len(known) :]
    ours = np.zeros(len(contents), np.int64)
    for log in _distinct(known[:, LOG]):
        ours = np.maximum(ours, np.bincount(here[known[:, LOG] == log], minlength=len(contents)))
    return there, ours


def _no_chance(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Say whether it is no chance that every content occurs on their side at least as often as on ours.

    Of independent draws each episode is on our side by chance, given how many are. Counts of such a deal are negatively
    associated (Joag-Dev & Proschan 1983), so the chance of all is at most the product of the chances of each.
    """
    n, m = int(ours.sum()), int(theirs.sum())
    times, many = np.unique(ours + theirs, return_counts=True)
    few = times <= OFTEN  # the others say little and take long; leaving them out only makes the bound larger
    times, many = times[few], many[few]
    return n > 0 and float((many * hypergeom.logcdf(times // 2, n + m, times, n)).sum()) < np.log(COINCIDENCE)


def _alike(known: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which episodes have a partner that is like no other, and so many others as seem to be shared: those of the
    rarest contents, which is a guess.

    Contents and least steps count if they are more alike than chance explains. Were both sides independent draws of one
    world, the t episodes of a content would be dealt to this side with the chance q = m / (n + m) each, as a coin deals
    them; a copy makes that too even. Two counts are tested, together at a risk of 1e-4: the episodes that have a
    partner, sum min(k, f), and the squared distances from an even deal, sum (f - q t)^2 / (t q (1 - q)). The number of
    shared ones is an estimate. Where all have a partner, all are marked.

    A part of a log that has few contents differs little from a fresh draw: of a log with 130 contents half is
    recognised, a twentieth is not, nor is half of one that drifts. Two sides with the very same contents, however often
    each, are always the same.
    """
    result, once = np.zeros(len(found), bool), np.zeros(len(found), bool)
    if np.array_equal(np.sort(known[:, CONTENT]), np.sort(found[:, CONTENT])):
        return ~once, result
    for column in (CONTENT, LEAST):
        place = np.unique(np.concatenate([known[:, column], found[:, column]]), return_inverse=True)[1]
        there = place[len(known) :]
        ours, theirs = np.bincount(place[: len(known)], minlength=place.max() + 1), np.bincount(place)
        theirs = theirs - ours
        if column == CONTENT:
            once = ((ours == 1) & (theirs == 1))[there]
            result |= once & (found[:, FINE] >= ENOUGH)
        more = _shared(ours, theirs) - int(result.sum())
        if more > 0:
            partnered = _rank(there) < ours[there]
            open_ = np.flatnonzero(partnered & ~result)
            rarest = open_[np.argsort((ours + theirs)[there[open_]], kind="stable")]
            result[rarest[:more]] = True
        if column == CONTENT:
            once &= result & _telling(ours, theirs, once, found)
    return once, result & ~once


def _telling(ours: np.ndarray, theirs: np.ndarray, once: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Say of which episodes the content tells them apart from all others: as few of two logs are alike by chance as of
    one. Fine numbers are alike by nature or not at all, others by coincidence."""
    within = int((ours * (ours - 1) + theirs * (theirs - 1)).sum()) // 2
    n, m = int(ours.sum()), int(theirs.sum())
    pairs, few = max(1, (n * (n - 1) + m * (m - 1)) // 2), RARELY * int(once.sum())
    fine = found[:, FINE] >= ENOUGH
    return np.where(fine, within * n * m <= few * pairs, (within + 1) * n * m <= few * pairs)


def _distinct(values: np.ndarray) -> np.ndarray:
    """Return the different values; sorted, which takes a tenth of the time of NumPy's table of hashes."""
    return np.unique(values, return_index=True)[0]


def _once(table: np.ndarray) -> np.ndarray:
    """Return every episode of a log once: two policies of one log bring it twice."""
    order = np.lexsort((table[:, NUMBER], table[:, LOG]))
    named = table[order][:, [LOG, NUMBER]]
    first = np.concatenate([[True], (named[1:] != named[:-1]).any(1)])
    return table[order[first]]


def _rank(place: np.ndarray) -> np.ndarray:
    """Number the episodes of every content, in their order."""
    order = np.argsort(place, kind="stable")
    ordered = place[order]
    begins = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    rank = np.empty(len(place), np.int64)
    rank[order] = np.arange(len(place)) - np.repeat(begins, np.diff(np.append(begins, len(place))))
    return rank


def _shared(ours: np.ndarray, theirs: np.ndarray) -> int:
    """Return about how many episodes two sides share, by how often each content occurs on either; 0 if chance explains
    what is alike."""
    matched = int(np.minimum(ours, theirs).sum())
    times, n, m = ours + theirs, int(ours.sum()), int(theirs.sum())
    if matched == 0 or not _dealt_too_evenly(times, theirs, m / (n + m)):
        return 0
    if matched == m:  # all of them have a partner, and a log that drifts makes the share look smaller
        return m
    # E k f = q (1 - q) t (t - 1) for a fair deal; s shared ones add s π (1 - 2 q (1 - q)) to the difference, where π is
    # how often the content comes. Rare contents weigh the same, so that t, which sharing changes too, biases nothing.
    fair, weight = n * m / (n + m) ** 2, 1 / np.maximum(times, EQUAL)
    excess = (weight * (ours * theirs - fair * times * (times - 1.0))).sum()
    share = excess / ((weight * times).sum() / (n + m) * (1 - 2 * fair))
    return int(np.clip(round(float(share)), 1, matched))


def _dealt_too_evenly(times: np.ndarray, theirs: np.ndarray, q: float) -> bool:
    """Say whether alike episodes are divided between two sides more evenly than coins with the chance `q` deal them."""
    for most in RARE:
        counted = times <= most
        size, place, many = np.unique(times[counted], return_inverse=True, return_counts=True)
        if not (size > 1).any():
            continue
        # every division of a content that is not next to impossible, one size after another
        reach = 12 * np.sqrt(size * q * (1 - q)) + 12
        low = np.maximum(0, np.floor(size * q - reach)).astype(np.int64)
        width = np.minimum(size, np.ceil(size * q + reach)).astype(np.int64) - low + 1
        begins = np.cumsum(width) - width
        division = np.arange(width.sum()) - np.repeat(begins - low, width)
        total = np.repeat(size, width)
        chance = binom.pmf(division, total, q)
        away, observed = division - q * total, theirs[counted] - q * times[counted]
        spread = float((many * np.add.reduceat(chance * away**2, begins)).sum())
        seen_at = begins[place] + theirs[counted] - low[place]
        if (theirs[counted] < low[place]).any() or (theirs[counted] >= (low + width)[place]).any():
            continue  # so uneven that it is no copy
        for score in (np.minimum(division, total - division), -(away**2) / (total * q * (1 - q))):
            mean = np.add.reduceat(chance * score, begins)
            # how many each side has is fixed: what only says that is no news
            slope = float((many * np.add.reduceat(chance * score * away, begins)).sum()) / spread
            centred = score - np.repeat(mean, width) - slope * away
            value = float((score[seen_at] - mean[place] - slope * observed).sum())
            if _beyond_chance(centred, chance, begins, many, value, COINCIDENCE / (2 * len(RARE))):
                return True
    return False


def _beyond_chance(
    score: np.ndarray, chance: np.ndarray, begins: np.ndarray, many: np.ndarray, value: float, risk: float
) -> bool:
    """Say whether a sum of independent scores is beyond what chance gives at a risk, by Chernoff's bound, which holds
    for few and for many. Its exponent is looked for around the best one of a normal sum."""
    variance = float((many * np.add.reduceat(chance * score**2, begins)).sum())
    if value <= 0 or variance <= 0:
        return False
    top, width = np.maximum.reduceat(score, begins), np.diff(np.append(begins, len(score)))
    for factor in np.geomspace(0.125, 16, 15):
        slope = factor * value / variance
        logs = np.log(np.add.reduceat(chance * np.exp(slope * (score - np.repeat(top, width))), begins)) + slope * top
        if float((many * logs).sum()) - slope * value <= np.log(risk):
            return True
    return False
