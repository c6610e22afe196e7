"""Tiny logs with known answers: one-hot observations, a few discrete actions, everything sampled at once.

The answers are those of `reference/algorithms.md`, section 4 (Z2, Z3, ...). A squared error of weft carries no 1/2, so
an answer quoted with 1/2 is met at twice the weight.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from weft.agents.algorithm import Algorithm
from weft.core import pytree
from weft.core.pytree import static
from weft.data.columns import Batch, Columns
from weft.data.dataset import Dataset
from weft.data.sampler import Sampler
from weft.data.samplers.transitions import gather
from weft.training import loop as train

Step = tuple[int, int, float]  # state, action, reward


class Everything(Sampler):
    """The first `count` rows, every time: full-batch learning, so that no answer is blurred by sampling."""

    count: int = static()

    def __call__(self, columns: Columns, key: jax.Array) -> Batch:
        del key
        return gather(columns, columns.rows[: self.count])


def tabular(episodes: Sequence[Sequence[Step]], states: int, choices: int, terminal: bool = True) -> Dataset:
    """Build a log of discrete actions; every episode ends in a terminal step, or in a time-out that stays there."""
    flat = [(*step, index, place) for index, steps in enumerate(episodes) for place, step in enumerate(steps)]
    last = np.array([place == len(episodes[index]) - 1 for *_, index, place in flat])
    here = np.array([step[0] for step in flat])
    there = np.where(last, here, np.append(here[1:], 0))
    return Dataset.from_arrays(
        np.eye(states, dtype=np.float32)[here],
        np.array([step[1] for step in flat]),
        np.array([step[2] for step in flat], np.float32),
        last & terminal,
        last & (not terminal),
        next_observations=np.eye(states, dtype=np.float32)[there],
        action_count=choices,
    )


def bandit(counts: Sequence[int], rewards: Sequence[float]) -> Dataset:
    """Build a log of one state in which every choice was taken so often."""
    taken = [(0, choice, rewards[choice]) for choice, count in enumerate(counts) for _ in range(count)]
    return tabular([[step] for step in taken], 1, len(counts))


def stitching(terminal: bool = True) -> Dataset:
    """Z2. States A, B, M; from A, action 0 leads to M and action 1 to the end with .6; in M, action 1 is worth 1."""
    return tabular([[(0, 0, 0.0), (2, 0, 0.0)], [(1, 0, 0.0), (2, 1, 1.0)], [(0, 1, 0.6)]], 3, 2, terminal)


def conservative_bandit() -> Dataset:
    """Z3. Behaviour (.6, .3, .1), rewards (1, 0, 0)."""
    return bandit((6, 3, 1), (1.0, 0.0, 0.0))


def lucky_gamble() -> Dataset:
    """Z4. Safe: .5; gamble: 1 in 3 of 10 cases, else 0."""
    return tabular([[(0, 0, 0.5)]] * 10 + [[(0, 1, float(i < 3))] for i in range(10)], 1, 2)


def uniform_rewards(count: int = 2000) -> Dataset:
    """Z5. One state and one choice, rewards spread evenly over (0, 1)."""
    return tabular([[(0, 0, (i + 0.5) / count)] for i in range(count)], 1, 2)


def weighted_bandit() -> Dataset:
    """Z10. Behaviour (.5, .3, .2), rewards (0, 1, 2)."""
    return bandit((5, 3, 2), (0.0, 1.0, 2.0))


def self_loop(reward: float = 0.0, terminal: bool = False, steps: int = 1) -> Dataset:
    """Z11. One state that leads to itself; only action 0 was ever taken."""
    return tabular([[(0, 0, reward)]] * steps, 1, 2, terminal)


def integrand(points: jax.Array) -> jax.Array:
    """Z9. `Q(a) = −2 |a|²`; on [−1, 1]³, log ∫ exp Q = .5377."""
    return -2.0 * jnp.square(points).sum(-1)


def runs(settings: Sequence[Algorithm], data: Dataset, steps: int, seeds: Sequence[int] = (0,)) -> list:
    """Train settings of one structure (times seeds) on an untransformed log; return their states in that order."""
    states = begin(settings, data, seeds)
    states, _ = continued(settings, states, data, 0, steps, steps, seeds)
    return [pytree.run_axis(states, index) for index in range(len(settings) * len(seeds))]


def begin(settings: Sequence[Algorithm], data: Dataset, seeds: Sequence[int] = (0,)) -> object:
    """Return the first states, stacked."""
    stacked, keys = plan(settings, seeds)
    return train.begin(stacked, keys, data.device(), data.spec, "sequential")


def continued(settings, states, data, start, stop, total, seeds=(0,)):
    """Take stacked states from one step to another; return them (the old ones stay whole) and their metrics."""
    stacked, keys = plan(settings, seeds)
    span, states = train.Span.of(start, stop, total), jax.tree.map(jnp.copy, states)
    states, sums = train.advance(stacked, states, data.device(), keys, span, "sequential")
    return states, {name: values / (stop - start) for name, values in sums.items()}


def plan(settings: Sequence[Algorithm], seeds: Sequence[int]) -> tuple[Algorithm, jax.Array]:
    """Return settings times seeds, stacked, and their keys."""
    each = [(pytree.as_arrays(setting), jax.random.key(seed)) for setting in settings for seed in seeds]
    return pytree.stack([setting for setting, _ in each]), jnp.stack([key for _, key in each])
