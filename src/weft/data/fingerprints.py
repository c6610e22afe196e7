"""Recognise logged episodes by their content, wherever they turn up again.

`fingerprints(data)` gives five 64-bit numbers per episode (a table `(episodes, 5)`, columns `LOG`, `NUMBER`,
`CONTENT`, `LEAST`, `FINE`):

* `LOG` and `NUMBER`: a hash of the whole log that the view belongs to, and the episode's number there. Two views of the
  same loaded log are compared by these alone, exactly.
* `CONTENT`: a hash of all steps of the episode (observation and action), in no order; also of the rewards, unless the
  numbers are so fine that nothing else looks the same.
* `LEAST`: the smallest hash of a single step (observation and action) of the episode.
* `FINE`: how many numbers of these have twelve binary digits or more; an image counts as four, a category as none.

A step is the bag of its numbers as float32, so the last three do not change when episodes or steps are re-sorted,
columns are renamed or re-ordered, observations are split into components or joined, number types change (float64,
int64), or one format becomes another. Another reward does not hide episodes of fine numbers. Where many episodes lost
a step or were cut in two, `LEAST` recognises most of them.

In small discrete worlds different episodes have the same content. What may be coincidence is not held against
anybody: see `seen`. Not recognised: altered numbers (rounded, rescaled, standardised, images resized or re-coded,
categories under other words, rewards of small worlds), dropped or added observation columns, other episodes of the
same user, and a small part of a world that has few contents: nothing tells it from a fresh draw. It guards against
mistakes, not against malice.
"""

import dataclasses
from typing import Any

import numpy as np
from scipy.stats import binom

from .columns import Ragged
from .dataset import Dataset
from .memo import once_per_dataset
from .spec import ObservationSpec

__all__ = ["CONTENT", "FINE", "LEAST", "LOG", "NUMBER", "fingerprints", "overlap", "repeated", "seen"]

LOG, NUMBER, CONTENT, LEAST, FINE = range(5)
OBSERVED, IMAGE, TOKEN, ACTED, REWARDED = (np.uint64(0x9E3779B97F4A7C15 * i % 2**64) for i in range(1, 6))
COINCIDENCE = 1e-4
RARE = (2, 8, np.iinfo(np.int64).max)  # contents looked at: pairs alone, rare ones, all
EQUAL = 8  # how often contents occur of which each counts the same for the share
ENOUGH = 4  # fine numbers that make an episode like no other: 48 binary digits
CHUNK = 1 << 21  # numbers mixed at a time, so that temporary arrays stay in the cache


@once_per_dataset
def fingerprints(data: Dataset) -> np.ndarray:
    """Return the fingerprints of every episode of a view, a table `(episodes, 5)` of uint64 that nobody may change."""
    rows, lengths = data.rows, data.lengths
    begins = np.cumsum(lengths) - lengths
    spec = data.spec
    store = data.store_observations
    step, fine, coded = (np.zeros(len(rows), np.uint64) for _ in range(3))
    for part in spec.observations:
        seen_at = store if spec.plain else store[part.name]
        _add(step, coded if part.categories else fine, _observed(seen_at, data.position[rows], part))
    labels = spec.action.labels if spec.discrete else ()
    _add(step, coded if labels else fine, _bag(_meant(data.store_actions[rows], labels), ACTED))
    rewards, _ = _bag(data.store_rewards[rows], REWARDED)
    decided, rewarded = _mix(step), _mix(step + rewards)
    table = np.empty((len(lengths), 5), np.uint64)
    table[:, LOG] = _log(data)
    table[:, NUMBER] = data.chosen
    table[:, FINE] = np.add.reduceat(fine, begins)
    sums = [np.add.reduceat(each, begins) for each in (decided, rewarded)]
    # numbers that stand for words look fine and are not; here they count, or older tables would no longer compare
    table[:, CONTENT] = _mix(np.where(np.add.reduceat(fine + coded, begins) >= ENOUGH, *sums))
    table[:, LEAST] = np.minimum.reduceat(decided, begins)
    table.flags.writeable = False
    return table


def _add(step: np.ndarray, fine: np.ndarray, found: tuple[np.ndarray, np.ndarray]) -> None:
    step += found[0]
    fine += found[1]


