"""The demonstration: from a maze's log to six trained methods, what they believe, what they get, and a page of it.

The second act, what may be believed of a policy before anybody runs it, is `demonstration_trust`. Everything is small
(networks, batches, actions per state) so that two cores do all of it, compilation included, in three minutes at most.
"""

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..agents.algorithm import Algorithm
from ..agents.algorithms.bc import BC
from ..agents.algorithms.cql import CQL
from ..agents.algorithms.filtered_bc import FilteredBC
from ..agents.algorithms.iql import IQL
from ..agents.algorithms.one_step import OneStep
from ..agents.algorithms.sac import SAC
from ..core.compilation import keep_compiled_programs
from ..core.errors import UserError
from ..core.storage import make_folder
from ..core.tables import text_table
from ..data.dataset import Dataset
from ..data.load import load
from ..data.summary import inspect
from ..envs.rollout import collect
from ..envs.worlds.crossroads import COIN, Crossroads
from ..evaluation.estimate import estimate_fitted_q
from ..nn.multipliers import Fixed
from ..training.fit import fit
from ..training.run import Run
from . import demonstration_trust
from ._findings import Findings, Maze, Method
from ._study import title_of
from ._trust import Trust
from .chart import COLOURS
from .demo import DemoReport
from .report import Table

__all__ = ["demonstrate"]

WORLD = "crossroads"
COMMON: dict[str, Any] = {"hidden": (64, 64), "learning_rate": 1e-3}
BOOTSTRAPPED = {**COMMON, "target_rate": 0.05}
METHODS: dict[str, tuple[Algorithm, str]] = {
    "BC": (BC(**COMMON), "Imitates all that was logged."),
    "Filtered BC": (FilteredBC(fraction=0.1, **COMMON), "Imitates only the walks that paid best."),
    "One-step": (
        OneStep(inverse_temperature=20.0, **BOOTSTRAPPED),
        "Learns what states were worth to those who walked there, and imitates the actions that did better than that.",
    ),
    "IQL": (
        IQL(expectile=0.8, inverse_temperature=20.0, **BOOTSTRAPPED),
        "Learns what states are worth if the better logged actions follow, and imitates what did better than that.",
    ),
    "CQL": (
        CQL(
            weight=Fixed(0.1),
            temperature=Fixed(0.03),
            backup="plain",
            samples=3,
            actor_learning_rate=1e-3,
            **BOOTSTRAPPED,
        ),
        "Looks for the best action, but counts down the worth of actions that were not logged.",
    ),
    "Naive": (
        SAC(temperature=Fixed(0.01), **BOOTSTRAPPED),
        "Looks for the best action, logged or not, as one would with a simulator at hand.",
    ),
}
COLOUR = {
    "BC": COLOURS[4], "Filtered BC": COLOURS[3], "One-step": COLOURS[5], "IQL": COLOURS[0], "CQL": COLOURS[1],
    "Naive": COLOURS[2],
}  # fmt: skip
KEPT = 7  # states kept of every run, at growing distances
BATCH = 128
WALKS = 20  # of every kept policy
TRUE_WALKS = 100  # of the policies that are judged
REPLICATES = 10  # refits of the estimate
FITTING = 1500  # steps of every refit
LEVEL = 0.95


def demonstrate(
    out: str | Path = "report.html", seeds: int = 4, steps: int = 2500, seed: int = 0, progress: bool = True
) -> Path:
    """Make the log, train every method with several seeds, judge them, and write the page to `out`.

    `seed` is that of the log, of the first run and of the judging. With `progress` a line per stage and the final
    table are printed. Raises UserError for fewer than one seed or too few steps to look at, and where the page cannot
    be written.
    """
    if seeds < 1:
        raise UserError(f"The number of seeds must be at least 1, got {seeds}.")
    if steps < 2 * KEPT:
        raise UserError(f"The demonstration needs at least {2 * KEPT} training steps, got {steps}.")
    make_folder(Path(out).parent)  # better to fail now than when all is done
    keep_compiled_programs()
    clock = Stages(progress)
    with clock("make and inspect the log"):
        data = load(f"sample:{WORLD}", seed=seed)
        train, held_out = data.split((0.7, 0.3), seed=seed)
        facts = list(inspect(data).lines())
        clock.say(f"{data.episodes} walks, {data.steps:,} steps; {held_out.episodes} walks kept for judging")
    keep = sorted({int(step) for step in np.geomspace(steps / 20, steps, KEPT).round()})
    runs, numbers = {}, list(range(seed, seed + seeds))
    for name, (method, _) in METHODS.items():
        with clock(f"train {name} × {seeds}"):
            runs[name] = fit(
                method, train, steps, numbers, keep=keep, batch_size=BATCH, log_every=steps, rewards="none"
            )
    with clock("ask for beliefs and walk the maze"):
        watched = {name: _watch(run, seed) for name, run in runs.items()}
    estimates = {}
    with clock("estimate values from the log alone"):
        starts = _from_start(held_out)
        for name, run in runs.items():
            estimates[name] = estimate_fitted_q(
                run.policy(), held_out, starts=starts, replicates=REPLICATES, level=LEVEL, seed=seed, steps=FITTING
            )
    methods = []
    for name, (_, idea) in METHODS.items():
        estimate, seconds = estimates[name], clock.seconds[f"train {name} × {seeds}"]
        answer = {"estimated": estimate.value, "low": estimate.low, "high": estimate.high}
        methods.append(Method(name, idea, COLOUR[name], keep, seconds=seconds, **answer, **watched[name]))
    trust = _second_act(clock, seed)
    findings = Findings(
        maze=_maze(),
        logged=_paths(data),
        from_start=_from_start(data),
        reached=_arrived(data),
        steps_logged=data.steps,
        held_out=held_out.episodes,
        methods=methods,
        seeds=seeds,
        steps=steps,
        discount=data.spec.discount or 0.99,
        most=1.0,
        level=LEVEL,
        replicates=REPLICATES,
        walks=TRUE_WALKS,
        facts=facts,
        versions=next(iter(runs.values())).record["versions"],
        stages=[*clock.seconds.items()],
        trust=trust,
    )
    path = DemoReport(findings).write(out)
    clock.close(findings, path)
    return path


