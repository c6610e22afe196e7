"""Text and HTML tables: alignment, escaping, nothing imported."""

from xml.etree import ElementTree

import pytest

from weft.core.tables import html_notes, html_table, text_table

FACTS = [("decision", "DEPLOY"), ("why", "a < b & c")]
WIDE = [("", "candidate", "value"), ("→", "bc seed 0", "12.5"), ("", "iql", "3")]


def test_columns_are_as_wide_as_their_widest_cell_and_lines_have_no_trailing_blanks():
    assert text_table(FACTS) == "decision  DEPLOY\nwhy       a < b & c"
    assert text_table(WIDE) == "   candidate  value\n→  bc seed 0  12.5\n   iql        3"
    assert text_table(iter(FACTS)) == text_table(FACTS)
    assert text_table([]) == ""


def test_figures_are_aligned_to_the_right():
    assert text_table([("maze", "9.5", "10"), ("a", "12.25", "1")], figures=True) == "maze    9.5  10\na     12.25   1"


def test_rows_of_another_length_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        text_table([("a", "b"), ("c",)])


def test_html_is_well_formed_and_escapes_every_cell_and_the_title():
    rows = [("<script>alert(1)</script>", "a & b"), ('"quoted"', "ü")]
    page = html_table(rows, "x < y")
    assert "<script>" not in page
    table = ElementTree.fromstring(page)
    assert table.findtext("caption") == "x < y"
    assert [tuple(cell.text for cell in row) for row in table.findall("tr")] == rows
    assert [[cell.tag for cell in row] for row in table.findall("tr")] == [["th", "td"]] * 2


def test_html_with_a_head_names_the_columns_and_sets_no_colour():
    table = html_table(WIDE, head=True)
    rows = ElementTree.fromstring(table).findall("tr")
    assert [[cell.tag for cell in row] for row in rows] == [["th"] * 3, ["td"] * 3, ["td"] * 3]
    assert not {word for word in ("color", "background", "class=") if word in table}


def test_notes_are_paragraphs():
    assert html_notes(["a < b", "c"]) == "<p>a &lt; b</p>\n<p>c</p>"
