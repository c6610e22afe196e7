"""Choosing among draws: the best, the one amid the best, and in proportion to worth."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from weft.agents.parts.candidates import BestOfSamples, Boltzmann, Draws
from weft.core.errors import UserError
from weft.nn.critics import ContinuousCritic
from weft.nn.distributions import Normal
from weft.nn.encoder import Encoder, Flatten


class Spread(eqx.Module):
    """A Gaussian that hardly ever meets the bounds."""

    def __call__(self, observation):
        shape = (*observation.shape[:-1], 1)
        return Normal(jnp.zeros(shape), jnp.full(shape, jnp.log(0.1)))


def best_of(count: int, inverse_temperature: float | None = None, mode: bool = False) -> BestOfSamples:
    """Return a policy whose critics value an action by its size."""
    value = ContinuousCritic(Encoder((Flatten(1),), ("",), 1), jnp.zeros((1, 1)), jnp.ones((1, 1)), jnp.zeros(1), None)
    weigh = None if inverse_temperature is None else Boltzmann(inverse_temperature)
    return BestOfSamples(Draws(Spread()), (value, value), weigh, count=count, mode=mode)


@pytest.mark.parametrize(("count", "known"), [(1, 0.0), (16, 1.766), (64, 2.34), (256, 2.83)])
def test_the_best_of_several_draws_has_the_mean_of_the_largest(count, known):
    """T17: the largest of so many normal numbers; one draw is the proposal itself."""
    policy, seen = best_of(count), jnp.ones((1,))
    keys = jax.random.split(jax.random.key(0), 4000)
    found = jax.vmap(lambda key: policy.act((), seen, key, greedy=False)[0][0])(keys)
    assert float(found.mean()) / 0.1 == pytest.approx(known, abs=0.04)


def test_a_greedy_choice_is_a_function_of_the_state_and_has_no_density():
    policy, seen = best_of(8), jnp.ones((5, 1))
    first, second = (policy.act((), seen, key)[0] for key in (None, jax.random.key(7)))
    np.testing.assert_array_equal(first, second)
    assert first.shape == (5, 1)
    np.testing.assert_array_equal(policy.distribution((), seen).mode(), first)
    action, log_prob, _ = policy.draw((), seen, jax.random.key(1))
    assert action.shape == (5, 1)
    assert not np.isfinite(log_prob).any()
    with pytest.raises(UserError, match="key"):
        policy.act((), seen, greedy=False)


def test_draws_in_proportion_to_their_worth_tilt_the_proposal():
    """A normal of deviation s tilted by exp(b a) has the mean b s squared."""
    policy, seen = best_of(400, inverse_temperature=10.0), jnp.ones((1,))
    keys = jax.random.split(jax.random.key(2), 4000)
    found = jax.vmap(lambda key: policy.act((), seen, key, greedy=False)[0][0])(keys)
    assert float(found.mean()) == pytest.approx(0.1, abs=0.006)
    assert float(best_of(400, 10.0).act((), seen)[0][0]) > 0.2  # greedily the best of them


def test_the_mode_of_a_tilted_proposal_is_not_its_best_draw():
    """A normal of deviation s tilted by exp(b a) has its mode at b s squared too; at b = 0 it is the normal's own."""
    seen = jnp.ones((1,))
    for sharp in (0.0, 10.0, 20.0):
        found = best_of(4000, sharp, mode=True).act((), seen)[0][0]
        assert float(found) == pytest.approx(sharp * 0.01, abs=0.01)


@pytest.mark.parametrize("share", [0.01, 0.25, 0.5, 1.0])
def test_the_action_amid_the_best_draws_is_their_median(share):
    """Of one-dimensional draws, that of the least distance to all is the (lower) median: an order statistic."""
    one, seen = best_of(64), jnp.ones((1,))
    policy = BestOfSamples(one.propose, one.critics, count=64, share=share)
    keys = jax.random.split(jax.random.key(0), 3000)
    taken = jax.vmap(lambda key: policy.act((), seen, key, greedy=False)[0][0])(keys)
    best = max(int(share * 64), 1)
    ordered = np.sort(np.random.default_rng(0).normal(size=(20000, 64)), axis=1)
    known = ordered[:, 64 - best + (best - 1) // 2].mean()
    assert float(taken.mean()) / 0.1 == pytest.approx(known, abs=0.05)
