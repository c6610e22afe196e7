"""What names a decision for good: the columns that a log declares as its `identity`, in every export the same.

A time stamp, an id, or several columns together (`identity=("user", "time")`). The first step of an episode names it.
Whole numbers, numbers with a point and words that spell them are one name, and so are a moment and the word for it.
"""

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from ..core.errors import UserError, nearest
from .dataset import Dataset
from .folds import universal
from .narrow import named

__all__ = ["check_identity", "episode_names", "unit_names"]

DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?$")


def check_identity(data: Dataset) -> None:
    """Raise UserError where a declared identity is no column, leaves episodes without a name, or names some twice."""
    if not data.spec.identity:
        return
    for name in data.spec.identity:
        if name not in data.columns:
            raise UserError(
                f"{data.origin}: there is no column '{name}' to identify decisions.{nearest(name, data.columns)} "
                f"Known: {', '.join(data.columns) or 'none'}."
            )
    words = _words(data)
    _, first, times = np.unique(_hashed(words), return_index=True, return_counts=True)
    if (times > 1).any():
        example = ", ".join(str(column[first[times > 1].min()]) for column in words)
        raise UserError(
            f"{data.origin}: {int((times > 1).sum())} identities ({', '.join(data.spec.identity)}) name several "
            f"episodes, such as {example}; add a column that tells them apart, or load every row once."
        )


def episode_names(data: Dataset) -> np.ndarray:
    """Return a hash `(episodes,)`, uint64 and above 0, of what names each episode of a view; 0 where none is declared.

    Raises UserError for a declared column that has no value somewhere.
    """
    if not set(data.spec.identity) <= set(data.columns) or not data.spec.identity:
        return np.zeros(data.episodes, np.uint64)
    return _hashed(_words(data))


def unit_names(data: Dataset) -> np.ndarray:
    """Return the same of the unit of each episode, where its column is among those that identify; else 0."""
    unit = data.spec.unit
    if unit is None or unit not in data.spec.identity or unit not in data.columns:
        return np.zeros(data.episodes, np.uint64)
    return _hashed([_spelt(data, unit)])


def _words(data: Dataset) -> list[np.ndarray]:
    return [_spelt(data, name) for name in data.spec.identity]


def _spelt(data: Dataset, name: str) -> np.ndarray:
    """Return the values of a column at the first steps, as words that do not depend on how a format holds them."""
    values = np.asarray(data.columns[name])[data.starts[data.chosen]]
    if problem := named(values, f"column '{name}', which identifies decisions,"):
        raise UserError(f"{data.origin}: {problem}")
    if values.dtype.kind == "M":
        return values.astype("datetime64[us]").astype(str)
    if values.dtype.kind == "f":
        whole = values == np.round(values)
        return np.where(whole, values.astype(np.int64).astype(str), values.astype(str))
    distinct, place = np.unique(values.astype(str), return_inverse=True)
    return np.array([_spelling(word) for word in distinct.tolist()])[place]


def _spelling(word: str) -> str:
    if DATE.match(word):
        try:
            return str(np.datetime64(universal(word), "us"))
        except ValueError:
            return word
    return word[:-2] if word.endswith(".0") and word[:-2].lstrip("-").isdigit() else word


def _hashed(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Return one hash of each row of words; 0 is kept for none."""
    codes = [np.unique(column, return_inverse=True) for column in columns]
    total = np.zeros(len(columns[0]), np.uint64)
    for number, (distinct, place) in enumerate(codes):
        hashes = [hashlib.blake2b(f"{number} {word}".encode(), digest_size=8).digest() for word in distinct.tolist()]
        total = total * np.uint64(0x9E3779B97F4A7C15) + np.frombuffer(b"".join(hashes), "<u8")[place]
    return np.maximum(total, np.uint64(1))
