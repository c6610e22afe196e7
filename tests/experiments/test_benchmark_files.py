"""The folder of a benchmark: what a cell says, tables of final and of best, and what may not be mixed in one folder."""

import json
from pathlib import Path

import pytest

from weft.core import storage
from weft.core.errors import UserError
from weft.experiments.benchmark_files import (
    RECORD,
    VERSION,
    agreed,
    cell_path,
    load_benchmark,
    read_cell,
    rescore,
    slug,
    write_cell,
)

PROTOCOL = {"steps": 20, "every": 10, "episodes": 4}
METHODS = {"bc": {"algorithm": "bc", "learning_rate": 0.1}, "iql": {"algorithm": "iql"}}
SOURCE = {"origin": "sample:maze", "fingerprint": "abc", "steps": 100, "episodes": 10}
TASKS = {"maze": {"data": SOURCE, "environment": "maze", "reference": [0.0, 2.0]}}
PLAN = {"version": VERSION, "protocol": PROTOCOL, "methods": METHODS, "tasks": TASKS}


def cell(folder, method, seed, *returns, task="maze", reference=(0.0, 2.0), **more):
    """Write one cell whose curve has these returns."""
    curve = [
        {"step": 10 * place + 10, "return": value, "deviation": 0.1, "episodes": 4}
        for place, value in enumerate(returns)
    ]
    record = {"method": method, "task": task, "seed": seed, "status": "done", "why": "", "curve": curve, **more}
    write_cell(folder, {**record, "reference": None if reference is None else list(reference)})


@pytest.fixture
def folder(tmp_path):
    """Return a folder with three runs of BC, and two of IQL, one of which failed."""
    storage.write_record(tmp_path / RECORD, PLAN)
    for seed, returns in enumerate([(1.0, 0.5), (0.0, 1.0), (2.0, 0.0)]):
        cell(tmp_path, "bc", seed, *returns)
    cell(tmp_path, "iql", 0, 1.0, 1.5)
    cell(tmp_path, "iql", 10, 1.0, status="failed", why="At step 20: no.")
    return tmp_path


def test_final_is_the_last_point_and_best_the_highest(folder):
    found = read_cell(cell_path(folder, "maze", "bc", 2))
    assert found.final == {"step": 20, "return": 0.0, "score": 0.0}
    assert found.best == {"step": 10, "return": 2.0, "score": 100.0}
    assert (found.method, found.task, found.seed, found.status) == ("bc", "maze", 2, "done")
    failed = read_cell(cell_path(folder, "maze", "iql", 10))
    assert (failed.final, failed.best, len(failed.curve)) == (None, None, 1)


def test_tables_keep_final_and_best_apart(folder):
    found = load_benchmark(folder)
    assert found.scores("bc", "maze").tolist() == [25, 50, 0]
    assert found.scores("bc", "maze", "best").tolist() == [50, 50, 100]
    assert found.table() == [("method", "maze"), ("bc", "25 ± 25 (3)"), ("iql", "75 (1)")]
    assert found.table("best") == [("method", "maze"), ("bc", "66.67 ± 29 (3)"), ("iql", "75 (1)")]
    assert found.notes == ["iql on maze, seed 10: failed. At step 20: no."]
    assert str(found).splitlines()[1:] == ["bc      25 ± 25 (3)", "iql     75 (1)", *found.notes]
    assert [one.seed for one in found.of("iql", "maze")] == [0, 10]
    with pytest.raises(UserError, match="final or best, not 'last'"):
        found.scores("bc", "maze", "last")


def test_raw_returns_are_scores_where_there_is_no_reference(folder):
    rescore(folder, "maze", None)
    assert load_benchmark(folder).scores("bc", "maze").tolist() == [0.5, 1, 0]
    rescore(folder, "maze", [0.0, 1.0])
    assert load_benchmark(folder).scores("bc", "maze").tolist() == [50, 100, 0]
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("seed-*.json")}
    rescore(folder, "maze", [0.0, 1.0])
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_folder_takes_more_methods_and_tasks_and_remembers_references(folder):
    more = {"data": {**SOURCE, "fingerprint": "def"}, "environment": "grid", "reference": None}
    moved = {**TASKS["maze"], "data": {**SOURCE, "origin": "copy.npz"}, "reference": None}
    found = agreed(folder, {**PLAN, "methods": {"cql": {}}, "tasks": {"maze": moved, "grid": more}})
    assert list(found["methods"]) == ["bc", "iql", "cql"]
    assert list(found["tasks"]) == ["maze", "grid"]
    assert found["tasks"]["maze"]["reference"] == [0.0, 2.0]
    other = {**TASKS["maze"], "reference": [0.0, 4.0]}
    assert agreed(folder, {**PLAN, "tasks": {"maze": other}})["tasks"]["maze"]["reference"] == [0.0, 4.0]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"protocol": {**PROTOCOL, "every": 5}}, r"its protocol differs \(every: 10 then, 5 now\); choose another"),
        ({"methods": {"bc": {**METHODS["bc"], "learning_rate": 0.2}}}, r"settings of bc differs \(learning_rate: 0.1"),
        ({"tasks": {"maze": {**TASKS["maze"], "environment": "grid"}}}, r"task maze differs \(environment: maze then"),
        ({"tasks": {"maze": {**TASKS["maze"], "data": {**SOURCE, "fingerprint": "x"}}}}, r"\(data: abc then, x now\)"),
    ],
)
def test_another_benchmark_in_the_folder_is_one_sentence(folder, change, sentence):
    with pytest.raises(UserError, match=sentence):
        agreed(folder, {**PLAN, **change})


def test_what_is_no_benchmark_is_refused(tmp_path):
    assert agreed(tmp_path / "new", PLAN) == PLAN
    with pytest.raises(UserError, match="holds no benchmark"):
        load_benchmark(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty and holds no benchmark"):
        agreed(tmp_path, PLAN)
    with pytest.raises(UserError, match="is not empty and holds no benchmark"):
        agreed(tmp_path / "notes.txt", PLAN)


def test_damaged_files_are_named(folder):
    path = cell_path(folder, "maze", "bc", 0)
    record = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in record.items() if name != "curve"}))
    with pytest.raises(UserError, match=r"seed-0\.json is damaged.*delete it to run that cell again"):
        load_benchmark(folder)
    (folder / RECORD).write_text("{}")
    with pytest.raises(UserError, match=r"benchmark\.json is damaged"):
        load_benchmark(folder)


def test_names_of_folders():
    assert slug("iql expectile=0.9") == "iql-expectile=0.9"
    assert slug("hopper/medium-v0") == "hopper-medium-v0"
    assert slug("../..") == ""
    assert cell_path(Path("x"), "a b", "iql", 3).as_posix() == "x/cells/a-b/iql/seed-3.json"
