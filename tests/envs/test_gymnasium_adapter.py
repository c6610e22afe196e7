"""Simulators say what they show and take."""

import builtins

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

from weft.core.errors import UserError
from weft.data.spec import ActionSpec, ObservationSpec
from weft.envs.environment import environment
from weft.envs.gymnasium_adapter import make_simulator, simulator_versions
from weft.envs.rollout import collect


class Shown(gymnasium.Env):
    """Any spaces."""

    def __init__(self, seen, act):
        self.observation_space, self.action_space, self.time = seen, act, 0

    def reset(self, *, seed=None, options=None):
        self.time = 0
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.time += 1
        return self.observation_space.sample(), 0.0, self.time >= 3, False, {}


def spec_of(seen, act=None):
    return make_simulator(lambda: Shown(seen, Discrete(2) if act is None else act)).spec()


def test_cartpole():
    spec = make_simulator("CartPole-v1").spec()
    assert spec.observations == (ObservationSpec((4,)),)  # velocities have no bounds
    assert spec.action == ActionSpec("discrete", (), "int32", counts=(2,))
    assert spec.horizon == spec.longest == 500
    assert (spec.reward_low, spec.discount) == (None, None)


def test_pendulum():
    spec = make_simulator("Pendulum-v1").spec()
    assert spec.observations == (ObservationSpec((3,), low=(-1.0, -1.0, -8.0), high=(1.0, 1.0, 8.0)),)
    assert spec.action == ActionSpec("continuous", (1,), low=(-2.0,), high=(2.0,))
    assert spec.horizon == 200


def test_hopper():
    pytest.importorskip("mujoco")
    spec = make_simulator("Hopper-v5").spec()
    assert spec.observations == (ObservationSpec((11,)),)
    assert spec.action == ActionSpec("continuous", (3,), low=(-1.0,) * 3, high=(1.0,) * 3)
    assert spec.horizon == 1000


def test_pong():
    pytest.importorskip("ale_py", reason="needs ale-py: pip install 'weft[atari]'")
    simulator = make_simulator("ALE/Pong-v5")
    spec = simulator.spec()
    assert spec.observations == (ObservationSpec((84, 84), "uint8", "image"),)
    assert spec.action == ActionSpec("discrete", (), "int32", counts=(6,))
    assert spec.horizon == 27_000
    assert simulator.name == "ALE/Pong-v5"


def test_a_dictionary():
    seen = Dict(
        {
            "picture": Box(0, 255, (8, 9, 3), np.uint8),
            "frame": Box(0, 255, (8, 9), np.uint8),
            "memory": Box(0, 255, (16,), np.uint8),
            "place": Box(-1.0, 2.0, (2,), np.float64),
            "grid": Box(-1.0, 1.0, (2, 2), np.float32),
            "flags": MultiBinary(3),
            "code": Discrete(4, start=1),
        }
    )
    spec = spec_of(seen, MultiDiscrete([3, 5]))
    found = {part.name: part for part in spec.observations}
    assert found == {
        "picture": ObservationSpec((8, 9, 3), "uint8", "image", "picture"),
        "frame": ObservationSpec((8, 9), "uint8", "image", "frame"),
        "memory": ObservationSpec((16,), "int32", "vector", "memory"),
        "place": ObservationSpec((2,), "float32", "vector", "place", (-1.0, -1.0), (2.0, 2.0)),
        "grid": ObservationSpec((2, 2), "float32", "vector", "grid"),
        "flags": ObservationSpec((3,), "int32", "vector", "flags"),
        "code": ObservationSpec((), "int32", "category", "code", count=5),
    }
    assert spec.action == ActionSpec("multidiscrete", (2,), "int32", counts=(3, 5))
    assert spec.horizon is None


def test_a_collected_log_has_the_forms_that_were_announced():
    seen = Dict({"frame": Box(0, 255, (8, 9), np.uint8), "place": Box(-1.0, 2.0, (2,)), "flags": MultiBinary(3)})
    data = collect(lambda seen: np.zeros((len(seen["place"]), 2), np.float32), lambda: Shown(seen, Box(-1, 1, (2,))), 3)
    announced = spec_of(seen, Box(-1, 1, (2,)))
    forms = [{(p.name, p.shape, p.dtype, p.kind) for p in spec.observations} for spec in (announced, data.spec)]
    assert forms[0] == forms[1]
    assert data.spec.action == announced.action


def test_actions_are_given_as_the_simulator_takes_them():
    counted = make_simulator(lambda: Shown(Box(-1, 1, (2,)), Discrete(3, start=-1)))
    assert counted.enact(np.int32(2)) == 1
    several = make_simulator(lambda: Shown(Box(-1, 1, (2,)), MultiDiscrete([3, 5], start=[1, 0])))
    np.testing.assert_array_equal(several.enact(np.array([2, 4])), [3, 4])
    folded = make_simulator(lambda: Shown(Box(-1, 1, (2,)), Box(-1, 1, (2, 3))))
    assert (folded.size, folded.shape) == (6, (2, 3))
    assert folded.enact(np.arange(6.0)).shape == (2, 3)
    assert make_simulator(lambda: Shown(Box(-1, 1, (2,)), Box(-np.inf, 1, (2,)))).bounds is None


@pytest.mark.parametrize("name", ["maze", "cartpole", "catch", "notifications"])
def test_a_weft_world_declares_its_own_spec(name):
    world = environment(name)
    simulator = make_simulator(world)
    assert simulator.spec() == world.spec
    assert (simulator.name, simulator.horizon) == (name, world.horizon)


def test_spaces_that_cannot_be_seen_are_refused():
    with pytest.raises(UserError, match="shows 'pair' as Tuple"):
        spec_of(Dict({"pair": Tuple([Discrete(2), Discrete(2)])}))
    with pytest.raises(UserError, match="takes MultiBinary actions"):
        spec_of(Box(-1, 1, (2,)), MultiBinary(2))


def test_a_missing_emulator_is_one_sentence(monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **more):
        if name.partition(".")[0] == "ale_py":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"'ALE/Pong-v5' is not installed; run: pip install 'weft\[atari\]'"):
        make_simulator("ALE/Pong-v5")


def test_versions_of_what_decides_are_named_as_far_as_installed():
    found = simulator_versions("CartPole-v1")
    assert found["gymnasium"] == gymnasium.__version__
    assert set(found) <= {"gymnasium", "mujoco"}
    assert set(simulator_versions("ALE/Pong-v5")) <= {"gymnasium", "ale-py"}
