"""The pendulum is Gymnasium's, step by step."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from weft.envs.environment import environment, log
from weft.envs.worlds.pendulum import FASTEST, WORST, Pendulum, Swing


@pytest.fixture(scope="module")
def peer():
    made = gymnasium.make("Pendulum-v1").unwrapped
    yield made
    made.close()


def test_every_step_is_gymnasiums(peer):
    generator = np.random.default_rng(0)
    angles = generator.uniform(-np.pi, np.pi, 2000).astype(np.float32)
    turns = generator.uniform(-FASTEST, FASTEST, 2000).astype(np.float32)
    actions = generator.uniform(-3, 3, (2000, 1)).astype(np.float32)  # beyond the bounds, too
    act = jax.vmap(lambda angle, turn, action: Pendulum().step(Swing(angle, turn), action, jax.random.key(0)))
    following, reward, terminal = jax.jit(act)(jnp.asarray(angles), jnp.asarray(turns), jnp.asarray(actions))
    seen = jax.vmap(Pendulum().observe)(following)
    known, pays = [], []
    peer.reset(seed=0)
    for angle, turn, action in zip(angles, turns, actions, strict=True):
        peer.state = np.array([angle, turn], np.float64)
        found, pay, over, _, _ = peer.step(action)
        known.append(found)
        pays.append(pay)
        assert not over
    np.testing.assert_allclose(seen, np.stack(known), atol=1e-5)
    np.testing.assert_allclose(reward, pays, atol=1e-5)
    assert not terminal.any()


def test_a_whole_episode_follows_gymnasium_beyond_a_turn(peer):
    generator = np.random.default_rng(1)
    step, state = jax.jit(Pendulum().step), Pendulum().reset(jax.random.key(3))
    peer.reset(seed=0)
    turned = 0.0
    for _ in range(200):
        action = generator.uniform(-2, 2, 1).astype(np.float32)
        action = np.float32([2.0]) * np.sign(state.turn) if turned < 7 else action
        peer.state = np.array([state.angle, state.turn], np.float64)
        state, reward, _ = step(state, jnp.asarray(action), jax.random.key(0))
        found, pay, _, _, _ = peer.step(action)
        turned += abs(float(state.turn)) * 0.05
        np.testing.assert_allclose(Pendulum().observe(state), found, atol=1e-5)
        np.testing.assert_allclose(reward, pay, atol=1e-5)
    assert turned > 2 * np.pi


def test_nothing_ends_an_episode_but_its_time():
    data = log(Pendulum(), 50, 0)
    assert (data.lengths == environment("pendulum").horizon).all()
    assert (data.lengths == 200).all()
    assert not data.terminals.any()
    assert (data.rewards <= 0).all()
    assert (data.rewards >= -WORST).all()
    assert pytest.approx(16.2736044) == WORST
    assert data.spec.action.low == (-2.0,)
    np.testing.assert_allclose(data.log_propensities, -np.log(4.0), atol=1e-6)


def test_episodes_begin_anywhere():
    start = jax.vmap(Pendulum().reset)(jax.random.split(jax.random.key(0), 2000))
    assert -np.pi <= float(start.angle.min()) < -3.1
    assert 3.1 < float(start.angle.max()) < np.pi
    assert float(jnp.abs(start.turn).max()) <= 1.0
