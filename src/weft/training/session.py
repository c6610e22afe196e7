"""What training is, whoever acts: chunks, rows of metrics, checkpoints, resuming.

An `Engine` takes the runs of one compiled program from one step to another: on a log (`lesson`), on a log in workers
(`pool`), or acting (`engines`).
"""

import abc
import contextlib
import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from ..agents.algorithm import Algorithm, in_rewards
from ..core import interruption, pytree, storage
from ..core.progress import Silent, screen_of
from ..data.columns import Columns
from ..data.transforms import Transform
from ..data.units import REWARDS
from . import run_folder as folders
from .alarms import Watch, effective_steps, limits_of
from .options import Options
from .plan import Plan
from .record import agreed
from .run import Run, structure

__all__ = ["Engine", "Looks", "Make", "Row", "train_runs", "transformed"]

SHORT, LONG = 0.5, 1.5  # seconds that a compiled program may run before somebody looks
Row = dict[str, int | float]
Make = Callable[[int, list[Algorithm], list[int]], "Engine"]
"""Makes the engine of a group: of its number, and of the setting and the seed of each of its runs."""


class Engine(abc.ABC):
    """Runs of one compiled program on their way. Made without a state; then begun, or restored."""

    @abc.abstractmethod
    def begin(self) -> None:
        """Make the first states."""

    @abc.abstractmethod
    def restore(self, states: PyTree, read: Callable[[str, PyTree], PyTree]) -> None:
        """Take over states that were saved; `read(name, like)` returns an entry of what `others` gave then."""

    @abc.abstractmethod
    def advance(self, begin: int, end: int) -> list[Row]:
        """Take all runs from one step to another; return what was measured of each."""

    @property
    @abc.abstractmethod
    def states(self) -> PyTree:
        """The states of the methods, runs along the leading axis."""

    def others(self) -> dict[str, PyTree]:
        """Return what else is needed to go on bit for bit, by name (`ring`, `worlds`)."""
        return {}

    def before(self) -> list[Row] | None:
        """Return what is to be noted of the first states, before the first step."""
        return None

    def close(self) -> None:  # noqa: B027 (most have nothing to let go of)
        """Let go of what is open."""


