"""Compare methods: algorithms × data sets × seeds, trained on logs, measured by acting, one file of results per run.

A task is a log and the environment in which what was learned from it acts. All seeds of a method on a task are trained
as one compiled program. At every moment of the protocol the policy plays the same greedy episodes: the curve. Its last
point and its highest are kept apart everywhere, see `weft.experiments.benchmark_files`.

The same call skips what is done, goes on with what was killed, and tries again what failed; one with more methods,
tasks or seeds adds to the folder. A folder holds one protocol.
"""

import contextlib
import dataclasses
import itertools
import re
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..agents.algorithm import Algorithm, describe
from ..agents.door import check_reach, check_same, limits_of
from ..core import storage
from ..core.errors import UserError
from ..core.progress import Progress, Silent
from ..core.pytree import replace, require
from ..data.dataset import Dataset
from ..data.load import load
from ..data.units import action_reach, check_units
from ..deployment.decision import plain
from ..envs import environment as worlds
from ..envs.environment import Environment
from ..envs.gymnasium_adapter import check_form, simulator_versions
from ..envs.rollout import rollout, simulator_of
from ..training.fit import fit
from ..training.options import Options
from ..training.plan import plan_of, seeds_of, whole
from ..training.run import Run
from ..training.run_folder import RECORD as RUN_RECORD
from ..training.run_folder import holds_run
from .benchmark_files import (
    DONE,
    FAILED,
    LOCK,
    RECORD,
    SKIPPED,
    Benchmark,
    agreed,
    cell_path,
    load_benchmark,
    read_cell,
    rescore,
    slug,
    write_cell,
)
from .candidates import instance

__all__ = ["Protocol", "Task", "benchmark"]

RUNS = "runs"
FIRST_EPISODE = 1000  # episode i of every measurement resets with this plus i


