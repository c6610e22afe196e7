"""The coverage suite in small: issued intervals hold on worlds with known values, and broken ones are found out."""

import dataclasses
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks" / "coverage"))

import continuous
import unknown
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


@pytest.mark.parametrize("judged", [True, False], ids=["judged", "logging"])
def test_values_of_continuous_actions_are_those_of_running_the_policy(judged):
    cell = continuous.Cell(100_000, 4, 0.5, 0.8)
    world = continuous.draw_world(cell, np.random.default_rng(3))
    returns = continuous.draw_log(cell, world, np.random.default_rng(4), judged).reward.sum(1)
    assert abs(returns.mean() - continuous.truth(cell, world, judged)) < 4 * returns.std() / len(returns) ** 0.5


def test_logs_of_codes_have_one_form_so_that_they_share_programs():
    cell = unknown.cells()[2]
    columns = unknown.drawn(cell, jax.random.key(1, impl=unknown.QUICK), 3)[1]
    logs = [unknown.dataset(cell, jax.tree.map(lambda part, i=i: part[i], columns)) for i in range(3)]
    assert {len(log.store_observations) for log in logs} == {cell.cell.episodes * (cell.cell.horizon + 1)}
    for i, log in enumerate(logs):  # nothing is lost: what was done, what came of it, and where it led
        one = jax.tree.map(lambda part, i=i: np.asarray(part[i]), columns)
        assert (log.store_actions == one.action).all()
        assert (log.store_rewards[:, 0] == one.reward[:, 0]).all()
        for side in ("position", "successor"):
            assert (log.store_observations[getattr(log, side)] == one.observation[getattr(one, side)]).all()
