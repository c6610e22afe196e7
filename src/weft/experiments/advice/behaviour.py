"""What the actions and rewards of a log can be predicted from, on episodes held out: chance, memory, skill, effect."""

import dataclasses
from typing import Any

import numpy as np
from scipy.stats import rankdata

from ...data.dataset import Dataset
from .features import CHOICES, encoded, seen_at
from .prediction import Comparison, compare

__all__ = ["Steps", "fits"]

FITTED = 6000  # steps of a fit
PRODUCTS = 400  # columns of an observation times columns of an action, up to which their products are fitted


@dataclasses.dataclass(frozen=True)
class Steps:
    """Flat facts of every step of a view: its episode, time, reward so far and from here on."""

    episode: np.ndarray
    time: np.ndarray
    rewards: np.ndarray
    before: np.ndarray
    following: np.ndarray

    @classmethod
    def of(cls, data: Dataset) -> "Steps":
        lengths = data.lengths
        rewards = np.asarray(data.rewards, float)
        first = np.cumsum(lengths) - lengths
        total = np.cumsum(rewards) - rewards
        before = total - np.repeat(total[first], lengths)
        episode = np.repeat(np.arange(len(lengths)), lengths)
        return cls(episode, np.arange(len(rewards)) - first[episode], rewards, before, data.returns[episode] - before)


@dataclasses.dataclass(frozen=True)
class _Sample:
    """Steps that fits are made on: their indices, episodes, which are held out, what was seen and done there."""

    index: np.ndarray
    episode: np.ndarray
    held: np.ndarray
    observed: np.ndarray
    actions: np.ndarray

    @classmethod
    def of(cls, data: Dataset, steps: Steps, generator: np.random.Generator) -> "_Sample | None":
        """Draw steps that have one before them (where episodes are longer), and hold half of the episodes out; None
        where there are too few.
        """
        usable = np.arange(data.steps) if data.lengths.max() == 1 else np.flatnonzero(steps.time > 0)
        index = np.sort(generator.permutation(usable)[:FITTED])
        episodes = np.unique(steps.episode[index])
        if len(episodes) < 4 or len(index) < 40:
            return None
        held = np.isin(steps.episode[index], generator.permutation(episodes)[: len(episodes) // 2])
        observed = seen_at(data, data.position[data.rows[index]])
        return cls(index, steps.episode[index], held, observed, encoded(data, data.actions[index]))


def fits(
    data: Dataset, steps: Steps, propensities: np.ndarray | None, generator: np.random.Generator
) -> dict[str, Any]:
    """Fit the behaviour and what follows, and see on held-out episodes what the step before and the action add."""
    action, exploration = data.spec.action, None
    if action.kind == "discrete" and propensities is not None and action.size > 1:
        exploration = float(np.clip(-np.log(propensities).mean() / np.log(action.size), 0, 1))
    sample = _Sample.of(data, steps, generator)
    if sample is None:
        return {"exploration": exploration, "memory": None, "skill": None, "effect": None}
    skill = _skill(data, sample)
    return {**_behaviour(data, sample, exploration), "skill": skill, "effect": _effect(data, steps, sample)}


def _skill(data: Dataset, sample: _Sample) -> Comparison | None:
    """Predict the action: what the rank of its episode's return adds, alone and times what was observed."""
    action, returns = data.spec.action, np.asarray(data.returns, float)
    choices = action.size if action.kind == "discrete" else 0
    fitted = action.kind == "continuous" or 1 < choices <= CHOICES
    if not fitted or not returns.std() > 0 or data.lengths.max() == 1:
        return None
    rank = (rankdata(returns) / len(returns) - 0.5)[sample.episode][:, None]
    observed = (sample.observed - sample.observed.mean(0)) / np.maximum(sample.observed.std(0), 1e-6)
    target = data.actions[sample.index] if choices else sample.actions
    further = np.concatenate([rank, rank * observed], 1)
    return compare(sample.observed, further, target, sample.held, sample.episode, choices)


def _behaviour(data: Dataset, sample: _Sample, exploration: float | None) -> dict[str, Any]:
    """Predict the action: the chance that is left in it, where no propensities say, and what the step before adds."""
    action, single = data.spec.action, bool(data.lengths.max() == 1)
    choices = action.size if action.kind == "discrete" else 0
    unknown = exploration is None and (action.kind == "continuous" or action.size > 1)
    if action.kind == "multidiscrete" or choices > CHOICES or (single and not unknown):
        return {"exploration": exploration, "memory": None}
    before = None
    if not single:
        earlier = seen_at(data, data.position[data.rows[sample.index - 1]])
        before = np.concatenate([earlier, encoded(data, data.actions[sample.index - 1])], 1)
    target = data.actions[sample.index] if choices else sample.actions
    behaviour = compare(sample.observed, before, target, sample.held, sample.episode, choices)
    if not choices:
        exploration = _deviation(data, behaviour.deviation)
    elif unknown:
        exploration = float(np.clip(behaviour.base / np.log(choices), 0, 1))
    return {"exploration": exploration, "memory": None if single else behaviour}


def _effect(data: Dataset, steps: Steps, sample: _Sample) -> Comparison | None:
    """Predict the rewards that follow: what the action adds; None where nothing differs.

    Linear in choices; continuous actions may also be best in the middle, and both may depend on the observation.
    """
    following = steps.following[sample.index]
    if not following.std() > 0:
        return None
    observed, actions = sample.observed, sample.actions
    parts = [actions] if data.spec.action.kind == "discrete" else [actions, actions**2]
    if observed.shape[1] * actions.shape[1] <= PRODUCTS:
        parts.append((observed[:, :, None] * actions[:, None]).reshape(len(actions), -1))
    target = following[:, None] / following.std()
    return compare(observed, np.concatenate(parts, 1), target, sample.held, sample.episode)


def _deviation(data: Dataset, deviation: np.ndarray) -> float:
    """Return deviations of actions given the observation (in units of the log's) relative to uniform actions."""
    spec, stored = data.spec.action, data.store_actions.reshape(len(data.store_actions), -1)
    low = stored.min(0) if spec.low is None else np.asarray(spec.low).reshape(-1)
    high = stored.max(0) if spec.high is None else np.asarray(spec.high).reshape(-1)
    uniform = np.maximum(high - low, 1e-9) / np.sqrt(12)
    return float(np.clip((deviation * stored.std(0) / uniform).mean(), 0, 1))
