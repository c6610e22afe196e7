"""The gate: every answer, what it costs, and everything that must not be answered."""

import dataclasses

import numpy as np
import pytest
import small
from tabular import TIME, asks, world

import weft
from weft.core.errors import UserError
from weft.deployment.decision import Decision, recalled
from weft.deployment.ledger import Ledger
from weft.evaluation.bounded_terms import declared_range
from weft.evaluation.propensities import estimate_propensities

HERE = world()
BEST, WORSE = HERE.rule(1.0), HERE.rule(-0.6)
EPISODES = 400


def log(seed=0, **options):
    return HERE.log(EPISODES, seed, **options)


def certain():
    """Return a log whose every action was certain."""
    surely = np.eye(2)[HERE.pay.argmax(1)]
    return dataclasses.replace(HERE, logging=surely).log(EPISODES)


# --- answers --------------------------------------------------------------------------------------------------------


def test_a_better_policy_is_deployed_with_its_bound_and_its_promise(own_ledger):
    found = weft.certify(asks(BEST), log())
    assert (found.action, found.dose, found.tier, found.certified) == ("DEPLOY", 1.0, 1, True)
    assert 0 < found.low < HERE.value(BEST) - HERE.value(HERE.logging) < found.high
    assert found.evidence[-1] >= 20
    assert found.units == EPISODES
    assert "with at most the stated risk" in found.promise
    assert "Not promised: " in found.promise
    assert any("No unit is declared" in sentence for sentence in found.assumptions)
    assert any("taken on trust" in sentence for sentence in found.assumptions)
    assert "DEPLOY (dose 1)" in str(found)
    assert len(Ledger().entries()) == 1
    assert own_ledger.is_dir()


def test_a_notebook_shows_the_same_and_escapes_it():
    decision = dataclasses.replace(Decision("DEPLOY", 0.5, 0.2, 1, reason="<b>sure</b> & safe"), units=40)
    page = decision._repr_html_()
    assert "DEPLOY (dose 0.5)" in page
    assert "at least 0.2" in page
    assert "&lt;b&gt;sure&lt;/b&gt; &amp; safe" in page
    assert "color" not in page


def test_the_same_question_is_free_and_another_one_is_refused():
    first = weft.certify(asks(BEST), log())
    again = weft.certify(asks(BEST), log())
    assert again == first
    assert len(Ledger().entries()) == 1
    for other in ({"policy": asks(WORSE)}, {"margin": 0.1}, {"risk": 0.01}, {"doses": (1.0,)}):
        with pytest.raises(UserError, match="is spent"):
            weft.certify(**{"policy": asks(BEST), "data": log(), **other})
    wider = log().declare(reward_low=(-1.0,))
    with pytest.raises(UserError, match="is spent"):
        weft.certify(asks(BEST), wider)
    assert weft.certify(asks(BEST), log(2)).action == "DEPLOY"


def test_a_worse_policy_is_rejected():
    found = weft.certify(asks(WORSE), log(2))
    assert (found.action, found.dose, found.tier) == ("REJECT", 0.0, 1)
    assert HERE.value(WORSE) - HERE.value(HERE.logging) < found.high < 0


def test_the_logging_policy_itself_is_no_better():
    found = weft.certify(asks(HERE.logging), log())
    assert (found.action, found.tier) == ("ABSTAIN", 3)
    assert found.reason == "no dose looks better than the margin on this log"


def test_too_few_units_are_told_how_many_are_needed():
    found = weft.certify(asks(BEST), log(1), margin=0.1)
    assert (found.action, found.dose) == ("COLLECT", 0.0)
    assert found.collect is not None
    assert found.collect > EPISODES
    assert f"about {found.collect:,} units" in found.reason
    assert "in a test that gives half of them to the policy" in found.reason


def test_a_randomised_test_begins_where_few_policies_that_are_no_better_get():
    more, begun, sure = (weft.certify(asks(BEST), HERE.log(200, seed)) for seed in (9, 5, 6))
    assert (begun.action, begun.dose, begun.tier, begun.certified) == ("STAGED", 0.05, 1, False)
    assert 5 <= begun.evidence[0] < 20
    assert "gets this far with a chance of at most 0.2" in str(begun)
    assert recalled(begun.record()).error_rate == 0.2
    assert 1 < more.evidence[0] < 5 < more.evidence[2]  # the order begins with the first dose, and it alone counts
    assert (more.action, more.error_rate) == ("COLLECT", None)
    assert (sure.action, sure.error_rate) == ("DEPLOY", 0.05)


