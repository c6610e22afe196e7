"""Runs on a log spread over the cores of this machine: every run alone, on one thread, in one of several workers.

For programs of the usual sizes, two processes with one thread each do far more than one with two. Whether runs are
computed like this goes by the size of the problem alone (`apart`), is written into the record, and is kept when they
are resumed: so the bits of a run depend neither on how many cores there are nor on how busy they are. The workers write
nothing: they are an engine like any other, and rows, checkpoints and alarms are their parent's.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from ..agents.algorithm import Algorithm, describe, rebuild
from ..core import pytree
from ..core.errors import UserError
from ..data.spec import Spec
from ._messages import receive, send
from ._shared_log import written
from .lesson import Lesson
from .record import cores
from .run import structure
from .session import Engine, Row

__all__ = ["Pooled", "apart"]

WORTH = 2e12
"""The work, in numbers of the state × steps of a batch × updates, that is worth some seconds in which workers start:
about half a minute of IQL on one core."""

CONFIG = (
    "jax_compilation_cache_dir", "jax_debug_nans", "jax_default_matmul_precision", "jax_default_prng_impl",
    "jax_disable_jit", "jax_enable_x64", "jax_numpy_dtype_promotion", "jax_numpy_rank_promotion",
    "jax_persistent_cache_min_compile_time_secs", "jax_persistent_cache_min_entry_size_bytes",
    "jax_threefry_partitionable",
)  # fmt: skip
"""What a program means beside its text, and where compiled ones are kept: workers have it as their parent."""


def apart(settings: Sequence[Algorithm], seeds: int, steps: int, spec: Spec) -> bool:
    """Say whether runs are computed each alone in workers, by the size of the problem and nothing else.

    spec: the form of the log in the units of the method. One run has nothing to be beside. Methods that are not weft's
    own, and systems that cannot hand an open file to another process, have no workers.
    """
    if len(settings) * seeds < 2 or os.name != "posix" or jax.default_backend() != "cpu" or not sys.executable:
        return False
    if not all(map(_portable, settings)):
        return False
    groups, work = pytree.groups([pytree.as_arrays(setting) for setting in settings]), 0.0
    for members in groups:
        leaves = jax.tree.leaves(structure(settings[members[0]], spec))
        numbers = sum(int(np.prod(leaf.shape, dtype=np.int64)) for leaf in leaves)
        batch = getattr(settings[members[0]].sampler, "batch_size", 1)
        work += float(numbers) * batch * steps * seeds * len(members)
    return work / len(groups) >= WORTH


def _portable(setting: Algorithm) -> bool:
    """Say whether another process can make the same instance of its description."""
    modules = [setting, *(getattr(setting, name) for name in type(setting).__dataclass_fields__)]
    if not all(type(part).__module__.startswith(("weft.", "builtins", "numpy", "jax")) for part in modules):
        return False
    try:
        again = rebuild(describe(setting))
    except UserError:
        return False
    one, two = pytree.as_arrays(setting), pytree.as_arrays(again)
    same = jax.tree.structure(one) == jax.tree.structure(two)
    return same and all(map(np.array_equal, jax.tree.leaves(one), jax.tree.leaves(two)))


class Pooled(Engine):
    """Runs in workers, which are started when they are needed, and end with this."""

    def __init__(self, settings: list[Algorithm], seeds: list[int], lesson: Lesson) -> None:
        self.count = len(seeds)
        runs = [
            [place, describe(setting), seed] for place, (setting, seed) in enumerate(zip(settings, seeds, strict=True))
        ]
        self.like = structure(settings[0], lesson.spec)
        self.workers: list[_Hand] = []
        file, log = written(lesson.columns)
        job = {"spec": lesson.spec.to_json(), "steps": lesson.steps, "planned": lesson.planned, "log": log}
        job["config"] = {name: getattr(jax.config, name) for name in CONFIG if hasattr(jax.config, name)}
        hands = min(cores(), self.count)
        try:
            with file:
                self.workers += [_Hand(file.fileno()) for _ in range(hands)]
            for number, worker in enumerate(self.workers):
                worker.tell({**job, "runs": runs[number::hands]})
        except BaseException:
            self.close()
            raise

    def begin(self) -> None:
        self._all("begin")

    def restore(self, states: PyTree, read: Callable[[str, PyTree], PyTree]) -> None:
        del read
        leaves = jax.tree.leaves(pytree.host(states))
        for number, worker in enumerate(self.workers):
            own = range(number, self.count, len(self.workers))
            parts = {f"{place}/{index:05d}": leaf[place] for place in own for index, leaf in enumerate(leaves)}
            worker.tell({"do": "restore"}, {name: part[None] for name, part in parts.items()})
        for worker in self.workers:
            worker.answer()

    def advance(self, begin: int, end: int) -> list[Row]:
        rows: dict[str, Row] = {}
        for head, _ in self._all("advance", begin=begin, end=end):
            rows |= head["rows"]
        return [rows[str(place)] for place in range(self.count)]

    @property
    def states(self) -> PyTree:
        parts: dict[str, np.ndarray] = {}
        for _, leaves in self._all("states"):
            parts |= leaves
        count = jax.tree.structure(self.like).num_leaves
        every = [
            np.concatenate([parts[f"{place}/{number:05d}"] for place in range(self.count)]) for number in range(count)
        ]
        return jax.tree.unflatten(jax.tree.structure(self.like), every)

    def close(self) -> None:
        for worker in self.workers:
            worker.end()

    def _all(self, what: str, **more: int) -> list[tuple[dict[str, Any], dict[str, np.ndarray]]]:
        """Ask all workers for one thing, and wait for all."""
        for worker in self.workers:
            worker.tell({"do": what, **more})
        return [worker.answer() for worker in self.workers]


class _Hand:
    """One worker process, as its parent sees it."""

    def __init__(self, log: int) -> None:
        self.errors: Any = tempfile.TemporaryFile()  # noqa: SIM115 (closed in `end`)
        root = str(Path(__file__).parents[2])
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        # XLA takes the size of its pool of threads from NPROC; it can be told only before it starts
        environment = {**os.environ, "NPROC": "1", "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(paths)}
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", f"{__package__}._worker", str(log)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, env=environment, pass_fds=[log],
            start_new_session=True,  # Ctrl-C is its parent's
        )  # fmt: skip

    def tell(self, head: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> None:
        """Ask for something; what it says to that is `answer`."""
        assert self.process.stdin is not None
        try:
            send(self.process.stdin, head, arrays)
        except BrokenPipeError:
            raise self._gone() from None

    def answer(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Wait for an answer. Raises UserError where the method refused or the process died."""
        assert self.process.stdout is not None
        try:
            head, arrays = receive(self.process.stdout)
        except EOFError:
            raise self._gone() from None
        if "refused" in head:
            raise UserError(head["refused"])
        if "failed" in head:
            raise RuntimeError(f"A worker failed:\n{head['failed']}")
        return head, arrays

    def _gone(self) -> UserError:
        """Return the sentence about a worker that is no more."""
        code = self.process.wait()
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        why = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        hint = " (perhaps for want of memory)" if code == -signal.SIGKILL else ""
        last = f" Its last words: {lines[-1]}" if lines else ""
        return UserError(f"A worker that trained some of the runs has died, {why}{hint}; resume them.{last}")

    def end(self) -> None:
        """End the process, whatever it does; it holds nothing that is not its parent's."""
        with contextlib.suppress(OSError):
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.errors):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
