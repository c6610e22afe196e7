"""Steps with the action that came next in the log."""

import jax
import numpy as np
import pytest
import zoo

from weft.core.errors import UserError
from weft.data.samplers.quintuples import Quintuples


def test_the_next_action_is_the_one_of_the_same_episode():
    data = zoo.stitching()
    found = jax.jit(Quintuples(400))(data.device(), jax.random.key(0))
    rows = np.asarray(found.step.row)
    assert set(rows) == set(range(5))
    np.testing.assert_array_equal(found.follows, np.isin(rows, [0, 2]))
    np.testing.assert_array_equal(found.next_action[rows == 0], 0)
    np.testing.assert_array_equal(found.next_action[rows == 2], 1)


def test_nothing_follows_a_time_out():
    data = zoo.tabular([[(0, 0, 1.0), (0, 1, 1.0)], [(0, 1, 1.0)]], 1, 2, terminal=False)
    found = Quintuples(60)(data.device(), jax.random.key(1))
    np.testing.assert_array_equal(found.follows, np.asarray(found.step.row) == 0)


def test_an_empty_batch_is_refused():
    with pytest.raises(UserError, match="at least 1"):
        Quintuples(0)