def test_where_doses_share_the_risk_a_test_begins_with_more_odds():
    begun = weft.certify(asks(BEST), HERE.log(400, 2), margin=0.1)
    assert (begun.action, begun.dose, begun.error_rate) == ("STAGED", 1.0, 0.2)
    assert begun.evidence[1] < 3 * 5 <= begun.evidence[2] < 3 * 20


def test_a_margin_is_certified_by_a_dose_that_can_pass_it():
    found = weft.certify(asks(BEST), log(), margin=0.1)
    assert found.action == "DEPLOY"
    assert found.low > 0.1
    assert HERE.value((1 - found.dose) * HERE.logging + found.dose * BEST) - HERE.value(HERE.logging) > 0.1


def test_another_baseline_than_the_logging_policy():
    found = weft.certify(asks(HERE.rule(0.6)), log(), baseline=asks(WORSE))
    assert (found.action, found.dose, found.doses) == ("DEPLOY", 1.0, (1.0,))
    assert found.baseline == "the given baseline"
    assert found.low < HERE.value(HERE.rule(0.6)) - HERE.value(WORSE) < found.high
    assert weft.certify(asks(WORSE), log(2), baseline=asks(HERE.rule(0.6))).action == "REJECT"


def test_the_units_are_the_users():
    data = log(0, users=40)
    found = weft.certify(asks(BEST), data)
    assert found.units == 40
    assert found.action != "DEPLOY"
    assert weft.certify(asks(BEST), data.declare(unit=None), ledger=Ledger().folder / "other").action == "DEPLOY"
    assert not any("No unit" in sentence for sentence in found.assumptions)
    uneven = data.select(np.arange(EPISODES - 10))
    found = weft.certify(asks(BEST), uneven, ledger=Ledger().folder / "third")
    assert any("each counts the same" in sentence for sentence in found.assumptions)


def test_lengths_that_vary_widen_the_range():
    ending = world(stop=0.2)
    data = ending.log(EPISODES)
    shifted = dataclasses.replace(data, store_rewards=data.store_rewards + 1).declare(
        reward_low=(1.0,), reward_high=(2.0,)
    )
    assert (declared_range(shifted).low, declared_range(shifted).high) == (0.0, 2.0)
    assert (declared_range(data).low, declared_range(data).high, declared_range(data).horizon) == (0.0, 1.0, TIME)
    full = dataclasses.replace(log(), store_rewards=log().store_rewards + 1).declare(
        reward_low=(1.0,), reward_high=(2.0,)
    )
    assert declared_range(full).low == 1.0
    found = weft.certify(asks(BEST), full)
    assert any("Every episode is taken to last 4 steps" in sentence for sentence in found.assumptions)


# --- what is shown --------------------------------------------------------------------------------------------------


def test_a_decision_alone_shows_nothing_else_and_leaves_the_rest_of_the_risk():
    bare = weft.certify(asks(WORSE), log(), risk=0.02, show="decision")
    assert (bare.action, bare.tier, bare.evidence, bare.means, bare.needed) == ("ABSTAIN", 3, (), (), {})
    assert bare.low != bare.low
    assert bare.reason.startswith("not certified; nothing else is shown")
    found = weft.certify(asks(BEST), log(), risk=0.03, show="decision")
    assert (found.action, found.dose, found.lows) == ("DEPLOY", 1.0, ())
    assert found.low != found.low
    with pytest.raises(UserError, match="is spent"):
        weft.certify(asks(HERE.rule(0.9)), log(), risk=0.001, show="decision")
    assert weft.certify(asks(BEST), log(), risk=0.03, show="decision").action == "DEPLOY"
    assert [entry.spent for entry in Ledger().entries()] == [0.02, 0.03, 0]  # answered again without a line


def test_a_report_after_a_decision_is_free_and_spends_the_fold():
    weft.certify(asks(WORSE), log(), risk=0.02, show="decision")
    assert weft.certify(asks(WORSE), log(), risk=0.02).action == "REJECT"
    assert weft.certify(asks(WORSE), log(), risk=0.02).action == "REJECT"
    assert [(entry.spent, entry.shown) for entry in Ledger().entries()] == [(0.02, "decision"), (0, "report")]
    with pytest.raises(UserError, match="its report was shown"):
        weft.certify(asks(BEST), log(), risk=0.02)


