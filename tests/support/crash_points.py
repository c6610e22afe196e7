"""Every state that a killed process, or a machine without power, can leave a folder in, and what comes of each.

`record` runs a command once, undisturbed, and keeps the content of its folder at every effect on the file system, one
replacement, deletion or flush at a time. `points` makes states of these:

    killed      the content between two effects
    torn        the same, but what was written since the effect before ends anywhere
    lost        what is on the disk for certain: contents that were flushed, under names whose folder was flushed
    mixed       of every file either what was written or what is on the disk for certain

`endure` restores each into the same folder, runs the command again, and says what is not as if nothing had happened.
A folder counts as being on the disk as soon as something in it is, as file systems with a journal have it.
"""

import contextlib
import dataclasses
import functools
import itertools
import json
import os
import random
import shutil
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load as load_tensors

__all__ = ["Moment", "Point", "Scenario", "endure", "points", "read", "record", "restore", "twice", "whole"]

Tree = dict[str, bytes | None]  # the content of every file by its path below the root; None is a folder
EFFECTS = ("replace", "rename", "unlink", "remove", "rmdir", "mkdir", "fsync")
VOLATILE = {"seconds", "moment", "checksum", "digest"}  # in JSON: what is not the same twice, or follows from it
NEVER_EXTENDED = ("extended_from", [])  # what the record of a resumed run says, and that of another leaves out


@dataclasses.dataclass(frozen=True)
class Moment:
    """A folder just before an effect: its content, what it was after the effect before, what is on the disk, and which
    new names (with their old ones) are not.
    """

    effect: str
    tree: Tree
    before: Tree
    disk: Tree
    moved: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Point:
    """A state to go on from, and in words how it came about."""

    title: str
    tree: Tree


@dataclasses.dataclass(frozen=True)
class Scenario:
    """A command and what it must leave. All take the root folder, in which the command works.

    command: is run, killed, and run again in the same words. prepare: makes what is there before the command begins.
    figures: what else of its result must be the same, by name. later: what is run after the kill, if that differs.
    ignored: says of a path that it may differ.
    """

    command: Callable[[Path], Any]
    prepare: Callable[[Path], None] = lambda root: None
    figures: Callable[[Any], dict[str, Any]] = lambda result: {}
    later: Callable[[Path], Any] | None = None
    ignored: Callable[[str], bool] = lambda path: False

    def again(self, root: Path) -> Any:
        """Run what is run after a kill."""
        return (self.later or self.command)(root)

    def outcome(self, root: Path, result: Any) -> dict[str, Any]:
        """Return all that must be the same however often the command was killed, by name."""
        found = {path: _plain(path, content) for path, content in read(root).items() if Path(path).name != ".lock"}
        last = root / "ledger" / "ledger.last"
        if last.exists():  # a moment is in every line's checksum
            lines = (root / "ledger" / "ledger.jsonl").read_text().splitlines()
            found["ledger/ledger.last"] = json.loads(lines[-1])["checksum"] == last.read_text()
        found = {path: content for path, content in found.items() if not self.ignored(path)}
        return {**found, **{f"result: {name}": value for name, value in self.figures(result).items()}}


def _plain(path: str, content: bytes | None) -> Any:
    """Return a file's content without moments and durations."""
    if content is None:
        return None
    if path.endswith("run.json"):
        return {name: part for name, part in _steady(json.loads(content)).items() if (name, part) != NEVER_EXTENDED}
    if "/worlds-" in path:  # counts are kept in whatever size of whole numbers they came in
        numbers = {name: part.astype(np.result_type(part, np.int64)) for name, part in load_tensors(content).items()}
        return {name: (part.shape, part.tobytes()) for name, part in numbers.items()}
    if path.endswith(".json"):
        return _steady(json.loads(content))
    if path.endswith("ledger.jsonl"):
        return [_steady(json.loads(line)) for line in content.splitlines()]
    return content


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _steady(part) for name, part in value.items() if name not in VOLATILE}
    return [_steady(part) for part in value] if isinstance(value, list) else value


# --- folders --------------------------------------------------------------------------------------------------------


def read(root: Path) -> Tree:
    """Return the content of a folder."""
    found: Tree = {}
    for folder, names, files in os.walk(root):
        place = Path(folder).relative_to(root)
        found |= {str(place / name): None for name in names}
        found |= {str(place / name): (Path(folder) / name).read_bytes() for name in files}
    return found


