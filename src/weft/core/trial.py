"""A first reading of a file in a child process, before this process reads it with the same library.

On damaged files polars can abort the process, libhdf5 can loop for ever, and both can unpack a few bytes into any
amount of memory; nothing of this can be caught. A child that does the same reading under limits of memory and time can
be lost. What passes once is remembered for as long as the file stays as it is.
"""

import importlib
import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from .errors import UserError
from .memory import Allowance

__all__ = ["expect", "main", "trial"]

CODE = (
    "import json, sys; job = json.loads(sys.argv[1]); sys.path[:] = job['path']; "
    f"from {__name__} import main; main(job)"
)
ROOM = 768 * 2**20  # bytes of a child for its libraries
SECONDS = 10.0  # of computing, for a child that is told to expect nothing
PACE = 20e6  # bytes that a child reads in a second of computing at the least
WAIT = 10  # seconds that may pass for one of computing: a disk can be slow
ABSURD = 2**46  # bytes that no log can be meant to take

passed: dict[tuple[Any, ...], int] = {}


def trial(path: Path, reader: str, allowance: Allowance, content: io.BytesIO | None = None) -> int:
    """Read a file in a child process and return how many bytes its reader says that it takes.

    reader: `module:function`; the function takes the source (the path, or `content` in its place) and an allowance.
    Raises UserError where the child does, dies, takes too much memory, or does not come to an end.
    """
    about = path.stat()
    key = (reader, about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns)
    if key not in passed:
        passed[key] = _asked(path, reader, allowance, content)
    return passed[key]


def _asked(path: Path, reader: str, allowance: Allowance, content: io.BytesIO | None) -> int:
    here = str(Path(__file__).resolve().parents[2])  # where this weft lies
    job = {
        "path": [here, *(str(Path(place).absolute()) for place in sys.path if place != here)],
        "reader": reader,
        "file": str(path),
        "content": content is not None,
        "seconds": SECONDS,
        "allowance": [allowance.size, allowance.free, allowance.gigabytes, allowance.taken],
    }
    threads = str(min(os.cpu_count() or 1, 4))
    few = {"POLARS_MAX_THREADS": threads, "OPENBLAS_NUM_THREADS": "1", "RUST_BACKTRACE": "0"}
    limit = WAIT * (SECONDS + allowance.most / PACE)
    with tempfile.TemporaryFile() as words:
        try:
            child = subprocess.run(
                [sys.executable, "-S", "-c", CODE, json.dumps(job)],
                input=b"" if content is None else content.getbuffer(),
                stdout=subprocess.PIPE,
                stderr=words,
                env={**os.environ, **few},
                timeout=limit,
                check=False,
            )
            code, said = child.returncode, child.stdout
        except subprocess.TimeoutExpired:
            code, said = -signal.SIGXCPU, b""
        except OSError as problem:
            raise UserError(f"{path}: no process can be started to read the file in ({problem}).") from None
        words.seek(max(words.tell() - 4000, 0))
        last = words.read(4000).decode("utf-8", "replace")
    answer = json.loads(said) if said and code == 0 else {}
    if "bytes" in answer:
        return answer["bytes"]
    raise UserError(answer.get("refused") or f"{path}: {_reason(code, last)}; fetch the file again.")


def _reason(code: int, words: str) -> str:
    """Return why a child died without an answer."""
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return "reading it does not come to an end, so it is damaged"
    request = re.search(r"memory allocation of (\d+) bytes failed", words)
    if request and int(request[1]) > ABSURD:
        return "it is damaged: it asks for more memory than any machine has"
    if request or "MemoryError" in words:
        return "reading it takes more memory than the log may take (gigabytes=NUMBER allows more), or it is damaged"
    if code >= 0 and words.strip():
        return f"it cannot be read ({words.strip().splitlines()[-1]})"
    return "reading it crashes the library that reads such files, so it is damaged"


def expect(size: int) -> None:
    """Allow this child the time to read so many bytes more; without effect in any other process."""
    if limits:
        limits[0] += size / PACE
        resource.setrlimit(resource.RLIMIT_CPU, (int(limits[0]) + 1, resource.RLIM_INFINITY))


limits: list[float] = []  # seconds that this process may compute, where it is a child


def main(job: dict[str, Any]) -> None:
    """Do what a child is for: read one file and write `{"bytes": …}` or `{"refused": sentence}`."""
    answers = os.dup(1)
    os.dup2(2, 1)  # whatever libraries print is no answer
    path = Path(job["file"])
    size, free, gigabytes, taken = job["allowance"]
    allowance = Allowance(path, size, free, gigabytes, taken)
    _limit(resource.RLIMIT_DATA, ROOM + 2 * allowance.most)
    _limit(resource.RLIMIT_CORE, 0)
    if resource.getrlimit(resource.RLIMIT_CPU)[1] == resource.RLIM_INFINITY:
        limits.append(job["seconds"])
        expect(size)
    source: Any = io.BytesIO(sys.stdin.buffer.read()) if job["content"] else path
    module, _, name = job["reader"].partition(":")
    try:
        answer: dict[str, Any] = {"bytes": getattr(importlib.import_module(module), name)(source, allowance)}
    except UserError as problem:
        answer = {"refused": str(problem)}
    os.write(answers, json.dumps(answer).encode())
    os._exit(0)  # nothing is left to be torn down, which could crash, too


def _limit(what: int, most: int) -> None:
    """Lower a limit of this process, where the system lets it."""
    hard = resource.getrlimit(what)[1]
    try:
        resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    except (OSError, ValueError):
        return
