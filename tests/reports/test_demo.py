"""The demonstration's page: well formed, without a network, true to its numbers, and drawn by a real browser."""

import dataclasses
import json
import re
from html import unescape

import numpy as np
import pytest
from browser import needs_chromium, read, visit, visit_framed
from made_up import made, trust

from weft.reports.demo import DemoReport


def change(findings, name, **changes):
    """Return findings in which one method differs."""
    methods = [dataclasses.replace(found, **changes) if found.name == name else found for found in findings.methods]
    return dataclasses.replace(findings, methods=methods)


@pytest.fixture
def findings():
    return made()


@pytest.fixture
def page(findings, tmp_path):
    return DemoReport(findings).write(tmp_path / "report.html")


def test_the_page_is_well_formed_and_asks_no_network(page):
    html = page.read_text()
    found = read(html)
    assert found.problems == []
    assert found.links == [], "the page refers to something outside itself"
    assert html.count("plotly.js v") == 1
    assert "default-src 'none'" in html, "the browser would refuse any request"
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_the_page_can_be_read_aloud(page):
    found = read(page.read_text())
    assert ("html", {"lang": "en"}) in found.tags
    assert any(tag == "meta" and attributes.get("name") == "viewport" for tag, attributes in found.tags)
    assert found.headings[0] == 1
    assert found.headings.count(1) == 1
    assert max(np.diff(found.headings)) <= 1, "a level of headings is left out"
    plots = [attributes for tag, attributes in found.tags if "plot" in (attributes.get("class") or "").split()]
    assert len(plots) == 1 + 2 * 3 + 1
    assert all(plot["role"] == "img" and len(plot["aria-label"] or "") > 20 for plot in plots)
    names = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(names) == len(set(names))


def test_every_place_for_a_chart_has_one_and_the_other_way_round(page):
    html = page.read_text()
    data = json.loads(re.search(r'<script type="application/json" id="charts">(.*?)</script>', html, re.S)[1])
    places = set(re.findall(r'<div class="plot [a-z]+" id="([^"]+)"', html))
    assert set(data) == places
    assert all(chart["traces"] for chart in data.values())


def test_what_comes_from_outside_is_escaped(page):
    assert "&lt;/script&gt; &amp; &lt;b&gt;" in page.read_text()


def test_sentences_follow_the_numbers(findings):
    words = read(DemoReport(findings).html()).text
    assert "From 2 logged walks, none of which shows the whole way: IQL finds the whole way from start to goal" in words
    assert "BC and Naive do not" in words
    assert "So 0 of 2 walks lead from S to G" in words
    assert "98 % of its walks reach G (by seed: 100, 95 %)" in words
    assert "Naive believes 3,000 in the end and gets 0.00: 3,000 too much. No walk can be worth more than 1." in words
    assert "Its belief climbed from 0.50 during training." in words
    assert "IQL believes 0.80 in the end and gets 0.75: close." in words
    assert "BC holds no belief about values. In the end it gets 0.00." in words
    assert "The 95 % interval of Naive, 400 to 900, misses the true value 0.00: it lies above it." in words
    assert "2 of the 3 intervals contain the true value." in words


def test_other_numbers_give_other_sentences(findings):
    other = dataclasses.replace(findings, from_start=np.array([True, True]))
    other = change(other, "IQL", success=np.array([0.6, 0.7]), low=0.8, high=0.9)
    other = change(other, "Naive", believed=np.full((3, 2), 0.02), low=-3.0, high=3.0, success=np.array([1.0, 1.0]))
    words = read(DemoReport(other).html()).text
    assert "1 of which show the whole way: Naive finds" in words
    assert "IQL finds it in part of the cases" in words
    assert "The 95 % interval of IQL, 0.80 to 0.90, misses the true value 0.76: it lies above it." in words
    assert "Naive believes 0.02 in the end and gets 0.00: close." in words
    assert "climbed" not in words
    assert "That of Naive contains it but is wider (−3.00 to 3.00) than all that a walk can be worth" in words


def test_all_intervals_hold(findings):
    other = change(findings, "Naive", low=-0.2, high=0.2, estimated=0.0)
    assert "All 3 95 % intervals contain the true value here." in read(DemoReport(other).html()).text


def test_values_that_are_not_finite_are_named_and_drawn_as_gaps(findings):
    broken = np.full((3, 2), np.nan)
    other = change(findings, "Naive", believed=broken, low=np.nan, high=np.nan, estimated=np.nan)
    html = DemoReport(other).html()
    assert "The estimate of Naive is not finite" in read(html).text
    data = json.loads(re.search(r'id="charts">(.*?)</script>', html, re.S)[1])
    assert None in data["belief-naive"]["traces"][-1]["y"]