class Looks:
    """Cuts spans of steps so that Python looks up about once a second, and a person can stop the runs.

    A compiled program cannot be interrupted. Lengths go by the time that the last took, which is why no bit of a run
    may depend on them. runs: how many are trained together.
    """

    def __init__(self, runs: int) -> None:
        self.first = self.length = max(64 // runs, 1)

    def __call__(self, begin: int, end: int, edge: int = 0) -> Iterator[tuple[int, int]]:
        """Yield the parts of a span, to be computed before the next is asked for.

        edge: a step from which on steps may take longer by far, so that it is gone about anew.
        """
        while begin < end:
            stop, started = min(begin + self.length, end, edge if begin < edge else end), time.monotonic()
            yield begin, stop
            interruption.heard()
            seconds = time.monotonic() - started
            if stop == edge:
                self.length = self.first
            elif seconds < SHORT and stop - begin == self.length:
                self.length *= 2
            elif seconds > LONG:
                self.length = max(self.length // 2, 1)
            begin = stop


def headline(run: Run) -> str:
    """Say what is about to be trained."""
    settings, seeds = len(run.settings), len(run.seeds)
    words = f"{_count(settings, 'setting')} × {_count(seeds, 'seed')}"
    programs, place = _count(len(run.groups), "program"), f", into {run.folder}" if run.folder else ""
    of = f"{_count(settings * seeds, 'run')} ({words}) in {programs}, {run.record['steps']:,} steps each"
    return f"{run.settings[0].title} on {run.record['data']['origin']}: {of}{place}."


def reward_scale(run: Run) -> Iterator[str]:
    """Yield in which scale the method sees rewards, where it is not that of the log."""
    unit, how = run.transform.reward_unit, run.record["units"].get("rewards")
    origin = run.record["data"]["origin"]
    if how is None and unit == 1.0 and run.spec.reward_low is None:
        yield f"The method sees rewards as they are: {origin} declares no range of them."
    elif unit != 1.0:
        what = "the largest size that the environment declares" if how is None else REWARDS[how]
        yield f"The method sees rewards divided by {unit:.4g}, {what}."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@jax.jit
def transformed(change: Transform, raw: Columns) -> Columns:
    """Return a log in the units of the method."""
    return change(raw)


def train_runs(
    run: Run, plan: Plan, options: Options, prepare: Callable[[], Make], sentences: Sequence[str] = ()
) -> None:
    """Train all runs of a record into its folder, which is checked, locked and made before anything is trained.

    `prepare()` is called once, after the record agrees with what is resumed, and returns what makes engines of settings
    and seeds. `sentences` are shown first.
    """
    with interruption.remembered(), screen_of(options.progress) as screen, contextlib.ExitStack() as stack:
        news, moved = _opened(run, options.resume, stack) if run.folder is not None else ([], [])
        for sentence in (headline(run), *reward_scale(run), *sentences, *news):
            screen.say(sentence)
        for sentence in moved:
            screen.warn(sentence)
        plan = dataclasses.replace(plan, log_every=run.record["log_every"], keep=run.record["keep"])
        try:
            make = prepare()
            for number in range(len(run.groups)):
                _train_group(run, plan, options, number, make, screen)
        except KeyboardInterrupt as stop:
            stop.add_note(_way_on(run))
            raise


def _way_on(run: Run) -> str:
    """Say what a person who stopped runs can do to go on with them."""
    if run.folder is None:
        return "The runs were stopped, and nothing is left of them; give out=FOLDER to be able to resume them."
    steps = [max(folders.kept_steps(run.folder, group), default=0) for group in range(len(run.groups))]
    words = " and ".join(f"{step:,}" for step in sorted(set(steps)))
    return f"The runs were stopped; the same call with resume=True goes on from step {words}, saved in {run.folder}."


def _opened(run: Run, resume: bool, stack: contextlib.ExitStack) -> tuple[list[str], list[str]]:
    """Make a run's folder ready, locked until `stack` is closed; return what `agreed` has to say."""
    folder = run.folder
    assert folder is not None
    agreed(run, folder, resume)  # before anything is written
    storage.make_folder(folder / folders.CHECKPOINTS)
    busy = f"{folder} is in use by another process; wait for it or choose another folder."
    stack.enter_context(storage.locked(folder / folders.LOCK, busy))
    news, moved = agreed(run, folder, resume)
    folders.tidy(folder)
    if not folders.holds_run(folder):
        storage.write_tree(folder / folders.TRANSFORM, run.transform, run=run.identity)
        storage.write_tree(folder / folders.EPISODES, run.trained_on.packed(), run=run.identity)
    elif (folder / folders.METRICS).exists():
        folders.replace_rows(folder, run.metrics)  # before the record says that every row has a checksum
    storage.write_record(folder / folders.RECORD, run.record)
    return news, moved


def _train_group(run: Run, plan: Plan, options: Options, number: int, make: Make, screen: Silent) -> None:
    """Train the runs of one compiled program to the end, or until they are hopeless if that is to stop them."""
    members = run.groups[number]
    pairs = [(pytree.as_arrays(run.settings[index]), seed) for index in members for seed in plan.seeds]
    engine = make(number, [setting for setting, _ in pairs], [seed for _, seed in pairs])
    with contextlib.closing(engine):
        start = _started(run, number, engine, screen)
        _drop_later_rows(run, number, start)
        if run.folder is not None:
            folders.forget(run.folder, number, plan.keep)  # what a kill left between a checkpoint and this
        place = f" {number + 1}/{len(run.groups)}" if len(run.groups) > 1 else ""
        screen.begin(f"{run.settings[0].name}{place}", start, plan.steps, len(pairs))
        _Group(run, plan, number, engine, screen, _watch(run, members)).train(start, options)


@dataclasses.dataclass(frozen=True)
class _Group:
    """The runs of one compiled program while they are trained: what moves them, who watches, where it is shown."""

    run: Run
    plan: Plan
    number: int
    engine: Engine
    screen: Silent
    watch: Watch

    def train(self, start: int, options: Options) -> None:
        """Go on from a step to the end, or, if the options say so, until no run has any hope."""
        saved, end, why = time.monotonic(), start, self._hopeless(start, options)
        if start == 0 and (first := self.engine.before()):
            self._note(self._rows(0, first), durable=False)
        for begin, end in _chunks(self.plan, start) if why is None else ():
            rows = self._rows(end, self._measured(begin, end))
            for sentence in self.watch.take(rows):
                self.screen.warn(sentence)
            why = self._hopeless(end, options)
            lasting = end in {*self.plan.keep, self.plan.steps} or why is not None
            due = lasting or time.monotonic() - saved >= options.checkpoint_seconds
            self._note(rows, durable=due)
            if due and self.run.folder is not None:
                self._checkpoint(self.run.folder, end)
                saved = time.monotonic()
            elif lasting and end < self.plan.steps:
                self.run.states[self.number][end] = pytree.host(self.engine.states)
            if why is not None:
                break
        self.run.states[self.number][end] = pytree.host(self.engine.states)
        self.run.others[self.number] = pytree.host(self.engine.others())
        if why is not None:
            self._stopped(end, why)

    def _hopeless(self, step: int, options: Options) -> str | None:
        """Return why to stop at a step before the last, where that was asked for."""
        return self.watch.hopeless() if options.stop_when_hopeless and step < self.plan.steps else None

    def _measured(self, begin: int, end: int) -> list[Row]:
        """Take all runs from one step to another, and show what was measured of them."""
        measures = self.engine.advance(begin, end)
        interruption.heard()
        self.screen.update(end, _means(measures))
        return measures

    def _rows(self, step: int, measures: list[Row]) -> list[dict[str, Any]]:
        places = [(setting, seed) for setting in self.run.groups[self.number] for seed in self.plan.seeds]
        return [
            {"step": step, "setting": setting, "seed": seed, **in_rewards(values, self.run.unit)}
            for (setting, seed), values in zip(places, measures, strict=True)
        ]

    def _note(self, rows: list[dict[str, Any]], durable: bool) -> None:
        self.run.metrics.extend(rows)
        if self.run.folder is not None:
            folders.append_rows(self.run.folder, rows, durable)

    def _checkpoint(self, folder: Path, step: int) -> None:
        """Write the states, after all that they need beside them, and forget the checkpoint before the last."""
        about: dict[str, Any] = {"run": self.run.identity, "step": step}
        for name, tree in self.engine.others().items():
            storage.write_tree(folders.other_path(folder, name, self.number, step), tree, **about)
        storage.write_tree(folders.checkpoint_path(folder, self.number, step), self.engine.states, **about)
        folders.forget(folder, self.number, self.plan.keep)

    def _stopped(self, step: int, why: str) -> None:
        """Keep in the record that and why the group was stopped early, and say so."""
        run = self.run
        stop = {"group": self.number, "settings": run.groups[self.number], "step": step, "reason": why}
        run.record.setdefault("stopped", []).append(stop)
        if run.folder is not None:
            storage.write_record(run.folder / folders.RECORD, run.record)
        self.screen.warn(f"Stopped at step {step:,} of {run.record['steps']:,}: {why}. The last states are kept.")


def _means(measures: list[Row]) -> Row:
    """Return the mean of every metric over the runs that have it: one that acts need not learn in every chunk."""
    names = dict.fromkeys(name for row in measures for name in row)
    return {name: float(np.mean([row[name] for row in measures if name in row])) for name in names}


def _started(run: Run, group: int, engine: Engine, screen: Silent) -> int:
    """Restore the last states that can be read, or make fresh ones if there are none; return their step."""
    folder, problems = run.folder, []
    like = structure(run.settings[run.groups[group][0]], run.transform.inner)
    for step, states in folders.last_states(folder, group, like, run.identity) if folder is not None else ():

        def read(name: str, tree: PyTree, step: int = step) -> PyTree:
            assert folder is not None  # these states were read from it
            path = folders.other_path(folder, name, group, step)
            return storage.read_tree(path, tree, run=run.identity, step=step)

        try:
            if isinstance(states, storage.DamagedFile):
                raise states
            engine.restore(states, read)
        except storage.DamagedFile as problem:
            problems.append(problem)
            continue
        for problem in problems:
            screen.say(str(problem))
        screen.say(f"Resuming at step {step:,}.")
        return step
    if problems:
        raise problems[0]
    engine.begin()
    return 0


def _watch(run: Run, members: list[int]) -> Watch:
    """Return the alarms of a group's runs, as they stand after the rows that a resumed run has."""
    places = [(setting, seed) for setting in members for seed in run.seeds]
    steps = [effective_steps(setting, run.spec) for setting in run.settings]
    gaps = run.record.get("smallest_gaps", [None] * len(steps))
    limits = [limits_of(setting, gap) for setting, gap in zip(run.settings, gaps, strict=True)]
    watch = Watch(places, run.record["largest_returns"], steps, limits, run.unit)
    watch.take(run.metrics)
    watch.said.clear()  # a person who resumes hears of it again
    return watch


def _chunks(plan: Plan, start: int) -> list[tuple[int, int]]:
    """Return the chunks to go: they end at logging steps, at steps to keep and at the end."""
    every = plan.log_every or plan.steps
    ends = {*range(every, plan.steps, every), *plan.keep, plan.steps}
    edges = [start, *sorted(end for end in ends if end > start)]
    return list(itertools.pairwise(edges))


def _drop_later_rows(run: Run, group: int, step: int) -> None:
    """Forget the metric rows of this group that come after its last checkpoint: they will be made again."""
    if run.folder is None or not (run.folder / folders.METRICS).exists():
        return
    members = run.groups[group]
    # before the first checkpoint not even step 0 counts: it is looked at again
    run.metrics[:] = [row for row in run.metrics if row["setting"] not in members or row["step"] <= (step or -1)]
    folders.replace_rows(run.folder, run.metrics)