# --- the second tier ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_without_propensities_no_more_than_a_staged_test():
    data = log(1, whole=True, propensities=None)
    true = HERE.value(HERE.rule(0.6)) - HERE.value(HERE.logging)
    found = weft.certify(asks(HERE.rule(0.6)), data)
    assert (found.action, found.tier, found.certified) == ("STAGED", 2, False)
    assert "the log has no propensities" in found.reason
    assert "Good enough to begin a randomised test" in found.promise
    assert 0 < found.low < true < found.high
    assert found.diagnostics is not None
    rejected = weft.certify(asks(WORSE), data, ledger=Ledger().folder / "other")
    assert (rejected.action, rejected.tier) == ("REJECT", 2)
    against = weft.certify(asks(WORSE), data, asks(HERE.rule(0.6)), ledger=Ledger().folder / "third")
    assert (against.action, against.baseline) == ("REJECT", "the given baseline")


def test_estimated_propensities_never_certify():
    found = weft.certify(asks(BEST), estimate_propensities(log(1, whole=True, propensities=None)))
    assert found.tier != 1
    assert found.action != "DEPLOY"
    assert "propensities were estimated" in found.reason


def test_what_is_missing_for_a_certificate_is_named():
    few = log(whole=True).select(np.arange(10))
    for data, word in (
        (few.declare(reward_low=None, reward_high=None, horizon=None), "reward_low, reward_high, horizon"),
        (dataclasses.replace(few, store_log_propensities=None), "the log has no propensities"),
        (dataclasses.replace(few, propensities_estimated=True), "the propensities were estimated"),
        (dataclasses.replace(few, store_durations=np.full(len(few.store_rewards), 2.0)).declare(discount=0.9), "steps"),
    ):
        found = weft.certify(asks(BEST), data, ledger=Ledger().folder / word)
        assert (found.action, found.tier) == ("ABSTAIN", 3)
        assert word in found.reason
        assert "and 10 units are too few for an estimate" in found.reason


def test_a_deterministic_policy_over_continuous_actions_has_no_density():
    data = small.continuous(200)
    data = dataclasses.replace(data, store_log_propensities=np.zeros(len(data.store_rewards), np.float32))
    found = weft.certify(lambda seen: np.zeros((len(seen), 2)), data)
    assert found.tier == 3
    assert "has no density" in found.reason


def test_a_decision_says_how_its_policy_acts_and_a_baseline_acts_as_it_does(tmp_path):
    train, certify = log().split((0.5, 0.5))
    policy = weft.fit(small.bc(), train, 4, 1).policy()
    found = weft.certify(policy.drawing(), certify, baseline=policy)
    assert found.drawn
    assert ("policy", "as it draws its actions") in list(found.lines())
    assert recalled(found.record()).drawn
    assert found.bare().drawn
    same = weft.certify(policy.drawing(), certify, baseline=policy.drawing(), ledger=tmp_path / "other")
    assert same.means[0] != pytest.approx(found.means[0], rel=1e-3)  # there the baseline takes its mode
    assert weft.certify(asks(BEST), certify, ledger=tmp_path / "third").drawn is None


def test_fitted_values_that_the_tests_do_not_believe_are_not_used():
    data = log(1, whole=True, propensities=None)
    before = np.concatenate([[0], data.store_actions[:-1]])
    found = weft.certify(asks(BEST), dataclasses.replace(data, store_rewards=before[:, None].astype(np.float32)))
    assert (found.action, found.tier) == ("ABSTAIN", 3)
    assert "no estimate can be believed" in found.reason
    assert "not Markov" in found.reason


# --- what cannot be answered ----------------------------------------------------------------------------------------


def equal():
    return dataclasses.replace(log(), store_rewards=np.ones_like(log().store_rewards))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (certain, "no exploration: every logged action was certain"),
        (equal, "all rewards are equal (1), so no policy is better than another"),
        (lambda: log().select(np.arange(1)), "there is one independent unit, and chance needs at least two"),
        (lambda: log(0, users=1), "there is one independent unit, and chance needs at least two"),
    ],
)
def test_hopeless_logs_are_named_and_cost_nothing(data, reason):
    found = weft.certify(asks(HERE.rule(-1.0)), data())
    assert (found.action, found.tier, found.promise) == ("ABSTAIN", 3, "")
    assert found.reason.startswith(reason)
    assert Ledger().entries() == []


def test_mass_where_the_log_has_none_is_named():
    sometimes = dataclasses.replace(HERE, logging=np.where(np.arange(6)[:, None] < 3, HERE.logging, [[1.0, 0.0]]))
    found = weft.certify(asks(np.tile([0.1, 0.9], (6, 1))), sometimes.log(EPISODES))
    assert (found.action, found.tier) == ("ABSTAIN", 3)
    assert found.reason.startswith("no overlap, or wrong propensities: ")
    assert "is never in the log" in found.reason
    assert Ledger().entries() == []


