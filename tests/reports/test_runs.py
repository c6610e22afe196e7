"""The page about runs: every run, setting and metric is there, and a browser draws it."""

import json
import re
from html import unescape

import pytest
from browser import needs_chromium, read, visit_framed
from small import continuous

import weft
from weft.agents.algorithms.bc import BC
from weft.agents.algorithms.iql import IQL
from weft.core.errors import UserError
from weft.reports.runs import RunsReport

SMALL = {"hidden": (8,)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Train a sweep and a single setting into folders."""
    folder = tmp_path_factory.mktemp("runs")
    data = continuous()
    sweep = weft.grid(IQL(**SMALL), expectile=[0.7, 0.9])
    weft.fit(sweep, data, steps=6, seeds=2, out=folder / "iql", log_every=2, batch_size=8)
    weft.fit(BC(**SMALL), data, steps=4, seeds=1, out=folder / "bc", log_every=2, batch_size=8)
    return folder


@pytest.fixture(scope="module")
def runs(folder):
    return [weft.load_run(folder / name) for name in ("iql", "bc")]


def test_every_setting_metric_and_fact_is_on_the_page(runs):
    found = read(RunsReport(runs).html())
    assert found.problems == []
    assert found.links == []
    assert max(b - a for a, b in zip(found.headings, found.headings[1:], strict=False)) <= 1
    assert "3 settings, up to 2 seeds each" in found.text
    for words in ("iql expectile 0.7", "iql expectile 0.9", "critic loss", "inverse temperature", "arrays", "jax"):
        assert words in found.text, words
    assert runs[0].record["data"]["fingerprint"][:12] in found.text


def test_figures_are_the_mean_and_range_over_seeds(runs):
    table = RunsReport(runs)._final()
    last = [row["actor_loss"] for row in runs[0].metrics if row["step"] == 6 and row["setting"] == 0]
    cell = table.rows[0][table.head.index("actor loss")].replace("−", "-")
    shown = [float(number) for number in re.findall(r"-?[\d.]+(?:e-?\d+)?", cell)]
    assert shown == pytest.approx([sum(last) / 2, min(last), max(last)], rel=5e-3)
    assert table.rows[2][table.head.index("critic loss")] == "—"


def test_runs_on_different_logs_are_said_to_be_so(runs, folder):
    assert "different logs" not in read(RunsReport(runs).html()).text
    weft.fit(BC(**SMALL), continuous(seed=1), steps=2, out=folder / "other", log_every=2, batch_size=8)
    assert "different logs" in read(RunsReport([*runs, weft.load_run(folder / "other")]).html()).text


def test_runs_of_one_name_are_told_apart(runs):
    found = RunsReport([runs[1], runs[1]])
    assert [line.name for line in found.lines] == ["bc (1)", "bc (2)"]


def test_nothing_to_report_is_one_sentence(runs):
    with pytest.raises(UserError, match="at least one run"):
        RunsReport([])
    blank = weft.load_run(runs[0].folder)
    blank.metrics.clear()
    with pytest.raises(UserError, match="iql has no metrics yet"):
        RunsReport([blank])


@needs_chromium
@pytest.mark.parametrize(("width", "height"), [(1200, 3000), (390, 6000)], ids=["desktop", "phone"])
def test_a_browser_draws_every_plot_without_complaint(runs, tmp_path, width, height):
    page = RunsReport(runs).write(tmp_path / "runs.html")
    seen = visit_framed(page, tmp_path, width, height)
    assert seen.console == []
    found = json.loads(unescape(re.search(r'data-seen="([^"]*)"', seen.dom)[1]))
    assert len(found["plots"]) == len(RunsReport(runs).metrics)
    assert all(plot["drawn"] and plot["paths"] > 0 for plot in found["plots"])
    assert found["content"] <= found["width"] == width
