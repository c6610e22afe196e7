"""From a certificate's decision and a log of a roll-out to an answer: what is read, refused and remembered."""

import dataclasses
import importlib
import json

import numpy as np
import pytest
import small
from tabular import TIME, asks, world

import weft
from weft.core.errors import UserError
from weft.data.concatenation import concatenate
from weft.deployment.decision import Decision
from weft.deployment.stage import outcomes

HERE = world()
BETTER = HERE.rule(0.6)


def rolled(units: int, policy=BETTER, seed: int = 5, **options):
    """Return the log of a roll-out in random order: half of the units with the policy."""
    other = type(HERE)(HERE.begin, HERE.move, HERE.pay, policy)
    both = concatenate([HERE.log(units, seed), other.log(units, seed + 100)])
    rng = np.random.default_rng(seed)
    order = rng.permutation(2 * units)
    rows = (order[:, None] * TIME + np.arange(TIME)).ravel()
    arm = np.repeat([0, 1], units * TIME)[rows]
    return weft.Dataset.from_arrays(
        both.observations[rows], both.actions[rows], both.rewards[rows], both.terminals[rows],
        propensities=np.exp(both.log_propensities[rows]), kinds={"": "category"}, action_count=2,
        reward_range=(0.0, 1.0), horizon=TIME, columns={"arm": arm, "time": np.repeat(np.arange(2 * units), TIME)},
        **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def certified(tmp_path_factory):
    """Return a decision with its ledger's folder, and the log that it is about."""
    folder = tmp_path_factory.mktemp("certified")
    log = HERE.log(60, 1)
    return weft.certify(asks(BETTER), log, ledger=folder / "ledger"), folder / "ledger", log


def test_a_certificate_is_carried_into_a_roll_out(certified):
    decision, ledger, _ = certified
    assert decision.question
    place = decision.doses.index(1.0)
    found = weft.stage(decision, rolled(300), dose=1.0, policy=asks(BETTER), ledger=ledger)
    assert found.start == decision.evidence[place]
    np.testing.assert_allclose(found.carried - found.restarted, np.log(found.start), atol=1e-5)
    true = HERE.value(BETTER) - HERE.value(HERE.logging)
    assert (found.units, found.to_policy) == (600, 300)
    assert found.low < true < found.high
    assert not any("ledger" in sentence for sentence in found.assumptions)
    alike = weft.stage(decision.record(), rolled(300), dose=1.0, ledger=ledger)
    assert alike.action == found.action
    np.testing.assert_array_equal(alike.carried, found.carried)


def test_wealth_goes_on_in_one_roll_out_only(certified, tmp_path):
    decision, _, log = certified
    weft.certify(asks(BETTER), log, ledger=tmp_path)
    first, later = rolled(40), rolled(40, seed=6)
    weft.stage(decision, first, dose=0.1, ledger=tmp_path)
    weft.stage(decision, first, dose=0.1, ledger=tmp_path)
    with pytest.raises(UserError, match=r"was carried on before, into \d+ episodes that arrays lacks"):
        weft.stage(decision, later, dose=0.1, ledger=tmp_path)
    weft.stage(decision, later, dose=0.1, ledger=tmp_path, drift=True)
    weft.stage(decision, later, dose=1.0, ledger=tmp_path)
    unknown = weft.stage(decision, later, dose=0.1, ledger=tmp_path / "elsewhere")
    assert any("The ledger does not know this certificate" in sentence for sentence in unknown.assumptions)


def test_a_log_whose_arms_were_dealt_otherwise_is_refused_before_anything_is_remembered(certified, tmp_path):
    decision, _, log = certified
    weft.certify(asks(BETTER), log, ledger=tmp_path)
    both = rolled(300)
    arm = np.asarray(both.columns["arm"])[::TIME]
    uneven = both.select(np.flatnonzero((arm == 1) | (np.arange(600) % 3 == 0)))  # three quarters with the policy
    for given in (uneven, outcomes(uneven)):
        with pytest.raises(UserError, match="Arms of arrays were not dealt with the stated chances: "):
            weft.stage(decision, given, dose=0.1, ledger=tmp_path)
    assert not list(tmp_path.glob("carried-*"))
    found = weft.stage(decision, uneven, dose=0.1, chance=0.75, ledger=tmp_path)
    assert found.centre == decision.logged_return == pytest.approx(log.rewards.sum() / log.episodes)


def test_units_that_the_certificate_counted_do_not_count_again(certified):
    decision, ledger, log = certified
    arms = dataclasses.replace(log, columns={"arm": np.repeat(np.arange(60) % 2, TIME)})
    with pytest.raises(UserError, match="100% of the units of arrays are among those of the certificate"):
        weft.stage(decision, arms, dose=1.0, ledger=ledger)


def test_another_policy_or_dose_than_the_decision_s_is_seen(certified):
    decision, ledger, _ = certified
    with pytest.raises(UserError, match="were not taken by this policy at dose 1"):
        weft.stage(decision, rolled(50), dose=1.0, policy=asks(HERE.rule(-0.6)), ledger=ledger)
    with pytest.raises(UserError, match="were not taken by this policy at dose 1"):
        weft.stage(decision, rolled(50, HERE.rule(0.1)), dose=1.0, policy=asks(BETTER), ledger=ledger)


def test_units_whose_outcome_is_lost_are_named_by_a_column(certified):
    decision, ledger, _ = certified
    whole = rolled(300)
    away = np.arange(600) % 10 == 3
    marked = dataclasses.replace(whole, columns={**whole.columns, "gone": np.repeat(away, TIME).astype(int)})
    answer = weft.stage(decision, marked, dose=1.0, lost="gone", ledger=ledger)
    assert (answer.units, answer.lost.units) == (540, 60)
    alone = weft.stage(decision, whole.select(np.flatnonzero(~away)), dose=1.0, drift=True, ledger=ledger)
    np.testing.assert_array_equal(answer.restarted, alone.restarted)
    for name, words in (
        ("time", "is 1 where an outcome has not arrived"),
        ("none", "has no column 'none' for the loss"),
    ):
        with pytest.raises(UserError, match=words):
            weft.stage(decision, marked, dose=1.0, lost=name, ledger=ledger)
    arm = np.asarray(whole.columns["arm"])[::TIME] == 1
    uneven = dataclasses.replace(whole, columns={**whole.columns, "gone": np.repeat(arm & away, TIME).astype(int)})
    with pytest.raises(UserError, match="lost more often in one arm"):
        weft.stage(decision, uneven, dose=1.0, lost="gone", ledger=ledger)


def test_a_mean_over_units_is_not_carried_into_one_over_episodes(certified):
    decision, ledger, _ = certified
    whole = rolled(20)
    arm = np.asarray(whole.columns["arm"])[::TIME]
    user = np.where(arm == 1, (np.cumsum(arm) - 1) // 2, 100 + (np.cumsum(1 - arm) - 1) // 2)  # two episodes each
    several = dataclasses.replace(whole, columns={**whole.columns, "user": np.repeat(user, TIME)}).declare(unit="user")
    with pytest.raises(UserError, match="a mean over episodes, and that of arrays a mean over values of 'user'"):
        weft.stage(decision, several, dose=1.0, ledger=ledger)
    over = dataclasses.replace(decision, estimand="mean over values of 'user'")
    with pytest.raises(UserError, match="a mean over values of 'user', and that of arrays a mean over episodes"):
        weft.stage(over, rolled(20), dose=1.0, ledger=ledger)


def test_a_dose_of_nothing_is_refused_and_not_replaced(certified):
    decision, ledger, _ = certified
    with pytest.raises(UserError, match="above 0 and at most 1, got 0"):
        weft.stage(decision, rolled(20), dose=0.0, ledger=ledger)


def test_returns_that_are_counted_otherwise_are_not_carried_on(certified):
    decision, ledger, _ = certified
    for declared, words in (({"discount": 0.9}, "a discount of 1, and arrays declares 0.9"),
                            ({"horizon": TIME + 1}, f"a horizon of {TIME}, and arrays declares")):  # fmt: skip
        with pytest.raises(UserError, match=words):
            weft.stage(decision, rolled(20).declare(**declared), dose=1.0, ledger=ledger)


def test_a_study_s_policy_is_staged_as_it_was_judged_and_another_way_is_refused(certified, tmp_path, monkeypatch):
    decision, ledger, _ = certified
    module, asked = importlib.import_module("weft.deployment.stage"), []
    monkeypatch.setattr(module, "compared", lambda policy, *_: asked.append(policy))
    run = weft.fit(small.bc(), HERE.log(100, 9), 4, 1)
    for drawn, written in ((False, False), (True, False), (True, True)):  # files used not to say how they act
        run.save_policy(tmp_path / "policy.safetensors", drawn=written)
        record = {"decision": decision.record(), "table": [{"drawn": drawn}]}
        (tmp_path / "study.json").write_text(json.dumps(record))
        found = weft.stage(tmp_path, rolled(20), dose=1.0, drift=True, ledger=ledger)
        assert asked.pop().drawn == drawn
        assert any("policy's arm ran the policy of the decision is taken on trust" in s for s in found.assumptions)
        for policy, greedy in ((run.policy().drawing(not drawn), None), (run.policy(), drawn)):
            with pytest.raises(UserError, match=r"here it acts otherwise; stage policy\.drawing\("):
                weft.stage(tmp_path, rolled(20), dose=1.0, policy=policy, greedy=greedy, ledger=ledger)


def test_episodes_of_a_unit_are_averaged_and_units_stand_in_time():
    rewards = np.array([1, 0, 0, 1, 1, 1], np.float32)
    data = weft.Dataset.from_arrays(
        np.zeros((6, 1), np.float32), np.zeros(6, int), rewards, np.ones(6, bool), action_count=2,
        reward_range=(0.0, 1.0), horizon=1, unit="user",
        columns={
            "user": np.array(list("babcca")), "arm": np.array([1, 0, 1, 0, 0, 0]),
            "p": np.array([0.3, 0.5, 0.3, 0.4, 0.4, 0.5]), "when": np.array([5, 1, 6, 9, 2, 3]),
        },
    )  # fmt: skip
    found = outcomes(data, "arm", "p")
    np.testing.assert_allclose(found.returns, [0.5, 0.5, 1.0])
    np.testing.assert_allclose(found.chances, [0.3, 0.5, 0.4])
    np.testing.assert_array_equal(found.arms, [True, False, False])
    np.testing.assert_allclose(outcomes(data, "arm", "p", by_time="when").chances, [0.5, 0.4, 0.3])
    with pytest.raises(UserError, match="chance of 'user' b of arrays changes from episode to episode"):
        outcomes(data.declare(unit=None).declare(unit="user"), "arm", "when")


def test_returns_are_discounted_and_their_range_follows_from_what_is_declared():
    data = weft.Dataset.from_arrays(
        np.zeros((3, 1), np.float32), np.zeros(3, int), np.array([1, 2, -1], np.float32), [False, True, True],
        action_count=2, reward_range=(-1.0, 2.0), horizon=3, discount=0.5, columns={"arm": np.array([1, 1, 0])},
    )  # fmt: skip
    found = outcomes(data)
    np.testing.assert_allclose(found.returns, [2.0, -1.0])
    assert (found.low, found.high) == (-1.75, 3.5)


def logged(**options):
    """Return two decisions with an arm each."""
    given = {"reward_range": (0.0, 1.0), "horizon": 1, "columns": {"arm": np.array([0, 1])}, **options}
    return weft.Dataset.from_arrays(
        np.zeros((2, 1), np.float32), np.zeros(2, int), np.zeros(2, np.float32), np.ones(2, bool), action_count=2,
        **{name: value for name, value in given.items() if value is not None},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("data", "options", "sentence"),
    [
        (logged(reward_range=None), {}, "does not declare reward_low, reward_high"),
        (logged(), {"arm": "arms"}, "has no column 'arms' for the arm. Did you mean 'arm'"),
        (logged(columns={"arm": np.array(["new", "old"])}), {}, "holds words where the arm is a number"),
        (logged(columns={"arm": np.array([0, 3])}), {}, "the first that is neither is '3.0' of unit 1"),
        (logged(), {"chance": 1.5}, "lies between 0 and 1"),
        (logged(), {"chance": "p"}, "has no column 'p' for the chance"),
    ],
)
def test_a_log_that_says_too_little_is_refused(data, options, sentence):
    with pytest.raises(UserError, match=sentence):
        weft.stage(Decision("STAGED", 0.05, tier=2), data, **options)


def test_an_arm_that_changes_within_an_episode_is_refused():
    data = rolled(3)
    column = data.columns["arm"].copy()
    column[1] = 1 - column[1]
    with pytest.raises(UserError, match="the arm is fixed when a unit comes"):
        outcomes(dataclasses.replace(data, columns={"arm": column}))


def test_what_is_no_study_is_said(tmp_path):
    with pytest.raises(UserError, match="is no study"):
        weft.stage(tmp_path, logged())
    with pytest.raises(UserError, match="There is no file"):
        weft.stage(tmp_path / "x.json", logged())
    (tmp_path / "study.json").write_text("{}")
    with pytest.raises(UserError, match="is damaged"):
        weft.stage(tmp_path, logged())


def test_outcomes_without_a_log_are_judged_with_a_word_of_caution():
    found = weft.stage(Decision("STAGED", 0.05, tier=2), weft.Outcomes([0, 1], 0.5, [0.0, 1.0], 0.0, 1.0))
    assert found.action == "CONTINUE"
    assert "taken on trust" in found.assumptions[-1]
