"""Answers are kept with the data set that they are about, and no other one ever sees them."""

import dataclasses
import gc
import weakref

import numpy as np
import pytest
from examples import small_log

from weft import concatenate, seal
from weft.data.fingerprints import fingerprints
from weft.data.memo import once_per_dataset
from weft.data.units import fit_transform


def counted():
    """Return a function of a log that is computed once for each, and the arguments of every computation."""
    calls = []

    @once_per_dataset
    def total(data, scale=1.0, shift=0.0):
        calls.append((data.origin, scale, shift))
        return float(data.rewards.sum()) * scale + shift

    return total, calls


def test_an_answer_is_computed_once_for_every_log_and_arguments():
    total, calls = counted()
    data, other = small_log(origin="a"), small_log(origin="b")
    assert total(data) == total(data, 1.0) == total(data, shift=0.0) == total(other) == 21
    assert total(data, 2.0) == total(data, scale=2.0) == 42
    assert calls == [("a", 1.0, 0.0), ("b", 1.0, 0.0), ("a", 2.0, 0.0)]


def test_arguments_that_cannot_be_remembered_are_passed_on():
    total, calls = counted()
    data = small_log()
    np.testing.assert_array_equal(total(data, np.ones(2)), total(data, np.ones(2)))
    assert len(calls) == 2


def test_errors_are_not_answers():
    data = small_log()
    for _ in range(2):
        with pytest.raises(ValueError, match="can be transformed by 'standardise' or 'none'"):
            fit_transform(data, observations="fast")


def test_answers_go_with_their_log():
    total, _ = counted()
    data = small_log()
    total(data)
    fit_transform(data)
    fingerprints(data)
    end = weakref.ref(data)
    del data
    gc.collect()
    assert end() is None


def many_steps():
    """Return twelve episodes of two steps."""
    log = small_log().select([0])
    return concatenate([log.rewarded(lambda reward, more=more: reward + more) for more in range(12)])


OTHERS = {
    "a view": lambda data: data.select(np.arange(6)),
    "a part": lambda data: data.split(seed=1)[1],
    "a fold": lambda data: seal(data).certify,
    "twice": lambda data: concatenate([data, data]),
    "other rewards": lambda data: data.rewarded(lambda reward: reward * 3 + np.arange(len(reward))),
    "other observations": lambda data: dataclasses.replace(data, store_observations=data.store_observations * 2 + 1),
    "a declaration": lambda data: data.declare(horizon=7),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_a_log_made_of_another_has_answers_of_its_own(other):
    """What is asked of a changed log after the first one is what it is when the changed log alone is asked."""
    data = many_steps()
    asked_before = (fingerprints(data), fit_transform(data, rewards="unit"), data.fingerprint)
    changed, alone = other(data), other(many_steps())
    np.testing.assert_array_equal(fingerprints(changed), fingerprints(alone))
    assert changed.fingerprint == alone.fingerprint
    after, expected = fit_transform(changed, rewards="unit"), fit_transform(alone, rewards="unit")
    assert after.spec == expected.spec == changed.spec
    np.testing.assert_array_equal(after.observation.shift, expected.observation.shift)
    np.testing.assert_array_equal(after.observation.scale, expected.observation.scale)
    assert float(after.reward_scale) == float(expected.reward_scale)
    assert asked_before[0] is fingerprints(data)
    assert asked_before[1] is fit_transform(data, rewards="unit")
    if other is not OTHERS["a declaration"]:
        assert changed.fingerprint != asked_before[2]


def test_nobody_can_change_the_fingerprints_of_others():
    with pytest.raises(ValueError, match="read-only"):
        fingerprints(small_log())[0, 0] = 0
