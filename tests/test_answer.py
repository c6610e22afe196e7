"""The interval that may be shown: its tier, its reasons, and what has none."""

import dataclasses

import numpy as np
import pytest
from tabular import TIME, asks, world

import weft
from weft.errors import UserError


def test_a_markov_log_with_overlap_has_an_interval_that_holds():
    here = world()
    rule = here.rule(0.2)
    found = weft.answer(asks(rule), here.log(400, 1, whole=True))
    assert found.tier == 2
    assert found.low <= here.value(rule) <= found.high
    assert found.high - found.low < 0.4
    assert not found.reasons
    assert "estimated" in str(found)


def test_a_short_log_with_little_overlap_falls_back_or_has_none_and_says_why():
    here = world()
    found = weft.answer(asks(here.rule(1.0)), here.log(24, 1, whole=True))
    assert found.tier in (1, 3)
    assert any("too short for its tests" in sentence for sentence in found.reasons)
    if found.tier == 3:
        assert np.isnan([found.value, found.low, found.high]).all()
        assert any("wider than half" in sentence for sentence in found.reasons)


def test_what_has_no_interval_is_one_sentence():
    here = world()
    data = here.log(50, 1, whole=True)
    policy = asks(here.rule(0.2))
    with pytest.raises(UserError, match="are not logged"):
        weft.answer(policy, dataclasses.replace(data, store_log_propensities=None))
    with pytest.raises(UserError, match="does not declare: horizon"):
        weft.answer(policy, data.declare(horizon=None))
    with pytest.raises(UserError, match="outside the declared"):
        weft.answer(policy, data.declare(reward_high=(0.5,)))
    with pytest.raises(UserError, match="between 0 and 1"):
        weft.answer(policy, data, 95)
    with pytest.raises(UserError, match="below the declared least"):
        weft.answer(policy, data.declare(propensity_low=0.45))
    assert data.spec.horizon == TIME
