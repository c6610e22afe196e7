"""What a roll-out takes for granted is tested at every look: false alarms stay as rare as they say, faults are seen."""

import dataclasses

import numpy as np
import pytest
from tabular import world

from weft.core.errors import UserError
from weft.data.declarations import unit_returns
from weft.deployment import rollout_test
from weft.deployment.decision import Decision
from weft.deployment.outcomes import Outcomes
from weft.deployment.rollout_test import judge
from weft.deployment.safeguards import JUMP, SLOPES, changes, elsewhere, evens, examine, logged_bounds, ranks
from weft.evaluation.thresholds import IMPLAUSIBLE

STARTED = Decision("STAGED", 0.1, tier=1, doses=(0.1, 0.5), evidence=(6.0, 2.0), units=100, logged_bounds=(0.35, 0.45))
ALARM = np.log(IMPLAUSIBLE)


def rolled(units: int, gain=0.0, seed: int = 0, chance=0.5, base=0.4, lost=False) -> Outcomes:
    """Return a roll-out of units that pay 1 with a chance of `base`, under the policy of `gain` more."""
    rng = np.random.default_rng(seed)
    arms = rng.random(units) < chance
    returns = rng.random(units) < base + gain * arms
    missing = rng.random(units) < np.where(arms, *lost) if lost else False
    return Outcomes(arms, chance, returns.astype(float), 0.0, 1.0, lost=missing)


# --- losses -----------------------------------------------------------------------------------------------------------


def test_what_was_lost_is_left_out_and_said():
    whole = rolled(600, 0.3, lost=(0.1, 0.1))
    answer = judge(STARTED, whole)
    alone = Outcomes(*(part[~whole.lost] for part in (whole.arms, whole.chances, whole.returns)), 0.0, 1.0)
    np.testing.assert_array_equal(answer.carried, judge(STARTED, alone).carried)
    assert answer.lost is not None
    assert (answer.units, answer.lost.units) == ((~whole.lost).sum(), whole.lost.sum())
    assert answer.lost.to_policy == (whole.lost & whole.arms).sum()
    assert any("lost are like those" in sentence for sentence in answer.assumptions)
    assert "are left out" in str(answer)
    assert answer.record()["lost"]["units"] == answer.lost.units
    assert judge(STARTED, rolled(50)).lost is None


def test_the_odds_with_the_worst_outcomes_are_those_of_a_log_that_has_them():
    whole = rolled(300, 0.3, lost=(0.1, 0.1))
    answer = judge(STARTED, whole)
    assert answer.lost is not None
    for policy, end in ((True, answer.lost.deploying), (False, answer.lost.rejecting)):
        earned = np.where(whole.lost, np.where(whole.arms == policy, 0.0, 1.0), whole.returns)
        full = judge(STARTED, Outcomes(whole.arms, 0.5, earned, 0.0, 1.0))
        assert end == pytest.approx((full.carried if policy else full.against)[-1], abs=1e-3)
    assert answer.lost.deploying < answer.carried[-1]
    assert answer.lost.rejecting < answer.against[-1]


def late(seed: int) -> Outcomes:
    """Return what is seen after 600 units of arms that pay alike, whose outcomes come 200 units late on average."""
    rng = np.random.default_rng(seed)
    arms, returns = rng.random(600) < 0.5, (rng.random(600) < 0.5).astype(float)
    gone = np.arange(600) + rng.exponential(200, 600) > 600
    return Outcomes(arms, 0.5, returns, 0.0, 1.0, lost=gone)


def test_where_outcomes_come_late_all_that_arrived_decides():
    """The wealth of all that arrived does not depend on their order: it is that of a test in the order of arrival."""
    none = dataclasses.replace(STARTED, evidence=(), logged_bounds=None)
    look = late(0)
    answer = judge(none, look)
    order = np.random.default_rng(1).permutation(int((~look.lost).sum()))
    there = [part[~look.lost][order] for part in (look.arms, look.returns)]
    again = judge(none, Outcomes(there[0], 0.5, there[1], 0.0, 1.0, lost=np.zeros(len(order), bool)))
    assert again.carried[-1] == pytest.approx(answer.carried[-1], abs=1e-3)
    assert again.action == answer.action


