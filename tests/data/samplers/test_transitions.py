"""Single steps: uniform, inside the view, with the right successor."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

from weft.core.errors import UserError
from weft.data.samplers.transitions import Transitions, gather


def test_a_draw_is_uniform_over_the_rows_of_the_view():
    data = zoo.stitching().select(np.array([1, 2]))
    batch = jax.jit(Transitions(6000))(data.device(), jax.random.key(0))
    counts = np.bincount(np.asarray(batch.row), minlength=5)
    assert counts[:2].sum() == 0
    np.testing.assert_allclose(counts[2:] / 6000, 1 / 3, atol=0.03)


def test_a_step_leads_to_its_successor():
    data = zoo.stitching()
    batch = gather(data.device(), jnp.arange(5))
    np.testing.assert_array_equal(batch.observation.argmax(-1), [0, 2, 1, 2, 0])
    assert batch.next_observation[0].argmax() == 2
    np.testing.assert_array_equal(batch.terminal, [False, True, False, True, True])
    np.testing.assert_allclose(batch.reward, [0, 0, 0, 1, 0.6], rtol=1e-6)
    np.testing.assert_array_equal(batch.row, np.arange(5))
    np.testing.assert_array_equal(batch.duration, np.ones(5))


def test_an_empty_batch_is_refused():
    with pytest.raises(UserError, match="at least 1"):
        Transitions(0)
