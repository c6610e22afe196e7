"""The tables that the order is corrected by are those of the benchmarks."""

import json
from pathlib import Path

import numpy as np
import pytest

from weft.agents.algorithm import algorithms
from weft.experiments.advice.evidence import EVIDENCE, Table, alike, seen
from weft.experiments.advice.recommendation import traits

RESULTS = Path(__file__).resolve().parents[3] / "benchmarks" / "results"


def scores(log: str) -> dict[str, float]:
    """Return the scores of the methods that can be advised, as the benchmarks hold them."""
    if log == "hopper":
        methods = json.loads((RESULTS / "hopper_defaults.json").read_text())["methods"]
        rows = {name: row["mean"] for name, row in methods.items()}
    else:
        tables = {**json.loads((RESULTS / "defaults.json").read_text())}
        tables["minari"] = json.loads((RESULTS / "advice.json").read_text())["minari"]
        rows = {name: float(np.mean(row["scores"])) for name, row in tables[log].items()}
    held = {name for name, kind in algorithms().items() if "reckless" not in traits(kind)}
    return {name: score for name, score in rows.items() if name in held}


@pytest.mark.parametrize("log", EVIDENCE)
def test_shares_are_those_of_the_results(log):
    rows = scores(log)
    low, high = min(rows.values()), max(rows.values())
    shares = EVIDENCE[log].shares
    assert set(shares) <= set(rows)
    for name, share in shares.items():
        assert share == pytest.approx((rows[name] - low) / (high - low), abs=0.0051)


@pytest.mark.parametrize("log", EVIDENCE)
def test_situations_are_those_that_were_measured(log):
    measured = json.loads((RESULTS / "advice.json").read_text())["logs"][log]
    assert (EVIDENCE[log].situation, EVIDENCE[log].kind) == (measured["situation"], measured["kind"])


def test_a_share_is_a_weighted_mean_of_the_prior_and_of_tables_in_the_situation():
    tables = {
        "own": Table("whole", "continuous", {"iql": 1.0}),
        "other": Table("whole", "discrete", {"iql": 0.0}),
        "elsewhere": Table("single", "continuous", {"iql": 0.0}),
    }
    assert seen("iql", 0.5, "whole", "continuous", tables) == pytest.approx((0.5 + 1.0) / 2.5)
    assert seen("iql", 0.5, "whole", "discrete", tables) == pytest.approx((0.5 + 0.5) / 2.5)
    assert seen("bc", 0.2, "whole", "discrete", tables) == 0.2
    assert alike("whole", tables) == ["own", "other"]