def restore(root: Path, tree: Tree) -> None:
    """Make a folder hold exactly this."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    for path, content in sorted(tree.items()):
        if content is None:
            (root / path).mkdir(parents=True, exist_ok=True)
        else:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(content)


class Disk:
    """What is left of a folder when the power goes: contents and names come to the disk when they are flushed.

    A name needs its folder flushed, a folder something in it. Deletions come with the next flush of anything, because
    journals keep the order of what happens to names.
    """

    def __init__(self, tree: Tree) -> None:
        self.kept: Tree = dict(tree)
        self.contents = {path: content for path, content in tree.items() if content is not None}
        self.fresh: set[str] = set()  # files whose name on the disk, if there is one, is that of another file
        self.deleted: set[str] = set()
        self.moved: dict[str, str] = {}  # new names and old ones: a change of both or of none

    def flush(self, path: str, tree: Tree) -> None:
        """Bring a file's content, or a folder's names, to the disk; `tree` is what is there now."""
        gone, self.deleted = {one for one in self.deleted if one not in tree}, set()
        self.kept = {one: part for one, part in self.kept.items() if one not in gone}
        content = tree.get(path)
        if content is not None:
            self.contents[path] = content
            if path in self.kept and path not in self.fresh:
                self.kept[path] = content
            return
        self.kept = {one: part for one, part in self.kept.items() if _folder(one) != path or one in tree}
        for name in [one for one in tree if _folder(one) == path]:
            self.kept[name] = None if tree[name] is None else self.contents.get(name, b"")
            self.fresh.discard(name)
            self.moved.pop(name, None)
        while path:
            self.kept[path] = None
            path = _folder(path)

    def move(self, source: str, target: str) -> None:
        """Give a file another name, which is not on the disk yet."""
        self.contents[target] = self.contents.pop(source, b"")
        self.fresh.discard(source)
        self.fresh.add(target)
        self.moved[target] = source

    def delete(self, path: str) -> None:
        """Delete a file or a folder, whose name stays on the disk for now."""
        self.contents.pop(path, None)
        self.fresh.discard(path)
        self.deleted.add(path)


def _folder(path: str) -> str:
    return os.path.dirname(path)


# --- recording ------------------------------------------------------------------------------------------------------


class Recorder:
    """Watches a folder while a block runs; `moments` is what was seen."""

    def __init__(self, root: Path) -> None:
        self.root, self.moments = root.resolve(), list[Moment]()
        self.after = read(root)
        self.disk = Disk(self.after)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Note the folder's content before every effect, and at the end."""
        with pytest.MonkeyPatch.context() as patch:
            for name in EFFECTS:
                patch.setattr(os, name, functools.partial(self._effect, name, getattr(os, name)))
            yield
        self._note("the end")

    def _effect(self, name: str, real: Callable[..., Any], *given: Any, **more: Any) -> Any:
        handles = [more.get(key) for key in ("dir_fd", "src_dir_fd", "dst_dir_fd")]
        count = 2 if name in ("replace", "rename") else 1
        beside = [handles[0]] if count == 1 else handles[1:]
        places = [self._place(*pair) for pair in zip(given[:count], beside, strict=True)]
        if None in places:
            return real(*given, **more)
        self._note(f"{name} {' → '.join(place or 'the root' for place in places)}")
        result = real(*given, **more)
        if name == "fsync":
            self.disk.flush(places[0], self.after)
        elif count == 2:
            self.disk.move(*places)
        elif name != "mkdir":
            self.disk.delete(places[0])
        self.after = read(self.root)
        return result

    def _note(self, effect: str) -> None:
        tree = read(self.root)
        self.disk.fresh |= {path for path in tree if path not in self.after}
        self.moments.append(Moment(effect, tree, self.after, dict(self.disk.kept), dict(self.disk.moved)))
        self.after = tree

    def _place(self, path: Any, handle: int | None) -> Any:
        """Return a path below the root, "" for the root; None for what lies elsewhere."""
        base = Path.cwd() if handle is None else self._opened(handle)
        whole = self._opened(path) if isinstance(path, int) else base and base / os.fspath(path)
        if whole is None or not Path(os.path.abspath(whole)).is_relative_to(self.root):
            return None
        found = os.path.relpath(os.path.abspath(whole), self.root)
        return "" if found == "." else found

    def _opened(self, handle: int) -> Path | None:
        """Return which file or folder of ours is open."""
        wanted = os.fstat(handle)
        every = (self.root, *self.root.rglob("*"))
        return next((path for path in every if path.exists() and os.path.samestat(path.stat(), wanted)), None)


def record(root: Path, command: Callable[[Path], Any]) -> tuple[list[Moment], Any]:
    """Run a command and return what was seen in its folder at every effect, and the command's result."""
    recorder = Recorder(root)
    with recorder.watching():
        result = command(recorder.root)
    return recorder.moments, result


# --- points ---------------------------------------------------------------------------------------------------------


