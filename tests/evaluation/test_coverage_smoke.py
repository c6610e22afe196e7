"""The coverage suite in small: issued intervals hold on worlds with known values, and broken ones are found out."""

import dataclasses
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks" / "coverage"))

from families import Cell
from run import judge, replicate, verdicts

from weft.evaluation import interval_rule as issuing

REPEATS = 120
SMALL = Cell("markov 60 x 4", 60, 4, states=4, actions=2)


def row(cell):
    found = replicate(cell, jax.random.key(0), REPEATS)
    return judge(cell, {name: np.asarray(part) for name, part in found.items()})


@pytest.mark.slow
@pytest.mark.parametrize("change", [{}, {"stop": 0.2}], ids=["markov", "variable length"])
def test_issued_intervals_hold(change):
    found = row(dataclasses.replace(SMALL, **change))
    assert verdicts([found]) == []
    assert found["issued"] > 0.6 * REPEATS
    assert found["run_coverage"] > 0.88  # the positive control: running the policy
    assert found["naive_coverage"] < 0.75  # the negative one: a bootstrap of one fitted V


@pytest.mark.slow
def test_the_suite_finds_an_interval_that_is_too_narrow(monkeypatch):
    honest = issuing.spread
    monkeypatch.setattr(issuing, "spread", lambda each, count: 0.4 * honest(each, count))
    found = row(dataclasses.replace(SMALL, name="narrow"))  # another name is another program
    assert verdicts([found])


@pytest.mark.slow
def test_without_overlap_nothing_is_issued():
    found = row(dataclasses.replace(SMALL, name="none", delta=1.0, epsilon=1e-6, overlap=False, identified=False))
    assert found["abstained"] >= 0.95
