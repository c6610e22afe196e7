"""Continuous actions: how often issued intervals hold where the action is a number with a logged density.

    python benchmarks/coverage/continuous.py [--resume]

States are two numbers that move linearly with the action and with normal noise; the logging policy draws the action
from a normal distribution about a linear function of the state. The judged policy's mean lies so many standard
deviations away, to either side, and its standard deviation may differ. A reward's mean is the height of a normal curve
over the distance of the action from a linear target, so that every value is known exactly: all is normal, and the
mean of such a curve over a normal number has a closed form. Logs are asked as `weft.answer` asks them. These cells were
looked at (they are listed apart from those that a seed drew); a new world in each log.
"""

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rewards import payment
from scipy.stats import norm
from second import arguments, judge, results_so_far, verdicts

from weft.data.dataset import Dataset
from weft.evaluation.case import case_of
from weft.evaluation.interval_rule import issue
from weft.evaluation.waves import feature_count

RESULTS = Path(__file__).resolve().parent.parent / "results" / "coverage_continuous.json"
LEVEL = 0.95
SPREAD, NOISE, WIDTH = 0.5, 0.3, 0.7  # of logged actions, of a step, of the curve over what is paid


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell. away: how many of its standard deviations the logging policy's mean lies from the judged one's. scale:
    standard deviation of the judged policy over that of the logging one. rewards: their law (`rewards.LAWS`)."""

    episodes: int
    horizon: int
    away: float
    scale: float = 1.0
    rewards: str = "bernoulli"

    @property
    def name(self) -> str:
        """The cell in words."""
        narrower = f", spread x {self.scale:g}" if self.scale != 1 else ""
        return f"continuous, {self.rewards} {self.episodes} x {self.horizon}, {self.away:g} sd away{narrower}"


CELLS = (
    Cell(500, 1, 0.5),
    Cell(500, 5, 0.3, rewards="smooth"),
    Cell(1000, 1, 1.0, rewards="smooth"),
    Cell(500, 3, 0.5, 0.8),
)


class World(NamedTuple):
    """`x' = move @ x + push a + noise`; the logging mean `gain @ x`, the judged one `gain @ x + offset`, both standard
    deviations, and the action `target @ x + level` that pays most."""

    move: np.ndarray
    push: np.ndarray
    gain: np.ndarray
    offset: float
    logged: float
    judged: float
    target: np.ndarray
    level: float


def draw_world(cell: Cell, random: np.random.Generator) -> World:
    """Draw a world and both policies."""
    gain = 0.4 * random.normal(size=2)
    return World(
        0.5 * np.eye(2) + 0.2 * random.normal(size=(2, 2)), 0.5 * random.normal(size=2), gain,
        cell.away * SPREAD * random.choice([-1.0, 1.0]), SPREAD, SPREAD * cell.scale,
        gain + 0.4 * random.normal(size=2), 0.5 * random.normal(),
    )  # fmt: skip


def pays(world: World, state: np.ndarray, action: np.ndarray) -> np.ndarray:
    """Return the mean reward of actions `(n,)` in states `(n, 2)`."""
    return np.exp(-0.5 * np.square((action - state @ world.target - world.level) / WIDTH))


def value(world: World, state: np.ndarray, steps: int, spread: np.ndarray | None = None, judged: bool = True) -> Any:
    """Return what a policy earns in so many steps from states `(n, 2)`, exactly; spread: the covariance of a normal
    state about each of them, by default none."""
    offset, deviation = (world.offset, world.judged) if judged else (0.0, world.logged)
    mean, spread, total = np.atleast_2d(state), np.zeros((2, 2)) if spread is None else spread, 0.0
    closed = world.move + np.outer(world.push, world.gain)
    apart = world.gain - world.target
    for _ in range(steps):
        middle = mean @ apart + offset - world.level  # of the distance from the target, which is normal
        width = WIDTH**2 + apart @ spread @ apart + deviation**2
        total = total + WIDTH / np.sqrt(width) * np.exp(-0.5 * np.square(middle) / width)
        mean = mean @ closed.T + world.push * offset
        spread = closed @ spread @ closed.T + deviation**2 * np.outer(world.push, world.push) + NOISE**2 * np.eye(2)
    return total + np.zeros(len(mean))


def truth(cell: Cell, world: World, judged: bool = True) -> float:
    """Return the value of the judged or of the logging policy; episodes begin at a standard normal state."""
    return float(value(world, np.zeros(2), cell.horizon, np.eye(2), judged)[0])


class Log(NamedTuple):
    """States `(episode, step + 1, 2)`, actions, rewards and densities `(episode, step)`."""

    state: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    density: np.ndarray


def draw_log(cell: Cell, world: World, random: np.random.Generator, judged: bool = False) -> Log:
    """Log a cell's episodes by the logging policy, or by the judged one."""
    offset, deviation = (world.offset, world.judged) if judged else (0.0, world.logged)
    state, states, steps = random.normal(size=(cell.episodes, 2)), [], []
    for _ in range(cell.horizon):
        middle = state @ world.gain + offset
        action = middle + deviation * random.normal(size=cell.episodes)
        paid = payment(cell.rewards, jax.random.key(random.integers(2**31)), jnp.asarray(pays(world, state, action)))
        states.append(state)
        steps.append((action, np.asarray(paid), norm.pdf(action, middle, deviation)))
        noise = NOISE * random.normal(size=state.shape)
        state = state @ world.move.T + np.outer(action, world.push) + noise
    return Log(np.stack([*states, state], 1), *(np.stack(part, 1) for part in zip(*steps, strict=True)))


