"""Roll-outs: whole episodes, one seed per episode, the same answer whatever runs beside it."""

import functools
import importlib

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from weft.algorithms.bc import BC
from weft.dataset import Dataset
from weft.distributions import Normal
from weft.environment import environment, log
from weft.errors import UserError
from weft.policy import Policy, Served
from weft.rollout import collect, rollout
from weft.transform import fit_transform

module = importlib.import_module("weft.rollout")  # the package exports a function of this name


@functools.cache
def served(name="maze"):
    data = log(environment(name), 20, 0)
    method = BC(hidden=(8,))
    return Served(method.policy(method.init(jax.random.key(0), data.spec)), fit_transform(data))


class Walk(gymnasium.Env):
    """Goes up by the action until it passes 3 (terminal) or 6 steps are over (time-out); starts at a random place."""

    observation_space = gymnasium.spaces.Box(-50.0, 50.0, (2,), np.float64)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.time = self.np_random.uniform(-4, 2), 0
        return np.array([self.place, 0.0]), {}

    def step(self, action):
        self.place, self.time = self.place + float(action[0]), self.time + 1
        seen, over = np.array([self.place, self.time]), self.place > 3
        return seen, self.place, over, self.time >= 6 and not over, {}


def steady(seen):
    return np.full((len(seen), 1), 0.75, np.float32)


class Counting(Policy):
    """Does what its memory counts: 0, then .1, .2, … a step, and remembers rewards."""

    def reset(self, prompt=None):
        return {"count": jnp.zeros(()), "reward": jnp.zeros(())}

    def distribution(self, memory, observation):
        return Normal(jnp.broadcast_to(0.1 * memory["count"], (1,)), jnp.full((1,), -3.0))

    def observe(self, memory, action, reward, terminal):
        return {"count": memory["count"] + 1, "reward": memory["reward"] + reward}


def alone(seed):
    """The return of one episode of `Walk` under `steady`, by hand."""
    env, total, over = Walk(), 0.0, False
    env.reset(seed=seed)
    while not over:
        _, reward, terminal, timeout, _ = env.step(np.array([0.75]))
        total, over = total + reward, terminal or timeout
    return total


def test_every_episode_has_its_own_seed_and_is_run_to_its_end(monkeypatch):
    known = [alone(5 + i) for i in range(9)]
    for slots in (1, 4, 32):
        monkeypatch.setattr(module, "SLOTS", slots)
        np.testing.assert_allclose(rollout(steady, Walk, 9, seed=5), known)


def test_an_environment_that_is_lent_is_used_alone_and_left_open():
    env = Walk()
    np.testing.assert_allclose(rollout(steady, env, 3, seed=5), [alone(5 + i) for i in range(3)])


def test_a_compiled_world_gives_each_episode_its_seed_too():
    data = collect(served(), "maze", 4, seed=7)
    single = collect(served(), "maze", 1, seed=9)
    np.testing.assert_allclose(data.first_observations[2], single.first_observations[0])
    np.testing.assert_allclose(data.episode(2).actions, single.episode(0).actions, atol=1e-5)
    found = rollout(served(), "maze", 4, seed=7)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, collect(served(), "maze", 4, seed=7, greedy=True).returns)


def test_a_function_does_what_the_same_policy_does_compiled():
    function = collect(lambda seen: np.asarray(served().act((), seen)[0]), "maze", 3)
    compiled = collect(served(), "maze", 3, greedy=True)
    np.testing.assert_allclose(function.observations, compiled.observations, atol=1e-5)
    np.testing.assert_array_equal(function.timeouts, compiled.timeouts)


def test_collecting_keeps_ends_and_last_observations_apart():
    data = collect(steady, Walk, 8, seed=1)
    np.testing.assert_allclose(data.returns, rollout(steady, Walk, 8, seed=1), rtol=1e-6)
    ends = [data.episode(i) for i in range(8)]
    assert {episode.terminal for episode in ends} == {True, False}
    for episode in ends:
        assert len(episode.observations) == len(episode) + 1
        assert episode.terminal == (episode.observations[-1, 0] > 3)
        assert episode.timeout != episode.terminal
    assert data.spec.action.low == (-1.0,)
    assert data.log_propensities is None


def test_drawn_actions_leave_their_density():
    policy = served()
    data = collect(policy, "maze", 3, seed=2)
    known = policy.log_prob((), jnp.asarray(data.observations), jnp.asarray(data.actions))
    np.testing.assert_allclose(data.log_propensities, known, atol=1e-3)
    assert collect(policy, "maze", 3, greedy=True).log_propensities is None


def test_a_memory_belongs_to_one_episode(monkeypatch):
    monkeypatch.setattr(module, "SLOTS", 2)
    data = collect(Counting(), Walk, 5, greedy=True)
    for number in range(5):
        actions = data.episode(number).actions[:, 0]
        np.testing.assert_allclose(actions, 0.1 * np.arange(len(actions)), atol=1e-6)


def test_discrete_worlds():
    assert rollout(served("grid"), "grid", 4).max() <= -1
    assert rollout(served("stitch"), environment("stitch"), 2, greedy=False).shape == (2,)


def test_a_simulator_keeps_up():
    pytest.importorskip("mujoco")
    first = rollout(lambda seen: np.zeros((len(seen), 3), np.float32), "Hopper-v5", 3)
    np.testing.assert_array_equal(first[1:], rollout(lambda seen: np.zeros((len(seen), 3)), "Hopper-v5", 2, seed=1))


def test_mistakes_are_named():
    for call, sentence in (
        (lambda: rollout(served(), "mase"), "Did you mean 'maze'"),
        (lambda: rollout(served(), "Hoper-v5"), "Gymnasium has no environment 'Hoper-v5'"),
        (lambda: rollout(served(), "grid"), r"shows observations .*\(16,\).* trained on .*\(2,\)"),
        (lambda: rollout(served("grid"), Walk), r"observations of shape \(2,\), the policy was trained on \(16,\)"),
        (lambda: rollout(served(), Walk), "actions of size 1, the policy gives continuous ones of size 2"),
        (lambda: rollout(steady, Walk, 0), "at least one episode"),
        (lambda: rollout(3, Walk), "not a int"),
        (lambda: rollout(steady, 3), "not a int"),
        (lambda: rollout(lambda seen: np.full((len(seen), 1), np.nan), Walk), "not finite"),
        (lambda: rollout(lambda seen: np.zeros((1, 1)), Walk, 3), "answered 3 observations with 1"),
    ):
        with pytest.raises(UserError, match=sentence):
            call()


def test_a_missing_simulator_is_one_sentence():
    def broken():
        raise gymnasium.error.DependencyNotInstalled("mujoco")

    with pytest.raises(UserError, match=r"pip install 'weft\[mujoco\]'"):
        rollout(steady, broken)


def test_an_endless_episode_is_stopped(monkeypatch):
    class Endless(Walk):
        def step(self, action):
            return np.zeros(2), 0.0, False, False, {}

    monkeypatch.setattr(module, "LONGEST", 20)
    with pytest.raises(UserError, match="time limit"):
        rollout(steady, Endless, 1)


def test_a_collected_log_can_be_learned_from():
    data = collect(steady, Walk, 3)
    assert isinstance(data, Dataset)
    assert data.device().observation.shape[1] == 2