def test_no_number_of_units_is_said_from_a_handful_of_weights():
    """COLLECT 184,357 units was said from an effective sample size of 2.1."""
    seldom = dataclasses.replace(HERE, logging=np.tile([0.8, 0.2], (6, 1)))
    policy = asks(np.tile([0.0, 1.0], (6, 1)))
    found = weft.certify(policy, seldom.log(60))
    assert found.effective_sample_size is not None
    assert found.effective_sample_size < 5
    assert found.action != "COLLECT"
    assert "units, logged as these were" not in found.reason


def test_hardly_any_overlap_is_named():
    seldom = dataclasses.replace(HERE, logging=np.tile([0.995, 0.005], (6, 1)))
    found = weft.certify(asks(np.tile([0.0, 1.0], (6, 1))), seldom.log(EPISODES))
    assert (found.action, found.tier) == ("ABSTAIN", 3)
    assert "overlap" in found.reason


def exchanged(data, logs):
    return dataclasses.replace(data, store_log_propensities=logs.astype(np.float32))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda data: exchanged(data, np.log(-data.store_log_propensities)),  # logarithms given as probabilities
        lambda data: exchanged(data, np.log1p(-np.exp(data.store_log_propensities))),  # those of the other choice
        lambda data: exchanged(data, np.full(len(data.store_rewards), np.log(0.5))),  # a stale policy's
    ],
    ids=["logarithm", "shifted", "stale"],
)
def test_wrong_propensities_are_not_believed(wrong):
    found = weft.certify(asks(BEST), wrong(log()))
    assert (found.action, found.tier) == ("ABSTAIN", 3)
    assert "propensities" in found.reason
    assert Ledger().entries() == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"reward_high": (0.5,)}, r"rewards of arrays lie outside the declared \[0, 0\.5\], the first is 1 at step"),
        ({"horizon": 3}, "has 4 steps, more than the declared horizon of 3"),
        ({"reward_low": (2.0,)}, "the wrong way round"),
    ],
)
def test_a_log_that_breaks_what_it_declares_is_refused(change, sentence):
    with pytest.raises(UserError, match=sentence):
        weft.certify(asks(BEST), log().declare(**change))
    assert Ledger().entries() == []


@pytest.mark.parametrize(
    ("policy", "sentence"),
    [
        (lambda seen: np.full((len(seen), 5), 0.2), r"must answer .* observations with one choice each"),
        (lambda seen: np.full((len(seen), 2), 0.7), "sum to 1"),
        (lambda seen: np.full((len(seen), 2), np.nan), "sum to 1"),
        (lambda seen: np.full(len(seen), 7), "chooses action 7"),
        (lambda seen: np.zeros((len(seen), 1)), "must answer"),
        (0.5, "is no policy"),
    ],
)
def test_a_policy_that_does_not_fit_is_refused(policy, sentence):
    with pytest.raises(UserError, match=sentence):
        weft.certify(policy, log())
    assert Ledger().entries() == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"risk": 0.0}, "The risk lies between 0 and 1, got 0.0."),
        ({"margin": -1.0}, "The margin is how much better the policy must be, at least 0, got -1.0."),
        ({"margin": float("nan")}, "at least 0, got nan."),
        ({"show": "plot"}, "not 'plot'"),
        ({"doses": ()}, "Doses are shares"),
        ({"doses": (0.5, 1.5)}, "Doses are shares"),
    ],
)
def test_wrong_arguments_cost_nothing(options, sentence):
    with pytest.raises(UserError, match=sentence):
        weft.certify(asks(BEST), log(), **options)
    assert Ledger().entries() == []


def test_zero_propensities_do_not_load():
    chance = np.where(np.arange(EPISODES * TIME) == 7, 0.0, 0.5)
    with pytest.raises(UserError, match=r"'propensities' must be positive"):
        log(propensities=chance)


def test_weft_s_own_run_that_saw_the_fold_is_refused():
    train, certify = log().split((0.5, 0.5))
    run = weft.fit(small.bc(), train, 4, 1)
    with pytest.raises(UserError, match="was trained on 100% of the units"):
        weft.certify(run.policy(), train)
    with pytest.raises(UserError, match="was trained on 100% of the units"):
        weft.certify(asks(BEST), train, baseline=run.policy())
    assert Ledger().entries() == []
    found = weft.certify(run.policy(), certify, greedy=False)
    assert not any("on trust" in sentence for sentence in found.assumptions)
    assert len(Ledger().entries()) == 1
