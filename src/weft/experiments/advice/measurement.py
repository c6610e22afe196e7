"""What a log allows, measured on the log itself in seconds: the figures that advice on algorithms is tied to.

Large logs are looked at through samples of fixed size, drawn from a fixed seed, so that the same log always gets the
same figures. Places are compared by standardised Euclidean distance; two states are *near* when they are closer than
half of what one logged step usually moves. Nothing here trains a network.
"""

import dataclasses
from typing import Any

import numpy as np

from ...data.dataset import Dataset
from .features import CHOICES, encoded, seen_at, unlike
from .prediction import Comparison, compare

__all__ = ["Measurement", "measure"]

PROBES, LOGGED, FITTED = 3000, 15_000, 6000  # steps asked about, steps compared with, steps of a fit
EACH, NEIGHBOURS = 20, 20  # probes of an episode, near steps looked at per probe
SPLIT = 0.85  # share of the variance that two groups of actions explain; two thirds for one Gaussian bump
PRODUCTS = 400  # columns of an observation times columns of an action, up to which their products are fitted
TENTH = 0.1


@dataclasses.dataclass(frozen=True)
class Measurement:
    """Figures of a log; None where a figure cannot be had.

    kind: of actions. choices: number of discrete ones. units: independent ones if declared, else episodes. length:
    median steps of an episode. top, bottom: mean return of the best and of the worst twentieth of the episodes. good:
    share of episodes whose return is within a tenth of `top`, relative to max(|top|, top − bottom). started: share of
    the variance of returns that the start explains (nearest neighbours, left out). covered: share of the starts that
    have a good episode among the similar ones. spread: whether returns differ at all. rewarded: share of steps whose
    reward is not the commonest. near: share of probed steps with a near step in another episode. contrast: how
    different actions are at near steps, relative to steps anywhere (0: always the same, 1: as different as chance).
    spliced: share of probed episodes that change at a near step to a continuation that beats every episode from a
    similar start. split: share of probes whose near actions fall into two groups (continuous only). exploration:
    entropy of the behaviour relative to uniform (choices), or deviation of the action given the observation relative
    to that of uniform ones; 0 is certain. memory: nats a step by which the step before helps to predict the action,
    held out. effect: share of the variance of what follows that the action adds, held out; both with a z value
    clustered by episode. terminal: share of episodes that end by a terminal step. irregular: coefficient of variation
    of durations. sources: number of them. least: smallest propensity. certain: whether choices were taken with
    probability 1. excess: z value of the mean of 1/propensity above the number of choices, which it cannot exceed.
    sees: kinds of the observation components.
    """

    kind: str
    choices: int
    steps: int
    episodes: int
    units: int
    length: float
    longest: int
    top: float
    bottom: float
    good: float
    spread: bool
    started: float | None
    covered: float | None
    rewarded: float
    near: float | None
    contrast: float | None
    spliced: float | None
    split: float | None
    exploration: float | None
    memory: Comparison | None
    effect: Comparison | None
    terminal: float
    irregular: float
    sources: int
    propensities: bool
    least: float | None
    certain: bool
    excess: float | None
    ranged: bool
    horizon: int | None
    unit: str | None
    sees: frozenset[str] = frozenset({"vector"})

    @property
    def single(self) -> bool:
        """Whether every episode is one decision."""
        return self.longest == 1

    @property
    def deterministic(self) -> bool:
        """Whether the same place always met the same action, as far as can be seen."""
        same = self.contrast is not None and self.contrast < 0.02
        return self.certain or same or (self.exploration is not None and self.exploration < 0.02)


@dataclasses.dataclass(frozen=True)
class _Steps:
    """Flat facts of every step of a view: its episode, time, reward so far and from here on."""

    episode: np.ndarray
    time: np.ndarray
    rewards: np.ndarray
    before: np.ndarray
    following: np.ndarray

    @classmethod
    def of(cls, data: Dataset) -> "_Steps":
        lengths = data.lengths
        rewards = np.asarray(data.rewards, float)
        first = np.cumsum(lengths) - lengths
        total = np.cumsum(rewards) - rewards
        before = total - np.repeat(total[first], lengths)
        episode = np.repeat(np.arange(len(lengths)), lengths)
        return cls(episode, np.arange(len(rewards)) - first[episode], rewards, before, data.returns[episode] - before)


