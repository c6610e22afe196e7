"""The order of methods for planted figures, and the rules that every recommendation keeps."""

import dataclasses
from typing import ClassVar

import numpy as np
import pytest
from examples import PLAIN
from tabular import world

from weft.agents.algorithm import algorithm, algorithms
from weft.agents.algorithms.cql import CQL
from weft.agents.algorithms.iql import IQL
from weft.core.errors import UserError
from weft.data.spec import ActionSpec
from weft.experiments.advice.evidence import EVIDENCE, Table
from weft.experiments.advice.prediction import Comparison
from weft.experiments.advice.recommendation import (
    BY_TRAIT,
    CHANGES,
    FAMILIES,
    HELD,
    ONWARD,
    SETTINGS,
    aimed,
    constrained,
    rank,
    traits,
)
from weft.experiments.advice.situations import GROUPS, SITUATIONS, situation

LUCK = Comparison(1.0, 0.0, 0.5, 0.0, np.ones(1))


def order(then="offline", **changes) -> list[str]:
    return [each.algorithm for each in rank(dataclasses.replace(PLAIN, **changes), then=then)]


def reason(name: str, **changes) -> str:
    return next(each.reason for each in rank(dataclasses.replace(PLAIN, **changes)) if each.algorithm == name)


def test_nearly_all_good_means_copying():
    assert order(good=0.97)[:2] == ["bc", "filtered_bc"]
    assert "97% of it is good" in reason("bc", good=0.97)


def test_whole_good_episodes_that_act_differently_are_copied_and_the_rest_is_weighed():
    ranking = order(good=0.04)
    assert ranking[0] == "filtered_bc"
    assert ranking[-1] == "bc"
    assert ranking.index("iql") < ranking.index("td3_bc")
    chosen = rank(dataclasses.replace(PLAIN, fraction=0.0387, kept_episodes=58, kept_steps=20_355))[0]
    assert chosen.settings == {"fraction": 0.0387}
    assert chosen.reason == "Copies the best 58 episodes (20,355 steps) and nothing else."


def test_lucky_episodes_are_not_filtered_for_unless_nothing_else_is_supported():
    seen_often = order(skill=LUCK, near=1.0)
    assert seen_often.index("iql") < seen_often.index("filtered_bc") < seen_often.index("bc")
    narrow = order(skill=LUCK, near=0.5)
    assert narrow[:2] == ["filtered_bc", "bc"]


def test_episodes_that_must_be_put_together_put_value_learning_first():
    ranking = order(spliced=0.4, covered=0.33, rewarded=0.01)
    assert {"iql", "awac", "crr", "cql"} >= set(ranking[:3])
    assert ranking[-2:] == ["filtered_bc", "bc"]
    assert "33% of the starts" in reason("filtered_bc", spliced=0.4, covered=0.33)


def test_single_decisions_do_not_select_the_lucky_ones():
    ranking = order(kind="discrete", choices=10, length=1.0, longest=1, spliced=None, split=None, skill=None)
    assert ranking[-2:] == ["filtered_bc", "bc"]
    assert "td3_bc" not in ranking  # it needs continuous actions


def test_no_chance_in_the_log_means_copying():
    assert order(contrast=0.0)[:2] == ["bc", "filtered_bc"]


def test_undirected_logs_are_not_copied():
    assert order(exploration=0.99)[-1] == "bc"
    assert order(exploration=0.99).index("filtered_bc") > order(exploration=0.99).index("iql")
    assert "99%" in reason("bc", exploration=0.99)


def test_starts_that_decide_returns_are_no_lack_of_quality():
    assert order(started=0.95, good=0.05)[0] == "bc"


@pytest.mark.parametrize("changes", [{"spread": False}, {"taken": 1}, {"units": 19}])
def test_logs_that_tell_nothing_leave_nothing_but_copying(changes):
    assert order(**changes) == ["bc"]


def test_going_on_online_puts_the_methods_that_were_seen_to_do_it_first():
    assert order(then="online")[:3] == ["iql", "awac", "cql"]
    assert order(then="online", spliced=0.4)[:3] == ["iql", "cql", "awac"]
    ranking = rank(PLAIN, then="online")
    assert next(each.settings for each in ranking if each.algorithm == "cql") == {"calibrated": True}
    replay = ["replay" in algorithm(each.algorithm).learns_from for each in ranking]
    assert replay == sorted(replay, reverse=True)  # those that cannot go on come after those that can


class Modelled(CQL):
    family: ClassVar[str] = "model based"


def test_a_method_that_learns_a_model_comes_first_where_a_model_can_be_trained():
    known = {**algorithms(), "modelled": Modelled}
    assert rank(PLAIN, known, "model")[0].algorithm == "modelled"
    assert rank(PLAIN, known)[0].algorithm == "filtered_bc"
    assert [each.algorithm for each in rank(PLAIN, then="model")] == order()