def _log(data: Dataset) -> int:
    """Return a hash of all observations, actions and boundaries of the log that a view belongs to."""
    whole = np.arange(len(data.starts) - 1)
    bare = dataclasses.replace(
        data, chosen=whole, store_rewards=np.zeros(0), store_durations=None, store_log_propensities=None
    )
    return int(bare.fingerprint[:16], 16)


def seen(known: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Say for each episode of `found` whether it is among those of `known` (both are tables of fingerprints).

    Episodes of one log are told apart by their numbers. Across logs the contents speak. Of episodes with fine numbers
    each content that occurs once on either side counts. Others (small discrete worlds), and the least steps, count if
    they are more alike than chance explains. Were both sides independent draws of one world, the t episodes of a
    content would be dealt to this side with the chance q = m / (n + m) each, as a coin deals them; a copy makes that
    too even. Two counts are tested, together at a risk of 1e-4: the episodes that have a partner, sum min(k, f), and
    the squared distances from an even deal, sum (f - q t)^2 / (t q (1 - q)). Then as many episodes are marked as seem
    to be shared, those of the rarest contents first: the number is an estimate and which ones they are is a guess.
    Where all have a partner, all are marked.

    A part of a log that has few contents differs little from a fresh draw: of a log with 130 contents half is
    recognised, a twentieth is not, nor is half of one that drifts. Two sides with the very same contents, however often
    each, are always the same.
    """
    result = np.zeros(len(found), bool)
    logs = np.isin(found[:, LOG], known[:, LOG])
    for log in np.unique(found[logs, LOG]):
        here = found[:, LOG] == log
        result[here] = np.isin(found[here, NUMBER], known[known[:, LOG] == log, NUMBER])
    for log in np.unique(found[:, LOG]):
        here = found[:, LOG] == log
        others = known[known[:, LOG] != log]
        if len(others):
            result[here] |= _alike(_once(others), found[here])
    return result


def overlap(known: np.ndarray, found: np.ndarray, units: np.ndarray | None = None) -> float:
    """Return the share of the units of `found` of which an episode is among those of `known`.

    units: the unit of each episode of `found`; by default every episode is one.
    """
    recognised = seen(known, found)
    units = np.arange(len(found)) if units is None else np.asarray(units)
    return len(np.unique(units[recognised])) / len(np.unique(units))


def repeated(table: np.ndarray) -> float:
    """Return the share of the episodes of a log that are copies of others; what chance may explain is none.

    Episodes of fine numbers that come again are copies if most of them come in the order of their originals, as rows do
    that were loaded twice. Others are alike by nature: there the whole log is there twice if its second half repeats
    the first, or if every content occurs an even number of times, and if neither would happen by chance (1e-4).
    """
    content, count = table[:, CONTENT], len(table)
    _, first, member, times = np.unique(content, return_index=True, return_inverse=True, return_counts=True)
    original = first[member]
    copies = (table[:, FINE] >= ENOUGH) & (original < np.arange(count))
    follows = copies[1:] & copies[:-1] & (original[1:] == original[:-1] + 1)
    ordered = np.append(follows, False) | np.append(False, follows)
    if 2 * ordered.sum() <= copies.sum():
        copies[:] = False
    if count % 2 == 0 and (times % 2 == 0).all():
        by_chance = np.square(times / count).sum() ** (count // 2)  # that two episodes are alike, for every pair
        halves = np.array_equal(content[: count // 2], content[count // 2 :]) and by_chance < COINCIDENCE
        if halves or 0.5 ** len(times) < COINCIDENCE:
            return 0.5
    return float(copies.mean())


def _once(table: np.ndarray) -> np.ndarray:
    """Return every episode of a log once: two policies of one log bring it twice."""
    order = np.lexsort((table[:, NUMBER], table[:, LOG]))
    named = table[order][:, [LOG, NUMBER]]
    first = np.concatenate([[True], (named[1:] != named[:-1]).any(1)])
    return table[order[first]]


def _alike(known: np.ndarray, found: np.ndarray) -> np.ndarray:
    if np.array_equal(np.sort(known[:, CONTENT]), np.sort(found[:, CONTENT])):
        return np.ones(len(found), bool)
    result = np.zeros(len(found), bool)
    for column in (CONTENT, LEAST):
        place = np.unique(np.concatenate([known[:, column], found[:, column]]), return_inverse=True)[1]
        there = place[len(known) :]
        ours, theirs = np.bincount(place[: len(known)], minlength=place.max() + 1), np.bincount(place)
        theirs = theirs - ours
        if column == CONTENT:
            result |= ((ours == 1) & (theirs == 1))[there] & (found[:, FINE] >= ENOUGH)
        more = _shared(ours, theirs) - int(result.sum())
        if more > 0:
            partnered = _rank(there) < ours[there]
            open_ = np.flatnonzero(partnered & ~result)
            rarest = open_[np.argsort((ours + theirs)[there[open_]], kind="stable")]
            result[rarest[:more]] = True
    return result


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


# --- hashes of numbers -----------------------------------------------------------------------------------------


def _mix(values: np.ndarray) -> np.ndarray:
    """Scatter 64-bit numbers: the finaliser of SplitMix64 (Steele, Lea & Flood 2014)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values ^= values >> np.uint64(30)
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


def _bag(values: np.ndarray, salt: np.uint64) -> tuple[np.ndarray, np.ndarray]:
    """Return a hash per row of the bag of its numbers, whatever their order, and how many of them are fine."""
    table = values.reshape(len(values), -1)
    total, fine = np.zeros(len(table), np.uint64), np.zeros(len(table), np.uint64)
    stride = max(1, CHUNK // max(1, table.shape[1]))
    for begin in range(0, len(table), stride):
        piece = table[begin : begin + stride].astype(np.float32) + np.float32(0)  # no negative zero
        bits = piece.view(np.uint32)
        total[begin : begin + stride] = _mix(bits ^ salt).sum(1, dtype=np.uint64)
        fine[begin : begin + stride] = ((bits & np.uint32(0xFFF)) != 0).sum(1)
    return total, fine


def _observed(store: Any, rows: np.ndarray, part: ObservationSpec) -> tuple[np.ndarray, np.ndarray]:
    if part.kind == "tokens":
        return _tokens(store, rows), np.zeros(len(rows), np.uint64)
    if part.kind == "image":
        return _images(store, rows), np.full(len(rows), np.uint64(ENOUGH))
    return _bag(_meant(store[rows], part.categories), OBSERVED)


def _meant(values: np.ndarray, labels: tuple[str, ...]) -> np.ndarray:
    """Replace codes by what they stand for: the number that a label spells, else a number made of its letters."""
    if not labels:
        return values
    return np.array([_number(label) for label in labels], np.float32)[values.astype(np.int64)]


def _number(label: str) -> float:
    try:
        return float(label)
    except ValueError:
        spread = 0
        for letter in label.encode():
            spread = (spread * 257 + letter) % 16_777_213  # a prime below 2**24: exact as float32
        return float(spread)


def _images(store: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Hash the bytes of images, place by place: a bag would be the same for an image and its mirror."""
    size = int(np.prod(store.shape[1:]))
    padding = -size % 8
    factors = _mix(np.arange((size + padding) // 8, dtype=np.uint64)) | np.uint64(1)
    total = np.empty(len(rows), np.uint64)
    stride = max(1, 4 * CHUNK // size)
    for begin in range(0, len(rows), stride):
        piece = np.asarray(store[rows[begin : begin + stride]], np.uint8).reshape(-1, size)
        words = np.ascontiguousarray(np.pad(piece, ((0, 0), (0, padding)))).view(np.uint64)
        total[begin : begin + stride] = (_mix(words) * factors).sum(1, dtype=np.uint64)
    return _mix(total ^ IMAGE)


def _tokens(store: Any, rows: np.ndarray) -> np.ndarray:
    ragged = store if isinstance(store, Ragged) else Ragged.from_rows([row[row >= 0] for row in store])
    lengths = np.diff(ragged.offsets)
    place = np.arange(len(ragged.values)) - np.repeat(ragged.offsets[:-1], lengths)
    hashes = _mix(_mix(ragged.values.astype(np.int64).view(np.uint64) ^ TOKEN) + place.astype(np.uint64))
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(hashes, dtype=np.uint64)])
    return _mix(sums[ragged.offsets[1:]] - sums[ragged.offsets[:-1]])[rows]
