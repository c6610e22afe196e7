"""What training is whoever acts: checked arguments, the run's record, chunks, rows of metrics, checkpoints, resuming.

An `Engine` takes the runs of one compiled program from one step to another: on a log (`fit`), or acting (`online`).
"""

import abc
import contextlib
import dataclasses
import itertools
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from ..agents.algorithm import Algorithm, describe
from ..core import pytree, storage
from ..core.errors import UserError
from ..core.progress import Progress, Silent
from ..data.columns import Columns
from ..data.dataset import Dataset
from ..data.spec import Spec
from ..data.transforms import Transform
from . import loop as train
from . import run_folder as folders
from .alarms import Watch, effective_steps, limits_of
from .plan import Plan
from .run import Run, load_run, structure

__all__ = [
    "Engine",
    "record_of",
    "source_of",
    "train_runs",
    "transformed",
]

Row = dict[str, float]


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


def record_of(plan: Plan, spec: Spec, source: dict[str, Any], units: dict[str, Any]) -> dict[str, Any]:
    """Return a new run's record. `source` says what it learns from (origin, fingerprint, steps, episodes, notes)."""
    return {
        "format": storage.FORMAT,
        "settings": [describe(setting) for setting in plan.settings],
        "seeds": plan.seeds,
        "steps": plan.steps,
        "keep": plan.keep,
        "log_every": plan.log_every or max(1, plan.steps // 100),
        "units": units,
        "data": source,
        "spec": json.loads(spec.to_json()),
        "computed": _computed(),
        "versions": {name: version(name) for name in ("weft", "jax", "equinox", "optax", "numpy")},
    }


def _computed() -> dict[str, Any]:
    """Return what decides the bits of a run beside versions: larger sums are split by threads, and by processor."""
    known = hasattr(os, "sched_getaffinity")
    return {
        "mapping": train.mapping(),
        "device": str(jax.devices()[0].device_kind),
        "processor": _processor(),
        "threads": len(os.sched_getaffinity(0)) if known else os.cpu_count(),
        "flags": os.environ.get("XLA_FLAGS", ""),
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def headline(run: Run) -> str:
    """Say what is about to be trained."""
    settings, seeds = len(run.settings), len(run.seeds)
    words = f"{_count(settings, 'setting')} × {_count(seeds, 'seed')}"
    programs, place = _count(len(run.groups), "program"), f", into {run.folder}" if run.folder else ""
    of = f"{_count(settings * seeds, 'run')} ({words}) in {programs}, {run.record['steps']:,} steps each"
    return f"{run.settings[0].title} on {run.record['data']['origin']}: {of}{place}."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def agreed(run: Run, folder: Path, resume: bool) -> tuple[list[str], list[str]]:
    """Check that a run may begin or go on in a folder, and take over what resuming must not change.

    Returns what the person should know, and what nobody should miss. Nothing is written. Raises UserError that names
    what differs.
    """
    if not (resume and (folder / folders.RECORD).exists()):
        folders.check_free(folder)
        return ([f"There is nothing to resume in {folder}: starting at step 0."] if resume else []), []
    old = load_run(folder)
    new, was = run.record, old.record
    parts = ("settings", "seeds", "units", "spec", "online")
    pairs = {"data": (new["data"]["fingerprint"], was["data"]["fingerprint"])}
    pairs |= {part: (new.get(part), was.get(part)) for part in parts}
    pairs["spec"] = _as_then(new["spec"], was["spec"]), was["spec"]
    for what, (now, then) in pairs.items():
        if now != then:
            raise UserError(f"{folder} cannot be resumed: its {what} differ ({folders.difference(then, now)}).")
    if new["steps"] < was["steps"]:
        raise UserError(f"{folder} was planned for {was['steps']} steps; resume it with at least as many.")
    said = []
    if new["steps"] > was["steps"]:
        said.append(f"Extended from {was['steps']:,} to {new['steps']:,} steps; schedules go by the new total.")
    here = {"versions": new["versions"], "computed": _computed()}  # not the record's: it holds how the run began
    moved = _moved(was, here)
    run.transform = old.transform
    run.metrics[:] = old.metrics
    # how runs are mapped stays as it was; rows of metrics keep their distance
    ended = [*was.get("extended_from", []), *([was["steps"]] if new["steps"] > was["steps"] else [])]
    run.record = {**new, "computed": was["computed"], "log_every": was["log_every"], "extended_from": ended}
    resumed = was.get("resumed_on", [])
    if resumed := [*resumed, *([here] if moved and here not in resumed else [])]:
        run.record["resumed_on"] = resumed
    run.record["keep"] = sorted({*was["keep"], *new["keep"], *ended})  # what was kept for good stays
    return said, moved


def _moved(was: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """Say what is another than when a run began and may change its bits."""
    pairs = [(name, was[part], value) for part in here for name, value in here[part].items()]
    changed = [f"{name} ({then[name]} then, {now} now)" for name, then, now in pairs if then.get(name, now) != now]
    unknown = [name for name, then, _ in pairs if name not in then]
    words = []
    if changed:
        words.append(f"This run began with another {', '.join(changed)}; its bits may differ from here on.")
    if unknown:
        words.append(f"This run does not say with which {', '.join(unknown)} it began; if others, its bits may differ.")
    return words


def _as_then(spec: dict[str, Any], then: dict[str, Any]) -> dict[str, Any]:
    """Return a spec's record without the names of columns where an older weft wrote none."""
    spec = json.loads(json.dumps(spec))
    parts, olds = ([*found["observations"], found["action"]] for found in (spec, then))
    for part, old in zip(parts, olds, strict=False):
        if "names" not in old:
            part.pop("names", None)
        elif not old["names"]:
            part["names"] = old["names"]
    return spec


def source_of(data: Dataset) -> dict[str, Any]:
    """Return what a record says of a log."""
    return {
        "origin": data.origin,
        "fingerprint": data.fingerprint,
        "steps": data.steps,
        "episodes": data.episodes,
        "notes": list(data.notes),
    }


@jax.jit
def transformed(change: Transform, raw: Columns) -> Columns:
    """Return a log in the units of the method."""
    return change(raw)


def train_runs(
    run: Run,
    plan: Plan,
    prepare: Callable[[], Callable[[int, list[Algorithm], list[int]], Engine]],
    said: Sequence[str],
    resume: bool,
    progress: bool,
    checkpoint_seconds: float,
    stop_when_hopeless: bool,
) -> None:
    """Train all runs of a record into its folder, which is checked, locked and made before anything is trained.

    `prepare()` is called once, after the record agrees with what is resumed, and returns what makes engines of settings
    and seeds. `said` are sentences to show first.
    """
    folder = run.folder
    with Progress() if progress else Silent() as shown, contextlib.ExitStack() as stack:
        more, moved = [], []
        if folder is not None:
            agreed(run, folder, resume)  # before anything is written
            storage.make_folder(folder / folders.CHECKPOINTS)
            busy = f"{folder} is in use by another process; wait for it or choose another folder."
            stack.enter_context(storage.locked(folder / folders.LOCK, busy))
            more, moved = agreed(run, folder, resume)
            folders.tidy(folder)
            if not (folder / folders.RECORD).exists():
                storage.write_tree(folder / folders.TRANSFORM, run.transform, run=run.identity)
                storage.write_tree(folder / folders.EPISODES, run.trained_on.packed(), run=run.identity)
            elif (folder / folders.METRICS).exists():
                folders.replace_rows(folder, run.metrics)  # before the record says that every row has a checksum
            storage.write_record(folder / folders.RECORD, run.record)
        for sentence in (headline(run), *said, *more):
            shown.say(sentence)
        for sentence in moved:
            shown.warn(sentence)
        make = prepare()
        plan = dataclasses.replace(plan, log_every=run.record["log_every"], keep=run.record["keep"])
        for group in range(len(run.groups)):
            train_group(run, plan, group, make, checkpoint_seconds, shown, stop_when_hopeless)


def train_group(
    run: Run,
    plan: Plan,
    group: int,
    make: Callable[[int, list[Algorithm], list[int]], Engine],
    checkpoint_seconds: float,
    shown: Silent,
    stop: bool,
) -> None:
    """Train the runs of one compiled program to the end, or until they are hopeless if `stop`.

    `make(group, settings, seeds)` returns the engine of a group, for runs of these settings and seeds.
    """
    members = run.groups[group]
    chosen = [(pytree.as_arrays(run.settings[index]), seed) for index in members for seed in plan.seeds]
    engine = make(group, [setting for setting, _ in chosen], [seed for _, seed in chosen])
    with contextlib.closing(engine):
        start = _started(run, group, engine, shown)
        _drop_later_rows(run, group, start)
        if run.folder is not None:
            folders.forget(run.folder, group, plan.keep)  # what a kill left between a checkpoint and this
        place = f" {group + 1}/{len(run.groups)}" if len(run.groups) > 1 else ""
        shown.begin(f"{run.settings[0].name}{place}", start, plan.steps, len(chosen))
        watch = _watch(run, members)
        _train(run, plan, group, engine, start, watch, checkpoint_seconds, shown, stop)


def _train(
    run: Run, plan: Plan, group: int, engine: Engine, start: int, watch: Watch, checkpoint_seconds: float,
    shown: Silent, stop: bool,
) -> None:  # fmt: skip
    why = watch.hopeless() if stop and start < plan.steps else None
    end, saved = start, time.monotonic()
    if start == 0 and (first := engine.before()):
        _note(run, _rows(run, group, plan, 0, first), durable=False)
    for begin, end in _chunks(plan, start) if why is None else ():
        found = engine.advance(begin, end)
        rows = _rows(run, group, plan, end, found)
        shown.update(end, _means(found))
        for sentence in watch.take(rows):
            shown.warn(sentence)
        why = watch.hopeless() if stop and end < plan.steps else None
        kept = end in plan.keep or end == plan.steps or why is not None
        due = kept or time.monotonic() - saved >= checkpoint_seconds
        _note(run, rows, durable=due)
        if run.folder is not None:
            if due:
                about: dict[str, Any] = {"run": run.identity, "step": end}
                for name, tree in engine.others().items():
                    storage.write_tree(folders.other_path(run.folder, name, group, end), tree, **about)
                storage.write_tree(folders.checkpoint_path(run.folder, group, end), engine.states, **about)
                folders.forget(run.folder, group, plan.keep)
                saved = time.monotonic()
        elif kept and end < plan.steps:
            run.states[group][end] = pytree.host(engine.states)
        if why is not None:
            break
    run.states[group][end] = pytree.host(engine.states)
    run.others[group] = pytree.host(engine.others())
    if why is not None:
        _stopped(run, group, end, why, shown)


def _means(found: list[Row]) -> Row:
    """Return the mean of every metric over the runs that have it: one that acts need not learn in every chunk."""
    names = dict.fromkeys(name for row in found for name in row)
    return {name: float(np.mean([row[name] for row in found if name in row])) for name in names}


def _note(run: Run, rows: list[dict[str, Any]], durable: bool) -> None:
    run.metrics.extend(rows)
    if run.folder is not None:
        folders.append_rows(run.folder, rows, durable)


def _started(run: Run, group: int, engine: Engine, shown: Silent) -> int:
    """Restore the last states that can be read, or make fresh ones if there are none; return their step."""
    if run.folder is not None:
        folder = run.folder
        like = structure(run.settings[run.groups[group][0]], run.transform.inner)
        problems = []
        for step, found in folders.last_states(folder, group, like, run.identity):
            try:
                if isinstance(found, storage.DamagedFile):
                    raise found
                engine.restore(
                    found,
                    lambda name, tree, step=step: storage.read_tree(
                        folders.other_path(folder, name, group, step), tree, run=run.identity, step=step
                    ),
                )
            except storage.DamagedFile as problem:
                problems.append(problem)
                continue
            for problem in problems:
                shown.say(str(problem))
            shown.say(f"Resuming at step {step:,}.")
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
    watch = Watch(places, run.record["largest_returns"], steps, limits)
    watch.take(run.metrics)
    watch.said.clear()  # a person who resumes hears of it again
    return watch


def _stopped(run: Run, group: int, step: int, why: str, shown: Silent) -> None:
    """Keep in the record that and why a group was stopped early, and say so."""
    found = {"group": group, "settings": run.groups[group], "step": step, "reason": why}
    run.record.setdefault("stopped", []).append(found)
    if run.folder is not None:
        storage.write_record(run.folder / folders.RECORD, run.record)
    shown.warn(f"Stopped at step {step:,} of {run.record['steps']:,}: {why}. The last states are kept.")


def _chunks(plan: Plan, start: int) -> list[tuple[int, int]]:
    """Return the chunks to go: they end at logging steps, at steps to keep and at the end."""
    every = plan.log_every or plan.steps
    ends = {*range(every, plan.steps, every), *plan.keep, plan.steps}
    edges = [start, *sorted(end for end in ends if end > start)]
    return list(itertools.pairwise(edges))


def _rows(run: Run, group: int, plan: Plan, step: int, found: list[Row]) -> list[dict[str, Any]]:
    places = [(setting, seed) for setting in run.groups[group] for seed in plan.seeds]
    return [
        {"step": step, "setting": setting, "seed": seed, **values}
        for (setting, seed), values in zip(places, found, strict=True)
    ]


def _drop_later_rows(run: Run, group: int, step: int) -> None:
    """Forget the metric rows of this group that come after its last checkpoint: they will be made again."""
    if run.folder is None or not (run.folder / folders.METRICS).exists():
        return
    members = run.groups[group]
    # before the first checkpoint not even step 0 counts: it is looked at again
    run.metrics[:] = [row for row in run.metrics if row["setting"] not in members or row["step"] <= (step or -1)]
    folders.replace_rows(run.folder, run.metrics)
