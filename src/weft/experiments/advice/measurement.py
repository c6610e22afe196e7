"""What a log allows, measured on the log itself in seconds: the figures that advice on algorithms is tied to.

Large logs are looked at through samples of fixed size, drawn from a fixed seed, so that the same log always gets the
same figures. Places are compared by standardised Euclidean distance; two states are *near* when they are closer than
half of what one logged step usually moves. Nothing here trains a network.
"""

import dataclasses
from typing import Any

import numpy as np

from ...data.dataset import Dataset
from .behaviour import Steps, fits
from .features import encoded, seen_at, unlike
from .prediction import Comparison
from .quality import TENTH, quality

__all__ = ["Measurement", "measure"]

PROBES, LOGGED = 3000, 15_000  # steps asked about, steps compared with
EACH, NEIGHBOURS = 20, 20  # probes of an episode, near steps looked at per probe
SPLIT = 0.85  # share of the variance that two groups of actions explain; two thirds for one Gaussian bump
SELDOM, MANY = 20, 1000  # steps of a choice that say little of it; steps in which different actions are counted


@dataclasses.dataclass(frozen=True)
class Measurement:
    """Figures of a log; None where a figure cannot be had.

    Actions. kind: of actions. choices: number of discrete ones. width: numbers an action has. taken: different ones
    (of numbers, in the first 1,000 steps). seldom: choices with fewer than 20 steps each. exploration: entropy of the
    behaviour relative to uniform (choices), or deviation of the action given the observation relative to that of
    uniform ones; 0 is certain. near: share of probed steps with a near step in another episode. contrast: how different
    actions are at near steps, relative to steps anywhere (0: always the same, 1: as different as chance). split: share
    of probes whose near actions fall into two groups (continuous only). memory: nats a step by which the step before
    helps to predict the action, held out. skill: nats a step by which the rank of the episode's return does: good
    episodes then act differently and were not only lucky. effect: share of the variance of what follows that the action
    adds, held out; all three with a z value clustered by episode.

    Episodes. units: independent ones if declared, else episodes. length: median steps of an episode. top, bottom: mean
    return of the best and of the worst twentieth; mean, deviation: of all. good: share of episodes whose return is
    within a tenth of `top`, relative to max(|top|, top − bottom); good_episodes: their number; good_steps: their share
    of the steps. spread: whether returns differ at all. fraction: share of the best episodes that filtered copying can
    keep, with kept_episodes, kept_steps and kept_mean, the mean return of these. started: share of the variance of
    returns that the start explains (nearest neighbours, left out). covered: share of the starts that have a good
    episode among the similar ones. spliced: share of probed episodes that change at a near step to a continuation that
    beats every episode from a similar start. terminal: share of episodes that end by a terminal step.

    Rewards. rewarded: share of steps whose reward is not the commonest. unit_reward: root mean square of rewards.

    irregular: coefficient of variation of durations. sources: number of them. least: smallest propensity. certain:
    whether choices were taken with probability 1. excess: z value of the mean of 1/propensity above the number of
    choices, which it cannot exceed. sees: kinds of the observation components.
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
    mean: float
    deviation: float
    good: float
    good_episodes: int
    good_steps: float
    spread: bool
    fraction: float | None
    kept_episodes: int
    kept_steps: int
    kept_mean: float | None
    width: int
    taken: int
    seldom: int
    started: float | None
    covered: float | None
    rewarded: float
    unit_reward: float
    near: float | None
    contrast: float | None
    spliced: float | None
    split: float | None
    exploration: float | None
    memory: Comparison | None
    skill: Comparison | None
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


def measure(data: Dataset) -> Measurement:
    """Measure a log with one reward a step; seconds for 1e5 steps, hardly more for larger logs."""
    generator = np.random.default_rng(0)
    steps, spec = Steps.of(data), data.spec
    returns, figures = np.asarray(data.returns, float), quality(data)
    top, scale = figures["top"], max(abs(figures["top"]), figures["top"] - figures["bottom"])
    good = returns >= top - TENTH * scale
    durations = data.durations
    logged = data.log_propensities
    propensities = None if logged is None else np.exp(logged.astype(float))
    discrete = spec.action.kind == "discrete"
    return Measurement(
        kind=spec.action.kind,
        choices=spec.action.size if discrete else 0,
        steps=data.steps,
        episodes=data.episodes,
        units=data.unit_count,
        length=float(np.median(data.lengths)),
        longest=int(data.lengths.max()),
        **figures,
        **_taken(data),
        **_starts(data, returns, good, figures["spread"], generator),
        **_places(data, steps, returns, scale, generator),
        **fits(data, steps, propensities, generator),
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


def _taken(data: Dataset) -> dict[str, int]:
    """Count the numbers of an action, the different actions of a log, and the choices that were hardly ever taken."""
    actions = data.actions.reshape(data.steps, -1)
    width = actions.shape[1]
    if data.spec.action.kind != "discrete":
        return {"width": width, "taken": len(np.unique(actions[:MANY], axis=0)), "seldom": 0}
    counts = np.bincount(actions[:, 0].astype(int), minlength=data.spec.action.size)
    return {"width": width, "taken": int((counts > 0).sum()), "seldom": int((counts < SELDOM).sum())}


def _excess(steps: Steps, propensities: np.ndarray, choices: int) -> float:
    """Return the z value, by episode, of the mean of 1/propensity above the number of choices (a hundredth is let by).

    With true propensities its expectation is the number of choices that were possible.
    """
    above = np.bincount(steps.episode, 1 / propensities - 1.01 * choices)
    return float(above.sum() / np.sqrt(len(above) * (above.var() + 1e-6)))


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
    data: Dataset, steps: Steps, returns: np.ndarray, scale: float, generator: np.random.Generator
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
    steps: Steps,
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
