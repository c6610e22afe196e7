"""The page of a benchmark: its figures are those of `weft.scores`, final and best stand apart, nothing is averaged that
has no common scale.
"""

import re
import sys

import numpy as np
import pytest

from weft.core import storage
from weft.core.errors import UserError
from weft.experiments import scores
from weft.experiments.benchmark_files import RECORD, VERSION, load_benchmark, write_cell
from weft.reports.benchmark import write_page

SECONDS = {"training": 12.3, "trained_together": 3, "resumed": False, "measuring": 0.5}
FINAL = {
    ("bc", "near"): [0.1, 0.2, 0.3], ("iql", "near"): [0.5, 0.2, 0.9], ("bc", "far"): [3.0, 4.0],
    ("iql", "far"): [6.0, 5.0, 5.5], ("cql", "near"): [0.3, 0.4],
}  # fmt: skip
HIGH = {"near": 1.0, "far": 10.0}


def made(folder, references=True, tasks=("near", "far"), methods=("bc", "iql", "cql")):
    """Write results by hand: every best is one more than the final return."""
    source = {"origin": "log.npz", "fingerprint": "0123456789abcdef", "steps": 1234, "episodes": 10}
    about = {
        name: {"data": source, "environment": name, "reference": [0.0, HIGH[name]] if references else None}
        for name in tasks
    }
    protocol = {"steps": 2000, "every": 1000, "episodes": 4, "rewards": "none"}
    plan = {"version": VERSION, "protocol": protocol, "methods": {name: {"algorithm": name} for name in methods}}
    storage.write_record(folder / RECORD, {**plan, "tasks": about})
    for (method, task), returns in FINAL.items():
        for seed, value in enumerate(returns if method in methods and task in tasks else ()):
            curve = [
                {"step": 1000, "return": value + 1, "deviation": 0.1, "episodes": 4},
                {"step": 2000, "return": value, "deviation": 0.1, "episodes": 4},
            ]
            more = {"versions": {"weft": "0.1.0"}, "device": "cpu", "seconds": SECONDS, **about[task]}
            told = {"method": method, "task": task, "seed": seed, "status": "done", "why": "", "curve": curve}
            write_cell(folder, {**told, **more})
    if "cql" in methods and "far" in tasks:
        write_cell(folder, {"method": "cql", "task": "far", "seed": 0, "status": "skipped", "why": "It cannot | learn.",
                            "curve": [], **about["far"]})  # fmt: skip
    return folder


def section(text, title):
    """Return one section of a page."""
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.S | re.M)[1]


def rows(text):
    """Return the tables of a section by the first cell of every row."""
    found = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:1] == "|"]
    return {row[0].strip("| "): [cell.strip("| ") for cell in row[1:]] for row in found}


def test_every_figure_is_that_of_the_results(tmp_path):
    path = write_page(made(tmp_path))
    text = path.read_text()
    assert path == tmp_path / "benchmark.md"
    final, best = rows(section(text, "Final scores")), rows(section(text, "Best scores"))
    assert final["bc"] == ["20 ± 10 (3)", "35 ± 7.1 (2)"]
    assert final["cql"] == ["35 ± 7.1 (2)", "skipped"]
    assert best["bc"] == ["120 ± 10 (3)", "45 ± 7.1 (2)"]
    iql = [100 * np.array(FINAL["iql", task]) / HIGH[task] for task in HIGH]
    bc = [100 * np.array(FINAL["bc", task]) / HIGH[task] for task in HIGH]
    together = section(text, "All tasks together")
    middle, mean = scores.interquartile_mean(iql), scores.mean_score(iql)
    expected = [f"{middle.value:.4g}", f"[{middle.low:.4g}, {middle.high:.4g}]", f"{mean.value:.4g}"]
    assert rows(together)["iql"][:3] == expected
    assert rows(together)["iql"][4] == "6"
    assert "cql" not in rows(together)
    assert "Without a score on some task, and so not here: cql." in together
    better = scores.improvement_probability(iql, bc)
    chances = rows(section(text, "Probability of improvement"))
    assert chances["iql"][0] == f"{better.value:.2f} [{better.low:.2f}, {better.high:.2f}]"
    assert chances["bc"][0] == "–"
    assert chances["cql"][0].endswith(", 1 of 2 tasks")
    assert "- cql on far, seed 0: skipped. It cannot | learn." in section(text, "Without a score")
    about = section(text, "What was compared")
    assert "| near | log.npz | 1,234 | 0123456789ab | near | 0 and 1 |" in about
    assert "| bc | near | 3 | 12 | 0.5 |" in about
    assert "device cpu, weft 0.1.0" in about
    assert "All scores are 100 (return − low) / (high − low)" in text


def test_a_page_is_the_same_for_the_same_results(tmp_path):
    write_page(made(tmp_path))
    names = ("benchmark.md", "profile.png", "curves.png")
    before = [(tmp_path / name).read_bytes() for name in names]
    assert all(content.startswith(b"\x89PNG") for content in before[1:])
    write_page(tmp_path)
    assert [(tmp_path / name).read_bytes() for name in names] == before
    assert "(profile.png)" in before[0].decode()


def test_raw_returns_of_several_tasks_are_not_averaged(tmp_path):
    write_page(made(tmp_path))
    text = write_page(made(tmp_path, references=False)).read_text()
    assert "No figure over all tasks" in section(text, "All tasks together")
    assert "profile.png" not in text
    assert not (tmp_path / "profile.png").exists()
    assert "Scores are returns." in text
    raw = [FINAL["iql", task] for task in HIGH], [FINAL["bc", task] for task in HIGH]
    chances = rows(section(text, "Probability of improvement"))
    assert chances["iql"][0].startswith(f"{scores.improvement_probability(*raw).value:.2f} ")


def test_one_task_needs_no_reference(tmp_path):
    text = write_page(made(tmp_path, references=False, tasks=["near"])).read_text()
    middle = scores.interquartile_mean([np.array(FINAL["cql", "near"])])
    assert rows(section(text, "All tasks together"))["cql"][0] == f"{middle.value:.4g}"


def test_methods_that_share_no_task(tmp_path):
    made(tmp_path, methods=["bc", "cql"])
    for path in (tmp_path / "cells" / "near" / "bc").iterdir():
        path.unlink()
    text = write_page(tmp_path).read_text()
    assert rows(section(text, "Probability of improvement"))["bc"] == ["–", "no task shared"]
    assert rows(section(text, "Final scores"))["bc"][0] == "–"


def test_without_matplotlib_the_page_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    text = write_page(made(tmp_path)).read_text()
    assert "pip install 'weft[figures]'" in section(text, "Curves")
    assert "png" not in text
    assert list(tmp_path.glob("*.png")) == []


def test_a_folder_without_scores_has_no_page(tmp_path):
    made(tmp_path, methods=["cql"], tasks=["far"])
    assert load_benchmark(tmp_path).cells[0].status == "skipped"
    with pytest.raises(UserError, match="has no scores yet"):
        write_page(tmp_path)
    assert not (tmp_path / "benchmark.md").exists()