def measure(data: Dataset) -> Measurement:
    """Measure a log with one reward a step; seconds for 1e5 steps, hardly more for larger logs."""
    generator = np.random.default_rng(0)
    steps, spec = _Steps.of(data), data.spec
    returns, lengths = np.asarray(data.returns, float), data.lengths
    ordered, edge = np.sort(returns), max(1, len(returns) // 20)
    top, bottom = float(ordered[-edge:].mean()), float(ordered[:edge].mean())
    scale = max(abs(top), top - bottom)
    good = returns >= top - TENTH * scale
    commonest = np.unique(steps.rewards, return_counts=True)[1].max()
    spread = bool(ordered[-1] - ordered[0] > 1e-6 * max(scale, 1e-12))
    durations = data.durations
    logged = data.log_propensities
    propensities = None if logged is None else np.exp(logged.astype(float))
    discrete = spec.action.kind == "discrete"
    return Measurement(
        kind=spec.action.kind,
        choices=spec.action.size if discrete else 0,
        steps=data.steps,
        episodes=data.episodes,
        units=len(np.unique(data.units(spec.unit))) if spec.unit else data.episodes,
        length=float(np.median(lengths)),
        longest=int(lengths.max()),
        top=top,
        bottom=bottom,
        good=float(good.mean()),
        spread=spread,
        **_starts(data, returns, good, spread, generator),
        rewarded=float(1 - commonest / data.steps),
        **_places(data, steps, returns, scale, generator),
        **_fits(data, steps, propensities, generator),
        terminal=float(data.terminals.sum() / data.episodes),
        irregular=float(durations.std() / durations.mean()) if durations.mean() > 0 else 0.0,
        sources=0 if data.sources is None else len(np.unique(data.sources)),
        propensities=propensities is not None,
        least=None if propensities is None else float(propensities.min()),
        certain=discrete and propensities is not None and bool((propensities > 0.999).all()),
        excess=_excess(steps, propensities, spec.action.size) if discrete and propensities is not None else None,
        ranged=spec.reward_low is not None and spec.reward_high is not None,
        horizon=spec.horizon,
        unit=spec.unit,
        sees=frozenset(part.kind for part in spec.observations),
    )


# --- what the places tell ----------------------------------------------------------------------------------------


def _closest(probes: np.ndarray, logged: np.ndarray, barred: Any, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return squared distances and indices `(probe, count)` of the closest rows, near ones first; barred are inf."""
    square, index = [], []
    norm = (logged**2).sum(1)
    for begin in range(0, len(probes), 200):
        part = probes[begin : begin + 200]
        distance = np.maximum((part**2).sum(1)[:, None] + norm[None] - 2 * part @ logged.T, 0)
        distance[barred(slice(begin, begin + len(part)))] = np.inf
        if count < len(logged):
            closest = np.argpartition(distance, count - 1, axis=1)[:, :count]
        else:
            closest = np.tile(np.arange(len(logged)), (len(part), 1))
        value = np.take_along_axis(distance, closest, 1)
        order = np.argsort(value, axis=1, kind="stable")
        square.append(np.take_along_axis(value, order, 1))
        index.append(np.take_along_axis(closest, order, 1))
    return np.concatenate(square), np.concatenate(index)


def _starts(
    data: Dataset, returns: np.ndarray, good: np.ndarray, spread: bool, generator: np.random.Generator
) -> dict[str, float | None]:
    """Measure how far the start decides the return, and whether good episodes begin where all begin."""
    if data.episodes < 20 or not spread:
        return {"started": None, "covered": None}
    chosen = generator.permutation(data.episodes)[:3000]
    seen = seen_at(data, data.position[data.starts[data.chosen[chosen]]])
    seen = (seen - seen.mean(0)) / np.maximum(seen.std(0), 1e-6)
    value, good = returns[chosen], good[chosen]
    similar = int(np.clip(np.ceil(3 / max(good.mean(), 1e-3)), 20, len(chosen) - 1))
    seen = seen + 1e-4 * generator.normal(size=seen.shape)  # the same start again and again: neighbours by chance

    def itself(part: slice) -> tuple[np.ndarray, np.ndarray]:
        rows = np.arange(part.start, part.stop)
        return rows - part.start, rows

    index = _closest(seen.astype(np.float32), seen.astype(np.float32), itself, similar)[1]
    missed = ((value - value[index[:, :10]].mean(1)) ** 2).mean() / (1 + 1 / 10)  # a mean of ten is off by a tenth
    started = 1 - missed / value.var() if value.var() > 0 else 0.0
    return {"started": float(np.clip(started, 0, 1)), "covered": float((good[index].any(1) | good).mean())}


def _places(
    data: Dataset, steps: _Steps, returns: np.ndarray, scale: float, generator: np.random.Generator
) -> dict[str, float | None]:
    """Probe steps of some episodes: near steps of other episodes, what was done there, and what came of it."""
    none: dict[str, float | None] = {"near": None, "contrast": None, "spliced": None, "split": None}
    if data.episodes < 2:
        return none
    each = int(min(EACH, max(1, np.median(data.lengths))))
    episodes = np.sort(generator.permutation(data.episodes)[: PROBES // each])
    first = (np.cumsum(data.lengths) - data.lengths)[episodes]
    at = (np.linspace(0, 1, each)[None] * (data.lengths[episodes] - 1)[:, None]).astype(int)
    probes = np.unique((first[:, None] + at).reshape(-1))
    logged = generator.permutation(data.steps)[:LOGGED]  # in no order, so that ties are broken by chance
    rows = data.rows
    here, there = seen_at(data, data.position[rows[probes]]), seen_at(data, data.position[rows[logged]])
    moved = seen_at(data, data.successor[rows[logged]])
    width = np.maximum(there.std(0), 1e-6) * (there.std(0) > 0) + (there.std(0) == 0) * 1e6
    here, there, moved = here / width, there / width, moved / width
    move = np.linalg.norm(moved - there, axis=1)
    move = move[(move > 1e-6) & ~data.terminals[logged]]
    pairs = np.linalg.norm(there - there[generator.permutation(len(there))], axis=1)
    radius = float(np.median(move)) / 2 if len(move) >= 20 else TENTH * float(np.median(pairs))
    owner = steps.episode

    def own(part: slice) -> np.ndarray:
        return owner[probes[part]][:, None] == owner[logged][None]

    square, index = _closest(here, there, own, NEIGHBOURS)
    near = square <= max(radius, 1e-3) ** 2
    actions = data.actions
    if data.spec.action.kind == "continuous":
        actions = encoded(data, actions)
    anywhere = unlike(data, actions[logged][:, None], actions[logged[generator.permutation(len(logged))]][:, None])
    apart = unlike(data, actions[probes][:, None], actions[logged][index])
    contrast = None
    if near.sum() >= 20:
        contrast = _contrast(square[near], apart[near], anywhere.reshape(-1))
    figures = none | {"near": float(near.any(1).mean()), "contrast": contrast}
    if data.spec.action.kind == "continuous":
        figures["split"] = _split(actions[logged][index], near)
    if data.lengths.max() > 1 and scale > 0:
        figures["spliced"] = _spliced(data, steps, probes, logged[index], near, returns, scale)
    return figures


def _contrast(square: np.ndarray, apart: np.ndarray, anywhere: np.ndarray) -> float:
    """Return how different actions are at the same place relative to anywhere, as a root mean square.

    The squared differences of near pairs are followed down to distance zero by a straight line, so that a smooth
    behaviour without chance comes out at 0.
    """
    usual = (anywhere**2).mean()
    if usual == 0:
        return 0.0
    if len(square) >= 400:
        closest = square <= np.quantile(square, 0.25)  # where a straight line is nearly true
        square, apart = square[closest], apart[closest]
    away = square - square.mean()
    slope = max(0.0, float((away * apart**2).sum() / max((away**2).sum(), 1e-12)))
    return float(np.sqrt(max(0.0, (apart**2).mean() - slope * square.mean()) / usual))


def _spliced(
    data: Dataset,
    steps: _Steps,
    probes: np.ndarray,
    index: np.ndarray,
    near: np.ndarray,
    returns: np.ndarray,
    scale: float,
) -> float:
    """Return the share of probed episodes that a change to a near, other episode would lift above similar starts.

    A continuation is worth the mean of the best third of the near ones, so that one lucky episode counts little, and
    is held against the best of the episodes from similar starts. It may not last longer than episodes do.
    """
    longest = data.spec.horizon or data.lengths.max()
    left = data.lengths[steps.episode[index]] - steps.time[index]
    allowed = near & (steps.time[probes][:, None] + left <= longest)
    best = np.sort(np.where(allowed, steps.following[index], -np.inf), axis=1)[:, -(near.shape[1] // 3 + 1) :]
    seen = np.isfinite(best)
    worth = np.where(seen, best, 0).sum(1) / np.maximum(seen.sum(1), 1)
    lifted = np.where(seen.sum(1) > 1, steps.before[probes] + worth, -np.inf)
    episodes, member = np.unique(steps.episode[probes], return_inverse=True)
    most = np.full(len(episodes), -np.inf)
    np.maximum.at(most, member, lifted)
    starts = seen_at(data, data.position[data.starts[data.chosen]])
    starts = starts / np.maximum(starts.std(0), 1e-6)
    among = np.random.default_rng(1).permutation(data.episodes)[:LOGGED]
    similar = _closest(starts[episodes], starts[among], lambda _: (np.zeros(0, int),) * 2, NEIGHBOURS)[1]
    benchmark = np.maximum(returns[among][similar].max(1), returns[episodes])
    return float((most > benchmark + TENTH * scale).mean())


def _split(actions: np.ndarray, near: np.ndarray) -> float | None:
    """Return the share of probes whose near actions `(probe, near, act)` fall into two groups along their main axis."""
    full = near.sum(1) == near.shape[1]
    if full.sum() < 20 or near.shape[1] < NEIGHBOURS:
        return None
    around = actions[full] - actions[full].mean(1, keepdims=True)
    axis = np.linalg.svd(around, full_matrices=False)[2][:, 0]  # the direction in which they differ most
    line = np.sort(np.einsum("pna,pa->pn", around, axis), axis=1)
    count = line.shape[1]
    left = np.arange(count // 5, count - count // 5 + 1)  # neither group is smaller than a fifth
    total = np.cumsum(line, 1)[:, left - 1]  # the sum of all is zero
    between = total**2 * (1 / left + 1 / (count - left)) / np.maximum((line**2).sum(1), 1e-12)[:, None]
    return float((between.max(1) > SPLIT).mean())


# --- what can be predicted ---------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Sample:
    """Steps that fits are made on: their indices, episodes, which are held out, what was seen and done there."""

    index: np.ndarray
    episode: np.ndarray
    held: np.ndarray
    observed: np.ndarray
    actions: np.ndarray

    @classmethod
    def of(cls, data: Dataset, steps: _Steps, generator: np.random.Generator) -> "_Sample | None":
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


def _fits(
    data: Dataset, steps: _Steps, propensities: np.ndarray | None, generator: np.random.Generator
) -> dict[str, Any]:
    """Fit the behaviour and what follows, and see on held-out episodes what the step before and the action add."""
    action, exploration = data.spec.action, None
    if action.kind == "discrete" and propensities is not None and action.size > 1:
        exploration = float(np.clip(-np.log(propensities).mean() / np.log(action.size), 0, 1))
    sample = _Sample.of(data, steps, generator)
    if sample is None:
        return {"exploration": exploration, "memory": None, "effect": None}
    return {**_behaviour(data, sample, exploration), "effect": _effect(data, steps, sample)}


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


def _effect(data: Dataset, steps: _Steps, sample: _Sample) -> Comparison | None:
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


def _excess(steps: _Steps, propensities: np.ndarray, choices: int) -> float:
    """Return the z value, by episode, of the mean of 1/propensity above the number of choices (a hundredth is let by).

    With true propensities its expectation is the number of choices that were possible.
    """
    above = np.bincount(steps.episode, 1 / propensities - 1.01 * choices)
    return float(above.sum() / np.sqrt(len(above) * (above.var() + 1e-6)))