def _second_act(clock: "Stages", seed: int) -> Trust:
    """Study a notification log, test the decision, and put both rules to many logs."""
    with clock("study a notification log and test the decision on fresh users"):
        trust = demonstration_trust.certified(seed)
        clock.say(title_of(trust.decision))
    rules = []
    for kind in demonstration_trust.KINDS:
        with clock(f"ask {demonstration_trust.LOGS} logs of {kind.name[:1].lower()}{kind.name[1:]}"):
            rules.append(demonstration_trust.count(kind, seed))
    return dataclasses.replace(trust, rules=tuple(rules))


class Stages:
    """Takes the seconds of every stage, by its name, and prints a line of it if `loud`."""

    def __init__(self, loud: bool) -> None:
        self.loud, self.began, self.note = loud, time.monotonic(), ""
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        begun, self.note = time.monotonic(), ""
        yield
        self.seconds[name] = time.monotonic() - begun
        if self.loud:
            print(f"{self.seconds[name]:6.1f} s  {name}" + (f": {self.note}" if self.note else ""), flush=True)

    def say(self, note: str) -> None:
        """Add to the line of the current stage."""
        self.note = note

    def close(self, findings: Findings, path: Path) -> None:
        """Print the total, the final table and where the page is."""
        if not self.loud:
            return
        print(f"{time.monotonic() - self.began:6.1f} s  in all\n")
        _show(DemoReport(findings).outcome())
        if findings.trust is not None:
            print(f"\n{findings.trust.lead()}\n")
            _show(findings.trust.outcome())
        print("\nOpen", path)


def _show(table: Table) -> None:
    print(text_table((table.head, *table.rows), figures=True))


def _watch(run: Run, seed: int) -> dict[str, Any]:
    """Return what every kept policy of a run believes and gets from the maze's start, and where the last ones go."""
    steps, seeds = run.steps, range(len(run.seeds))
    discount = float(run.settings[0].__dict__.get("discount", 0.99))
    believed, gets = np.full((2, len(steps), len(run.seeds)), np.nan)
    success, paths = np.zeros(len(run.seeds)), []
    for row, step in enumerate(steps):
        for place in seeds:
            walks = collect(run.policy(place, step=step), WORLD, WALKS, seed=seed, greedy=True)
            gets[row, place] = discounted(walks, discount)
            belief = _belief(run, place, step, walks.first_observations)
            believed[row, place] = np.nan if belief is None else belief
            if step == steps[-1]:
                success[place] = _arrived(walks).mean()
                paths += _paths(walks)[: max(2, 12 // len(run.seeds))]
    true = discounted(collect(run.policy(0), WORLD, TRUE_WALKS, seed=seed, greedy=True), discount)
    certain = None if np.isnan(believed).all() else believed
    return {"believed": certain, "gets": gets, "success": success, "paths": paths, "true": true}


def _belief(run: Run, place: int, step: int, observations: np.ndarray) -> float | None:
    state = run.state(0, place, step)
    value = _believed(run.settings[0], state, run.transform, jnp.asarray(observations))
    return None if value is None else float(value) * run.transform.reward_unit


@jax.jit
def _believed(setting: Algorithm, state: Any, transform: Any, observations: jax.Array) -> jax.Array | None:
    values = setting.value(state, transform.observe(observations), jax.random.key(0))
    return None if values is None else values.mean()


def discounted(walks: Dataset, discount: float) -> float:
    """Return the mean discounted return of a log's episodes."""
    ages = np.concatenate([np.arange(length) for length in walks.lengths])
    return float((walks.rewards * discount**ages).sum() / walks.episodes)


def _arrived(walks: Dataset) -> np.ndarray:
    """Return for every episode whether it came to the goal: it alone pays 1."""
    return walks.returns >= 1.0


def _paths(walks: Dataset) -> list[np.ndarray]:
    return [np.asarray(walks.episode(number).observations) for number in range(walks.episodes)]


def _maze() -> Maze:
    """Return what is drawn of the world."""
    plan = np.array([[character != "#" for character in row] for row in Crossroads.plan])
    above, below, right = (0, -1), (0, 1), (1, 0)
    first, other, last = (corners[0] for corners in Crossroads.corners)
    places = {"S": (first, above), "G": (Crossroads.goal, above), "C": (COIN, below)}
    places |= {"E": (other, above), "F": (last, right)}
    return Maze(WORLD, Crossroads().coin, plan, places, ("E", "F"))


def _from_start(walks: Dataset) -> np.ndarray:
    """Return for every logged walk whether it began at the start, as those that come to the coin do."""
    return walks.units("route") == "coin"
