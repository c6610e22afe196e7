"""Gradient steps, slow copies and learned multipliers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from weft.core.errors import UserError
from weft.nn.multipliers import Fixed, Lagrange
from weft.nn.optimise import descend, learner, update_every


def test_a_step_goes_downhill_and_keeps_moments():
    first = learner(jnp.array([1.0, -2.0]), optax.adam(0.1))
    second, value = descend(first, optax.adam(0.1), lambda x: jnp.sum(x**2))
    assert value == 5.0
    np.testing.assert_allclose(second.model, [0.9, -1.9], atol=1e-5)
    assert jax.tree.structure(first) == jax.tree.structure(second)
    third, (value, more) = descend(second, optax.adam(0.1), lambda x: (jnp.sum(x**2), x[0]), auxiliary=True)
    assert value < 5.0
    assert more == second.model[0]
    assert third.moments[0].count == 2


def test_a_slow_copy_moves_a_fraction_when_it_is_due():
    slow, fast = (jnp.zeros(2),), (jnp.full(2, 10.0),)
    np.testing.assert_allclose(update_every(1, jnp.int32(0), fast, slow, 0.1)[0], 1.0)
    moved = [float(update_every(3, jnp.int32(step), fast, slow, 0.1)[0][0]) for step in range(6)]
    np.testing.assert_allclose(moved, [0, 0, 1, 0, 0, 1])


def test_a_fixed_multiplier_stays():
    fixed = Fixed(3.0)
    assert fixed.at(fixed.follow(fixed.begin(), jnp.float32(9.0))) == 3.0
    with pytest.raises(UserError):
        Fixed(-1.0)


def test_a_learned_multiplier_grows_above_its_threshold_and_comes_back_from_its_limit():
    weight = Lagrange(threshold=1.0, learning_rate=0.1, initial=1.0, largest=1.5)
    state = weight.begin()
    for _ in range(20):
        state = weight.follow(state, jnp.float32(2.0))
    assert weight.at(state) == pytest.approx(1.5)
    for _ in range(60):
        state = weight.follow(state, jnp.float32(0.0))
    assert weight.at(state) < 1.0
    for options in ({"learning_rate": 0.0}, {"initial": 0.0}, {"initial": 2.0, "largest": 1.0}):
        with pytest.raises(UserError):
            Lagrange(1.0, **options)