def dataset(cell: Cell, log: Log) -> Dataset:
    """Return a log as one that a user would load; only the last observation of an episode is not that of a step."""

    def flat(part: np.ndarray) -> np.ndarray:
        return part.reshape(-1, *part.shape[2:])

    cut = np.zeros(log.action.shape, bool)
    cut[:, -1] = True
    data = Dataset.from_arrays(
        flat(log.state[:, :-1]).astype(np.float32), flat(log.action)[:, None].astype(np.float32), flat(log.reward),
        np.zeros(log.action.size, bool), timeouts=flat(cut), propensities=flat(log.density),
        next_observations=flat(log.state[:, 1:]).astype(np.float32),
    )  # fmt: skip
    return data.declare(reward_low=(0.0,), reward_high=(1.0,), horizon=cell.horizon, discount=1.0)


class Judged:
    """The judged policy as one that draws actions and knows their densities."""

    def __init__(self, world: World) -> None:
        self.world = world

    def sample(self, seen: np.ndarray, key: Any) -> np.ndarray:
        """Return an action at every observation."""
        middle = seen @ self.world.gain + self.world.offset
        return np.asarray(middle + self.world.judged * jax.random.normal(key, (len(seen),)))[:, None]

    def log_prob(self, seen: np.ndarray, action: np.ndarray) -> np.ndarray:
        """Return the logarithm of the density of actions."""
        return norm.logpdf(action[:, 0], seen @ self.world.gain + self.world.offset, self.world.judged)


def reach(cell: Cell, world: World, log: Log) -> float:
    """Return half the width of the doubly robust 95 % interval with the true values and densities."""
    total, weight = np.zeros(cell.episodes), np.ones(cell.episodes)
    for step in range(cell.horizon):
        state, action, left = log.state[:, step], log.action[:, step], cell.horizon - step - 1
        following = state @ world.move.T + np.outer(action, world.push)
        worth = pays(world, state, action) + value(world, following, left, NOISE**2 * np.eye(2))
        before = weight
        middle = state @ world.gain + world.offset
        weight = weight * norm.pdf(action, middle, world.judged) / log.density[:, step]
        total += before * value(world, state, left + 1) + weight * (log.reward[:, step] - worth)
    return 1.96 * float(total.std(ddof=1)) / cell.episodes**0.5


def replicate(cell: Cell, seed: int, repeats: int) -> dict[str, np.ndarray]:
    """Return, per replication, what was issued less the truth, and the yardstick."""
    count = feature_count(cell.episodes * cell.horizon)  # as `weft.answer` has it
    asked: Callable[..., Any] = jax.jit(lambda case, key: issue(case, key, LEVEL, count))
    rows = []
    for place in range(repeats):
        random = np.random.default_rng([seed, cell.episodes, cell.horizon, place])
        world = draw_world(cell, random)
        log, true = draw_log(cell, world, random), truth(cell, world)
        issued = jax.tree.map(np.asarray, asked(case_of(Judged(world), dataset(cell, log)), jax.random.key(0)))
        rows.append((issued.tier, issued.low - true, issued.high - true, reach(cell, world, log), issued.effective,
                     issued.passed))  # fmt: skip
    names = ("tier", "low", "high", "reach", "effective", "tests")
    return {name: np.array(part) for name, part in zip(names, zip(*rows, strict=True), strict=True)}


def main() -> None:
    """Run the cells, print and write them."""
    how = arguments(__doc__, 400, RESULTS).parse_args()
    before = results_so_far(how.out, how.resume)
    rows, began = before["cells"], time.process_time() - before["cpu_seconds"]
    for cell in CELLS:
        if any(row["cell"] == cell.name for row in rows):
            continue
        if how.cells and not any(word in cell.name for word in how.cells):
            continue
        rows.append(judge(cell, replicate(cell, how.seed, how.repeats)))
        print(json.dumps(rows[-1]), flush=True)
        left = [one.name for one in CELLS if all(row["cell"] != one.name for row in rows)]
        summary = {"cpu_seconds": round(time.process_time() - began), "failed": verdicts(rows), "left": left,
                   "cells": rows}  # fmt: skip
        how.out.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    print("\n".join(verdicts(rows)) or "every cell passes")


if __name__ == "__main__":
    main()
