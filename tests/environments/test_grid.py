"""The grid world: known values (Z1) and moves."""

import numpy as np

from weft.environment import environment, log
from weft.environments.grid import CELLS, ENDS, optimal_values, policy_values, transitions
from weft.rollout import rollout


def test_the_random_policy_is_worth_what_sutton_and_barto_say():
    known = [0, -14, -20, -22, -14, -18, -20, -20, -20, -20, -18, -14, -22, -20, -14, 0]
    values, _ = policy_values(np.full((CELLS, 4), 0.25))
    np.testing.assert_allclose(values, known, atol=1e-9)


def test_the_optimal_values():
    known = [0, -1, -2, -3, -1, -2, -3, -2, -2, -3, -2, -1, -3, -2, -1, 0]
    np.testing.assert_array_equal(optimal_values(), known)


def test_greedy_on_the_random_policys_values_is_optimal():
    _, q = policy_values(np.full((CELLS, 4), 0.25))
    values, _ = policy_values(np.eye(4)[q.argmax(1)])
    np.testing.assert_allclose(values, optimal_values(), atol=1e-9)
    returns = rollout(lambda seen: q[seen.argmax(1)].argmax(1).astype(np.int32), "grid", 30)
    assert returns.min() >= -3
    assert returns.max() <= -1


def test_the_log_moves_by_the_table_with_known_propensities():
    data = log(environment("grid"), 50, 3)
    here, there = data.observations.argmax(1), data.next_observations.argmax(1)
    np.testing.assert_array_equal(transitions()[here, data.actions], there)
    np.testing.assert_allclose(np.exp(data.log_propensities), 0.25, rtol=1e-6)
    np.testing.assert_array_equal(data.terminals, np.isin(there, ENDS))
