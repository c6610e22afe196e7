"""Three folds of a log: train and select to choose a policy with, certify to judge it once.

    train 40 % · select 20 % · certify 40 % of the units

Scalers, weights and early stopping see the train fold; settings, checkpoints, doses and bets see train and select; the
certify fold stays sealed until a gate opens it. Whole units (users, devices, sessions) go to one fold, never parts of
them. Which, is decided by a seeded hash of the unit's name, never by what it holds, or by time where the log drifts or
its propensities adapt: then every decision of the train fold was taken before the select fold began, and so on.
"""

import dataclasses
import hashlib
import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from ..core.errors import UserError
from .dataset import Dataset

__all__ = ["Folds", "ordered_in_time", "seal", "universal"]

NAMES = ("train", "select", "certify")
OFFSET = re.compile(r":.*(Z|[+-]\d\d(:?\d\d)?)$")  # of a time to universal time


@dataclasses.dataclass(frozen=True, eq=False)
class Folds:
    """Views of one log that share no unit. `manifest` says how they were made, and is plain JSON: `kind` (`hash` or
    `time`), `seed`, `fractions`, `by`, `by_time`, and per fold `units`, `episodes`, `steps` and `fingerprints`."""

    train: Dataset
    select: Dataset
    certify: Dataset
    manifest: dict[str, Any]

    def certifying(self, fold: Dataset) -> "Folds":
        """Return the same with another certify fold, a part of this one; the manifest counts what it holds."""
        if fold is self.certify:
            return self
        by = self.manifest["by"]
        units = len(np.unique(fold.units(by))) if by else fold.episodes
        counts = {"units": units, "episodes": fold.episodes, "steps": fold.steps, "fingerprints": fold.fingerprint}
        changes = {name: {**self.manifest[name], "certify": count} for name, count in counts.items()}
        return dataclasses.replace(self, certify=fold, manifest={**self.manifest, **changes})

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {self.manifest['episodes'][name]}" for name in NAMES)
        return f"Folds({self.train.origin}: {sizes} episodes)"


def seal(
    data: Dataset,
    fractions: Sequence[float] = (0.4, 0.2, 0.4),
    seed: int = 0,
    by: str | None = None,
    by_time: str | None = None,
) -> Folds:
    """Divide a log into train, select and certify folds by whole units.

    fractions: shares of the units; each fold gets the nearest whole number of them. seed: another one deals the units
    anew (without effect on folds by time). by: the column that names the unit, by default that of the log's `Spec`,
    else every episode is a unit. by_time: a column with the time of the steps; the folds follow one another in time.

    Raises UserError for fractions that are not three positive numbers with a sum of at most 1, an unknown column, a
    fold with fewer than two units, times that are missing, and units that reach from one fold's time into the next.
    """
    fractions = _fractions(fractions)
    by = by or data.spec.unit
    labels = data.units(by) if by else data.chosen
    distinct, member = np.unique(labels, return_inverse=True)
    times = None if by_time is None else _times(data, by_time)
    order = _hashed(distinct, seed) if times is None else _in_time(times, member)
    edges = np.round(np.concatenate([[0], np.cumsum(fractions)]) * len(distinct)).astype(int)
    sizes: dict[str, int] = dict(zip(NAMES, np.diff(edges).tolist(), strict=True))
    _check_sizes(data, sizes, len(distinct), by)
    rank = np.empty(len(distinct), int)
    rank[order] = np.arange(len(distinct))
    place = np.digitize(rank[member], edges[1:])
    if times is not None:
        _check_apart(data, times, place, by, str(by_time))
    views = {name: data.select(place == number) for number, name in enumerate(NAMES)}
    manifest = {
        "origin": data.origin,
        "kind": "hash" if by_time is None else "time",
        "seed": seed,
        "fractions": list(fractions),
        "by": by,
        "by_time": by_time,
        "units": sizes,
        "episodes": {name: view.episodes for name, view in views.items()},
        "steps": {name: view.steps for name, view in views.items()},
        "fingerprints": {name: view.fingerprint for name, view in views.items()},
    }
    return Folds(**views, manifest=manifest)


