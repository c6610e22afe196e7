"""The grid world: moves, and the best policy in it; its known values (Z1) are in `test_tabular.py`."""

import numpy as np

from weft.envs.environment import environment, log
from weft.envs.rollout import rollout
from weft.envs.worlds.grid import CELLS, ENDS, transitions
from weft.labs.tabular import evaluate, grid_world


def test_greedy_on_the_random_policys_values_walks_straight_to_a_corner():
    q = evaluate(grid_world(), np.full((CELLS, 4), 0.25), 1.0).q
    returns = rollout(lambda seen: q[seen.argmax(1)].argmax(1).astype(np.int32), "grid", 30)
    assert returns.min() >= -3
    assert returns.max() <= -1


def test_the_log_moves_by_the_table_with_known_propensities():
    data = log(environment("grid"), 50, 3)
    here, there = data.observations.argmax(1), data.next_observations.argmax(1)
    np.testing.assert_array_equal(transitions()[here, data.actions], there)
    np.testing.assert_allclose(np.exp(data.log_propensities), 0.25, rtol=1e-6)
    np.testing.assert_array_equal(data.terminals, np.isin(there, ENDS))