@dataclasses.dataclass(frozen=True)
class Task:
    """A log, the environment in which policies act, and the returns that count as 0 and as 100 (None: raw returns)."""

    data: Dataset
    environment: Any
    reference: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How all runs of a benchmark are trained and measured; the names are those of `benchmark` and `weft.fit`."""

    steps: int
    every: int
    episodes: int
    observations: str = "standardise"
    rewards: str = "size"
    reward_shift: float = 0.0
    stack: int = 1
    first_episode: int = FIRST_EPISODE

    @property
    def moments(self) -> list[int]:
        """The steps at which policies are measured, the last included."""
        return [*range(self.every, self.steps, self.every), self.steps]


def benchmark(
    algorithms: Sequence[str | Algorithm] | Mapping[str, str | Algorithm],
    tasks: Mapping[str, Task | tuple[Any, ...]],
    out: str | Path,
    *,
    steps: int = 100_000,
    every: int | None = None,
    episodes: int = 20,
    seeds: int | Sequence[int] = 5,
    batch_size: int | None = None,
    observations: str = "standardise",
    rewards: str = "size",
    reward_shift: float = 0.0,
    stack: int = 1,
    keep_runs: bool = False,
    progress: bool = False,
) -> Benchmark:
    """Train every method with every seed on every task, measure it as it learns, and return all results of the folder.

    algorithms: names or instances; as a mapping, by the names that they are to have (several settings of one method
    are otherwise told apart by what differs). tasks: by name a `Task`, or `(data, environment)` or `(data, environment,
    (low, high))`, where data may be anything that `weft.load` takes and low and high are the returns that count as 0
    and as 100. every: steps between measurements (a tenth of all by default), so many states of all seeds lie on the
    disk until a method is measured. episodes: greedy ones per measurement, the same for all. keep_runs: leave the
    checkpoints. The rest is as for `weft.fit`, the same for all methods.

    A method that cannot learn from a log is skipped, and one that fails does not stop the others: both leave a cell
    that says why. Raises UserError, before anything is written, for an unknown method, arguments that cannot be, an
    environment that does not fit its log, and a folder of another benchmark.
    """
    protocol = _protocol(steps, every, episodes, observations, rewards, reward_shift, stack)
    numbers = seeds_of(seeds)
    comparison = _Comparison.of(algorithms, tasks, batch_size, protocol)
    comparison.check(numbers)
    folder, request = Path(out), comparison.request()
    agreed(folder, request)  # before anything is written
    storage.make_folder(folder)
    with storage.locked(folder / LOCK, f"{folder} is in use by another process; wait for it or choose another folder."):
        record = agreed(folder, request)
        storage.write_record(folder / RECORD, record)
        console = Progress() if progress else Silent()
        for name, task in comparison.tasks.items():
            rescore(folder, name, record["tasks"][name]["reference"])
            for label, method in comparison.methods.items():
                pair = _Pair(folder, label, method, name, task, protocol, record, console)
                pair.fill(numbers, progress, keep_runs)
    return load_benchmark(folder)


def _protocol(
    steps: Any, every: Any, episodes: Any, observations: str, rewards: str, reward_shift: float, stack: int
) -> Protocol:
    """Return a checked protocol."""
    steps = whole(steps, "The number of steps")
    every = max(1, steps // 10) if every is None else whole(every, "The distance of measurements in steps")
    episodes = whole(episodes, "The number of episodes")
    require(1 <= every <= steps, f"Policies are measured every 1 to {steps} steps, got {every}.")
    require(episodes >= 1, f"A measurement needs at least one episode, got {episodes}.")
    check_units(observations, rewards, reward_shift)
    return Protocol(steps, every, episodes, observations, rewards, reward_shift, stack)


@dataclasses.dataclass(frozen=True)
class _Comparison:
    """What a benchmark compares: methods and tasks by name, all under one protocol."""

    methods: dict[str, Algorithm]
    tasks: dict[str, Task]
    protocol: Protocol

    @classmethod
    def of(cls, algorithms: Any, tasks: Any, batch_size: Any, protocol: Protocol) -> "_Comparison":
        """Return the comparison with its logs loaded, as it was asked for."""
        methods = _methods(algorithms)
        words = "The tasks of a benchmark are a dictionary, {name: (data, environment)}"
        require(isinstance(tasks, Mapping), f"{words}, got an object of type {type(tasks).__name__}.")
        require(bool(methods) and bool(tasks), "A benchmark needs at least one method and one task.")
        _check_names([*methods], "methods")
        _check_names([*tasks], "tasks")
        if batch_size is not None:
            size = whole(batch_size, "The batch size")
            methods = {label: replace(method, "sampler.batch_size", size) for label, method in methods.items()}
        return cls(methods, {name: _task(name, parts) for name, parts in tasks.items()}, protocol)

    def check(self, seeds: list[int]) -> None:
        """Raise UserError for an environment that does not fit its log, and for what training would refuse."""
        for name, task in self.tasks.items():
            _check_world(name, task)
            for method in self.methods.values():
                if not _refusal(method, task.data):
                    plan_of([method], task.data.spec, Options(self.protocol.steps, seeds, keep=self.protocol.moments))

    def request(self) -> dict[str, Any]:
        """Return what a folder is compared with before it is gone on with, as JSON has it."""
        return plain({
            "protocol": dataclasses.asdict(self.protocol),
            "methods": {label: describe(method) for label, method in self.methods.items()},
            "tasks": {name: {"data": _source(task.data), "environment": _environment_name(task.environment),
                             "reference": task.reference} for name, task in self.tasks.items()},
        })  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _Pair:
    """A method on a task: trains its seeds together and writes their cells."""

    folder: Path
    label: str
    method: Algorithm
    name: str
    task: Task
    protocol: Protocol
    record: Mapping[str, Any]
    console: Silent

    def fill(self, seeds: Sequence[int], progress: bool, keep_runs: bool) -> None:
        """Write the cells of all seeds that are not done."""
        missing = [seed for seed in seeds if not self._done(seed)]
        if missing and (why := _refusal(self.method, self.task.data)):
            for seed in missing:
                self._write(seed, SKIPPED, why)
            self.console.say(f"{self.label} on {self.name}: skipped. {why}")
            return
        root = self.folder / RUNS / slug(self.name) / slug(self.label)
        for place in root.glob("*"):
            if not holds_run(place):  # its start or its deletion was killed
                shutil.rmtree(place, ignore_errors=True)
        for place, trained, wanted in _places(root, missing):
            self._train(place, trained, wanted, progress)
        for place in root.glob("*") if not keep_runs else ():
            if (trained := _trained(place)) and all(map(self._done, trained)):
                (place / RUN_RECORD).unlink()  # first, so that what a kill leaves is no run
                shutil.rmtree(place, ignore_errors=True)
        for empty in (root, root.parent, root.parent.parent):
            with contextlib.suppress(OSError):
                empty.rmdir()

    def _train(self, place: Path, trained: list[int], wanted: list[int], progress: bool) -> None:
        """Train a run, or go on with it, and measure the seeds that are wanted; a failure is written down."""
        began, resumed, how = time.monotonic(), holds_run(place), self.protocol
        try:
            run = fit(
                self.method, self.task.data, how.steps, trained, place, resume=resumed, progress=progress,
                observations=how.observations, rewards=how.rewards, reward_shift=how.reward_shift, stack=how.stack,
                keep=how.moments,
            )  # fmt: skip
        except Exception as problem:
            for seed in wanted:
                self._write(seed, FAILED, _sentence(problem))
            self.console.warn(f"{self.label} on {self.name}: failed. {_sentence(problem)}")
            return
        seconds = {"training": round(time.monotonic() - began, 2), "trained_together": len(trained), "resumed": resumed}
        for seed in wanted:
            self._measure(run, seed, seconds)

    def _measure(self, run: Run, seed: int, seconds: dict[str, Any]) -> None:
        """Let one seed's policies act, and write its cell."""
        began, curve, why = time.monotonic(), [], ""
        for step in self.protocol.moments:
            try:
                policy = run.policy(run.seeds.index(seed), step=step)
                how = self.task.environment, self.protocol.episodes, self.protocol.first_episode
                returns = rollout(policy, *how)
                require(bool(np.isfinite(returns).all()), "A return is not finite.")
            except Exception as problem:
                why = f"At step {step:,}: {_sentence(problem)}"
                break
            spread = float(returns.std(ddof=1)) if len(returns) > 1 else None
            curve.append({"step": step, "return": float(returns.mean()), "deviation": spread, "episodes": len(returns)})
        more = {
            "settings": run.record["settings"][0], "curve": curve, "versions": self._versions(run),
            "device": run.record["computed"]["device"],
            "seconds": {**seconds, "measuring": round(time.monotonic() - began, 2)},
        }  # fmt: skip
        self._write(seed, FAILED if why else DONE, why, **more)
        outcome = f"failed. {why}" if why else f"final return {curve[-1]['return']:.4g}"
        self.console.say(f"{self.label} on {self.name}, seed {seed}: {outcome}")

    def _versions(self, run: Run) -> dict[str, str]:
        """Return the versions that decide what happens, those of a simulator included."""
        world = self.task.environment
        ours = isinstance(world, Environment) or (isinstance(world, str) and worlds.known(world))
        return {**run.record["versions"], **({} if ours else simulator_versions(_environment_name(world)))}

    def _write(self, seed: int, status: str, why: str = "", **more: Any) -> None:
        about = {
            "method": self.label, "task": self.name, "seed": seed, "status": status, "why": why,
            "settings": self.record["methods"][self.label], **self.record["tasks"][self.name],
            "protocol": self.record["protocol"], "curve": [],
        }  # fmt: skip
        write_cell(self.folder, {**about, **more})

    def _done(self, seed: int) -> bool:
        path = cell_path(self.folder, self.name, self.label, seed)
        return path.exists() and read_cell(path).status == DONE


