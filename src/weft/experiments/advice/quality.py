"""How good the episodes of a log are, what filtered copying would keep of it, and in what rewards are counted.

Good is what returns within a tenth of the best twentieth. Whole episodes are counted and their steps too: a few long
episodes may be a small share of the episodes and enough steps to learn from.
"""

import math
from typing import Any

import numpy as np

from ...data.dataset import Dataset

__all__ = ["TENTH", "quality"]

TENTH = 0.1
TWENTIETH = 20
ENOUGH = 2000  # steps to copy from, in a log of ten times as many and more: two whole walks of a robot
MOST = 0.5  # more of the episodes is no filter


def quality(data: Dataset) -> dict[str, Any]:
    """Return the figures of `Measurement` that rest on returns, rewards and lengths alone."""
    returns, lengths = np.asarray(data.returns, float), data.lengths
    ordered, edge = np.sort(returns), max(1, len(returns) // TWENTIETH)
    top, bottom = float(ordered[-edge:].mean()), float(ordered[:edge].mean())
    scale = max(abs(top), top - bottom)
    good = returns >= top - TENTH * scale
    rewards = np.asarray(data.rewards, float)
    commonest = np.unique(rewards, return_counts=True)[1].max()
    spread = bool(ordered[-1] - ordered[0] > 1e-6 * max(scale, 1e-12))
    return {
        "top": top,
        "bottom": bottom,
        "mean": float(returns.mean()),
        "deviation": float(returns.std()),
        "good": float(good.mean()),
        "good_episodes": int(good.sum()),
        "good_steps": float(lengths[good].sum() / lengths.sum()),
        "spread": spread,
        "rewarded": float(1 - commonest / len(rewards)),
        "unit_reward": float(np.sqrt((rewards**2).mean())),
        **_filter(returns, lengths, int(good.sum()) if spread else 0),
    }


def _filter(returns: np.ndarray, lengths: np.ndarray, good: int) -> dict[str, Any]:
    """Return which share of the best episodes the log supports as examples, with their episodes, steps and mean return.

    The good ones; where their steps are too few to copy from, the next best join them. Episodes of equal return go
    together, as filtered behaviour cloning has it. Nothing (a share of None) where that would be most of the log.
    """
    none = {"fraction": None, "kept_episodes": 0, "kept_steps": 0, "kept_mean": None}
    if not good:
        return none
    best = np.argsort(-returns, kind="stable")
    steps = np.cumsum(lengths[best])
    enough = int(np.searchsorted(steps, min(ENOUGH, steps[-1] / 10))) + 1
    count = len(returns)
    size = _tied(returns, best, max(good, enough))
    if size > MOST * count:  # the next best are too many, or tied with too many
        size = _tied(returns, best, good)
    if size == count:
        return none
    share = math.ceil(1e4 * size / count) / 1e4
    return {
        "fraction": share,
        "kept_episodes": size,
        "kept_steps": int(steps[size - 1]),
        "kept_mean": float(returns[best[:size]].mean()),
    }


def _tied(returns: np.ndarray, best: np.ndarray, size: int) -> int:
    """Return how many episodes are as good as the worst of the `size` best."""
    return int((returns >= returns[best[size - 1]]).sum())
