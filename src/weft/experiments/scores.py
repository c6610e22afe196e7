r"""Statistics of benchmark scores that hold with few runs (Agarwal et al. 2021, arXiv:2108.13264, section 4 and A.3).

    IQM         = mean of the middle half of the runs of all tasks together: of n the n // 4 lowest and highest are cut
    P(X > Y)    = 1/M Σ_m 1/(N K) Σ_i Σ_j S(x_mi, y_mj),   S = 1 where x_mi > y_mj, 1/2 where they are equal, else 0
    profile(τ)  = 1/M Σ_m 1/N Σ_i 1[x_mi > τ]

Intervals are percentiles of a stratified bootstrap: runs are drawn with replacement within each task, tasks stay. They
cover the luck of the seeds on these tasks. They do not cover other tasks, and they are too narrow for very few runs;
one run of a task says nothing about its spread, so bounds are then without end. Where all runs are equal an interval
has no width, which is no certainty either.

Scores are a matrix (runs, tasks), or a list with the runs of every task where their numbers differ. Scores of several
tasks are compared on one scale only if they were normalised; the probability of improvement needs no scale.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ..core.pytree import require

__all__ = [
    "Aggregate",
    "Profile",
    "by_task",
    "improvement_probability",
    "interquartile_mean",
    "mean_score",
    "performance_profile",
    "stratified_bootstrap",
]

Runs = Float[np.ndarray, "*draw run"]
Scores = Float[np.ndarray, "run task"] | Sequence[Any]
LEVEL, REPLICATES = 0.95, 2000


class Aggregate(NamedTuple):
    """A figure of scores and the bounds of its bootstrap interval, without end where a task has one run."""

    value: float
    low: float
    high: float


class Profile(NamedTuple):
    """The share of runs above each threshold, and the bounds of its pointwise interval; all `(threshold,)`."""

    thresholds: Float[np.ndarray, "threshold"]
    value: Float[np.ndarray, "threshold"]
    low: Float[np.ndarray, "threshold"]
    high: Float[np.ndarray, "threshold"]


def by_task(scores: Scores) -> list[Float[np.ndarray, "run"]]:
    """Return the runs of every task: the columns of a matrix (runs, tasks), or the entries of a list.

    Raises UserError where there is no task, a task without a run, or a score that is not finite.
    """
    matrix = isinstance(scores, np.ndarray)
    require(not matrix or scores.ndim == 2, "A matrix of scores has two axes: runs and tasks.")
    tasks = [np.asarray(runs, float) for runs in (scores.T if matrix else scores)]
    require(bool(tasks), "Scores need at least one task.")
    for number, runs in enumerate(tasks):
        require(runs.ndim == 1 and runs.size > 0, f"Task {number} needs a list of scores, one for every run.")
        require(bool(np.isfinite(runs).all()), f"Task {number} has a score that is not finite; leave that run out.")
    return tasks


def interquartile_mean(scores: Scores, level: float = LEVEL, replicates: int = REPLICATES, seed: int = 0) -> Aggregate:
    """Return the mean of the middle half of all runs of all tasks, and its interval. Raises UserError as `by_task`."""
    return stratified_bootstrap(scores, _middle, level, replicates, seed)


def mean_score(scores: Scores, level: float = LEVEL, replicates: int = REPLICATES, seed: int = 0) -> Aggregate:
    """Return the mean over tasks of the mean over runs, and its interval. Raises UserError as `by_task`."""
    return stratified_bootstrap(
        scores, lambda tasks: np.mean([runs.mean(-1) for runs in tasks], 0), level, replicates, seed
    )


def stratified_bootstrap(
    scores: Scores,
    statistic: Callable[[list[Runs]], Float[np.ndarray, "*draw"]],
    level: float = LEVEL,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Aggregate:
    """Return a statistic and its percentile interval; runs are drawn with replacement within each task.

    statistic: takes the runs of every task along the last axis, whatever axes come before it. Raises UserError as
    `by_task`, and for a level or a number of replicates that cannot be.
    """
    tasks = by_task(scores)
    _check(level, replicates)
    generator = np.random.default_rng(seed)
    drawn = [runs[generator.integers(len(runs), size=(replicates, len(runs)))] for runs in tasks]
    low, high = _percentiles(np.asarray(statistic(drawn)), level, tasks)
    return Aggregate(float(statistic(tasks)), float(low), float(high))


def improvement_probability(
    first: Scores, second: Scores, level: float = LEVEL, replicates: int = REPLICATES, seed: int = 0
) -> Aggregate:
    """Return P(X > Y): how likely a run of the first scores higher than one of the second on the same task, on average
    over the tasks; ties count half. Both are resampled. Raises UserError as `by_task`, and for other numbers of tasks.
    """
    ours, theirs = by_task(first), by_task(second)
    require(len(ours) == len(theirs), f"Both need the same tasks, got {len(ours)} and {len(theirs)}.")
    _check(level, replicates)
    generator = np.random.default_rng(seed)
    values, drawn = [], []
    for x, y in zip(ours, theirs, strict=True):
        better = (x[:, None] > y) + 0.5 * (x[:, None] == y)
        values.append(better.mean())
        wins = (_counts(generator, len(x), replicates) @ better * _counts(generator, len(y), replicates)).sum(1)
        drawn.append(wins / better.size)
    low, high = np.clip(_percentiles(np.mean(drawn, 0), level, [*ours, *theirs]), 0, 1)
    return Aggregate(float(np.mean(values)), float(low), float(high))


def performance_profile(
    scores: Scores,
    thresholds: Sequence[float] | Float[np.ndarray, "threshold"],
    level: float = LEVEL,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Profile:
    """Return the share of runs above each threshold, averaged over the tasks, with pointwise intervals.

    Raises UserError as `by_task`.
    """
    tasks = by_task(scores)
    _check(level, replicates)
    limits = np.asarray(thresholds, float).reshape(-1)
    generator = np.random.default_rng(seed)
    above = [(runs[:, None] > limits).astype(float) for runs in tasks]
    drawn = np.mean([_counts(generator, len(runs), replicates) @ runs / len(runs) for runs in above], 0)
    low, high = np.clip(_percentiles(drawn, level, tasks), 0, 1)
    return Profile(limits, np.mean([runs.mean(0) for runs in above], 0), low, high)


def _middle(tasks: list[Runs]) -> Float[np.ndarray, "*draw"]:
    """Return the mean of the middle half of the runs of all tasks together."""
    runs = np.sort(np.concatenate(tasks, -1), -1)
    cut = runs.shape[-1] // 4
    return runs[..., cut : runs.shape[-1] - cut].mean(-1)


def _counts(generator: np.random.Generator, runs: int, replicates: int) -> Float[np.ndarray, "draw run"]:
    """Return how often every run is drawn in every replicate."""
    return generator.multinomial(runs, np.full(runs, 1 / runs), size=replicates).astype(float)


def _percentiles(drawn: np.ndarray, level: float, tasks: list[np.ndarray]) -> np.ndarray:
    """Return the lower and upper percentiles along the first axis; without end where a task has one run."""
    if min(map(len, tasks)) < 2:
        return np.stack([np.full(drawn.shape[1:], -np.inf), np.full(drawn.shape[1:], np.inf)])
    return np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)


def _check(level: float, replicates: int) -> None:
    require(0 < level < 1, f"The level of an interval lies between 0 and 1, got {level}.")
    require(replicates >= 1, f"A bootstrap needs at least one replicate, got {replicates}.")
