"""The order of algorithms for planted figures, and the rules that every recommendation keeps."""

import dataclasses
from typing import ClassVar

import pytest
from examples import PLAIN
from tabular import world

from weft.agents.algorithm import algorithm, algorithms
from weft.agents.algorithms.iql import IQL
from weft.data.spec import ActionSpec
from weft.experiments.advice.recommendation import FAMILIES, HELD, RULES, SETTINGS, USUAL, constrained, rank, traits


def order(**changes) -> list[str]:
    return [found.algorithm for found in rank(dataclasses.replace(PLAIN, **changes))]


def reason(name: str, **changes) -> str:
    return next(found.reason for found in rank(dataclasses.replace(PLAIN, **changes)) if found.algorithm == name)


def test_nearly_all_good_means_copying():
    assert order(good=0.97)[:2] == ["bc", "filtered_bc"]
    assert "97% of the episodes come within a tenth of the best (100)" in reason("bc", good=0.97)


def test_much_good_means_copying_the_good_and_value_learning_before_plain_copying():
    found = order(good=0.45)
    assert found[:2] == ["filtered_bc", "iql"]
    assert found[-1] == "bc"
    chosen = rank(dataclasses.replace(PLAIN, good=0.45))[0]
    assert chosen.settings == {"fraction": 0.45}
    assert "45% of the episodes are good" in chosen.reason


def test_little_good_means_value_learning():
    found = order(good=0.02)
    assert found[:3] == ["iql", "cql", "td3_bc"]
    assert found.index("filtered_bc") < found.index("bc")


def test_episodes_that_must_be_put_together_put_value_learning_first():
    found = order(spliced=0.4, covered=0.33, rewarded=0.01)
    assert found[:2] == ["iql", "cql"]
    assert found.index("filtered_bc") > found.index("cql")
    assert rank(dataclasses.replace(PLAIN, spliced=0.4, covered=0.33, rewarded=0.01))[0].settings["expectile"] == 0.9
    assert "40% of the episodes could have gone on" in reason("iql", spliced=0.4)


def test_single_decisions_do_not_select_the_lucky_ones():
    found = order(kind="discrete", choices=10, length=1.0, longest=1, spliced=None, split=None, good=0.005)
    assert found[:2] == ["iql", "cql"]
    assert found[-1] == "filtered_bc"
    assert "td3_bc" not in found  # it needs continuous actions


def test_no_chance_in_the_log_means_copying():
    assert order(contrast=0.0)[0] in ("bc", "filtered_bc")
    assert "contrast 0" in reason("bc", contrast=0.0)


def test_undirected_logs_are_not_copied():
    assert order(exploration=0.99, good=0.3).index("bc") == len(order()) - 1
    assert "99%" in reason("bc", exploration=0.99)


def test_starts_that_decide_returns_are_no_lack_of_quality():
    assert order(started=0.95, good=0.05)[0] == "bc"


def test_few_steps_count_against_values_of_unlogged_actions():
    assert order(good=0.02, steps=800).index("cql") > order(good=0.02, steps=800).index("iql")
    assert "800 steps are few" in reason("cql", steps=800)


def test_equal_returns_leave_nothing_but_copying():
    assert order(spread=False, good=1.0, covered=None, started=None)[0] == "bc"


@pytest.mark.parametrize("good", [0.02, 0.45, 0.97])
@pytest.mark.parametrize("split", [0.0, 0.5])
@pytest.mark.parametrize("spliced", [0.0, 0.5])
def test_every_recommendation_exists_fits_the_actions_has_real_settings_and_quotes_a_figure(good, split, spliced):
    for kind in ("continuous", "discrete"):
        measured = dataclasses.replace(PLAIN, good=good, split=split, spliced=spliced, kind=kind, rewarded=0.01)
        found = rank(measured)
        assert {each.algorithm for each in found} <= set(algorithms()) - {"sac", "dqn", "reinforce", "actor_critic"}
        for each in found:
            method = algorithm(each.algorithm)
            assert kind in method.actions
            method(**each.settings)
            assert any(letter.isdigit() for letter in each.reason)
            assert each.reason.endswith(".")


def test_kinds_of_actions_that_nothing_learns_from_get_no_recommendation():
    assert not order(kind="multidiscrete")


class Stranger(IQL):
    family: ClassVar[str] = "something new"


class Relative(IQL):
    family: ClassVar[str] = "conservative"


def test_a_new_algorithm_is_ranked_by_its_family_and_listed_last_if_that_is_unknown():
    found = rank(PLAIN, {**algorithms(), "stranger": Stranger, "relative": Relative})
    assert found[-1].algorithm == "stranger"
    assert "no rule speaks of the family 'something new'" in found[-1].reason.lower()
    assert traits(Relative) == FAMILIES["conservative"]


def test_the_tables_speak_of_traits_and_algorithms_that_exist():
    declared = set().union(*FAMILIES.values(), *(kind.traits for kind in algorithms().values()))
    assert {trait for rule in RULES for trait in rule.points} <= declared
    assert set(USUAL) | HELD <= declared
    assert {rule.algorithm for rule in SETTINGS} <= set(algorithms())


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
