"""The order of rows: two logs of which one goes on where the other ended hold their episodes at a constant distance.

Sorted or periodic logs agree at many distances, independent ones at none. So a distance counts only where it agrees and
none of the `NEIGHBOURS` beside it does nearly as well: in one run of episodes without a fault, or, where many were
changed, on the whole.
"""

import numpy as np

from .fingerprints import CONTENT, LEAST, NUMBER

__all__ = ["in_order"]

SEGMENTS = 8  # parts of a log that are looked for, each at its own distance
LOOSE = 64  # places per episode up to which an order is looked for
PEAKS = 3  # distances looked at beside 0
PROJECTIONS = 2  # random numbers for every content
NEIGHBOURS = 64  # distances on either side of one that must agree less
FAULTS = 32  # of every neighbour in a run that has none: of 1e6 runs of independent logs one has 1e-6 such
LOOKED_AT = 20_000  # episodes of a run that its neighbours are compared in
WINDOW, CLOSE = 10, 9  # a run goes on while so many of the next so many agree
APART = 4.0  # by how much square roots of faults differ: 5.6 standard deviations of Poisson counts
ALTERED = 0.25  # of the faults beside a distance that it may have itself


def in_order(known: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which episodes of `found` (fingerprints) have the place of a known one, and which known ones need not be
    looked for any more: they were met, or lie outside what the order leaves.

    Rows that were put in between (outcomes that came late) change the distance for all that follow, so every part is
    looked for at its own. A part of fewer than about 40 episodes is no order.
    """
    places, met = np.zeros(len(found), bool), np.zeros(len(known), bool)
    numbers, wanted = found[:, NUMBER].astype(np.int64), known[:, NUMBER].astype(np.int64)
    outside = np.ones(len(known), bool)
    for _ in range(SEGMENTS):
        ours, theirs = np.flatnonzero(~met), np.flatnonzero(~places)
        part = _part(known[ours], found[theirs]) if len(ours) and len(theirs) else None
        if part is None:
            break
        distance, low, high = part
        inside = (wanted >= low) & (wanted <= high)
        here = ~met & inside & np.isin(wanted + distance, numbers[~places])
        places |= np.isin(numbers, wanted[here] + distance)
        met |= here
        outside &= (wanted + distance < numbers.min()) | (wanted + distance > numbers.max())
    return places, met | (outside & met.any())


def _part(known: np.ndarray, found: np.ndarray) -> tuple[int, int, int] | None:
    """Return the distance of a part that both logs hold in one order, and the first and last number of it."""
    if not np.isin(found[:, LEAST], known[:, LEAST]).any():
        return None
    size = int(max(known[:, NUMBER].max(), found[:, NUMBER].max())) + 1
    if size > LOOSE * (len(known) + len(found)):
        return None  # a few episodes of a huge log
    both = np.concatenate([known[:, [CONTENT, LEAST]], found[:, [CONTENT, LEAST]]])
    codes = np.unique(both, return_inverse=True)[1].reshape(-1, 2).astype(np.int32) + 1
    tables = np.zeros((2, 2, size), np.int32)  # (side, content or least, place); 0 where no episode is
    tables[0][:, known[:, NUMBER].astype(np.int64)] = codes[: len(known)].T
    tables[1][:, found[:, NUMBER].astype(np.int64)] = codes[len(known) :].T
    distances = (0, *_peaks(tables))
    for distance in distances:
        if (run := _run(tables, distance)) is not None:
            return distance, *run
    for distance in distances:
        if _on_the_whole(tables, distance):
            return distance, 0, size - 1
    return None


def _peaks(tables: np.ndarray) -> list[int]:
    """Return distances at which two logs agree most, by the correlation of random numbers for their contents."""
    size = tables.shape[-1]
    rng, length = np.random.default_rng(0), 1 << int(2 * size - 1).bit_length()
    match = np.zeros(length)
    for _ in range(PROJECTIONS):
        weights = rng.normal(size=int(tables.max()) + 1)
        ours, theirs = (np.where(tables[side][0] > 0, weights[tables[side]].sum(0), np.nan) for side in (0, 1))
        ours, theirs = (
            np.nan_to_num((part - np.nanmean(part)) / max(np.nanstd(part), 1e-9)) for part in (ours, theirs)
        )
        match += np.fft.irfft(np.fft.rfft(theirs, length) * np.conj(np.fft.rfft(ours, length)), length)
    best = np.argpartition(match, -PEAKS)[-PEAKS:] if length > PEAKS else np.arange(length)
    places: list[int] = best[np.argsort(-match[best])].tolist()
    return [place if place < size else place - length for place in places]


def _run(tables: np.ndarray, distance: int) -> tuple[int, int] | None:
    """Return the first and the last number of the longest run that two logs share at a distance, and of what goes on
    from it with few faults; None where a neighbour does as well."""
    both, right = _compared(tables, distance)
    at = np.flatnonzero(both)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], right[at].astype(np.int8), [0]])))
    if not len(edges):
        return None
    begins, ends = edges[::2], edges[1::2]
    longest = int((ends - begins).argmax())
    begin, end = int(begins[longest]), int(ends[longest])
    if end - begin < FAULTS:
        return None
    shift = max(0, -distance)  # of the places of `_compared` from numbers of the known log
    low, high = int(at[begin]) + shift, int(at[min(end, begin + LOOKED_AT) - 1]) + shift
    faults = []
    for other in _beside(distance):
        beside, agreed = _compared(tables, other, low, high + 1)
        if beside.any():
            faults.append(int((beside & ~agreed).sum()))
    if min(faults, default=0) < FAULTS:
        return None
    agrees = right[at]
    while end < len(agrees) and agrees[end : end + WINDOW].mean() * WINDOW >= CLOSE:
        end = min(end + WINDOW, len(agrees))
    while begin > 0 and agrees[max(0, begin - WINDOW) : begin].mean() * WINDOW >= CLOSE:
        begin = max(0, begin - WINDOW)
    return int(at[begin]) + shift, int(at[end - 1]) + shift


def _on_the_whole(tables: np.ndarray, distance: int) -> bool:
    """Say whether two logs agree at a distance, but for what was changed, and at none beside it."""
    both, right = _compared(tables, distance)
    count, wrong = int(both.sum()), int((both & ~right).sum())
    if count < 2 or wrong > 0.5 * count:
        return False
    beside = [_compared(tables, other) for other in _beside(distance)]
    shares = [(there & ~agreed).sum() / there.sum() for there, agreed in beside if there.any()]
    least = min(shares, default=0.0) * count
    return wrong <= ALTERED * least and least**0.5 - wrong**0.5 >= APART


def _beside(distance: int) -> list[int]:
    return [distance + step for step in range(-NEIGHBOURS, NEIGHBOURS + 1) if step]


def _compared(
    tables: np.ndarray, distance: int, low: int = 0, high: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return at which places both logs have an episode, the other at a distance, and at which of them they agree: from
    the number `max(low, -distance)` of the known log up to `high`."""
    size = tables.shape[-1]
    begin = max(low, -distance, 0)
    end = max(begin, min(size if high is None else high, size, size - distance))
    ours, theirs = tables[0, :, begin:end], tables[1, :, begin + distance : end + distance]
    both = (ours[0] > 0) & (theirs[0] > 0)
    return both, both & (ours == theirs).any(0)
