"""Networks of a state and a vector beside it, and the auto-encoder made of two of them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from specs import VECTOR

from weft.nn.joint import joint
from weft.nn.optimise import descend, learner
from weft.nn.variational import LIMIT, variational


def test_several_vectors_of_a_state_equal_one_after_another():
    network = joint(jax.random.key(0), VECTOR, (8, 8), 2, 4)
    seen, others = jax.random.normal(jax.random.key(1), (5, 3)), jax.random.normal(jax.random.key(2), (5, 6, 2))
    found = network.several(seen, others)
    assert found.shape == (5, 6, 4)
    for index in range(6):
        np.testing.assert_allclose(found[:, index], network(seen, others[:, index]), atol=1e-5)


def test_one_first_layer_is_kept_in_two_halves():
    network = joint(jax.random.key(0), VECTOR, (8,), 2, 4, last=0.01)
    whole = jnp.concatenate([network.observation_half, network.other_half])
    np.testing.assert_allclose(whole @ whole.T, 2.0 * np.eye(5), atol=1e-3)


def test_the_loss_is_the_reconstruction_and_half_the_divergence():
    model = variational(jax.random.key(0), VECTOR, (8,))
    model = jax.tree.map(jnp.zeros_like, model)  # mean 0 and log-deviation 0: no divergence; every action becomes 0
    action = jax.random.uniform(jax.random.key(1), (7, 2), minval=-1.0)
    assert float(model.loss(jnp.ones((7, 3)), action, jax.random.key(2))) == np.float32(jnp.mean(action**2))


def test_it_learns_to_generate_two_modes_that_a_mean_would_miss():
    seen = jnp.ones((256, 3))
    sign = jnp.where(jnp.arange(256) % 2 == 0, 1.0, -1.0)
    actions = 0.6 * jnp.stack([sign, sign], axis=-1)
    adam = optax.adam(3e-3)

    @jax.jit
    def trained(key):
        first = learner(variational(key, VECTOR, (32, 32)), adam)

        def step(state, key):
            return descend(state, adam, lambda model: model.loss(seen, actions, key))[0], None

        return jax.lax.scan(step, first, jax.random.split(key, 1500))[0].model

    model = trained(jax.random.key(3))
    # as far as latents cut at LIMIT reach; the whole normal distribution would reach both modes
    drawn = np.asarray(model.sample(seen[:1], jax.random.key(4), 500))[0]
    assert drawn.shape == (500, 2)
    assert (drawn.max(0) > 0.3).all()
    assert (drawn.min(0) < -0.3).all()
    assert (np.abs(drawn[:, 0] - drawn[:, 1]) < 0.35).mean() > 0.9  # the two dimensions go together
    assert LIMIT == 0.5