def test_what_was_enough_after_some_units_and_is_not_after_all_deploys_only_in_order():
    logs = np.log([30.0, 2.0]), np.log([0.1, 25.0])
    course = rollout_test._Course(*logs, np.zeros(2), 0.0, 0, None)
    assert rollout_test._action(course, 20.0, 0.01, late=False) == ("DEPLOY", 1)
    assert rollout_test._action(course, 20.0, 0.01, late=True) == ("CONTINUE", None)
    assert rollout_test._action(course, 20.0, 0.05, late=True) == ("REJECT", None)
    sure = course._replace(first=float(np.log(40.0)), against=np.zeros(2))
    assert rollout_test._action(sure, 20.0, 0.05, late=True) == ("DEPLOY", 0)


def test_returns_of_lost_units_are_not_looked_at():
    whole = rolled(200, lost=(0.2, 0.2))
    odd = Outcomes(whole.arms, 0.5, np.where(whole.lost, np.nan, whole.returns), 0.0, 1.0, lost=whole.lost)
    np.testing.assert_array_equal(judge(STARTED, odd).carried, judge(STARTED, whole).carried)


def test_losses_that_depend_on_the_arm_are_refused_and_alike_ones_are_not():
    with pytest.raises(UserError, match="lost more often in one arm") as problem:
        judge(STARTED, rolled(4000, lost=(0.2, 0.1)))
    assert "of the policy" not in str(problem.value)
    refused = 0
    for seed in range(200):
        wealth = examine(rolled(400, seed=seed, chance=0.3, lost=(0.3, 0.3)), None).lost
        refused += wealth >= np.log(20)
    assert refused <= 0.05 * 200 + 2 * np.sqrt(200 * 0.05 * 0.95)


@pytest.mark.parametrize(
    ("lost", "words"),
    [([1, 1], "No outcome of"), ([0.5, 0], "by 1 or 0"), ([1, 0, 0], "by 1 or 0"), (["a", "b"], "by 1 or 0")],
)
def test_marks_of_losses_that_cannot_be_are_refused(lost, words):
    with pytest.raises(UserError, match=words):
        Outcomes([1, 0], 0.5, [0.0, 1.0], 0.0, 1.0, lost=lost)


# --- the certificate's world ------------------------------------------------------------------------------------------


def test_the_bounds_of_the_log_hold_its_mean_and_shrink_with_units():
    here = world()
    true = here.value(here.logging)
    few, many = (logged_bounds(here.log(units, 1)) for units in (100, 4000))
    assert few is not None
    assert many is not None
    assert few[0] < many[0] < true < many[1] < few[1]
    values = unit_returns(here.log(100, 1))
    assert values is not None
    width, size = float(here.log(100, 1).spec.horizon or 0), np.log(4 * IMPLAUSIBLE)  # rewards lie in [0, 1]
    reach = np.sqrt(2 * values.var(ddof=1) * size / 100) + 7 * width * size / (3 * 99)
    assert few == pytest.approx((max(0.0, values.mean() - reach), min(width, values.mean() + reach)))
    assert logged_bounds(dataclasses.replace(here.log(100, 1)).declare(reward_low=None, reward_high=None)) is None


def test_another_world_takes_what_was_carried_from_the_answer():
    same, other = rolled(800, 0.15, seed=2), rolled(800, 0.15, seed=2, base=0.65)
    calm, moved = judge(STARTED, same), judge(STARTED, other)
    assert (calm.decides, calm.alarms) == ("carried", ())
    assert moved.decides == "restarted"
    assert "the world is another one" in moved.alarms[0]
    assert "alarm" in dict(moved.lines())
    # the answer is that of a roll-out in which the world may drift
    again = judge(STARTED, other, drift=True)
    assert (moved.action, moved.low, moved.passed) == (again.action, again.low, again.passed)
    assert not any("The world is the one" in sentence for sentence in moved.assumptions)


def test_without_bounds_of_the_log_it_is_said_that_its_world_could_not_be_tested():
    unknown = judge(dataclasses.replace(STARTED, logged_bounds=None), rolled(400, base=0.65))
    assert unknown.alarms == ()
    assert any("could not be tested" in sentence for sentence in unknown.assumptions)


def test_the_same_world_raises_an_alarm_as_rarely_as_it_says():
    bounds, reached = (0.38, 0.42), 0
    for seed in range(300):
        reached += elsewhere(rolled(400, seed=seed, base=0.42), bounds).max() >= np.log(20)
    assert reached <= 0.05 * 300 + 2 * np.sqrt(300 * 0.05 * 0.95)


# --- drift ------------------------------------------------------------------------------------------------------------


