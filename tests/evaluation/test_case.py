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