def _places(root: Path, missing: Sequence[int]) -> list[tuple[Path, list[int], list[int]]]:
    """Say where seeds are trained: folder, the seeds trained there, and which of them are wanted."""
    left, places = list(missing), []
    for place in sorted(root.glob("*")):
        trained = _trained(place)
        if wanted := [seed for seed in left if seed in trained]:
            places.append((place, trained, wanted))
        left = [seed for seed in left if seed not in trained]
    if left:
        free = next(number for number in itertools.count() if not holds_run(root / str(number)))
        places.append((root / str(free), left, left))
    return places


def _trained(place: Path) -> list[int]:
    """Return the seeds of a run's folder."""
    return list(storage.read_record(place / RUN_RECORD)["seeds"]) if holds_run(place) else []


# --- arguments ----------------------------------------------------------------------------------------------------


def _methods(algorithms: Any) -> dict[str, Algorithm]:
    """Return instances by the names that they have in the results."""
    several = isinstance(algorithms, Iterable) and not isinstance(algorithms, str)
    require(several, f"A benchmark compares several methods: give a list, [{algorithms!r}].")
    if isinstance(algorithms, Mapping):
        return {str(label): instance(method, "A benchmark") for label, method in algorithms.items()}
    methods = [instance(method, "A benchmark") for method in algorithms]
    labels = [_label(method, [other for other in methods if other.name == method.name]) for method in methods]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    require(not twice, f"The method {', '.join(twice)} is given twice with the same settings.")
    return dict(zip(labels, methods, strict=True))