def test_ranks_are_those_of_counting():
    rng = np.random.default_rng(0)
    for count in (0, 1, 2, 7, 64, 100):
        values, ties = rng.integers(0, 6, count).astype(float), rng.random(count)
        slow = [
            ((values[:place] < value).sum() + ties[place] * ((values[:place] == value).sum() + 1)) / (place + 1)
            for place, value in enumerate(values)
        ]
        np.testing.assert_allclose(ranks(values, ties), slow)


def test_the_jumper_is_that_of_its_definition():
    whole = rolled(300, seed=4)
    ties, share = evens(300), np.empty(300)
    for arm, sign in ((whole.arms, 1), (~whole.arms, -1)):
        share[arm] = ranks(sign * whole.returns[arm], ties[arm])
    part, highest = np.full(len(SLOPES), 1 / len(SLOPES)), 1.0
    for one in share:
        part = (1 - JUMP) * part + JUMP * part.sum() / len(SLOPES)
        part = part * (1 + np.array(SLOPES) * (one - 0.5))
        highest = max(highest, part.sum())
    noticed, wealth = changes(whole)
    assert noticed == []
    assert np.exp(wealth) == pytest.approx(highest, rel=1e-3)


def test_without_change_alarms_are_as_rare_as_they_say():
    reached = sum(changes(rolled(500, 0.2, seed=seed))[1] >= np.log(20) for seed in range(300))
    assert reached <= 0.05 * 300 + 2 * np.sqrt(300 * 0.05 * 0.95)


def turned(seed: int, shared: bool = False) -> Outcomes:
    """Return a roll-out whose improvement of .3 turns after 700 of 1,400 units; `shared`: both arms rise instead."""
    begin = rolled(700, 0.3, seed)
    end = rolled(700, 0.3 if shared else -0.3, seed + 500, base=0.55 if shared else 0.5)
    parts = [np.concatenate([getattr(begin, name), getattr(end, name)]) for name in ("arms", "chances", "returns")]
    return Outcomes(*parts, 0.0, 1.0)


def test_a_change_of_the_improvement_ends_what_it_had_shown():
    unknown = dataclasses.replace(STARTED, logged_bounds=None)
    for seed in range(3):
        whole = turned(seed)
        before = judge(unknown, Outcomes(whole.arms[:700], 0.5, whole.returns[:700], 0.0, 1.0))
        assert before.action == "DEPLOY"
        after = judge(unknown, whole)
        assert 700 < after.since < 1100
        assert after.action in ("CONTINUE", "REJECT")
        assert any("changed otherwise" in sentence for sentence in after.alarms)
        assert after.mean < 0
        assert after.high < 0.3
        assert "since the change" in str(after)


def test_a_change_that_both_arms_share_leaves_the_answer():
    unknown = dataclasses.replace(STARTED, logged_bounds=None)
    for seed in range(5):
        answer = judge(unknown, turned(seed, shared=True))
        assert (answer.action, answer.since) == ("DEPLOY", 0)


@pytest.mark.parametrize("chance", [0.1, 0.2])
def test_a_shared_change_is_none_where_arms_are_uneven(chance):
    for seed in range(3):
        halves = rolled(2000, 0.05, seed, chance, 0.3), rolled(2000, 0.05, seed + 50, chance, 0.5)
        parts = [np.concatenate([getattr(one, name) for one in halves]) for name in ("arms", "chances", "returns")]
        assert changes(Outcomes(*parts, 0.0, 1.0))[0] == []


def test_a_roll_out_that_was_dealt_more_and_more_raises_no_alarm():
    rng, quiet = np.random.default_rng(0), 0
    for _ in range(50):
        chances = np.repeat([0.05, 0.2, 0.5, 0.8], 250)
        arms = rng.random(1000) < chances
        returns = (rng.random(1000) < 0.3 + 0.3 * arms).astype(float)
        quiet += not changes(Outcomes(arms, chances, returns, 0.0, 1.0))[0]
    assert quiet == 50


def test_changes_are_found_where_a_window_ends_and_one_after_another():
    parts = [rolled(900, gain, seed) for seed, gain in enumerate((0.5, -0.4, 0.5))]
    whole = Outcomes(*(np.concatenate([getattr(one, name) for one in parts])
                       for name in ("arms", "chances", "returns")), 0.0, 1.0)  # fmt: skip
    noticed, _ = changes(whole)
    assert len(noticed) == 2
    assert 900 < noticed[0] < 1300
    assert 1800 < noticed[1] < 2300
    short = Outcomes(whole.arms[: noticed[0]], 0.5, whole.returns[: noticed[0]], 0.0, 1.0)
    assert changes(short)[0] == noticed[:1]  # a longer log does not change what was noticed in its beginning