def test_a_method_has_one_colour_everywhere(findings):
    report = DemoReport(findings)
    charts = {chart.name: chart for chart in report.charts()}
    for place, found in enumerate(findings.methods):
        assert charts[f"walks-{found.slug}"].traces[1]["line"]["color"] == found.colour
        assert charts[f"belief-{found.slug}"].traces[-1]["line"]["color"] == found.colour
        assert report.outcome().marks[place] == found.colour
    assert len({found.colour for found in findings.methods}) == len(findings.methods)


def test_the_second_act_follows_the_numbers():
    found = trust()
    html = DemoReport(made(trust=found)).html()
    words = read(html).text
    assert read(html).problems == []
    assert max(np.diff(read(html).headings)) <= 1
    assert "7. What to do next" in words
    assert "weft says DEPLOY (dose 0.5), with a certified gain of at least 0.210" in words
    assert "The bound holds: +0.210 was certified from the log alone, +0.350 is true." in words
    assert "this closes 50 % of the gap" in words
    assert "A good rule: the usual practice deploys a worse policy on 2 of 4 logs, weft on none." in words
    assert "The usual practice deploys on 3 of 4 logs, on 2 of them a worse policy." in words
    assert "It expects +0.200 a campaign and gets −0.0967." in words
    assert "this one deploys on 1 of 2 logs of a weak rule" in words
    assert found.outcome().rows[3] == ["A weak rule, weft", "1 of 2", "0", "+0.300"]
    assert "What to do next" in read(DemoReport(made()).html()).text.replace("5. ", "")


def test_a_second_act_that_goes_wrong_is_told_as_it_is():
    broken = trust(gain=0.1)
    assert any("The bound does not hold" in sentence for sentence in broken.test())
    nothing = trust(decision=dataclasses.replace(trust().decision, action="ABSTAIN", dose=0.0, low=np.nan), dose=1.0)
    assert nothing.lead().startswith("weft says ABSTAIN. Had the policy been deployed all the same")
    assert not any("bound" in sentence for sentence in nothing.test())
    rules = dataclasses.replace(trust().rules[1], gained=np.array([-0.1, 0.0]))
    assert rules.worse == (0, 1)
    assert "on 1 of them a worse one" in rules.words()
    assert "this one does so here" in trust(rules=trust().rules[:1]).closing()
    assert read(DemoReport(made(trust=nothing)).html()).problems == []


@needs_chromium
def test_a_browser_draws_the_second_act_on_a_phone(tmp_path):
    page = DemoReport(made(trust=trust())).write(tmp_path / "report.html")
    seen = visit_framed(page, tmp_path, 390, 14000)
    assert seen.console == []
    found = json.loads(unescape(re.search(r'data-seen="([^"]*)"', seen.dom)[1]))
    assert len(found["plots"]) == 8 + 5
    assert all(plot["drawn"] and plot["paths"] > 0 for plot in found["plots"])
    assert found["content"] <= found["width"] == 390


@needs_chromium
@pytest.mark.parametrize(("width", "height"), [(1200, 4000), (390, 8000)], ids=["desktop", "phone"])
def test_a_browser_draws_every_plot_without_complaint(page, tmp_path, width, height):
    seen = visit_framed(page, tmp_path, width, height)
    assert seen.console == []
    found = json.loads(unescape(re.search(r'data-seen="([^"]*)"', seen.dom)[1]))
    assert len(found["plots"]) == 8
    for plot in found["plots"]:
        assert plot["drawn"], plot
        assert plot["paths"] > 0, plot
        assert plot["height"] > 200, plot
        assert 0 <= plot["left"] < plot["right"] <= width, plot
        assert plot["width"] <= plot["right"] - plot["left"] + 1, plot
    assert found["content"] <= found["width"] == width, "the page is wider than the screen"
    assert seen.picture.read_bytes().startswith(b"\x89PNG")
    assert seen.picture.stat().st_size > 30_000, "the picture is blank"


@needs_chromium
def test_a_planted_error_is_noticed(page, tmp_path):
    html = page.read_text()
    assert html.count('"use strict";\n// Draw') == 1
    page.write_text(html.replace('"use strict";\n// Draw', '"use strict";\nundefinedThing.here;\n// Draw'))
    assert any("undefinedThing is not defined" in line for line in visit(page, tmp_path).console)
    page.write_text(html.replace("<main>", '<main><img src="https://example.invalid/picture.png" alt="">'))
    assert any("Content Security Policy" in line for line in visit(page, tmp_path).console)
