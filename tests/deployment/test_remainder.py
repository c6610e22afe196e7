"""Logs that grow: what of an export is new, what each test of it may spend, and how often all tests together err."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small

import weft
from weft import Dataset, UserError, concatenate
from weft.data.fingerprints import fingerprints
from weft.deployment.ledger import Ledger, stream
from weft.deployment.remainder import granted, remainder
from weft.evaluation.betting import log_wealth
from weft.evaluation.provenance import chosen_by, touched


def log(seed: int, size: int = 300, better: float = 0.0, **options) -> Dataset:
    """Return single decisions between two items, alike in few contents; the second pays so much more."""
    rng = np.random.default_rng(seed)
    item, place = rng.integers(0, 2, size), rng.integers(0, 2, size)
    pay = (rng.random(size) < 0.5 + better * (item - 0.5)).astype(float)
    return Dataset.from_arrays(
        place[:, None].astype(float), item, pay, np.ones(size, bool), propensities=np.full(size, 0.5), action_count=2,
        reward_range=(0, 1), horizon=1, columns={"user": np.arange(size) // 2, "id": np.arange(size) + 1000 * seed},
        origin=f"day {seed}", **options,
    )  # fmt: skip


def export(*days: int, **options) -> Dataset:
    """Return the export of some days, every row in it, as a log of its own."""
    whole = concatenate([log(day, **options) for day in days])
    return dataclasses.replace(whole, origin=f"export {days}")


def second(observations):
    return np.tile([0.1, 0.9], (len(observations), 1))


def first(observations):
    return np.tile([0.8, 0.2], (len(observations), 1))


def spent(ledger: Ledger) -> list[float]:
    return [round(entry.spent, 4) for entry in ledger.entries()]


def test_what_is_new_is_tested_at_a_smaller_risk_and_said_in_words(own_ledger):
    one = weft.certify(second, log(1))
    assert (one.units, one.risk, one.novelty) == (300, 0.05, "")
    two = weft.certify(first, export(1, 2))
    assert (two.units, two.risk) == (300, 0.025)
    assert "300 of 600 decisions, of 300 of 600 units. Left out are 300 seen before (300 by the test of " in two.novelty
    assert two.novelty.endswith(
        "This is test 2 of a log that grows, at a risk of 0.025; all tests of it, however many, err with a chance of "
        "at most 0.1, of which 0.025 is left for those to come."
    )
    assert ("log", two.novelty) in list(two.lines())
    three = weft.certify(second, export(2, 3))  # the first day has left the window, and belongs to the stream
    assert (three.units, three.risk) == (300, pytest.approx(0.05 / 6))
    assert spent(Ledger()) == [0.05, 0.025, round(0.05 / 6, 4)]
    entries = Ledger().entries()
    assert stream(entries, [entries[2].fold]) == [entry.fold for entry in entries]
    assert own_ledger.is_dir()


def test_the_same_question_about_an_export_is_answered_again_from_what_was_new_then():
    weft.certify(second, log(1))
    two = weft.certify(first, export(1, 2))
    again = weft.certify(first, export(1, 2))
    assert "was answered before, from 300 of 600 decisions" in again.novelty
    assert dataclasses.replace(again, novelty="", assumptions=()) == dataclasses.replace(
        two, novelty="", assumptions=()
    )
    assert len(Ledger().entries()) == 2
    with pytest.raises(UserError, match="is spent"):
        weft.certify(second, export(1, 2))
    with pytest.raises(UserError, match="is spent"):
        weft.certify(first, export(1, 2), risk=0.01)


def test_what_a_decision_alone_left_of_the_new_part_may_be_spent():
    weft.certify(second, log(1))
    two = weft.certify(first, export(1, 2), risk=0.01, show="decision")
    three = weft.certify(second, export(1, 2), risk=0.015, show="decision")
    assert (two.units, two.risk, three.units) == (300, 0.01, 300)
    assert "Only what earlier tests have not spent is tested" in three.novelty
    assert spent(Ledger())[:2] == [0.05, 0.01]
    assert sum(entry.spent for entry in Ledger().entries()[1:]) <= 0.025 + 1e-9


def test_another_part_of_the_same_log_belongs_to_the_stream():
    one, two = log(1).split((0.5, 0.5), seed=0)
    assert weft.certify(second, one).risk == 0.05
    answer = weft.certify(second, two)
    assert (answer.risk, answer.units) == (0.025, 150)
    assert weft.certify(second, log(2)).risk == 0.05  # of which nothing is recognised


def test_units_that_were_there_before_are_left_out_with_their_new_episodes():
    options = {"unit": "user"}
    weft.certify(second, log(1, 240, **options))
    both = concatenate([log(1, 240, **options), log(2, 240, **options)])
    # sixty of the users of the second day were there on the first one
    user = np.concatenate([np.arange(240) // 2, np.arange(240) // 2 + 60])
    answer = weft.certify(second, dataclasses.replace(both, columns={**both.columns, "user": user}))
    assert answer.units == 60
    assert "120 of 480 decisions, of 60 of 180 units" in answer.novelty
    assert "and 120 of units seen before, which depend on those" in answer.novelty


def test_a_policy_and_the_ledger_know_the_same_episodes():
    old = log(1)
    train, held_out = old.split((0.5, 0.5), seed=0)
    run = weft.fit(small.bc(), train, 4, 1)
    part = remainder(export(1, 2), [run.policy()], Ledger(), 0.05)
    assert (part.data.episodes, part.risk, part.origins) == (450, 0.05, (True,))
    assert "(150 in training or choosing the policy)" in part.sentence
    Ledger().spend(held_out, "question", shown="report")
    part = remainder(export(1, 2), [run.policy()], Ledger(), 0.05)
    assert (part.data.episodes, part.risk) == (300, 0.025)
    assert (fingerprints(part.data)[:, 1] >= 300).all()
    with pytest.raises(UserError, match="was trained on 100% of the units"):
        remainder(train, [run.policy()], Ledger(), 0.05)


def test_what_has_chosen_a_policy_has_been_seen(tmp_path):
    train, select = log(1).split((0.5, 0.5), seed=0)
    run = weft.fit(small.bc(), train, 4, 1)
    assert touched(run.policy(), select) == 0
    chosen = chosen_by(select, run)
    chosen.save_policy(tmp_path / "policy.safetensors")
    for form in (chosen, chosen.policy(), chosen_by(select, run.policy()), tmp_path / "policy.safetensors"):
        assert touched(form, select) == touched(form, train) == 1
    assert touched(run.policy(), select) == 0


def test_a_first_test_says_that_other_ledgers_are_not_known_and_alike_decisions_are_taken_on_trust():
    one = weft.certify(second, log(1))
    assert any("The ledger begins with this test" in sentence for sentence in one.assumptions)
    mixed = export(1, 2).select(np.arange(600))
    order = np.random.default_rng(0).permutation(600)
    shuffled = Dataset.from_arrays(
        mixed.observations[order], mixed.actions[order], mixed.rewards[order], np.ones(600, bool),
        propensities=np.full(600, 0.5), action_count=2, reward_range=(0, 1), horizon=1,
    )  # fmt: skip
    answer = weft.certify(second, shuffled)
    assert any("too much alike to tell whether some were seen before" in sentence for sentence in answer.assumptions)
    assert not any("The ledger begins" in sentence for sentence in answer.assumptions)


def test_all_that_a_stream_may_spend_is_twice_the_risk():
    levels = [granted(0.05, place) for place in range(1, 2000)]
    assert levels[:4] == [0.05, 0.025, pytest.approx(0.05 / 6), pytest.approx(0.05 / 12)]
    for place in (1, 2, 7, 500):
        assert sum(levels[:place]) + 0.05 / place == pytest.approx(0.1)  # what is left for those to come


def errors(streams: int, exports: int, size: int, policies: int = 200) -> tuple[float, float]:
    """Return how often any export of a log that grows passes a policy that is no better: by the rule, where only what
    is new is tested, and where all of it is tested at .05 each time.

    Rewards are coins. Every day the policy is new: the one of several that did best on all that was seen.
    """
    rng = np.random.default_rng(0)
    shape = (streams, exports * size)
    paid = rng.integers(0, 2, shape) * 2.0
    agrees = rng.integers(0, 2, (policies, *shape), dtype=np.int8)  # with the log, whose chances are a half
    wealth = jax.jit(jax.vmap(lambda terms, mask: log_wealth(terms, mask=mask)))
    wrong = np.zeros((2, streams), bool)
    best = np.zeros(streams, int)
    step = np.arange(shape[1])
    for day in range(exports):
        # (improvement + 1) / 1 where the logging policy earns `paid / 2` with the chance of a half
        terms = 1 + (2.0 * agrees[best, np.arange(streams)] - 1) * (paid / 2)
        for way, begin, level in ((0, day * size, granted(0.05, day + 1)), (1, 0, 0.05)):
            mask = np.broadcast_to((step >= begin) & (step < (day + 1) * size), shape)
            wrong[way] |= np.asarray(wealth(jnp.asarray(terms, jnp.float32), mask)) >= np.log(1 / level)
        until = (day + 1) * size
        best = ((2.0 * agrees[:, :, :until] - 1) * paid[:, :until]).sum(-1).argmax(0)
    return float(wrong[0].mean()), float(wrong[1].mean())


@pytest.mark.parametrize("streams", [400, pytest.param(1500, marks=pytest.mark.slow)])
def test_a_stream_of_tests_at_the_null_errs_with_at_most_twice_the_risk(streams):
    rule, naive = errors(streams, 6, 60)
    assert rule <= 0.1
    assert naive > 0.15  # the test can fail: what chose a policy passes it


@pytest.mark.parametrize("streams", [4, pytest.param(150, marks=pytest.mark.slow)])
def test_the_gate_itself_at_the_null_of_a_log_that_grows(streams, tmp_path):
    """Every day the better of two policies on all that was seen is brought to the gate; neither is any better."""
    wrong, silent = 0, 0
    for number in range(streams):
        days = [10 * number + 5_000 + day for day in range(3)]
        policy, false = second, False
        for day in range(3):
            data = export(*days[: day + 1])
            answer = weft.certify(policy, data, ledger=tmp_path / str(number))
            silent += not answer.question  # refused without a look (an alarm of the ratio test): nothing was opened
            false |= answer.action == "DEPLOY"
            gains = [(data.rewards * chances(np.zeros((data.steps, 1)))[np.arange(data.steps), data.actions]).sum()
                     for chances in (first, second)]  # fmt: skip
            policy = (first, second)[int(np.argmax(gains))]
        wrong += false
        book = Ledger(tmp_path / str(number)).entries()
        assert [entry.spent for entry in book] == [granted(0.05, place + 1) for place in range(len(book))]
        assert sum(entry.units for entry in book) <= 900  # nothing was tested twice
    assert silent <= max(1, 0.02 * 3 * streams)
    assert wrong <= max(1, 0.1 * streams)
