"""What lies in the folder of a benchmark, and what it says: one file of results per run, tables of final and of best.

    benchmark.json                     what is compared and how: protocol, methods, tasks
    cells/TASK/METHOD/seed-3.json      one cell: settings, fingerprint of the log, curve, final, best, times, versions
    runs/TASK/METHOD/0                 checkpoints of what is not measured yet; deleted when it is

A cell's `final` is the last point of its curve, and what methods are compared by. `best` is the highest: it was picked
by the very episodes that it reports, so it is too high, and nobody without the environment could have picked it. No
figure mixes the two.
"""

import contextlib
import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..core import storage
from ..core.errors import UserError
from ..core.pytree import require
from ..core.tables import html_notes, html_table, text_table
from ..deployment.decision import plain
from ..training.run_folder import difference

__all__ = ["Benchmark", "Cell", "agreed", "cell_path", "load_benchmark", "read_cell", "rescore", "slug", "write_cell"]

RECORD, CELLS, LOCK, VERSION = "benchmark.json", "cells", ".lock", 1
DONE, FAILED, SKIPPED = "done", "failed", "skipped"


@dataclasses.dataclass(frozen=True)
class Cell:
    """What came of one run: `record` is its whole file. status: done, failed or skipped, and then why.

    curve: points with `step`, `return` (mean), `deviation` (over episodes) and `episodes`; final and best: `step`,
    `return` and `score`, which is the return where the task has no reference.
    """

    method: str
    task: str
    seed: int
    status: str
    why: str
    curve: tuple[Mapping[str, Any], ...]
    final: Mapping[str, Any] | None
    best: Mapping[str, Any] | None
    record: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """The results in a folder: all its cells, the names of `methods` and `tasks`, and the protocol."""

    folder: Path
    protocol: Mapping[str, Any]
    methods: Mapping[str, Mapping[str, Any]]
    tasks: Mapping[str, Mapping[str, Any]]
    cells: tuple[Cell, ...]

    def of(self, method: str, task: str) -> list[Cell]:
        """Return the cells of a method on a task, by seed."""
        return [cell for cell in self.cells if (cell.method, cell.task) == (method, task)]

    def scores(self, method: str, task: str, which: str = "final") -> np.ndarray:
        """Return the scores of all seeds that finished, `(seed,)`; which: `final` or `best`."""
        require(which in ("final", "best"), f"Scores are final or best, not '{which}'.")
        cells = (cell for cell in self.of(method, task) if cell.status == DONE)
        return np.array([getattr(cell, which)["score"] for cell in cells], float)

    def table(self, which: str = "final") -> list[tuple[str, ...]]:
        """Return mean ± standard deviation over the seeds in words, a row per method, the head first."""
        rows = [("method", *self.tasks)]
        rows += [(method, *(self._words(method, task, which) for task in self.tasks)) for method in self.methods]
        return rows

    def _words(self, method: str, task: str, which: str) -> str:
        scores = self.scores(method, task, which)
        if not len(scores):
            return ", ".join(dict.fromkeys(cell.status for cell in self.of(method, task))) or "–"
        spread = f" ± {scores.std(ddof=1):.2g}" if len(scores) > 1 else ""
        return f"{scores.mean():.4g}{spread} ({len(scores)})"

    @property
    def notes(self) -> list[str]:
        """One sentence for every method and task that failed or was skipped, with its reason."""
        seeds_of: dict[tuple[str, ...], list[int]] = {}
        for cell in self.cells:
            if cell.status != DONE:
                seeds_of.setdefault((cell.method, cell.task, cell.status, cell.why), []).append(cell.seed)
        return [
            f"{method} on {task}, seed {', '.join(map(str, seeds))}: {status}. {why}"
            for (method, task, status, why), seeds in seeds_of.items()
        ]

    def __str__(self) -> str:
        """Return the table of final scores and what failed."""
        return "\n".join([text_table(self.table()), *self.notes])

    def _repr_html_(self) -> str:
        table = html_table(self.table(), "Final scores, mean ± standard deviation (seeds)", head=True)
        return f"{table}\n{html_notes(self.notes)}"


def load_benchmark(folder: str | Path) -> Benchmark:
    """Return the results in a folder. Raises UserError where it holds no benchmark, or a file is damaged."""
    folder = Path(folder)
    require((folder / RECORD).is_file(), f"{folder} holds no benchmark: it has no {RECORD}.")
    record, cells = _read(folder), []
    for task in record["tasks"]:
        for method in record["methods"]:
            paths = cell_path(folder, task, method, 0).parent.glob("seed-*.json")
            cells += sorted(map(read_cell, paths), key=lambda cell: cell.seed)
    return Benchmark(folder, record["protocol"], record["methods"], record["tasks"], tuple(cells))


