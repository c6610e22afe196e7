"""Four tasks whose policies can be run: logs, trained candidates, and what the candidates are really worth.

Hopper: the replay log of a SAC run, no propensities. Maze: the sample log, propensities known. Pendulum and CartPole:
logs of a controller that is mixed with uniform choices at every step, made here; CartPole's propensities are known.
Candidates are several methods, two seeds each, and an early checkpoint of the first, trained on the train fold of
`weft.seal`. Truth is the mean discounted return of roll-outs with fresh seeds, begun where the log's episodes begin.
"""

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

import weft
from weft.data.concatenation import concatenate
from weft.envs import environment as worlds
from weft.envs.worlds.maze import Maze
from weft.reports.demonstration import COMMON, METHODS

__all__ = ["Candidate", "Task", "alone", "candidates", "discounted", "hidden", "task"]

LOG = Path(__file__).resolve().parents[3] / "shared" / "data" / "d4rl" / "hopper_medium_replay.hdf5"
SEEDS, FRESH = 2, 50_000  # of training; first seed of the roll-outs
METHOD = {method.name: method for method, _ in METHODS.values()} | {
    "awr": weft.AWR(**COMMON),
    "td3_bc": weft.TD3BC(target_rate=0.01, **COMMON),
}


@dataclasses.dataclass(frozen=True)
class Task:
    """A log (its propensities, where it has some, are right), the world it is of, and the logging policy's value.

    steps: training steps by method. walks: roll-outs a policy is judged by. base: mean discounted return of the logging
    policy, from `runs` fresh episodes of it where it can be run, else of the whole log.
    """

    name: str
    data: weft.Dataset
    world: Any
    steps: dict[str, int]
    discount: float
    walks: int
    base: float
    runs: int


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A trained policy, and its true value with the standard error of the roll-outs, by its mode and as it draws."""

    name: str
    policy: Any
    mode: tuple[float, float]
    drawn: tuple[float, float]

    def real(self, greedy: bool) -> tuple[float, float]:
        """Return the true value and its standard error."""
        return self.mode if greedy else self.drawn


class LoggedStarts(Maze):
    """The maze begun where its log's episodes begin, two of three times at the start."""

    def reset(self, key):
        number_key, place_key = jax.random.split(key)
        return self.begin(place_key, jax.random.randint(number_key, (), 0, self.rarity))[0]


def discounted(log: weft.Dataset, discount: float) -> np.ndarray:
    """Return the discounted return of every episode."""
    lengths = log.lengths
    ages = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return np.add.reduceat(log.rewards.reshape(-1) * discount**ages, np.cumsum(lengths) - lengths)


def hidden(data: weft.Dataset) -> weft.Dataset:
    """Return the log as if its propensities had never been written down."""
    return dataclasses.replace(data, store_log_propensities=None)


def alone(fold: weft.Dataset) -> weft.Dataset:
    """Return a fold as a log of its own; a view takes the rows of the whole log through every program."""
    return concatenate([fold])


