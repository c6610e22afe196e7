"""Advice on logs whose right answer is known, from the log to the sentence."""

import dataclasses

import numpy as np
import pytest
from examples import PLAIN, steps

import weft
from weft import Dataset
from weft.core.errors import UserError
from weft.experiments.advice.advice import _evaluation, _warnings, advise
from weft.experiments.advice.prediction import Comparison


def names(found) -> list[str]:
    return [each.algorithm for each in found.ranking]


def decisions(count=600, chance=(0.5, 0.3, 0.2), matters=True, **changes) -> Dataset:
    generator = np.random.default_rng(0)
    choice = generator.choice(len(chance), count, p=chance)
    won = generator.random(count) < (0.2 + 0.3 * (choice == 1) * matters)
    parts = {
        "observations": generator.normal(size=(count, 2)),
        "actions": choice,
        "rewards": won.astype(float),
        "terminals": np.ones(count, bool),
        "propensities": np.array(chance)[choice],
    }
    return Dataset.from_arrays(**{**parts, **changes})


def test_an_expert_is_copied():
    found = advise(steps(episodes=300))
    assert names(found)[0] == "bc"
    assert "100% of the episodes come within a tenth of the best" in found.ranking[0].reason


def test_a_log_of_good_and_bad_episodes_is_copied_in_part():
    better = np.repeat(np.arange(300) % 5 < 2, 20)
    found = advise(steps(episodes=300, rewards=np.where(better, 5.0, 1.0)))
    assert set(names(found)[:2]) == {"filtered_bc", "iql"}
    assert names(found)[-1] != "filtered_bc"
    assert next(each for each in found.ranking if each.algorithm == "filtered_bc").settings["fraction"] == 0.4


def test_the_maze_needs_stitching():
    found = weft.advise(weft.load("sample:maze"))
    assert names(found)[:2] == ["iql", "cql"]
    assert {"bc", "filtered_bc"} == set(names(found)[-2:])
    assert "stitching" in {each.name for each in found.properties}
    assert found.evaluation.startswith("Tier 1")


def test_single_decisions():
    found = advise(decisions(count=1500))
    assert "one decision" in {each.value for each in found.properties}
    assert names(found)[-1] == "filtered_bc"
    assert not any("cannot be seen" in warning for warning in found.warnings)
    without = advise(decisions(count=1500, matters=False))
    assert any("That the action matters cannot be seen" in warning for warning in without.warnings)


def test_deterministic_logging_warns_and_abstains():
    found = advise(decisions(actions=np.zeros(600, int), propensities=np.ones(600)))
    assert any("The same place always met the same action" in warning for warning in found.warnings)
    assert found.evaluation.startswith("Abstain (no exploration)")
    assert names(found)[0] == "bc"


def test_small_logs_warn():
    found = advise(decisions(count=30))
    assert any(warning.startswith("30 episodes are few") for warning in found.warnings)
    assert advise(decisions(count=12)).evaluation.startswith("Abstain: 12 independent units")


def test_several_rewards_must_be_weighed_first():
    data = decisions(rewards={"click": np.ones(600), "buy": np.zeros(600)})
    with pytest.raises(UserError, match=r"several rewards \(click, buy\)"):
        advise(data)


def test_actions_that_nothing_learns_from():
    found = advise(decisions(actions=np.random.default_rng(0).integers(0, 3, (600, 2)), propensities=None))
    assert found.ranking == ()
    assert "No algorithm of weft learns from multidiscrete actions." in found.warnings
    assert "evaluation" in str(found)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "Tier 2 (estimate) at most, since no propensities"),
        ({"propensities": True}, "declare the reward range and horizon, and tier 1"),
        ({"propensities": True, "horizon": 100}, "declare the reward range, and tier 1"),
        ({"propensities": True, "horizon": 100, "ranged": True}, "Tier 1 (certificate)"),
        ({"propensities": True, "horizon": 100, "ranged": True}, "Weights multiply over 100 steps"),
        ({"propensities": True, "horizon": 100, "ranged": True, "excess": 9.0}, "until the propensities are mended"),
        ({"unit": "user", "units": 400}, "Units are the values of 'user'"),
        ({"contrast": 0.0}, "Abstain (no exploration)"),
        ({"units": 5}, "Abstain: 5 independent units"),
    ],
)
def test_what_evaluation_is_possible(changes, said):
    assert said in _evaluation(dataclasses.replace(PLAIN, **changes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"units": 40, "unit": "user"}, "40 values of 'user' are few"),
        ({"memory": Comparison(1.0, 0.2, 9.0, 0.1, np.ones(1))}, "helps to predict the action (0.200 nats, z 9.0)"),
        ({"near": 0.1}, "Only 10% of the steps have a near one"),
        ({"excess": 5.0, "kind": "discrete", "choices": 4}, "above the 4 choices on average (z 5.0)"),
        ({"least": 1e-4, "kind": "discrete"}, "weigh as much as 10,000 others"),
        ({"terminal": 0.0}, "No episode ends by a terminal step"),
        ({"irregular": 0.5}, "Durations vary by 50%"),
        ({"spread": False}, "Every episode returns 100"),
    ],
)
def test_warnings_quote_the_figure(changes, said):
    assert not list(_warnings(PLAIN, weft.advise(decisions()).ranking)) or changes
    assert said in "\n".join(_warnings(dataclasses.replace(PLAIN, **changes), ()))


def test_advice_prints_as_a_table():
    found = advise(decisions())
    text = str(found)
    assert len(text.splitlines()) == len(list(found.lines()))
    assert text.count("\n1. ") == 1