def slug(name: str) -> str:
    """Return a name as that of a folder."""
    return re.sub(r"[^\w.=,-]+", "-", name).strip("-.")


def cell_path(folder: Path, task: str, method: str, seed: int) -> Path:
    """Return the file of a cell."""
    return folder / CELLS / slug(task) / slug(method) / f"seed-{seed}.json"


def write_cell(folder: Path, record: Mapping[str, Any]) -> None:
    """Write a cell's whole file, with final and best of its curve if it is done."""
    path = cell_path(folder, record["task"], record["method"], record["seed"])
    storage.make_folder(path.parent)
    storage.write_record(path, plain({"version": VERSION, **_pointed(record)}))


def read_cell(path: Path) -> Cell:
    """Return a cell from its file; raise UserError where it is damaged."""
    names = [field.name for field in dataclasses.fields(Cell) if field.name != "record"]
    record: dict[str, Any] = {}
    with contextlib.suppress(storage.DamagedFile):
        record = storage.read_record(path, alone=False)
    if record.get("version") != VERSION or not {*names} <= set(record):
        raise UserError(f"{path} is damaged, or another version of weft wrote it; delete it to run that cell again.")
    fields = {name: record[name] for name in names}
    return Cell(**{**fields, "curve": tuple(fields["curve"])}, record=record)


def rescore(folder: Path, task: str, reference: list[float] | None) -> None:
    """Write the scores of a task's cells anew where another reference was given since."""
    for path in sorted((folder / CELLS / slug(task)).glob("*/seed-*.json")):
        record = read_cell(path).record
        if record["reference"] != reference:
            write_cell(folder, {**record, "reference": reference})


def _pointed(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a cell's record with the last and the highest point of its curve."""
    if record["status"] != DONE:
        return {**record, "final": None, "best": None}
    last, highest = record["curve"][-1], max(record["curve"], key=lambda point: point["return"])
    return {**record, "final": _point(last, record["reference"]), "best": _point(highest, record["reference"])}


def _point(point: Mapping[str, Any], reference: Any) -> dict[str, Any]:
    score = point["return"]
    if reference is not None:
        low, high = reference
        score = 100 * (score - low) / (high - low)
    return {"step": point["step"], "return": point["return"], "score": score}


def _read(folder: Path) -> dict[str, Any]:
    record = storage.read_record(folder / RECORD)
    if record.get("version") != VERSION or not {"protocol", "methods", "tasks"} <= set(record):
        raise UserError(f"{folder / RECORD} is damaged, or another version of weft wrote it.")
    return record


def agreed(folder: Path, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of a folder with what is asked added to it; nothing is written.

    A task's reference is taken over where none is given. Raises UserError that names what differs where the folder
    holds another protocol, other settings of a method or another log or environment of a task, or no benchmark.
    """
    if not (folder / RECORD).exists():
        _check_unused(folder)
        return {"version": VERSION, **request}
    record = _read(folder)
    _check_same(folder, record, request)
    tasks = {**record["tasks"], **request["tasks"]}
    for name, task in record["tasks"].items():
        if tasks[name]["reference"] is None:
            tasks[name] = {**tasks[name], "reference": task["reference"]}
    return {**record, "methods": {**record["methods"], **request["methods"]}, "tasks": tasks}


def _check_unused(folder: Path) -> None:
    """Raise UserError for a folder with anything in it but our lock and a record half written."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    unused = all(name.startswith(".") for name in names) and not folder.is_file()
    require(unused, f"{folder} is not empty and holds no benchmark; choose another folder.")


def _check_same(folder: Path, record: Mapping[str, Any], request: Mapping[str, Any]) -> None:
    """Raise UserError where a folder's protocol, or a method or task of the same name, is another one."""
    pairs = [("protocol", record["protocol"], request["protocol"])]
    for part, word in (("methods", "settings of"), ("tasks", "task")):
        shared = [name for name in request[part] if name in record[part]]
        pairs += [(f"{word} {name}", *(_compared(side[part][name]) for side in (record, request))) for name in shared]
    for what, then, now in pairs:
        if then != now:
            change = difference(then, now)
            raise UserError(f"{folder} holds another benchmark: its {what} differs ({change}); choose another folder.")


def _compared(part: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what may differ: the scale of scores, and where a log lay."""
    essential = {name: value for name, value in part.items() if name != "reference"}
    return {**essential, "data": part["data"]["fingerprint"]} if "data" in part else essential
