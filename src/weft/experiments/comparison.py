"""What a benchmark compares: methods and tasks by name, checked before anything is written, and their protocol."""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..agents.algorithm import Algorithm, describe
from ..agents.door import check_reach, check_same, limits_of
from ..core.errors import UserError
from ..core.pytree import replace, require
from ..data.dataset import Dataset
from ..data.load import load
from ..data.units import action_reach, check_units
from ..deployment.decision import plain
from ..envs import environment as worlds
from ..envs.environment import Environment
from ..envs.gymnasium_adapter import check_form
from ..envs.rollout import simulator_of
from ..training.options import Options
from ..training.plan import plan_of, whole
from .benchmark_files import slug
from .candidates import instance

__all__ = ["Comparison", "Protocol", "Task", "environment_name", "protocol_of", "refusal"]

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


def protocol_of(
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
class Comparison:
    """What a benchmark compares: methods and tasks by name, all under one protocol."""

    methods: dict[str, Algorithm]
    tasks: dict[str, Task]
    protocol: Protocol

    @classmethod
    def of(cls, algorithms: Any, tasks: Any, batch_size: Any, protocol: Protocol) -> "Comparison":
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
                if not refusal(method, task.data):
                    plan_of([method], task.data.spec, Options(self.protocol.steps, seeds, keep=self.protocol.moments))

    def request(self) -> dict[str, Any]:
        """Return what a folder is compared with before it is gone on with, as JSON has it."""
        return plain({
            "protocol": dataclasses.asdict(self.protocol),
            "methods": {label: describe(method) for label, method in self.methods.items()},
            "tasks": {name: {"data": _source(task.data), "environment": environment_name(task.environment),
                             "reference": task.reference} for name, task in self.tasks.items()},
        })  # fmt: skip


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


def refusal(method: Algorithm, data: Dataset) -> str:
    """Say why a method cannot learn from a log; nothing where it can."""
    try:
        method.check(data.spec)
        method.check_rows(data.actions, data.rewards, data.unit_count)
    except UserError as problem:
        return str(problem)
    return "" if "log" in method.learns_from else f"{method.title} learns from what it just did itself, not from a log."


def environment_name(world: Any) -> str:
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
