"""The two variants of the conservative penalty on Z3 (and Z9), and what continuous CQL backs up."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

from weft.agents.parts.conservative import compared, log_prior, next_values, score_actions, soft_maximum
from weft.data.spec import ActionSpec, ObservationSpec, Spec
from weft.nn.critics import ContinuousCritic
from weft.nn.distributions import TanhNormal, several
from weft.nn.encoder import encoder
from weft.nn.losses import proposals, sampled_logsumexp

BEHAVIOUR = jnp.array([0.6, 0.3, 0.1])
ENTROPY = 0.8979457  # of the behaviour, in nats
VALUES = jax.random.normal(jax.random.key(0), (200, 3))


def penalty(values, prior):
    return soft_maximum(values, prior) - values @ BEHAVIOUR


def test_a_uniform_prior_lowers_the_penalty_by_the_logarithm_of_the_choices():
    uniform = log_prior("uniform", VALUES)
    np.testing.assert_allclose(penalty(VALUES, uniform), penalty(VALUES, None) - jnp.log(3), atol=1e-6)
    assert log_prior("entropy", VALUES) is None
    best = jnp.log(BEHAVIOUR)
    assert penalty(best, None) == pytest.approx(ENTROPY, abs=1e-6)  # the least of all: the entropy
    assert penalty(best, log_prior("uniform", best)) == pytest.approx(-0.2007, abs=1e-4)  # and so below zero
    assert (penalty(VALUES, None) >= ENTROPY).all()


def test_a_prior_that_is_the_behaviour_makes_the_least_penalty_zero():
    prior = jnp.log(BEHAVIOUR)
    assert penalty(jnp.full(3, 4.0), prior) == pytest.approx(0.0, abs=1e-6)
    assert (jax.vmap(penalty, (0, None))(VALUES, prior) >= -1e-6).all()


@pytest.mark.parametrize("regulariser", ["entropy", "policy", "uniform"])
def test_the_gradient_is_the_tilted_prior_less_the_behaviour(regulariser):
    values, before = VALUES[0], VALUES[1]
    prior = log_prior(regulariser, before)
    rho = {"policy": jax.nn.softmax(before)}.get(regulariser, jnp.ones(3) / 3)
    tilted = rho * jnp.exp(values)
    np.testing.assert_allclose(jax.grad(penalty)(values, prior), tilted / tilted.sum() - BEHAVIOUR, atol=1e-6)


def test_no_gradient_flows_through_the_prior():
    slope = jax.grad(lambda values: soft_maximum(VALUES[0], log_prior("policy", values)))(VALUES[1])
    assert (slope == 0).all()


def actor(mean, log_std, batch=1, size=1):
    return TanhNormal(jnp.full((batch, size), mean), jnp.full((batch, size), log_std))


def estimate(regulariser, here, count=40_000):
    actions, density, own = compared(jax.random.key(1), regulariser, here, actor(-0.5, 0.0, *here.mean.shape), count)
    return sampled_logsumexp(zoo.integrand(actions), density), own, actions.shape[1]


def test_a_prior_is_sampled_from_and_nothing_is_subtracted():
    found, own, drawn = estimate("uniform", actor(0.3, -1.0, 1, 3))
    assert (own, drawn) == (0, 40_000)
    np.testing.assert_allclose(found, 0.5377 - 3 * np.log(2), atol=0.02)  # Z9
    found, own, drawn = estimate("policy", actor(0.3, -1.0))
    assert (own, drawn) == (40_000, 40_000)
    points = jnp.tanh(0.3 + jnp.exp(-1.0) * jnp.linspace(-6, 6, 4001))[:, None]
    weight = jnp.exp(-0.5 * jnp.linspace(-6, 6, 4001) ** 2)
    exact = jnp.log((weight * jnp.exp(zoo.integrand(points))).sum() / weight.sum())
    np.testing.assert_allclose(found, exact, atol=0.01)
    found, own, drawn = estimate("entropy", actor(0.0, 0.0, 1, 3))
    assert (own, drawn) == (80_000, 120_000)
    np.testing.assert_allclose(found, 0.5377, atol=0.02)


def test_the_entropy_compares_with_the_proposals_of_always():
    here, there, key = actor(0.3, -1.0, 4, 2), actor(-0.5, 0.0, 4, 2), jax.random.key(3)
    *found, _ = compared(key, "entropy", here, there, 5)
    for one, two in zip(found, proposals(key, here, there, 5), strict=True):
        assert (one == two).all()


def slope(by: float) -> ContinuousCritic:
    """Return a critic that is the observation and so many times the action, one number each."""
    spec = Spec((ObservationSpec((1,)),), ActionSpec("continuous", (1,)))
    encode = encoder(jax.random.key(0), spec)
    return ContinuousCritic(encode, jnp.ones((1, 1)), jnp.full((1, 1), by), jnp.zeros(1), None)


def test_what_is_backed_up():
    seen, policy, key = jnp.ones((6, 1)), actor(0.2, -0.5, 6), jax.random.key(4)
    critics, count = (slope(1.0), slope(-3.0)), 7

    def backed(kind, several_critics=critics, count=count):
        return next_values(key, kind, several_critics, seen, policy, count, jnp.float32(0.5))

    action, log_prob = policy.sample_and_log_prob(key)
    plain = 1 + jnp.minimum(action, -3 * action)[:, 0]
    np.testing.assert_allclose(backed("plain"), plain, rtol=1e-6)
    np.testing.assert_allclose(backed("soft"), plain - 0.5 * log_prob, rtol=1e-6)
    np.testing.assert_allclose(backed("greedy"), 1 - 3 * jnp.tanh(0.2), rtol=1e-6)
    drawn = several(policy, count).sample(key)[..., 0]
    each = jnp.stack([1 + drawn.max(1), 1 - 3 * drawn.min(1)])
    np.testing.assert_allclose(backed("sampled_max"), each.min(0), rtol=1e-6)  # every critic's best, then the lowest
    np.testing.assert_allclose(backed("sampled_max", count=1), plain, rtol=1e-6)


def test_the_logged_action_comes_first():
    seen, actions = jnp.ones((2, 1)), jnp.array([[[0.5], [0.1], [-0.1]], [[-0.5], [0.2], [0.4]]])
    learned, logged, everywhere = score_actions(1, slope(2.0), seen, actions, jnp.zeros((2, 2)), jnp.array([9.0, -9.0]))
    np.testing.assert_allclose(logged, [2.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(learned, logged)
    raised = np.array([[9.0, 0.8], [1.4, 1.8]])  # what is known lifts the first sampled action, where it is above
    np.testing.assert_allclose(everywhere, np.log(np.exp(raised).mean(1)), rtol=1e-6)