def points(moments: Sequence[Moment], count: int, generator: random.Random) -> list[Point]:
    """Return so many different states (all there are, if fewer), spread evenly over the command's time."""
    found: list[Point] = []
    seen: set[frozenset[tuple[str, bytes | None]]] = set()
    for number, moment in enumerate(moments):
        for kind, tree in _variants(moment, generator):
            if (key := frozenset(tree.items())) not in seen:
                seen.add(key)
                found.append(Point(f"{kind} at {number} of {len(moments)}, before {moment.effect}", tree))
    if len(found) <= count:
        return found
    edges = [number * len(found) // count for number in range(count + 1)]
    return [found[generator.randrange(*edge)] for edge in itertools.pairwise(edges)]


def _variants(moment: Moment, generator: random.Random) -> Iterator[tuple[str, Tree]]:
    tree, before, disk = moment.tree, moment.before, moment.disk
    yield "killed", tree
    written = {path: content for path, content in tree.items() if content and content != before.get(path)}
    if written:
        yield "torn", {**tree, **{path: _torn(tree[path], before.get(path), generator) for path in written}}
    if disk != tree:
        yield "lost", disk
        yield "mixed", _mixed(moment, generator)


def _mixed(moment: Moment, generator: random.Random) -> Tree:
    """Return a state between what was written and what is on the disk for certain."""
    tree, disk = moment.tree, moment.disk
    found: Tree = {}
    sides = {path: generator.choice((tree, disk)) for path in sorted(tree.keys() | disk.keys())}
    sides |= {source: sides[target] for target, source in moment.moved.items() if {source, target} <= sides.keys()}
    for path, side in sides.items():
        if path not in side:
            continue
        content, known = side[path], disk.get(path)
        if path not in moment.moved and content and known and content != known and content.startswith(known):
            content = _torn(content, known, generator)
        found[path] = content
    return {**{parent: None for path in found for parent in _above(path)}, **found}


def _above(path: str) -> Iterator[str]:
    while path := _folder(path):
        yield path


def _torn(content: bytes | None, before: bytes | None, generator: random.Random) -> bytes:
    """Return the beginning of what was written, at least what was there before; every third time all but a byte."""
    assert content is not None
    first = len(before) if before and content.startswith(before) else 0
    return content[: len(content) - 1 if generator.random() < 1 / 3 else generator.randrange(first, len(content))]


# --- going on -------------------------------------------------------------------------------------------------------


def whole(root: Path, scenario: Scenario) -> tuple[Tree, list[Moment], dict[str, Any]]:
    """Run a scenario undisturbed; return what was there before, all moments, and the outcome."""
    restore(root, {})
    scenario.prepare(root)
    first = read(root)
    moments, result = record(root, scenario.command)
    return first, moments, scenario.outcome(root, result)


def endure(root: Path, scenario: Scenario, found: Sequence[Point], expected: dict[str, Any]) -> list[str]:
    """Go on from every point and return what differs from the expected outcome, a line for each point that does."""
    complaints = []
    for point in found:
        restore(root, point.tree)
        try:
            wrong = _differences(expected, scenario.outcome(root, scenario.again(root)), point.tree)
        except Exception as problem:  # whatever it is, the other points are worth looking at
            place = traceback.extract_tb(problem.__traceback__)[-1]
            wrong = [f"{type(problem).__name__} ({Path(place.filename).name}:{place.lineno}): {problem}"]
        if wrong:
            complaints.append(f"{point.title}: {'; '.join(wrong)}")
    return complaints


def _differences(expected: dict[str, Any], outcome: dict[str, Any], crashed: Tree) -> list[str]:
    """Say where two outcomes differ, and what of the ledger was taken back that was written before the crash."""
    said = [f"{name} is left over" for name in outcome if name not in expected]
    said += [f"{name} is missing" for name in expected if name not in outcome]
    said += [f"{name} differs" for name in expected if name in outcome and outcome[name] != expected[name]]
    lines = [line for line in (crashed.get("ledger/ledger.jsonl") or b"").splitlines() if line]
    known = [_steady(json.loads(line)) for line in lines]
    if known != outcome.get("ledger/ledger.jsonl", [])[: len(known)]:
        said.append("the ledger took back what was spent")
    return said


def twice(root: Path, scenario: Scenario, found: Sequence[Point], count: int, generator: random.Random) -> list[Point]:
    """Return states that a second kill leaves: while the command goes on from the first one, so many for each."""
    later = []
    for point in found:
        restore(root, point.tree)
        try:
            moments, _ = record(root, scenario.again)
        except Exception:  # which `endure` says of the first kill alone
            continue
        later += [Point(f"{point.title}; then {one.title}", one.tree) for one in points(moments, count, generator)]
    return later
