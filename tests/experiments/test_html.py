"""What notebooks show of results: well-formed, escaped, the same cells as the text, and no colours of its own."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
from examples import PLAIN
from made_up import decision, row

from weft.data.folds import Folds
from weft.experiments.advice.advice import Advice, Property
from weft.experiments.advice.recommendation import rank
from weft.experiments.benchmark_files import Benchmark, Cell
from weft.experiments.learning_curves import Finding
from weft.experiments.study import Study
from weft.experiments.triage import Triage

NASTY = "a < b & <script>"
POINT = {"step": 10, "return": 1.5, "score": 1.5}
RESULTS = {
    "study": Study(
        decision(), None, (row("iql", 0.5), row(NASTY, 0.25)), {}, Folds.__new__(Folds), (f"{NASTY} is left out.",)
    ),
    "triage": Triage(f"run {NASTY}", (Finding("divergence", "clear", NASTY),), 30, ("Look again.",)),
    "advice": Advice(
        (Property("size", "5 steps", NASTY),),
        NASTY,
        rank(PLAIN),
        (Property("bc", "", NASTY),),
        (NASTY,),
        "Tier 2",
        None,
        NASTY,
        PLAIN,
    ),
    "benchmark": Benchmark(
        Path("x"),
        {},
        {"iql": {}, NASTY: {}},
        {"maze": {}},
        (
            Cell("iql", "maze", 0, "done", "", (POINT,), POINT, POINT, {}),
            Cell(NASTY, "maze", 0, "failed", NASTY, (), None, None, {}),
        ),
    ),
}


@pytest.mark.parametrize("kind", RESULTS)
def test_a_result_is_a_table_in_a_notebook(kind):
    page = RESULTS[kind]._repr_html_()
    assert "<script>" not in page
    assert not {word for word in ("color", "background", "class=") if word in page}
    root = ElementTree.fromstring(f"<div>{page}</div>")
    words = " ".join("".join(root.itertext()).split())
    assert NASTY in words
    assert root.find(".//table") is not None
    lines = str(RESULTS[kind]).splitlines()
    cells = {cell.text for cell in root.iter() if cell.tag in ("td", "th") and cell.text}
    assert all(any(cell in line for line in lines) for cell in cells)
