"""What all pages share: charts as data, scales, and a page that is written whole or not at all."""

import errno
import json
import os

import numpy as np
import pytest
from made_up import made

from weft.core.errors import UserError
from weft.reports.chart import COLOURS, Axis, colour, curves, line, plain
from weft.reports.demo import DemoReport


def brightness(shade: str) -> float:
    """Return the relative luminance of a colour (WCAG 2)."""
    parts = np.array([int(shade[start : start + 2], 16) for start in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    bright, dark = sorted([brightness(one), brightness(other)], reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("shade", COLOURS)
@pytest.mark.parametrize("paper", ["#ffffff", "#15181c"], ids=["light", "dark"])
def test_every_colour_stands_out_on_light_and_dark_paper(shade, paper):
    assert contrast(shade, paper) >= 3.0


def test_colours_come_back_with_another_dash():
    assert len({colour(number) for number in range(4 * len(COLOURS))}) == 4 * len(COLOURS)


def test_numbers_that_are_not_finite_become_gaps():
    assert plain([1.0, np.nan, np.inf, -2.0]) == [1.0, None, None, -2.0]
    json.dumps(line([0, 1], [np.nan, 1.0], "#000000"), allow_nan=False)


def test_an_axis_bends_only_for_values_of_very_different_size():
    assert Axis.over([0.0, 1.0, np.nan]).bend == 0
    bent = Axis.over([-5.0, 0.0, 20_000.0])
    assert bent.bend > 0
    found = bent.layout("value")
    assert found["ticktext"] == ["−1", "0", "1", "10", "100", "1 k", "10 k"]
    assert np.all(np.diff(found["tickvals"]) > 0)
    assert found["range"][0] < bent.place(-5.0) < bent.place(20_000.0) < found["range"][1]


def test_an_axis_over_nothing_still_has_a_range():
    low, high = Axis.over([np.nan]).layout("")["range"]
    assert low < high


def test_seeds_are_thin_and_their_mean_is_thick():
    found = curves([1, 2], np.array([[0.0, 2.0], [2.0, 4.0]]), "#000000", "loss")
    assert [trace["line"]["width"] for trace in found] == [1, 1, 3]
    assert found[-1]["y"] == [1.0, 3.0]
    assert len(curves([1, 2], np.array([[0.0], [2.0]]), "#000000", "loss")) == 1


def test_a_page_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = DemoReport(made()).write(tmp_path / "deep" / "report.html")
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="the disk is full"):
        DemoReport(made()).write(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]
