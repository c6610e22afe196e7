"""How far a policy leaves its log, with numbers and with codes."""

import dataclasses

import jax
import numpy as np
import pytest
from tabular import PLACES, asks, world

import weft
from weft.evaluation.case import case_of
from weft.evaluation.overlap import unsupported

HERE = world()
BEST, WORST = (np.eye(2)[pick] for pick in (HERE.pay.argmax(1), HERE.pay.argmin(1)))


def share(policy, data):
    case = case_of(policy, data, None, None, 8, 0)
    return unsupported(case.candidate, case.columns, data.rows, jax.random.key(0))


def test_pairs_of_a_code_and_an_action_that_were_never_logged_are_counted():
    surely = dataclasses.replace(HERE, logging=BEST).log(200, 1)
    assert share(asks(BEST), surely) == 0.0
    assert share(asks(WORST), surely) == 1.0
    half = np.where(np.arange(PLACES)[:, None] < 3, BEST, WORST)
    seen = (
        np.asarray(surely.observations)[:, 0] if np.ndim(surely.observations) > 1 else np.asarray(surely.observations)
    )
    assert share(asks(half), surely) == pytest.approx((seen[surely.rows] >= 3).mean(), abs=0.05)


def test_a_log_that_shows_every_pair_supports_every_policy():
    assert share(asks(WORST), HERE.log(400, 2)) == 0.0


def test_all_steps_are_looked_up_and_not_some_of_them():
    rng = np.random.default_rng(0)
    code = rng.integers(0, 200, 60_000)
    action = np.where(rng.random(60_000) < 0.95, code % 10, (code + 1) % 10)  # the other one is rare, and there
    data = weft.Dataset.from_arrays(
        code, action, rng.random(60_000).astype(np.float32), np.ones(60_000, bool), kinds={"": "category"},
        action_count=10,
    )  # fmt: skip
    assert share(lambda seen: np.eye(10)[(np.asarray(seen).reshape(-1) + 1) % 10], data) == 0.0
    assert share(lambda seen: np.eye(10)[(np.asarray(seen).reshape(-1) + 2) % 10], data) == 1.0


def test_codes_that_never_come_twice_support_what_was_done_alone():
    rng = np.random.default_rng(0)
    data = weft.Dataset.from_arrays(
        np.arange(300), rng.integers(0, 2, 300), rng.random(300).astype(np.float32), np.ones(300, bool),
        kinds={"": "category"}, action_count=2,
    )  # fmt: skip
    done = np.asarray(data.actions).reshape(-1)
    assert share(lambda seen: np.tile([0.0, 1.0], (len(seen), 1)), data) == pytest.approx((done == 0).mean(), abs=0.01)


def test_codes_and_numbers_count_together():
    rng = np.random.default_rng(0)
    code, number = rng.integers(0, 2, 400), rng.normal(size=(400, 1)).astype(np.float32)
    data = weft.Dataset.from_arrays(
        {"code": code, "number": number}, code.copy(), rng.random(400).astype(np.float32), np.ones(400, bool),
        kinds={"code": "category"}, action_count=2,
    )  # fmt: skip

    def follows(seen):
        return np.eye(2)[np.asarray(seen["code"]).reshape(-1)]

    assert share(follows, data) <= 0.1
    assert share(lambda seen: 1 - follows(seen), data) > 0.9


@pytest.mark.parametrize("seed", [0, 1])
def test_no_estimate_is_issued_about_choices_that_codes_never_met(seed):
    here = dataclasses.replace(world(seed), logging=np.eye(2)[world(seed).pay.argmax(1)])
    log = here.log(500, seed, whole=True, propensities=None)
    other = np.eye(2)[here.pay.argmin(1)]
    answer = weft.certify(asks(other), log)
    assert (answer.action, answer.tier) == ("ABSTAIN", 3)
    assert "unlike any logged one" in answer.reason
