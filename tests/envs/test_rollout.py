"""Roll-outs: whole episodes, one seed per episode, the same answer whatever runs beside it."""

import functools
import importlib

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from weft.agents.algorithms.bc import BC
from weft.agents.policy import Policy
from weft.agents.served import Served
from weft.core.errors import UserError
from weft.data.dataset import Dataset
from weft.data.units import fit_transform
from weft.envs.environment import environment, log
from weft.envs.rollout import collect, rollout
from weft.nn.distributions import Categorical, Normal

module = importlib.import_module("weft.envs.rollout")  # the package exports a function of this name


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


@pytest.mark.slow
def test_a_policy_is_rolled_out_as_it_acts():
    for policy, world in ((served("grid"), "grid"), (walker("gaussian"), Walk)):
        greedy, drawn = (rollout(policy, world, 4, greedy=way) for way in (True, False))
        assert not np.allclose(greedy, drawn)
        np.testing.assert_array_equal(rollout(policy, world, 4), greedy)
        np.testing.assert_array_equal(rollout(policy.drawing(), world, 4), drawn)
        np.testing.assert_array_equal(rollout(policy.drawing(), world, 4, greedy=True), greedy)
        np.testing.assert_allclose(collect(policy, world, 4, greedy=None).returns, greedy, rtol=1e-5)


def test_a_world_is_named_with_its_fields():
    opened = collect(served(), "maze:shortcut=true,steps=7", 4, seed=7, greedy=True)
    assert opened.lengths.max() <= 7
    found = rollout(served(), "maze:shortcut=true,steps=7", 4, seed=7)
    np.testing.assert_allclose(found, opened.returns)


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


def narrow():
    """A Gaussian policy that draws so close to its mean that nothing is clipped."""
    return eqx.tree_at(lambda policy: policy.inner.actor.log_std, served(), jnp.full(2, -4.0))


def test_drawn_actions_leave_their_density():
    policy = narrow()
    data = collect(policy, "maze", 3, seed=2)
    known = policy.log_prob((), jnp.asarray(data.observations), jnp.asarray(data.actions))
    np.testing.assert_allclose(data.log_propensities, known, atol=1e-3)
    assert collect(policy, "maze", 3, greedy=True).log_propensities is None


def walker(head):
    data = collect(steady, Walk, 4)
    method = BC(hidden=(8,), head=head)
    return Served(method.policy(method.init(jax.random.key(0), data.spec)), fit_transform(data))


@pytest.mark.parametrize("world", ["maze", Walk])
@pytest.mark.parametrize("head", ["gaussian", "deterministic"])
def test_no_density_is_left_where_there_is_none(world, head):
    method, data = BC(hidden=(8,), head=head), log(environment("maze"), 20, 0)
    maze = Served(method.policy(method.init(jax.random.key(0), data.spec)), fit_transform(data))
    found = collect(maze if world == "maze" else walker(head), world, 4, seed=1)  # the untrained Gaussian is wide
    assert found.log_propensities is None
    assert "Without propensities" in found.notes[-1]


def test_certain_choices_leave_propensities_of_one():
    class Certain(Policy):
        def distribution(self, memory, observation):
            return Categorical(jnp.array([0.0, -jnp.inf]))

    found = collect(Certain(), Shifted, 2)
    np.testing.assert_array_equal(found.log_propensities, np.zeros(found.steps))
    assert collect(Certain(), Shifted, 2, greedy=True).log_propensities is None


class Shifted(gymnasium.Env):
    """Counts its choices from 5, for three steps, and shows them in one array that it writes again and again."""

    observation_space = gymnasium.spaces.Box(-50.0, 50.0, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2, start=5)

    def reset(self, *, seed=None, options=None):
        self.buffer, self.time = np.zeros(2, np.float32), 0
        return self.buffer, {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.time += 1
        self.buffer[:] = action, self.time
        return self.buffer, 1.0, False, self.time >= 3, {}


class Grasping(Shifted):
    """Takes a table of numbers."""

    action_space = gymnasium.spaces.Box(-1.0, 1.0, (2, 3), np.float32)

    def step(self, action):
        assert self.action_space.contains(action)
        self.buffer[0], self.time = action[1, 0], self.time + 1
        return self.buffer, 1.0, False, self.time >= 3, {}


def test_choices_are_counted_from_zero_outside_a_simulator():
    found = collect(lambda seen: np.arange(len(seen)) % 2, Shifted, 2)
    np.testing.assert_array_equal(found.actions, [0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(found.episode(1).observations, [[0, 0], [6, 1], [6, 2], [6, 3]])


def test_actions_get_the_shape_that_a_simulator_takes():
    data = collect(lambda seen: np.tile(np.arange(6, dtype=np.float32) / 8, (len(seen), 1)), Grasping, 2)
    assert data.actions.shape == (6, 6)
    np.testing.assert_allclose(data.next_observations[:, 0], 3 / 8)


@pytest.mark.parametrize("name", ["maze", "grid"])
@pytest.mark.parametrize("act", [rollout, collect])
def test_parameters_that_are_nan_are_refused(name, act):
    broken = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), served(name).inner)
    broken = Served(broken, served(name).transform)
    for greedy in (True, False):
        with pytest.raises(UserError, match="not finite"):
            act(broken, name, 2, greedy=greedy)


@pytest.mark.parametrize("act", [rollout, collect])
def test_actions_that_are_not_finite_are_refused_in_compiled_worlds(act):
    class Astray(Policy):
        def distribution(self, memory, observation):
            return Normal(jnp.log(observation - 9.0), jnp.zeros(2))

    with pytest.raises(UserError, match="not finite"):
        act(Astray(), "maze", 2, greedy=True)


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
        (lambda: rollout(served(), "mase:shortcut=true"), "no environment 'mase'. Did you mean 'maze'"),
        (lambda: rollout(served(), "maze:shotcut=true"), "this world has no 'shotcut'. Did you mean 'shortcut'"),
        (lambda: rollout(served(), "grid:steps=9"), r"grid shows observations .*\(16,\).* trained on .*\(2,\)"),
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
