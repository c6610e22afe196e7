"""Densities integrate to one, samples have them, modes are where they should be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from weft.nn.distributions import Categorical, Deterministic, Mixture, Normal, TanhNormal, several

CONTINUOUS = {
    "normal": (Normal(jnp.array([0.3]), jnp.array([-1.0])), 6.0),
    "squashed": (TanhNormal(jnp.array([0.3]), jnp.array([-0.5])), 1.0),
    "mixture": (Mixture(jnp.array([0.0, 1.0]), jnp.array([[-0.5], [0.6]]), jnp.array([[-1.5], [-2.0]])), 6.0),
}


@pytest.mark.parametrize("name", CONTINUOUS)
def test_a_density_integrates_to_one_and_is_that_of_the_samples(name):
    distribution, reach = CONTINUOUS[name]
    edges = np.linspace(-reach, reach, 20001)
    middle = jnp.asarray((edges[1:] + edges[:-1]) / 2, jnp.float32)[:, None]
    density = np.asarray(jnp.exp(jax.vmap(distribution.log_prob)(middle)), np.float64)
    assert density.sum() * (edges[1] - edges[0]) == pytest.approx(1.0, abs=2e-3)
    drawn = np.asarray(jax.vmap(distribution.sample)(jax.random.split(jax.random.key(0), 20000)))[:, 0]
    mean = (density * np.asarray(middle)[:, 0]).sum() / density.sum()
    assert drawn.mean() == pytest.approx(mean, abs=0.02)


def test_a_squashed_sample_knows_its_density_even_at_the_ends():
    distribution = TanhNormal(jnp.array([[0.5, -0.2], [9.0, -9.0]]), jnp.full((2, 2), -1.0))
    action, log_prob = distribution.sample_and_log_prob(jax.random.key(0))
    assert jnp.isfinite(log_prob).all()
    assert (jnp.abs(action) <= 1).all()
    np.testing.assert_allclose(log_prob[0], distribution.log_prob(action)[0], rtol=1e-3)
    slope = jax.grad(lambda mean: TanhNormal(mean, jnp.zeros(1)).sample_and_log_prob(jax.random.key(1))[1])(
        jnp.array([12.0])
    )
    assert jnp.isfinite(slope).all()
    np.testing.assert_allclose(distribution.mode(), jnp.tanh(distribution.mean))


def test_the_mode_of_a_mixture_is_the_mean_of_its_likeliest_part():
    assert CONTINUOUS["mixture"][0].mode() == pytest.approx(0.6)


def test_a_deterministic_action_is_itself():
    distribution = Deterministic(jnp.array([[0.1, 0.2]]))
    assert (distribution.sample(jax.random.key(0)) == distribution.mode()).all()
    assert distribution.log_prob(jnp.array([[0.1, 0.2]]))[0] == jnp.inf
    assert distribution.log_prob(jnp.array([[0.1, 0.3]]))[0] == -jnp.inf


def test_a_categorical_has_probabilities_a_mode_and_samples():
    distribution = Categorical(jnp.log(jnp.array([0.2, 0.5, 0.3])))
    np.testing.assert_allclose(distribution.probabilities(), [0.2, 0.5, 0.3], rtol=1e-6)
    assert distribution.mode() == 1
    np.testing.assert_allclose(jnp.exp(distribution.log_prob(jnp.int32(2))), 0.3, rtol=1e-6)
    drawn = jax.vmap(distribution.sample)(jax.random.split(jax.random.key(0), 5000))
    np.testing.assert_allclose(np.bincount(drawn, minlength=3) / 5000, [0.2, 0.5, 0.3], atol=0.03)


def test_several_draws_of_a_mixture_come_from_all_its_components():
    mixture = Mixture(
        jnp.zeros((4, 2)), jnp.broadcast_to(jnp.array([[-0.5], [0.5]]), (4, 2, 1)), jnp.full((4, 2, 1), -5.0)
    )
    found = several(mixture, 200)
    drawn = found.sample(jax.random.key(0))
    assert drawn.shape == (4, 200, 1)
    np.testing.assert_allclose((drawn > 0).mean(), 0.5, atol=0.05)
    assert found.log_prob(drawn).shape == (4, 200)
    assert several(Categorical(jnp.zeros((4, 3))), 7).sample(jax.random.key(1)).shape == (4, 7)


def test_several_draws_differ_and_share_parameters():
    distribution = several(TanhNormal(jnp.zeros((4, 2)), jnp.zeros((4, 2))), 3)
    action, log_prob = distribution.sample_and_log_prob(jax.random.key(0))
    assert action.shape == (4, 3, 2)
    assert log_prob.shape == (4, 3)
    assert len(np.unique(np.asarray(action))) == action.size
