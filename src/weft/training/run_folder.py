"""What lies where in a run's folder, who may write there, and what is kept.

`run.json`, `transform.safetensors`, `episodes.safetensors` (fingerprints of the log), `metrics.jsonl` (one row per
logged step, setting and seed, each with a checksum over all before it) and `checkpoints/` (one file per compiled
program and step: the last two and those asked for; beside the last two of an online run what it collected and where its
worlds stand). A row of metrics is appended before the checkpoint that follows it, so that rows past the last checkpoint
are the only thing that a killed process leaves over.
"""

import json
import os
import re
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from jaxtyping import PyTree

from ..core import storage
from ..core.errors import UserError
from ..core.files import regular

__all__ = [
    "append_rows",
    "check_free",
    "checkpoint_path",
    "difference",
    "forget",
    "kept_steps",
    "last_states",
    "other_path",
    "read_rows",
    "replace_rows",
    "tidy",
]

CHECKPOINTS = "checkpoints"
RECORD, TRANSFORM, METRICS, LOCK = "run.json", "transform.safetensors", "metrics.jsonl", ".lock"
EPISODES = "episodes.safetensors"
CHECK = b', "check": "'
SEALED = re.compile(rb"(.*)%b([0-9a-f]{8})\"\}" % CHECK)
NUMBER = re.compile(r"group-(\d+)-step-(\d+)\.safetensors")


def holds_run(folder: Path) -> bool:
    """Say whether a folder holds a run, or what is left of one."""
    return (folder / RECORD).exists()


def check_free(folder: Path) -> None:
    """Raise UserError unless a new run may begin in a folder: it is not there, empty, or an interrupted start."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; choose a folder for the run.")
    if holds_run(folder):
        raise UserError(
            f"{folder} already holds a run; continue it with resume=True (--resume) or choose another folder."
        )
    for path in folder.iterdir() if folder.exists() else ():
        if path.name not in (TRANSFORM, EPISODES, CHECKPOINTS) and not path.name.startswith("."):
            raise UserError(f"{folder} is not empty and holds no run ({path.name}); choose another folder.")


def checkpoint_path(folder: Path, group: int, step: int) -> Path:
    """Return the file of one group's states at a step."""
    return folder / CHECKPOINTS / f"group-{group}-step-{step:09d}.safetensors"


def other_path(folder: Path, name: str, group: int, step: int) -> Path:
    """Return the file of what an online run needs beside its states to go on from a step (`ring`, `worlds`)."""
    return folder / CHECKPOINTS / f"{name}-{group}-step-{step:09d}.safetensors"


def kept_steps(folder: Path | None, group: int) -> list[int]:
    """Return the steps of a group's checkpoints, ascending."""
    if folder is None or not (folder / CHECKPOINTS).is_dir():
        return []
    matches = (NUMBER.fullmatch(path.name) for path in (folder / CHECKPOINTS).iterdir())
    return sorted(int(match[2]) for match in matches if match and int(match[1]) == group)


def last_states(folder: Path, group: int, like: PyTree, run: str) -> Iterator[tuple[int, PyTree | storage.DamagedFile]]:
    """Yield the checkpoints of a group, the last first: their step and their states, or why they cannot be read.

    run: the name of the run that they must be of (`Run.identity`).
    """
    for step in reversed(kept_steps(folder, group)):
        try:
            yield step, storage.read_tree(checkpoint_path(folder, group, step), like, run=run, step=step)
        except storage.DamagedFile as problem:
            yield step, problem


def forget(folder: Path, group: int, keep: Collection[int]) -> None:
    """Delete all checkpoints of a group but the last two and those to keep, which need no more than their states."""
    steps = kept_steps(folder, group)
    for step in steps[:-2]:
        if step not in keep:
            checkpoint_path(folder, group, step).unlink(missing_ok=True)
    for name in ("ring", "worlds"):  # by their own names: a kill can leave some whose states were not written
        last = {other_path(folder, name, group, step) for step in steps[-2:]}
        for path in set((folder / CHECKPOINTS).glob(f"{name}-{group}-step-*.safetensors")) - last:
            path.unlink(missing_ok=True)


def tidy(folder: Path) -> None:
    """Delete the half-written files that a killed process left; only for who holds the folder's lock."""
    for place in (folder, folder / CHECKPOINTS):
        for path in place.glob(".*.part"):
            path.unlink(missing_ok=True)


def append_rows(folder: Path, rows: list[dict[str, Any]], durable: bool) -> None:
    """Append rows of metrics; `durable` before a checkpoint that counts on them."""
    path, before = folder / METRICS, 0
    if path.exists() and path.stat().st_size:
        with open(path, "rb") as file:
            file.seek(-len('01234567"}\n'), os.SEEK_END)
            before = int(file.read(8), 16)
    storage.append_lines(path, _lines(rows, before), durable)


def read_rows(folder: Path, sealed: bool = True) -> list[dict[str, Any]]:
    """Return the rows of metrics; a torn last line, which a killed process leaves, is dropped.

    sealed: whether every line must have its checksum, which runs of the first format lack. Raises DamagedFile, naming
    the line, where the file is not what was written.
    """
    path, rows, before = folder / METRICS, [], 0
    if not path.exists():
        return rows
    *lines, last = regular(path).read_bytes().split(b"\n")
    sealed = sealed or CHECK in (lines[0] if lines else last)
    for number, line in enumerate([*lines, last]):
        match = SEALED.fullmatch(line)
        body = b"%b}" % match[1] if sealed and match else line
        try:
            if sealed and (not match or int(match[2], 16) != (before := zlib.crc32(body, before))):
                raise ValueError
            rows.append(dict(storage.parsed(body)))
        except (ValueError, TypeError):
            if number == len(lines) and b"}" not in line:
                break
            raise storage.DamagedFile(
                f"{path} is damaged in line {number + 1}; restore it from a copy, or delete it and do without what was "
                "measured (the states of the run do not depend on it)."
            ) from None
    return rows


def replace_rows(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Write all rows of metrics anew."""
    storage.write_bytes(folder / METRICS, "".join(line + "\n" for line in _lines(rows, 0)).encode())


def _lines(rows: list[dict[str, Any]], before: int) -> list[str]:
    """Return rows as lines, each with a checksum over it and all before it."""
    lines = []
    for row in rows:
        line = json.dumps(row)
        before = zlib.crc32(line.encode(), before)
        lines.append(f'{line[:-1]}{CHECK.decode()}{before:08x}"}}')
    return lines


def difference(then: Any, now: Any) -> str:
    """Name the first place where two records differ, and both values there."""
    place = ""
    while parts := _parts(then, now):
        step, then, now = next(part for part in parts if part[1] != part[2])
        place += step if place else step.removeprefix(".")
    return f"{place + ': ' if place else ''}{_short(then)} then, {_short(now)} now"


def _parts(then: Any, now: Any) -> list[tuple[str, Any, Any]]:
    """Return what two values of one form are made of: the way to each part, and both parts. Others have none."""
    if isinstance(then, dict) and isinstance(now, dict) and then.keys() == now.keys():
        return [(f".{key}", then[key], now[key]) for key in then]
    if isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        alone = len(then) == 1  # a list of one names no place
        return [("" if alone else f"[{index}]", *pair) for index, pair in enumerate(zip(then, now, strict=True))]
    return []


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 80 else text[:77] + "…"
