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
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..agents.algorithm import Algorithm
from ..core import storage
from ..core.errors import UserError
from ..core.progress import Progress, Silent
from ..core.pytree import require
from ..envs import environment as worlds
from ..envs.environment import Environment
from ..envs.gymnasium_adapter import simulator_versions
from ..envs.rollout import rollout
from ..training.fit import fit
from ..training.plan import seeds_of
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
from .comparison import Comparison, Protocol, Task, environment_name, protocol_of, refusal

__all__ = ["benchmark"]

RUNS = "runs"


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
    protocol = protocol_of(steps, every, episodes, observations, rewards, reward_shift, stack)
    numbers = seeds_of(seeds)
    comparison = Comparison.of(algorithms, tasks, batch_size, protocol)
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
        if missing and (why := refusal(self.method, self.task.data)):
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
        return {**run.record["versions"], **({} if ours else simulator_versions(environment_name(world)))}

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


def _sentence(problem: Exception) -> str:
    """Return what went wrong in one line."""
    words = (str(problem).strip() or "no reason was given").split("\n")[0][:300]
    return words if isinstance(problem, UserError) else f"{type(problem).__name__}: {words}"
