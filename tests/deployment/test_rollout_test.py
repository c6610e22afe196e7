"""The roll-out's bets: their mean, their promise, what is carried, and what is decided."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from weft.core.errors import UserError
from weft.deployment.decision import Decision, recalled
from weft.deployment.outcomes import Outcomes
from weft.deployment.rollout_test import bets, improvement, judge
from weft.deployment.safeguards import assignment
from weft.evaluation import betting
from weft.evaluation.thresholds import IMPLAUSIBLE

STARTED = Decision("STAGED", 0.1, tier=1, doses=(0.1, 0.5), evidence=(4.0, 2.0), units=100)


def drawn(units: int, gain: float, seed: int = 0, chance: float = 0.5, scale: float = 1.0) -> Outcomes:
    """Return a roll-out that pays `scale` or 0, with a chance of .4, under the policy of `gain` more."""
    rng = np.random.default_rng(seed)
    arms = rng.random(units) < chance
    returns = scale * (rng.random(units) < 0.4 + gain * arms)
    return Outcomes(arms, chance, returns, 0.0, 1.0)


@pytest.mark.parametrize("centre", [None, 0.0, 0.7, 2.0])
@pytest.mark.parametrize("chance", [0.5, 0.2])
def test_terms_have_the_mean_of_the_improvement_exactly_and_keep_to_their_bound(chance, centre):
    returns = {1: {-1.0: 0.3, 2.0: 0.7}, 0: {-1.0: 0.6, 2.0: 0.4}}
    true = sum(g * q for g, q in returns[1].items()) - sum(g * q for g, q in returns[0].items())
    mean = against = 0.0
    for arm in (0, 1):
        for earned, likely in returns[arm].items():
            weight = likely * (chance if arm else 1 - chance)
            one = [np.array([part]) for part in (bool(arm), chance, earned)]
            found, bound = improvement(*one, -1.0, 2.0, centre)
            other, _ = improvement(~one[0], 1 - one[1], one[2], -1.0, 2.0, centre)
            assert float(found[0]) >= -float(bound) - 1e-5
            mean += weight * float(found[0])
            against += weight * float(other[0])
    assert mean == pytest.approx(true, abs=1e-5)
    assert against == pytest.approx(-true, abs=1e-5)
    if centre is None:
        assert float(bound) == 3.0


def test_without_a_centre_terms_are_those_that_certificates_plan_with():
    arms, returns, chance = np.array([True, False]), np.array([0.25, 1.0]), np.full(2, 0.3)
    found, bound = improvement(arms, chance, returns, -1.0, 2.0)
    np.testing.assert_allclose(found, [1.25 / 0.3 - 3, 1.0 / 0.7 - 3], rtol=1e-5)
    assert float(bound) == 3.0


@jax.jit
def passes(key, start):
    """Return whether carried and opposite wealth ever reach 20 in 400 units of two arms that pay alike."""

    def one(key):
        arm_key, return_key, chance_key = jax.random.split(key, 3)
        chances = jax.random.uniform(chance_key, (400,), minval=0.1, maxval=0.9)
        arms = jax.random.uniform(arm_key, (400,)) < chances
        returns = jax.random.beta(return_key, 0.3, 0.6, (400,))
        found = bets(arms, chances, returns, 0.0, 1.0, start=jnp.log(start))
        return (found.carried >= jnp.log(20.0)).any(), (found.against >= jnp.log(20.0)).any()

    return jax.lax.map(one, jax.random.split(key, 600), batch_size=100)


@pytest.mark.few(1)
@pytest.mark.parametrize("start", [1.0, 0.3])
def test_under_the_null_hypothesis_the_risk_is_kept_at_every_look(start):
    room = 2 * np.sqrt(0.05 * 0.95 / 600)
    carried, against = passes(jax.random.key(0), start)
    assert float(carried.mean()) <= 0.05 * start + room
    assert float(against.mean()) <= 0.05 + room


def test_wealth_is_carried_as_a_scalar_and_the_order_of_units_does_not_change_its_end():
    found = drawn(300, 0.15)
    answer = judge(STARTED, found)
    np.testing.assert_allclose(answer.carried, np.log(4.0) + answer.restarted, rtol=1e-5)
    terms = (np.where(found.arms, 2 * found.returns - 1, 1 - 2 * found.returns) + 1) / 1
    np.testing.assert_allclose(answer.restarted, betting.path(terms), rtol=1e-4, atol=1e-4)
    order = np.random.default_rng(1).permutation(300)
    again = judge(STARTED, Outcomes(found.arms[order], 0.5, found.returns[order], 0.0, 1.0))
    assert again.carried[-1] == pytest.approx(answer.carried[-1], abs=1e-3)
    assert again.low == pytest.approx(answer.low, abs=1e-4)


def test_a_better_policy_is_deployed_a_worse_one_rejected_and_others_go_on():
    good = judge(STARTED, drawn(400, 0.3))
    assert (good.action, good.dose, good.start, good.decides) == ("DEPLOY", 0.1, 4.0, "carried")
    deciding = good.carried - good.explained
    assert deciding[good.passed - 1] >= np.log(20) > deciding[good.passed - 2]
    assert 0 <= good.low < good.mean < good.high
    bad = judge(STARTED, drawn(400, -0.3))
    assert bad.action == "REJECT"
    assert bad.high < 0
    short = judge(STARTED, drawn(60, 0.15, seed=3))
    assert (short.action, short.passed) == ("CONTINUE", None)
    assert 10 < short.more < 2000
    assert "further units" in str(short)
    assert judge(STARTED, drawn(10, 0.15, seed=3)).more is None


def test_where_the_world_may_drift_or_nothing_was_certified_the_wealth_begins_at_one():
    found = drawn(120, 0.3)
    anew = judge(STARTED, found, drift=True)
    assert anew.decides == "restarted"
    assert anew.passed is None or anew.passed > judge(STARTED, found).passed
    second = judge(Decision("STAGED", 0.05, tier=2), found)
    assert second.start == 1.0
    np.testing.assert_array_equal(second.carried, second.restarted)
    assert any("starts at 1" in sentence for sentence in second.assumptions)


def test_after_a_certificate_the_roll_out_is_watched():
    sure = Decision("DEPLOY", 0.1, tier=1, doses=(0.1, 0.5), evidence=(50.0, 2.0))
    calm = judge(sure, drawn(50, 0.0))
    assert (calm.action, calm.passed) == ("DEPLOY", 0)
    assert calm.low == 0.0  # what is known of it is that it is more than the margin
    assert "before the roll-out" in calm.reason
    worse = judge(sure, drawn(400, -0.35))
    assert worse.action == "REJECT"
    assert "was reached before" in worse.reason


def test_a_dose_that_was_picked_out_of_several_pays_for_the_choice():
    found = drawn(20, 0.0)
    assert judge(STARTED, found).enough == pytest.approx(20)
    assert judge(STARTED, found, dose=0.5).enough == pytest.approx(40)
    certified = Decision("DEPLOY", 0.1, tier=1, doses=(0.1, 0.5), evidence=(50.0, 2.0))
    assert judge(certified, found, dose=0.5).enough == pytest.approx(20)  # the next in the order
    above = Decision("STAGED", 0.1, tier=1, margin=0.1, doses=(0.1, 0.5), evidence=(4.0, 2.0), first=None)
    assert judge(above, found).enough == pytest.approx(40)
    assert judge(above, found, drift=True).enough == pytest.approx(20)
    begun = dataclasses.replace(STARTED, first=0.5)  # the order began at the second dose
    assert judge(begun, found, dose=0.5).enough == pytest.approx(20)
    assert judge(begun, found, dose=0.1).enough == pytest.approx(40)


def test_a_centre_makes_the_evidence_stronger_where_returns_are_small():
    logs = [drawn(600, 0.2, seed, scale=0.1) for seed in range(10)]
    plain, sharp = ([judge(STARTED, log, centre=centre) for log in logs] for centre in (None, 0.05))
    assert np.mean([found.restarted[-1] for found in sharp]) > np.mean([found.restarted[-1] for found in plain]) + 2
    assert np.mean([found.mean for found in sharp]) == pytest.approx(0.02, abs=0.005)


def test_bets_on_the_arms_have_a_mean_of_one_exactly_if_arms_come_as_stated():
    chances = np.array([0.5, 0.2, 0.9, 0.5, 0.03, 0.7, 0.5, 0.4])
    every = np.array(list(itertools.product((0, 1), repeat=8)))
    likely = np.where(every == 1, chances, 1 - chances).prod(1)
    sides = np.exp([assignment(arms, chances) for arms in every])
    np.testing.assert_allclose((likely[:, None, None] * sides).sum(0), 1, rtol=1e-12)
    more, less = assignment(np.ones(10), np.full(10, 0.5))
    assert (np.diff(more) > 0).all()
    assert (np.diff(less) < 0).all()


@pytest.mark.few(1)
@pytest.mark.parametrize("share", [0.55, 0.45, 0.6])
def test_arms_that_do_not_come_as_stated_deploy_and_reject_nothing(share):
    # returns in a small part of the declared range, the same under both arms
    wrong = 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        arms, returns = rng.random(2000) < share, rng.uniform(0.8, 1, 2000)
        for looked in (250, 500, 1000, 2000):
            try:
                answer = judge(STARTED, Outcomes(arms[:looked], 0.5, returns[:looked], 0.0, 1.0), drift=True)
            except UserError:
                break
            wrong += answer.action != "CONTINUE"
    assert wrong == 0


def test_implausible_shares_are_refused_and_plausible_ones_are_not():
    with pytest.raises(
        UserError,
        match=r"^Arms of the roll-out were not dealt with the stated chances: [56]\d\.\d% of the first [1-9]\d\d units "
        r"\(6\d\.\d% of all 3,000\) are the policy's, where 50\.0% was stated, 1,000 to 1 against chance\. Mend ",
    ):
        judge(STARTED, Outcomes(drawn(3000, 0.0, chance=0.6).arms, 0.5, np.zeros(3000), 0.0, 1.0))
    for units in (5, 100_000):
        assert judge(STARTED, drawn(units, 0.0, chance=0.3), drift=True).action == "CONTINUE"
    with pytest.raises(UserError, match=r"100\.0% of the first 15 units"):  # sorted by arm, not by time
        judge(STARTED, Outcomes(np.arange(60) < 30, 0.5, np.zeros(60), 0.0, 1.0))
    each = np.random.default_rng(0).uniform(0.1, 0.9, 4000)
    dealt = np.random.default_rng(1).random(4000) < each
    assert judge(STARTED, Outcomes(dealt, each, np.zeros(4000), -1.0, 1.0)).units == 4000
    with pytest.raises(UserError, match="not dealt with the stated chances"):
        judge(STARTED, Outcomes(dealt, each * 0.8, np.zeros(4000), -1.0, 1.0))
    assert IMPLAUSIBLE == 1000


def test_the_mean_return_of_the_certificate_s_log_is_the_centre():
    found = drawn(300, 0.1)
    knowing = dataclasses.replace(STARTED, logged_return=0.45)
    answer = judge(knowing, found)
    assert answer.centre == 0.45
    assert "0.45, the mean return of the certificate's log" in str(answer)
    np.testing.assert_array_equal(answer.carried, judge(STARTED, found, centre=0.45).carried)
    assert judge(knowing, found, centre=0.5).centred == "as given"
    for decision, outcomes, why in (
        (STARTED, found, "does not say what its log earned"),
        (knowing, Outcomes([0, 1], [0.4, 0.5], [0.0, 1.0], 0.0, 1.0), "units have different chances"),
        (dataclasses.replace(knowing, logged_return=3.0), found, "outside the range"),
    ):
        without = judge(decision, outcomes)
        assert without.centre is None
        assert why in str(without)
    assert recalled(knowing.record()).logged_return == 0.45
    older = {name: value for name, value in knowing.record().items() if name != "logged_return"}
    assert recalled(older).logged_return is None
    assert knowing.bare().logged_return == 0.45


def test_lower_bounds_use_what_was_carried_below_the_margin_only():
    found = drawn(60, 0.15, seed=3)
    values, bound = improvement(found.arms, found.chances, found.returns, 0.0, 1.0)
    alone = float(betting.lower_bound(values, -bound, 0.05))
    assert judge(STARTED, found, drift=True).low == pytest.approx(alone, abs=1e-5)
    carried = judge(STARTED, found).low
    assert carried == pytest.approx(min(0.0, float(betting.lower_bound(values, -bound, 0.2))), abs=1e-5)
    assert alone <= carried <= 0


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"arms": [0, 1, 2]}, "the first that is neither is '2' of unit 2"),
        ({"arms": ["a", "b", "a"]}, "neither is 'a' of unit 0"),
        ({"chances": 1.0}, "lies between 0 and 1, both excluded; the roll-out has 1"),
        ({"chances": [0.5, 0.0, 0.5]}, "has 0"),
        ({"chances": [0.5, 0.5]}, "chances of the shape"),
        ({"returns": [0.0, 3.0, 1.0]}, "1 returns of the roll-out lie outside the declared"),
        ({"returns": [0.0, np.nan, 1.0]}, "outside the declared"),
        ({"returns": [0.0]}, "one arm and one return per unit"),
        ({"low": 1.0}, "the wrong way"),
    ],
)
def test_outcomes_that_cannot_be_are_refused(changes, sentence):
    given = {"arms": [0, 1, 1], "chances": 0.5, "returns": [0.0, 1.0, 0.5], "low": 0.0, "high": 1.0, **changes}
    with pytest.raises(UserError, match=sentence):
        Outcomes(**given)


@pytest.mark.parametrize(
    ("decision", "options", "sentence"),
    [
        (Decision("COLLECT", tier=1, doses=(0.1,), evidence=(1.0,)), {}, "COLLECT and names no dose"),
        (STARTED, {"dose": 0.3}, "no evidence about a dose of 0.3; it has some about 0.1, 0.5"),
        (STARTED, {"dose": 1.5}, "above 0 and at most 1"),
        (STARTED, {"centre": 2.0}, "The centre is a return"),
        (Decision("STAGED", 0.1, margin=1.0), {}, "can reach the margin"),
    ],
)
def test_a_question_that_the_decision_cannot_answer_is_refused(decision, options, sentence):
    with pytest.raises(UserError, match=sentence):
        judge(decision, drawn(10, 0.0), **options)


def test_a_centre_needs_one_chance():
    found = Outcomes([0, 1], [0.4, 0.5], [0.0, 1.0], 0.0, 1.0)
    with pytest.raises(UserError, match="the same chance"):
        judge(STARTED, found, centre=0.5)
    assert judge(STARTED, found).units == 2


def test_a_decision_is_read_back_from_its_record():
    full = Decision("STAGED", 0.1, 0.2, 1, doses=(0.1,), evidence=(4.0,), needed={0.1: np.inf}, question="abc")
    assert recalled(full.record()).record() == full.record()
    assert recalled(full.record()).needed == {0.1: np.inf}
    for wrong in ({}, None, {"action": "MAYBE"}, {**full.record(), "doses": 3}):
        with pytest.raises(UserError, match="no record of a decision"):
            recalled(wrong)


def test_the_record_is_plain(tmp_path):
    import json

    record = judge(STARTED, drawn(30, 0.1)).record()
    again = json.loads(json.dumps(record, allow_nan=False))
    assert len(again["carried"]) == again["units"] == 30
    assert set(itertools.chain(again)) >= {"action", "enough", "against", "promise", "assumptions"}