def _swing(seen: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Swing a pendulum up by its energy and hold it there, with noise; three steps in ten are uniform."""
    cosine, sine, speed = np.asarray(seen).T
    energy = 0.5 * speed**2 + 15.0 * (cosine - 1.0)
    hold = -12.0 * np.arctan2(sine, cosine) - 2.0 * speed
    wanted = np.where(cosine > 0.85, hold, -0.4 * energy * np.sign(speed))
    wanted = np.clip(wanted + 0.7 * random.normal(size=len(wanted)), -2.0, 2.0)
    uniform = random.uniform(-2.0, 2.0, len(wanted))
    return np.where(random.random(len(wanted)) < 0.3, uniform, wanted)[:, None].astype(np.float32)


def _right(seen: np.ndarray) -> np.ndarray:
    """Return the chance of pushing a cart to the right: a controller that runs off the track, mixed with a coin."""
    place, speed, angle, turning = np.asarray(seen, np.float64).T
    push = 4.0 * angle + 0.3 * turning - 1.5 * (place + speed)
    return 0.5 * 0.5 + 0.5 / (1.0 + np.exp(-4.0 * push))


def _push(seen: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return (random.random(len(seen)) < _right(seen)).astype(np.int32)


def _gather(world: str, behave: Callable, episodes: int, seed: int, discount: float) -> weft.Dataset:
    acting = functools.partial(behave, random=np.random.default_rng(seed))
    return weft.collect(acting, world, episodes, seed=1000 * seed).declare(discount=discount)


def task(name: str, seed: int = 0) -> Task:
    """Return a task with the log of a seed; Hopper's log is always the same."""
    if name == "hopper":
        data = weft.load(LOG)
        steps = {
            "bc": 6000,
            "filtered_bc": 6000,
            "awr": 10000,
            "iql": 20000,
            "td3_bc": 20000,
            "cql": 4000,
            "sac": 6000,
        }
        base = discounted(data, 0.99)
        return Task(name, data, "Hopper-v5", steps, 0.99, 100, float(base.mean()), len(base))
    if name == "maze":
        world = LoggedStarts()
        data = weft.load("sample:maze", seed=seed)
        steps = {"bc": 2000, "filtered_bc": 2000, "awr": 2000, "iql": 2500, "td3_bc": 4000, "cql": 1500, "sac": 2000}
        runs = discounted(worlds.log(Maze(), 6000, seed + 700), 0.99)
        return Task(name, data, world, steps, 0.99, 1000, float(runs.mean()), len(runs))
    if name == "pendulum":
        data = _gather("Pendulum-v1", _swing, 300, seed, 0.97)
        steps = {"bc": 3000, "filtered_bc": 3000, "awr": 4000, "iql": 8000, "td3_bc": 8000, "cql": 3000, "sac": 4000}
        runs = discounted(_gather("Pendulum-v1", _swing, 400, seed + 700, 0.97), 0.97)
        return Task(name, data, "Pendulum-v1", steps, 0.97, 100, float(runs.mean()), len(runs))
    data = _gather("CartPole-v1", _push, 600, seed, 0.99)
    right, action = _right(data.store_observations)[data.position], data.store_actions
    data = dataclasses.replace(
        data.declare(reward_low=(0.0,), reward_high=(1.0,)),
        store_log_propensities=np.log(np.where(action == 1, right, 1 - right)).astype(np.float32),
    )
    steps = {"bc": 2000, "filtered_bc": 2000, "awr": 3000, "iql": 4000, "cql": 4000, "sac": 4000}
    runs = discounted(_gather("CartPole-v1", _push, 1000, seed + 700, 0.99), 0.99)
    return Task("cartpole", data, "CartPole-v1", steps, 0.99, 100, float(runs.mean()), len(runs))


def candidates(task: Task, train: weft.Dataset, work: Path, modes: tuple[bool, ...]) -> list[Candidate]:
    """Train every method on a fold and roll every kept policy out; what `work` holds already is not done again.

    modes: which ways of acting to roll out, True for the mode; the others are NaN.
    """
    found = []
    for name, steps in task.steps.items():
        run = weft.fit(METHOD[name], train, steps, SEEDS, work / name, resume=True, batch_size=128, keep=[steps // 8])
        for step in (steps // 8, steps):
            for place, seed in enumerate(run.seeds if step == steps else run.seeds[:1]):
                policy = run.policy(place, step=step)
                path = work / f"{name}-{step}-{seed}.json"
                known: dict[str, list[float]] = json.loads(path.read_text()) if path.exists() else {}
                for greedy in modes:
                    if str(greedy) not in known:
                        log = weft.collect(policy, task.world, task.walks, seed=FRESH, greedy=greedy)
                        returns = discounted(log, task.discount)
                        known[str(greedy)] = [float(returns.mean()), float(returns.std(ddof=1) / len(returns) ** 0.5)]
                path.write_text(json.dumps(known))
                real = [tuple(known.get(str(greedy), (np.nan, np.nan))) for greedy in (True, False)]
                found.append(Candidate(f"{name} {step} seed {seed}", policy, *real))
    return found