def _label(method: Algorithm, like: Sequence[Algorithm]) -> str:
    """Name a method by its file and what differs between settings of it."""
    flat = [dict(_flat(describe(other))) for other in like]
    own = dict(_flat(describe(method)))
    differing = [name for name, value in own.items() if any(other.get(name, value) != value for other in flat)]
    return " ".join([method.name, *(f"{name}={_word(own[name])}" for name in differing)])


def _flat(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return settings with those of nested modules, by dotted name."""
    pairs = []
    for name, value in settings.items():
        pairs += _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]
    return pairs


def _word(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _task(name: str, parts: Any) -> Task:
    """Return a checked task; what is no data set is loaded."""
    if not isinstance(parts, Task):
        fits = isinstance(parts, tuple) and len(parts) in (2, 3)
        require(fits, f"The task '{name}' is (data, environment) or (data, environment, (low, high)).")
        parts = Task(*parts)
    data = parts.data if isinstance(parts.data, Dataset) else load(parts.data)
    reference = parts.reference
    if reference is not None:
        try:
            low, high = map(float, reference)
        except (TypeError, ValueError):
            raise UserError(f"The reference of '{name}' is two returns, (low, high), got {reference!r}.") from None
        fits = bool(np.isfinite([low, high]).all()) and low < high
        require(fits, f"The reference of '{name}' goes from a lower to a higher return, got {low:g} and {high:g}.")
        reference = low, high
    return Task(data, parts.environment, reference)


def _check_names(names: list[str], what: str) -> None:
    """Raise UserError for names that would be one folder."""
    seen: dict[str, str] = {}
    for name in names:
        short = slug(name).lower()
        require(bool(short), f"'{name}' is no name for one of the {what}; use letters and digits.")
        require(short not in seen, f"'{seen.get(short)}' and '{name}' are too much alike as names of {what}.")
        seen[short] = name


def _check_world(name: str, task: Task) -> None:
    """Raise UserError where policies learned from a log could not act in its environment."""
    source = task.environment
    ours = isinstance(source, str) and worlds.known(source)
    world = worlds.environment(source) if ours else source
    world = world if isinstance(world, Environment) else simulator_of(world)
    reach = action_reach(task.data)
    try:
        if isinstance(world, Environment):
            check_same(task.data.spec, world.spec, worlds.name_of(world))
            check_reach(reach, limits_of(world.spec.action), worlds.name_of(world))
        else:
            check_form(task.data.spec, world, reach)
    except UserError as problem:
        raise UserError(f"The environment of '{name}' does not fit its log: {problem}") from None


def _refusal(method: Algorithm, data: Dataset) -> str:
    """Say why a method cannot learn from a log; nothing where it can."""
    try:
        method.check(data.spec)
    except UserError as problem:
        return str(problem)
    return "" if "log" in method.learns_from else f"{method.title} learns from what it just did itself, not from a log."


def _environment_name(world: Any) -> str:
    """Name an environment with the fields that are not its defaults."""
    if isinstance(world, str):
        return world
    if not isinstance(world, Environment):
        return simulator_of(world).name
    fields = [(field.name, field.default) for field in dataclasses.fields(world)]  # type: ignore[arg-type]
    changes = [f"{name}={getattr(world, name)}" for name, own in fields if repr(getattr(world, name)) != repr(own)]
    return worlds.name_of(world) + (":" + ",".join(changes) if changes else "")


def _source(data: Dataset) -> dict[str, Any]:
    """Say which log it is, without the folder that it lay in."""
    origin = data.origin if re.match(r"[\w-]+:[^/\\]", data.origin) else Path(data.origin).name
    return {"origin": origin, "fingerprint": data.fingerprint, "steps": data.steps, "episodes": data.episodes}


def _sentence(problem: Exception) -> str:
    """Return what went wrong in one line."""
    words = (str(problem).strip() or "no reason was given").split("\n")[0][:300]
    return words if isinstance(problem, UserError) else f"{type(problem).__name__}: {words}"