def _fractions(fractions: Sequence[float]) -> tuple[float, ...]:
    """Return the shares of the folds as numbers; raise UserError where they are none."""
    shares = tuple(float(share) for share in fractions)
    if len(shares) != 3 or not all(math.isfinite(share) and share > 0 for share in shares) or sum(shares) > 1 + 1e-9:
        raise UserError(
            f"Folds take three positive fractions (train, select, certify) with a sum of at most 1, got {shares}."
        )
    return shares


def _check_sizes(data: Dataset, sizes: dict[str, int], count: int, by: str | None) -> None:
    """Raise UserError for a fold of fewer than two units, about which nothing can be said."""
    noun = f"values of '{by}'" if by else "episodes"
    for name, size in sizes.items():
        if size < 2:
            raise UserError(
                f"Folds of {data.origin} by {count} {noun} leave {size} for {name}, where at least 2 are "
                "needed; give more data or other fractions."
            )


def ordered_in_time(data: Dataset, by_time: str) -> np.ndarray:
    """Return the numbers of the episodes of a view in the order of their first decisions, by a column of times.

    Raises UserError for an unknown column and for times that are missing.
    """
    return np.argsort(_times(data, by_time)[0], kind="stable")


def _hashed(distinct: np.ndarray, seed: int) -> np.ndarray:
    """Return the units in the order of the hashes of their names."""
    hashes = [hashlib.blake2b(f"{seed} {name}".encode(), digest_size=8).digest() for name in distinct.tolist()]
    return np.argsort(np.frombuffer(b"".join(hashes), ">u8"), kind="stable")


def _times(data: Dataset, by_time: str) -> tuple[np.ndarray, np.ndarray]:
    """Return when every episode began and when it took its last decision, as ranks among all times."""
    begun = data.units(by_time, time=True)
    column = np.asarray(data.columns[by_time]) if by_time in data.columns else None
    ended = begun if column is None else column[data.starts[data.chosen + 1] - 1]
    both = np.concatenate([begun, ended])
    if both.dtype.kind in "UOS":
        both = _moments(data, both, by_time)
    missing = np.isnat(both) if both.dtype.kind in "mM" else np.isnan(both.astype(float))
    if missing.any():
        raise UserError(f"{data.origin} has episodes without a time in '{by_time}'; give every step one.")
    ranks = np.unique(both, return_inverse=True)[1]
    return ranks[: len(begun)], ranks[len(begun) :]


def _moments(data: Dataset, words: np.ndarray, by_time: str) -> np.ndarray:
    """Read words as ISO dates or times, because words that are numbers would be sorted as words."""
    try:
        return np.array([None if word is None else universal(str(word)) for word in words.tolist()], "datetime64[us]")
    except ValueError:
        raise UserError(
            f"{data.origin}: '{by_time}' holds words that are no ISO dates or times; give numbers or dates."
        ) from None


def universal(word: str) -> str:
    """Return a time with an offset to another zone in universal time, without one; other words as they are."""
    if OFFSET.search(word) is None:
        return word
    return datetime.fromisoformat(word).astimezone(UTC).replace(tzinfo=None).isoformat()


def _in_time(times: tuple[np.ndarray, np.ndarray], member: np.ndarray) -> np.ndarray:
    """Return the units in the order of their first decision."""
    first = np.full(member.max() + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, member, times[0])
    return np.argsort(first, kind="stable")


def _check_apart(
    data: Dataset, times: tuple[np.ndarray, np.ndarray], place: np.ndarray, by: str | None, by_time: str
) -> None:
    for number in (1, 2):
        latest, earliest = times[1][place < number].max(), times[0][place == number].min()
        late = (place < number) & (times[1] > earliest)
        if latest > earliest:
            noun = f"'{by}' of several episodes" if by else "episode"
            raise UserError(
                f"{data.origin} cannot be divided by '{by_time}': {int(late.sum())} episodes of the folds before "
                f"{NAMES[number]} end after it begins, because a {noun} reaches over the border; "
                "name shorter units (by=COLUMN, such as a session), or divide without by_time."
            )
