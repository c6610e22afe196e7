"""The cart and pole is Gymnasium's, step by step."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from weft.envs.environment import environment, log
from weft.envs.rollout import rollout
from weft.envs.worlds.cartpole import FARTHEST, SPREAD, STEEPEST, CartPole, Motion


@pytest.fixture(scope="module")
def peer():
    made = gymnasium.make("CartPole-v1").unwrapped
    yield made
    made.close()


def answer(peer, values, action):
    peer.reset(seed=0)
    peer.state = np.asarray(values, np.float64)
    seen, reward, terminal, _, _ = peer.step(int(action))
    return seen, reward, terminal


def test_every_step_is_gymnasiums(peer):
    generator = np.random.default_rng(0)
    scale = np.array([1.3 * FARTHEST, 3.0, 1.3 * STEEPEST, 3.0])
    values = (generator.uniform(-1, 1, (2000, 4)) * scale).astype(np.float32)
    actions = generator.integers(0, 2, 2000).astype(np.int32)
    step = jax.jit(jax.vmap(lambda row, action: CartPole().step(Motion(row), action, jax.random.key(0))))
    following, reward, terminal = step(jnp.asarray(values), jnp.asarray(actions))
    known = [answer(peer, row, action) for row, action in zip(values, actions, strict=True)]
    np.testing.assert_allclose(following.values, np.stack([seen for seen, _, _ in known]), atol=1e-5)
    np.testing.assert_array_equal(reward, [pay for _, pay, _ in known])
    np.testing.assert_array_equal(terminal, [over for _, _, over in known])
    assert 0.2 < np.mean(terminal) < 0.8


def test_whole_episodes_follow_gymnasium_from_the_same_start(peer):
    step = jax.jit(CartPole().step)
    lengths = []
    for episode in range(5):
        start, state = CartPole().reset(jax.random.key(episode)), None
        state = start
        peer.reset(seed=0)
        peer.state = np.asarray(start.values, np.float64)
        assert np.abs(start.values).max() <= SPREAD
        over, length = False, 0
        while not over and length < 60:
            seen = np.asarray(state.values)
            action = int(seen[2] + 0.5 * seen[3] + 0.02 * (-1) ** length > 0)
            state, reward, terminal = step(state, jnp.int32(action), jax.random.key(0))
            known, pay, over, _, _ = peer.step(action)
            np.testing.assert_allclose(state.values, known, atol=1e-4)
            assert (float(reward), bool(terminal)) == (pay, over)
            length += 1
        lengths.append(length)
    assert max(lengths) == 60


def test_every_step_pays_one_until_five_hundred():
    data = log(CartPole(), 100, 0)
    assert (data.returns == data.lengths).all()
    assert 15 < data.lengths.mean() < 30  # a coin falls after about 22 steps
    upright = rollout(lambda seen: (3 * seen[:, 2] + seen[:, 3] > 0).astype(np.int32), "cartpole", 10)
    assert upright.max() == environment("cartpole").horizon == 500
