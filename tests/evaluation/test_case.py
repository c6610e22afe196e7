"""A case: what it holds, and what is laid out once."""

import jax
import numpy as np
import pytest
from tabular import TIME, asks, world

from weft.core.errors import UserError
from weft.evaluation.case import case_of, effective, prepare

HERE = world()


def test_a_case_holds_the_declared_range_where_there_is_one():
    data = HERE.log(20)
    case = case_of(asks(HERE.rule(0.5)), data)
    assert (float(case.range.low), float(case.range.high), case.range.horizon) == (0.0, 1.0, TIME)
    assert case_of(asks(HERE.rule(0.5)), data.declare(horizon=None)).declared is None


def test_trajectories_are_laid_out_once_and_with_the_policy():
    log = prepare(HERE.log(20))
    case = log.case(asks(HERE.rule(0.5))).laid_out()
    assert case.laid_out().laid is case.laid
    assert case.reweighted(2 * case.weighing.weights).laid is case.laid
    other = case.about(log.candidate(asks(HERE.rule(-0.5))))
    assert other.laid is None
    assert not np.allclose(other.trajectories.log_ratio, case.trajectories.log_ratio)
    np.testing.assert_array_equal(other.trajectories.reward, case.trajectories.reward)


def test_without_propensities_there_is_nothing_to_weigh_with():
    data = HERE.log(20, propensities=None)
    case = case_of(asks(HERE.rule(0.5)), data)
    assert not case.weighs
    assert case.trajectories.log_ratio is None
    np.testing.assert_allclose(case.paths(1.0).returns, data.returns, rtol=1e-6)


def test_the_logging_policy_is_worth_all_episodes_and_laying_out_changes_nothing():
    data = HERE.log(30, users=3)
    case = case_of(asks(HERE.logging), data)
    assert float(effective(case)) == pytest.approx(30, rel=1e-5)
    other = case_of(asks(HERE.rule(0.6)), data)
    assert float(effective(other.laid_out())) == float(effective(other)) < 30


def test_data_are_inputs_of_a_program_and_not_its_key():
    first, second = (case_of(asks(HERE.rule(0.5)), HERE.log(20, seed, whole=False)) for seed in (0, 1))
    assert jax.tree.structure(first) == jax.tree.structure(second)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(first))


@pytest.mark.parametrize(("starts", "sentence"), [(np.zeros(20, bool), "chooses no episode"), (np.ones(3, bool), "20")])
def test_masks_that_cannot_be(starts, sentence):
    with pytest.raises(UserError, match=sentence):
        prepare(HERE.log(20), starts)


def shapes(case):
    return [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(case)], jax.tree.structure(case)


def test_logs_of_similar_size_have_the_same_form_with_room_for_more():
    first, second = (case_of(asks(HERE.rule(0.5)), HERE.log(size, 0)).padded() for size in (130, 140))
    assert shapes(first) == shapes(second)
    assert shapes(case_of(asks(HERE.rule(0.5)), HERE.log(700, 0)).padded()) != shapes(first)


def test_room_for_more_has_no_weight_and_its_ratios_are_one():
    plain = case_of(asks(HERE.rule(0.6)), HERE.log(30, users=3))
    case = plain.padded()
    assert float(case.weighing.weights.sum()) == float(plain.weighing.weights.sum()) == 30
    assert float(effective(case)) == pytest.approx(float(effective(plain)), rel=1e-5)
    added = np.asarray(case.columns.episode) >= plain.episodes
    assert added.sum() == len(case.columns.terminal) - len(plain.columns.terminal) > 0
    np.testing.assert_array_equal(np.asarray(case.trajectories.log_ratio)[plain.episodes :], 0.0)
    np.testing.assert_array_equal(np.asarray(case.trajectories.reward)[plain.episodes :], 0.0)
    assert not set(np.asarray(case.weighing.unit)[plain.episodes :]) & set(np.asarray(plain.weighing.unit))


def test_a_log_that_is_too_large_to_copy_is_left_as_it_is(monkeypatch):
    case = case_of(asks(HERE.rule(0.5)), HERE.log(20))
    monkeypatch.setattr("weft.evaluation.case.COPIED", 16)
    assert case.padded() is case
