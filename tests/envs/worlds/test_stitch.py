"""The smallest stitching world (Z2): exactly three trajectories, and a better one than any of them."""

import numpy as np

from weft.envs.environment import environment, log
from weft.envs.rollout import rollout


def test_equal_numbers_of_three_trajectories():
    data = log(environment("stitch"), 9, 0)
    found = [
        (data.episode(i).observations.argmax(1)[: len(data.episode(i))].tolist(), data.episode(i).actions.tolist())
        for i in range(9)
    ]
    assert found == 3 * [([0, 2], [0, 1]), ([1, 2], [0, 0]), ([0], [1])]
    np.testing.assert_allclose(data.returns, np.tile([0.0, 1.0, 0.6], 3), rtol=1e-6)
    np.testing.assert_allclose(np.exp(data.log_propensities), np.tile([0.5, 1, 1, 1, 0.5], 3), rtol=1e-6)
    assert data.terminals[np.cumsum(data.lengths) - 1].all()


def test_stitching_pays():
    np.testing.assert_array_equal(rollout(lambda seen: np.zeros(len(seen), np.int32), "stitch", 3), 1.0)
    leave = rollout(lambda seen: (seen[:, 0] == 1).astype(np.int32), "stitch", 3)
    np.testing.assert_allclose(leave, 0.6, rtol=1e-6)
