"""Observations and actions of a log as a few plain numbers, so that steps can be compared with one another.

Wide parts are mixed at random into `WIDTH` columns (distances survive on average), tokens and many categories are
hashed; the mix depends on the width only, so that the same value always becomes the same numbers.
"""

import numpy as np

from ...data.columns import Ragged
from ...data.dataset import Dataset

__all__ = ["CHOICES", "WIDTH", "encoded", "seen_at", "unlike"]

WIDTH = 64
CHOICES = 100
"""More choices or categories than this are hashed."""
CHUNK = 1000


def seen_at(data: Dataset, position: np.ndarray) -> np.ndarray:
    """Return stored observations, by their positions `(rows,)`, as float32 `(rows, columns)`."""
    store = data.store_observations
    parts = []
    for part in data.spec.observations:
        values = store[part.name] if isinstance(store, dict) else store
        chunks = (position[begin : begin + CHUNK] for begin in range(0, max(len(position), 1), CHUNK))
        parts.append(np.concatenate([_numbers(values[chunk], part.kind, part.count) for chunk in chunks]))
    return _narrow(np.concatenate(parts, 1))


def _numbers(values: np.ndarray | Ragged, kind: str, count: int) -> np.ndarray:
    if isinstance(values, Ragged):
        values, kind = values.padded(), "tokens"
    if kind == "tokens":
        counts = np.zeros((len(values), WIDTH), np.float32)
        row, place = np.nonzero(values >= 0)
        np.add.at(counts, (row, values[row, place] % WIDTH), 1)
        return counts
    if kind == "category":
        return _corner(np.asarray(values).reshape(len(values)), max(count, 1))
    return _narrow(np.asarray(values, np.float32).reshape(len(values), -1))


def _narrow(table: np.ndarray) -> np.ndarray:
    width = table.shape[1]
    if width <= WIDTH:
        return table.astype(np.float32)
    mix = np.random.default_rng(width).normal(size=(width, WIDTH)) / np.sqrt(width)
    return table.astype(np.float32) @ mix.astype(np.float32)


def _corner(code: np.ndarray, count: int) -> np.ndarray:
    if count > CHOICES:
        code, count = code.astype(np.int64) * 2_654_435_761 % 2**32 % WIDTH, WIDTH
    return np.eye(count, dtype=np.float32)[code]


def encoded(data: Dataset, actions: np.ndarray) -> np.ndarray:
    """Return actions as `(rows, columns)`: continuous ones in units of the log's deviation, choices as corners."""
    columns = actions.reshape(len(actions), -1)
    if data.spec.action.kind == "continuous":
        width = data.store_actions.reshape(len(data.store_actions), -1).std(0)
        return columns.astype(np.float32) / np.maximum(width, 1e-6)
    counts = data.spec.action.counts
    return np.concatenate([_corner(column, count) for column, count in zip(columns.T, counts, strict=True)], 1)


def unlike(data: Dataset, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return how different actions `(rows, others, …)` are: the distance of continuous ones, 0 or 1 for choices."""
    if data.spec.action.kind == "continuous":
        return np.linalg.norm(
            (first - second).reshape(*np.broadcast_shapes(first.shape, second.shape)[:2], -1), axis=-1
        )
    differ = first != second
    return differ.reshape(*differ.shape[:2], -1).any(-1).astype(float)
