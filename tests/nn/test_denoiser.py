"""The denoiser shares the state's part of its first layer, drops only while training, and learns modes and weights."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from weft.core.errors import UserError
from weft.data.spec import ActionSpec, ObservationSpec, Spec
from weft.nn.denoiser import Denoiser, denoiser, mish
from weft.nn.optimise import descend, learner

PLAIN = Spec((ObservationSpec((1,)),), ActionSpec("continuous", (2,)))
ANGLE = 2 * jnp.pi * jnp.arange(8) / 8
CENTRES = 0.7 * jnp.stack([jnp.cos(ANGLE), jnp.sin(ANGLE)], axis=-1)


def made(steps: int = 5) -> Denoiser:
    return denoiser(jax.random.key(0), PLAIN, steps, 2, 8)


def test_mish_is_its_definition_and_safe_far_out():
    values = jnp.array([-50.0, -3.0, -0.1, 0.0, 0.1, 3.0, 19.0, 21.0, 1e4])
    np.testing.assert_allclose(mish(values), values * jnp.tanh(jax.nn.softplus(values)), rtol=1e-5, atol=1e-6)
    slopes = jax.vmap(jax.grad(mish))(values)
    np.testing.assert_allclose(slopes[-2:], 1.0, rtol=1e-5)
    assert jnp.isfinite(slopes).all()


@pytest.mark.few(1)
@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_any_leading_axes_and_many_actions_of_a_state(batch):
    model, seen = made(), jax.random.normal(jax.random.key(1), (*batch, 1))
    actions = jax.random.normal(jax.random.key(2), (*batch, 4, 2))
    many = model.finish(model.state_part(seen)[..., None, :], actions, jnp.int32(3))
    each = [model(seen, actions[..., k, :], jnp.full(batch, 3)) for k in range(4)]
    np.testing.assert_allclose(many, jnp.stack(each, axis=-2), atol=1e-5)
    drawn = jax.jit(lambda seen, key: model.sample(seen, key, 4))(seen, jax.random.key(3))
    assert drawn.shape == (*batch, 4, 2)
    assert float(jnp.abs(drawn).max()) <= 1.0


def test_the_time_is_told():
    model, seen, action = made(), jnp.ones((5, 1)), jnp.zeros((5, 2))
    found = model(seen, action, jnp.arange(5))
    assert all(float(jnp.abs(found[i] - found[j]).max()) > 1e-3 for i in range(5) for j in range(i))


def test_dropout_needs_a_key_and_keeps_the_mean():
    model, seen, action = made(), jnp.ones((1, 1)), jnp.zeros((1, 2))
    part, step = model.state_part(seen), jnp.zeros(1, jnp.int32)
    plain = model.finish(part, action, step)
    assert (model.finish(part, action, step, 0.5) == plain).all()  # without a key there is none
    assert (model.finish(part, action, step, 0.0, jax.random.key(0)) == plain).all()
    one, two = (model.finish(part, action, step, 0.5, jax.random.key(seed)) for seed in (0, 1))
    assert (one != two).any()


def trained(key, weights, centres, steps, blocks, width, updates):
    """Fit the mixture of a state (one of two, seen as 0 and 1) and return the running average of the network."""

    def step(carry, time):
        current, average = carry
        state_key, centre_key, place_key, loss_key = jax.random.split(jax.random.fold_in(key, time), 4)
        state = jax.random.bernoulli(state_key, 0.5, (256,)).astype(int)
        chosen = jax.random.categorical(centre_key, jnp.log(weights)[state])
        action = centres[chosen] + 0.05 * jax.random.normal(place_key, (256, 2))
        rate = 1e-3 * (1.0 + jnp.cos(jnp.pi * time / updates))
        current, loss = descend(
            current, optax.adam(rate), lambda model: model.loss(state[:, None] * 1.0, action, loss_key)
        )
        return (current, optax.incremental_update(current.model, average, 0.01)), loss

    model = denoiser(jax.random.fold_in(key, updates), PLAIN, steps, blocks, width)
    (_, average), _ = jax.lax.scan(step, (learner(model, optax.adam(1e-3)), model), jnp.arange(updates))
    return average


def shares(model, state, centres):
    drawn = model.sample(jnp.array([state]), jax.random.key(9), 20_000)
    return jnp.bincount(jnp.square(drawn[:, None] - centres).sum(-1).argmin(-1), length=len(centres)) / len(drawn)


@pytest.mark.slow
def test_two_modes_and_their_weights_by_state_are_learned():
    weights, centres = jnp.array([[0.7, 0.3], [0.2, 0.8]]), jnp.array([[-0.6, 0.3], [0.6, -0.3]])
    model = jax.jit(partial(trained, steps=5, blocks=1, width=32, updates=1000))(jax.random.key(0), weights, centres)
    for state in (0, 1):
        np.testing.assert_allclose(shares(model, 1.0 * state, centres), weights[state], atol=0.03)


@pytest.mark.slow
def test_eight_modes_and_their_weights_are_learned():
    weights = jnp.tile(jnp.arange(1, 9) / 36.0, (2, 1))
    model = jax.jit(partial(trained, steps=20, blocks=1, width=64, updates=2000))(jax.random.key(0), weights, CENTRES)
    np.testing.assert_allclose(shares(model, 1.0, CENTRES), weights[0], atol=0.03)


@pytest.mark.parametrize("wrong", [(0, 1, 8), (5, 0, 8), (5, 1, 0)])
def test_nothing_is_refused(wrong):
    with pytest.raises(UserError, match="needs"):
        denoiser(jax.random.key(0), PLAIN, *wrong)
