"""The demonstration end to end, with so few steps that nothing is learned: what it does, not how well."""

import re
import sys
import time

import numpy as np
import pytest
from browser import read
from small import continuous

from weft import certify
from weft.agents.algorithms.bc import BC
from weft.core.errors import UserError
from weft.reports import demonstration, demonstration_trust
from weft.reports.demo import DemoReport


@pytest.fixture
def small(monkeypatch):
    """Make the demonstration small: two methods, next to no fitting, few users."""
    monkeypatch.setattr(demonstration, "REPLICATES", 2)
    monkeypatch.setattr(demonstration, "FITTING", 20)
    chosen = {name: demonstration.METHODS[name] for name in ("BC", "IQL")}
    monkeypatch.setattr(demonstration, "METHODS", chosen)
    tiny = {"METHODS": (BC(hidden=(8,)),), "USERS": 60, "STEPS": 4, "ARM": 50, "LOGS": 3, "CAMPAIGNS": 30}
    for name, value in tiny.items():
        monkeypatch.setattr(demonstration_trust, name, value)
    module = sys.modules["weft.experiments.study"]  # without its diagnostics, which take long to compile
    monkeypatch.setattr(module, "certify", lambda *given, **more: certify(*given, **{**more, "diagnostics": False}))


def figures(path):
    """Return all drawings of a page, as they are written in it."""
    return re.search(r'id="charts">(.*?)</script>', path.read_text(), re.S)[1]


def test_the_demonstration_writes_a_page_and_says_what_it_does(small, tmp_path, capsys):
    path = demonstration.demonstrate(tmp_path / "page" / "report.html", seeds=2, steps=14, seed=1)
    assert path == tmp_path / "page" / "report.html"
    found = read(path.read_text())
    assert found.problems == []
    assert found.links == []
    assert "So 0 of 800 walks lead from S to G" in found.text
    told = capsys.readouterr().out
    for name in demonstration.METHODS:
        assert re.search(rf"^ *[\d.]+ s  train {name} × 2$", told, re.M), name
        assert re.search(rf"^{name} +", told, re.M), name
    for kind in demonstration_trust.KINDS:
        assert re.search(rf"^{kind.name}, weft +\d of 3 +\d +", told, re.M), kind.name
    assert "weft says" in told
    assert told.rstrip().endswith(f"Open {path}")


@pytest.mark.slow
def test_the_demonstration_repeats_itself_and_can_be_silent(small, tmp_path, capsys):
    first, second = (
        demonstration.demonstrate(tmp_path / name, seeds=2, steps=14, seed=1, progress=False)
        for name in ("first.html", "second.html")
    )
    assert capsys.readouterr().out == ""
    assert figures(first) == figures(second)


@pytest.mark.slow
def test_the_demonstration_shows_what_it_promises(tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(demonstration, "DemoReport", lambda findings: kept.append(findings) or DemoReport(findings))
    began = time.monotonic()
    demonstration.demonstrate(tmp_path / "report.html", progress=False)
    assert time.monotonic() - began < 500, "far slower than the 210 s of a quiet machine with two cores"
    found = kept[0]
    assert found.whole() == 0
    method = {part.name: part for part in found.methods}
    assert method["IQL"].success.mean() >= 0.95
    assert method["CQL"].success.mean() >= 0.9
    for name in ("BC", "Filtered BC", "One-step", "Naive"):
        assert method[name].success.mean() <= 0.2, name
    naive = method["Naive"]
    trust = found.trust
    assert trust.decision.action == "DEPLOY"
    assert trust.gain >= trust.decision.low > 0
    mean, reach = trust.difference
    assert abs(mean - trust.gain) < 2 * reach
    hidden, good, weak = trust.rules
    assert hidden.worse[0] >= 90
    assert good.worse[0] >= 50
    assert max(rules.worse[1] for rules in trust.rules) <= 5
    assert weak.deployed[1].sum() >= 90
    assert naive.believed[-1].mean() > 2 * max(naive.believed[0].mean(), naive.gets[-1].mean(), found.most)


def test_returns_are_discounted_from_the_start_of_every_episode():
    data = continuous(40)
    episodes = map(data.episode, range(data.episodes))
    wanted = np.mean([(episode.rewards * 0.9 ** np.arange(len(episode))).sum() for episode in episodes])
    assert demonstration.discounted(data, 0.9) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(("options", "words"), [({"seeds": 0}, "number of seeds"), ({"steps": 5}, "training steps")])
def test_wrong_numbers_are_refused_before_anything_is_written(tmp_path, options, words):
    with pytest.raises(UserError, match=words):
        demonstration.demonstrate(tmp_path / "deep" / "report.html", **options)
    assert list(tmp_path.iterdir()) == []
