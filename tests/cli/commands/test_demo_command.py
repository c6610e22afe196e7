from pathlib import Path

from weft.cli.main import run
from weft.reports import demonstration


def test_the_page_goes_where_it_was_asked_for(monkeypatch):
    asked = []
    monkeypatch.setattr(demonstration, "demonstrate", asked.append)
    assert run(["demo"]) == 0
    assert run(["demo", "--out", "elsewhere.html"]) == 0
    assert asked == [Path("report.html"), Path("elsewhere.html")]
