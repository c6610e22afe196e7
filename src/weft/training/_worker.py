"""A worker: a process that trains some runs of a group, each alone and on one thread, as its parent tells it to.

`python -m weft.training._worker FILE` is started by `pool` with a file descriptor that holds the log in the units of
the method. It writes no file. It ends when its parent does, however that ends.
"""

import json
import os
import sys
import threading
import time
import traceback
from typing import Any, BinaryIO

import jax

from ..agents.algorithm import rebuild
from ..core import pytree
from ..core.compilation import keep_compiled_programs
from ..core.errors import UserError
from ..data.spec import Spec
from ._messages import receive, send
from ._shared_log import mapped
from .lesson import Lesson, Logged
from .run import structure


class Worker:
    """The runs of one worker, by their place in the group."""

    def __init__(self, job: dict[str, Any], columns: Any) -> None:
        spec = Spec.from_json(job["spec"])
        lesson = Lesson(columns, spec, job["steps"], job["planned"])
        self.runs: dict[str, Logged] = {}
        for place, described, seed in job["runs"]:
            setting = pytree.as_arrays(rebuild(described))
            self.runs[str(place)] = Logged([setting], [seed], lesson, "sequential")
        self.like = structure(rebuild(job["runs"][0][1]), spec)

    def begin(self, arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Make the first states."""
        del arrays
        for run in self.runs.values():
            run.begin()
        return {}, {}

    def restore(self, arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Take over states."""
        for place, run in self.runs.items():
            leaves = [jax.numpy.array(arrays[name]) for name in sorted(arrays) if name.startswith(f"{place}/")]
            run.restore(jax.tree.unflatten(jax.tree.structure(self.like), leaves), lambda name, like: like)
        return {}, {}

    def advance(self, arrays: dict[str, Any], begin: int, end: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Take the runs from one step to another."""
        del arrays
        return {"rows": {place: run.advance(begin, end)[0] for place, run in self.runs.items()}}, {}

    def states(self, arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the states."""
        del arrays
        leaves = {
            f"{place}/{number:05d}": leaf
            for place, run in self.runs.items()
            for number, leaf in enumerate(jax.tree.leaves(pytree.host(run.states)))
        }
        return {}, leaves


def serve(inward: BinaryIO, outward: BinaryIO, file: int) -> None:
    """Do what the parent asks for, until it says no more."""
    job, _ = receive(inward)
    for name, value in job["config"].items():
        jax.config.update(name, value)
    keep_compiled_programs()
    worker = Worker(job, mapped(file, job["log"]))
    while True:
        try:
            order, arrays = receive(inward)
        except EOFError:
            return
        try:
            head, leaves = getattr(worker, order.pop("do"))(arrays, **order)
        except UserError as problem:
            head, leaves = {"refused": str(problem)}, {}
        except Exception:
            head, leaves = {"failed": traceback.format_exc()}, {}
        send(outward, head, leaves)


def _die_with(parent: int) -> None:
    """End this process when its parent is gone: amid a long span nothing is read from the pipe."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def main() -> None:
    """Serve over standard input and output; what else is printed goes to standard error."""
    inward, outward = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    threading.Thread(target=_die_with, args=(os.getppid(),), daemon=True).start()
    try:
        serve(inward, outward, int(json.loads(sys.argv[1])))
    except (BrokenPipeError, EOFError):
        os._exit(1)


if __name__ == "__main__":
    main()
