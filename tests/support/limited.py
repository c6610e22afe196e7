"""Run a command with limits of time and memory: `python limited.py SECONDS MEGABYTES FILE COMMAND …`.

A process of its own, because the peak that the system reports for a child is at least what its parent held when it was
started: pytest with JAX holds several hundred megabytes, this file ten. The command's words go where this one's go;
`{"seconds", "peak", "code", "late"}` goes into FILE. Seconds are those of the processor, so that they and the limit do
not depend on what else the machine does; a command that waits for ever is stopped after PATIENCE times as many.
"""

import json
import math
import os
import resource
import signal
import sys
from pathlib import Path

MEGABYTE = 2**20
PATIENCE = 6


def main(seconds: float, megabytes: int, file: Path, command: list[str]) -> None:
    """Run the command in a process group of its own, which ends with it."""
    child = os.fork()
    if child == 0:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_DATA, (megabytes * MEGABYTE, megabytes * MEGABYTE))
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(seconds), math.ceil(seconds)))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.execvp(command[0], command)
    late = False

    def stop(*_: object) -> None:
        nonlocal late
        late = True
        os.killpg(child, signal.SIGKILL)

    def give_up(*_: object) -> None:
        os.killpg(child, signal.SIGKILL)
        sys.exit("stopped from outside")

    signal.signal(signal.SIGALRM, stop)
    signal.signal(signal.SIGTERM, give_up)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE * seconds)
    _, status, usage = os.wait4(child, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    code, seconds_used = os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime
    figures = {
        "seconds": round(seconds_used, 1),
        "peak": round(usage.ru_maxrss * 1024 / MEGABYTE),
        "code": code,
        "late": late or (code in (-signal.SIGXCPU, -signal.SIGKILL) and seconds_used > 0.95 * seconds),
    }
    file.write_text(json.dumps(figures), encoding="utf-8")


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
