"""The page about a study or a decision: the answer, its reason, and every number are there, and a browser draws it."""

import dataclasses
import json
import re
import types
from html import unescape

import numpy as np
import pytest
from browser import needs_chromium, read, visit_framed
from made_up import ENTRY, MANIFEST, ROWS, decision, diagnostics

from weft.core.errors import UserError
from weft.core.storage import write_record
from weft.experiments.study import Study
from weft.reports import _study as parts
from weft.reports.study import StudyReport


def made(answer=None, **changes):
    """Return a made-up study."""
    folds = types.SimpleNamespace(manifest=MANIFEST)
    found = Study(answer or decision(diagnostics=diagnostics()), None, ROWS, {}, folds, ("td3_bc is left out.",))
    return dataclasses.replace(found, **changes)


@pytest.fixture
def page(tmp_path):
    return StudyReport(made(), [ENTRY]).write(tmp_path / "report.html")


def test_the_page_is_well_formed_and_can_be_read_aloud(page):
    html = page.read_text()
    found = read(html)
    assert found.problems == []
    assert found.links == []
    assert found.headings[0] == 1
    assert found.headings.count(1) == 1
    assert max(np.diff(found.headings)) <= 1
    data = json.loads(re.search(r'id="charts">(.*?)</script>', html, re.S)[1])
    assert set(data) == set(re.findall(r'<div class="plot [a-z]+" id="([^"]+)"', html))
    assert set(data) == {"candidates", "doses", "evidence", "needed", "effective", "largest"}
    assert "&lt;/script&gt;&lt;b&gt; seed 0" in html


def test_everything_asked_of_a_study_is_on_the_page(page):
    words = read(page.read_text()).text
    for part in (
        "DEPLOY dose 0.5", "Let the policy take 50 % of the decisions", "40 units give 99 to 1.",
        "at least +0.210", "at most +0.900", "Not promised", "iql seed 0, greedy (chosen)", "1.40 to 1.60",
        "Values ran away.", "td3_bc is left out.", "3.0 × 10⁹ to 1", "A certificate needs 20 to 1",
        "Alarm. Bellman's equation fails.", "From step 3 on fewer than 20 effective units are left.",
        "Users are independent.", "cccc", "2030-01-02 03:04:05", "0.05 of 0.05", "question-1",
    ):  # fmt: skip
        assert part in words, part
    assert words.count("Bellman's equation fails") == 1, "a warning repeats a test"


def test_what_would_change_the_decision_follows_the_numbers():
    words = " ".join(parts.firmness(decision()))
    assert "With a margin above 0.210 this dose would not have been certified." in words
    assert "at any risk down to 1 in 99." in words
    assert "The next dose, 1, would be certified with a chance of 80 % by about 70 units; there were 40." in words
    above = parts.firmness(decision(margin=0.1, first=None))  # then each of three doses has a third of the risk
    assert "1 in 33." in " ".join(above)
    assert parts.threshold(decision(margin=0.1, first=None)) == pytest.approx(60)
    more = decision(action="COLLECT", dose=0.0, collect=25)
    assert "About 25 units, logged as these were, would certify a dose of 0.1" in " ".join(parts.firmness(more))
    none = decision(action="ABSTAIN", dose=0.0, needed={0.1: np.inf, 0.5: np.inf})
    assert "more units like these would not help" in " ".join(parts.firmness(none))


def test_a_decision_alone_makes_a_page_whatever_is_missing():
    bare = decision(doses=(), evidence=(), lows=(), means=(), needed={}, effective_sample_size=None)
    for action in ("ABSTAIN", "REJECT", "COLLECT", "STAGED"):
        tier = 2 if action == "STAGED" else 3
        found = dataclasses.replace(bare, action=action, tier=tier, dose=0.05 if tier == 2 else 0.0, low=np.nan)
        html = StudyReport(found).html()
        assert read(html).problems == []
        assert f"verdict {action.lower()}" in html
        assert "not bounded" in html
    assert "{}" in re.search(r'id="charts">(.*?)</script>', html, re.S)[0]


def test_numbers_are_written_as_people_write_them():
    written = [parts.amount(value) for value in (0.0133, 1.5, -20.04, 1234.5, 0, np.nan, 0.000021)]
    assert written == ["0.0133", "1.50", "−20.0", "1,234", "0", "—", "0.0000210"]
    assert parts.change(0.5) == "+0.500"
    assert [parts.odds(value) for value in (0.5, 99.4, 293351, 6.04e7)] == ["0.50", "99", "293,351", "6.0 × 10⁷"]


def test_only_the_best_candidates_are_drawn():
    many = tuple(dataclasses.replace(ROWS[1], seed=seed) for seed in range(20))
    chart = parts.candidates(many)
    assert len(chart.layout["yaxis"]["ticktext"]) == parts.SHOWN
    assert "The 8 lowest" in read(StudyReport(made(table=many)).html()).text.replace("the 8", "The 8")


def test_a_folder_makes_the_same_page_without_the_pictures_of_weights(tmp_path):
    answer = decision(high=np.nan, needed={0.1: 25.0, 0.5: np.inf}, diagnostics=diagnostics())
    record = {"decision": answer.record(), "folds": MANIFEST, "notes": ["A note."],
              "table": [dataclasses.asdict(row) for row in ROWS]}  # fmt: skip
    write_record(tmp_path / "study.json", record)
    found = StudyReport.of_folder(tmp_path)
    assert found.decision.needed == answer.needed
    assert np.isnan(found.decision.high)
    assert found.decision.lows == answer.lows
    words = read(found.html()).text
    for part in ("DEPLOY dose 0.5", "iql seed 0, greedy (chosen)", "Bellman's equation fails.", "cccc", "A note."):
        assert part in words, part
    (tmp_path / "study.json").write_text("[]")
    with pytest.raises(UserError, match="is damaged, or another version of weft wrote it"):
        StudyReport.of_folder(tmp_path)
    with pytest.raises(UserError, match=r"There is no .*; is .* a study\?"):
        StudyReport.of_folder(tmp_path / "nowhere")


@needs_chromium
@pytest.mark.parametrize(("width", "height"), [(1200, 5000), (390, 9500)], ids=["desktop", "phone"])
def test_a_browser_draws_every_plot_without_complaint(page, tmp_path, width, height):
    seen = visit_framed(page, tmp_path, width, height)
    assert seen.console == []
    found = json.loads(unescape(re.search(r'data-seen="([^"]*)"', seen.dom)[1]))
    assert len(found["plots"]) == 6
    assert all(plot["drawn"] and plot["paths"] > 0 and plot["height"] > 200 for plot in found["plots"])
    assert found["content"] <= found["width"] == width
