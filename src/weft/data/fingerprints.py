"""Recognise logged episodes by their content, wherever they turn up again.

`fingerprints(data)` gives seven 64-bit numbers per episode (a table `(episodes, 7)`, columns `LOG`, `NUMBER`,
`CONTENT`, `LEAST`, `FINE`, `UNIT`, `KEY`; older files have the first five):

* `LOG` and `NUMBER`: a hash of the whole log that the view belongs to, and the episode's number there. Two views of the
  same loaded log are compared by these alone, exactly.
* `CONTENT`: a hash of all steps of the episode (observation and action), in no order; also of the rewards, unless the
  numbers are so fine that nothing else looks the same.
* `LEAST`: the smallest hash of a single step (observation and action) of the episode.
* `FINE`: how many numbers of these have twelve binary digits or more; an image counts as four, a category as none.
* `UNIT` and `KEY`: hashes of the names of its unit and of itself, 0 unless the log declares by which columns decisions
  are known for good (`weft.data.identity`).

A step is the bag of its numbers as float32, so the last three do not change when episodes or steps are re-sorted,
columns are renamed or re-ordered, observations are split into components or joined, number types change (float64,
int64), or one format becomes another. Another reward does not hide episodes of fine numbers. Where many episodes lost
a step or were cut in two, `LEAST` recognises most of them.

In small discrete worlds different episodes have the same content. How tables are compared, and that coincidence is not
held against anybody, is told in `weft.data.recognition`. Not recognised: altered numbers (rounded, rescaled,
standardised, images resized or re-coded, categories under other words, rewards of small worlds), dropped or added
observation columns, other episodes of the same user, and a small part of a world that has few contents: nothing tells
it from a fresh draw. Most of this a declared identity recognises all the same. It guards against mistakes, not against
malice.
"""

import dataclasses
from typing import Any

import numpy as np

from .columns import Ragged
from .dataset import Dataset
from .identity import episode_names, unit_names
from .memo import once_per_dataset
from .spec import ObservationSpec
from .trace import WIDTH

__all__ = [
    "COINCIDENCE", "CONTENT", "ENOUGH", "FINE", "KEY", "LEAST", "LOG", "NUMBER", "UNIT", "WIDTH", "fingerprints",
    "repeated",
]  # fmt: skip

LOG, NUMBER, CONTENT, LEAST, FINE, UNIT, KEY = range(WIDTH)
OBSERVED, IMAGE, TOKEN, ACTED, REWARDED = (np.uint64(0x9E3779B97F4A7C15 * i % 2**64) for i in range(1, 6))
COINCIDENCE = 1e-4
ENOUGH = 4  # fine numbers that make an episode like no other: 48 binary digits
CHUNK = 1 << 21  # numbers mixed at a time, so that temporary arrays stay in the cache


@once_per_dataset
def fingerprints(data: Dataset) -> np.ndarray:
    """Return the fingerprints of every episode of a view, a table `(episodes, 7)` of uint64 that nobody may change.

    Raises UserError for a declared identity that leaves episodes without a name.
    """
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
    table = np.empty((len(lengths), WIDTH), np.uint64)
    table[:, LOG] = _log(data)
    table[:, NUMBER] = data.chosen
    table[:, FINE] = np.add.reduceat(fine, begins)
    sums = [np.add.reduceat(each, begins) for each in (decided, rewarded)]
    # numbers that stand for words look fine and are not; here they count, or older tables would no longer compare
    table[:, CONTENT] = _mix(np.where(np.add.reduceat(fine + coded, begins) >= ENOUGH, *sums))
    table[:, LEAST] = np.minimum.reduceat(decided, begins)
    table[:, UNIT], table[:, KEY] = unit_names(data), episode_names(data)
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
