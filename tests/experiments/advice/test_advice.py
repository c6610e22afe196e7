"""Advice on logs whose right answer is known, from the log to the sentence."""

import dataclasses
import itertools

import numpy as np
import pytest
from examples import PLAIN, steps

import weft
from weft import Dataset
from weft.agents.algorithm import algorithm
from weft.core.errors import UserError
from weft.experiments.advice.advice import _evaluation, _warnings, advise
from weft.experiments.advice.prediction import Comparison
from weft.experiments.advice.recommendation import group


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
    assert found.situation.startswith("100% of the episodes come within a tenth of the best")


def test_a_log_of_good_and_bad_episodes_that_act_alike_has_a_filter_of_the_good_ones():
    better = np.repeat(np.arange(300) % 5 < 2, 20)
    found = advise(steps(episodes=300, rewards=np.where(better, 5.0, 1.0)))
    assert "they were lucky" in found.situation
    assert next(each for each in found.ranking if each.algorithm == "filtered_bc").settings["fraction"] == 0.4


def test_the_maze_needs_stitching():
    found = weft.advise(weft.load("sample:maze"))
    assert {"iql", "awac", "crr", "cql"} >= set(names(found)[:3])
    assert {"bc", "filtered_bc"} == set(names(found)[-2:])
    assert "stitching" in {each.name for each in found.properties}
    assert found.evaluation.startswith("Tier 1")
    assert found.preset == "sparse_goal"


def test_single_decisions():
    found = advise(decisions(count=1500))
    assert "one decision" in {each.value for each in found.properties}
    assert names(found)[-2:] == ["filtered_bc", "bc"]
    assert not any("cannot be seen" in warning for warning in found.warnings)
    without = advise(decisions(count=1500, matters=False))
    assert any("That the action matters cannot be seen" in warning for warning in without.warnings)


def test_filtered_copying_and_the_old_rule_are_always_what_is_to_be_beaten():
    for data in (decisions(), steps(), decisions(rewards=np.ones(600)), decisions(count=12)):
        found = advise(data)
        assert [each.name.split()[0] for each in found.baselines] == ["filtered_bc", "bc", "the"]
        assert found.baselines[2].value == f"{data.returns.mean():.4g}"
    assert advise(decisions(rewards=np.ones(600))).baselines[0].meaning.startswith("nothing to filter by")


def test_one_action_warns_and_abstains():
    found = advise(decisions(actions=np.zeros(600, int), propensities=np.ones(600)))
    assert found.situation == (
        "Every step took the same action, so no log of it can say what another would have done: keep the old rule."
    )
    assert found.evaluation.startswith("Abstain (no exploration)")
    assert names(found) == ["bc"]
    assert found.commands("log.csv") == {}


def test_equal_rewards_and_small_logs_get_one_sentence():
    equal = advise(decisions(rewards=np.ones(600)))
    assert equal.situation.startswith("Every episode returns 1, so no action can be told")
    assert (names(equal), equal.commands("log.csv"), equal.warnings) == (["bc"], {}, ())
    small = advise(decisions(count=12))
    assert small.situation.startswith("12 episodes are too few to tell good actions from luck: keep the old rule")
    assert names(small) == ["bc"]
    assert small.evaluation.startswith("Abstain: 12 independent units")
    assert any(warning.startswith("30 episodes are few") for warning in advise(decisions(count=30)).warnings)


def test_what_comes_after_training_is_asked_and_said():
    data = weft.load("sample:maze")
    online, model = advise(data, "online"), advise(data, "model")
    assert names(online)[:3] == ["iql", "cql", "awac"]
    assert online.grounds.startswith("Methods that go on online come first")
    assert online.commands("sample:maze", environment="maze")["Train the first"][-2:] == ["--then-online", "maze"]
    assert any("No method of weft learns a model" in warning for warning in model.warnings) or (
        group(algorithm(names(model)[0])) == "model"
    )
    with pytest.raises(UserError, match="one of offline, online, model"):
        advise(data, "later")


def test_rows_that_share_a_reason_are_one_group():
    found = advise(weft.load("sample:maze"))
    groups = list(found.groups())
    assert [each for _, rows in groups for each in rows] == list(found.ranking)
    reasons = [rows[0].reason for _, rows in groups]
    assert all(first != second for first, second in itertools.pairwise(reasons))
    assert groups[0][0] == f"1-{len(groups[0][1])}"


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
    ],
)
def test_warnings_quote_the_figure(changes, said):
    assert not list(_warnings(PLAIN, weft.advise(decisions()).ranking)) or changes
    assert said in "\n".join(_warnings(dataclasses.replace(PLAIN, **changes), ()))


def test_advice_prints_as_a_table():
    found = advise(decisions())
    text = str(found)
    assert len(text.splitlines()) == len(list(found.lines()))
    assert [line.split()[0] for line in text.splitlines()].count("to") == 3  # to beat