def test_regression_is_first_for_single_decisions_and_nowhere_else():
    single = dataclasses.replace(PLAIN, kind="discrete", choices=3, length=1.0, longest=1, spliced=None, skill=None)
    assert rank(single)[0].algorithm == "regression"
    assert "regression" not in {each.algorithm for each in rank(dataclasses.replace(single, longest=2))}


def test_another_aim_is_refused():
    with pytest.raises(UserError, match="one of offline, online, model, got 'onlin'"):
        aimed("onlin")


def test_tables_of_the_same_situation_correct_the_order_and_others_do_not():
    best = {"whole": {"awr": 1.0, "filtered_bc": 0.0}}
    told = {name: Table(name, "continuous", shares) for name, shares in best.items()}
    assert rank(PLAIN, tables={})[0].algorithm == "filtered_bc"
    assert rank(PLAIN, tables=told)[0].algorithm == "awr"
    other = {"x": Table("stitching", "continuous", best["whole"])}
    assert rank(PLAIN, tables=other) == rank(PLAIN, tables={})


@pytest.mark.parametrize("split", [0.0, 0.5])
@pytest.mark.parametrize(
    "changes",
    [{}, {"good": 0.97}, {"spliced": 0.5}, {"skill": LUCK}, {"skill": LUCK, "near": 0.2}, {"covered": 0.2},
     {"exploration": 1.0}, {"contrast": 0.0}, {"longest": 1}, {"spread": False}, {"units": 3}, {"taken": 1}],
)  # fmt: skip
def test_every_recommendation_exists_fits_the_actions_and_has_real_settings_and_a_short_reason(split, changes):
    for kind in ("continuous", "discrete"):
        measured = dataclasses.replace(PLAIN, split=split, kind=kind, choices=4, **changes)
        ranking = rank(measured)
        assert {each.algorithm for each in ranking} <= set(algorithms()) - {"sac", "dqn", "reinforce", "actor_critic"}
        for each in ranking:
            method = algorithm(each.algorithm)
            assert kind in method.actions
            method(**each.settings)
            assert each.reason.endswith(".")
            assert len(each.reason.split()) <= 20


def test_every_situation_occurs_and_knows_its_groups():
    cases = [
        {"taken": 1}, {"spread": False}, {"units": 3}, {"contrast": 0.0}, {"longest": 1}, {"exploration": 1.0},
        {"spliced": 0.5}, {"good": 0.97}, {}, {"skill": LUCK, "near": 0.2}, {"skill": LUCK}, {"covered": 0.2},
    ]  # fmt: skip
    assert [situation(dataclasses.replace(PLAIN, **changes)) for changes in cases] == list(SITUATIONS)
    for case in SITUATIONS:
        assert set(case.shares) <= set(GROUPS)
        assert set(case.reasons) <= set(case.shares)
        assert all(0 <= share <= 1 for share in case.shares.values())
    assert {table.situation for table in EVIDENCE.values()} <= {case.name for case in SITUATIONS}
    assert {name for _, name in BY_TRAIT} <= set(GROUPS)


def test_kinds_of_actions_that_nothing_learns_from_get_no_recommendation():
    assert not order(kind="multidiscrete")


class Stranger(IQL):
    family: ClassVar[str] = "something new"


class Relative(IQL):
    family: ClassVar[str] = "conservative"


def test_a_new_algorithm_is_ranked_by_its_family_and_listed_last_if_that_is_unknown():
    ranking = rank(PLAIN, {**algorithms(), "stranger": Stranger, "relative": Relative})
    assert ranking[-1].algorithm == "stranger"
    assert ranking[-1].reason == "Nothing is known here of the family 'something new'."
    assert traits(Relative) == FAMILIES["conservative"]


def test_the_tables_speak_of_traits_and_algorithms_that_exist():
    declared = set().union(*FAMILIES.values(), *(kind.traits for kind in algorithms().values()))
    assert {trait for change in CHANGES for trait in change.shares} <= declared
    assert {trait for trait, _ in BY_TRAIT} | HELD <= declared
    assert {rule.algorithm for rule in SETTINGS} | set(ONWARD) <= set(algorithms())
    assert {name for table in EVIDENCE.values() for name in table.shares} <= set(algorithms())


def test_methods_that_stay_with_the_log_are_those_that_learn_from_such_actions():
    spec = world().log(2).spec
    continuous = constrained(dataclasses.replace(spec, action=ActionSpec("continuous", (2,))))
    discrete = constrained(spec)
    assert {"iql", "cql"} <= set(discrete) & set(continuous)
    assert "td3_bc" in continuous
    assert not {"td3_bc", "bc", "dqn", "sac"} & set(discrete)


def test_methods_that_see_images_only_are_for_images():
    assert "ram" not in order(kind="discrete")
    assert "ram" in order(kind="discrete", sees=frozenset({"image"}))
    assert "bc" in order(kind="discrete", sees=frozenset({"image"}))
