"""Simulators on the host: Gymnasium environments, and weft worlds that a plain Python function acts in."""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from ..agents.door import check_columns, check_observation, check_reach, limits_of, slack
from ..core.errors import UserError
from ..data.spec import ActionSpec, ObservationSpec, Spec
from .environment import Environment, name_of
from .told_once import heard, listen

__all__ = ["Simulator", "Watched", "check_form", "make_simulator", "simulator_versions"]


@dataclasses.dataclass(frozen=True)
class Simulator:
    """How to make simulators and what they take: `make()` has `reset(seed=)`, `step(action)` and `close()`.

    `form` is what they show and take in weft's words; `single` says that only one can be had, `lent` that it is not
    ours to close. Policies give flat actions and count choices from 0; `shape`, `dtype` and `start` are what the
    simulator takes, `limits` the lowest and the highest action, flat, infinite ones included.
    """

    name: str
    make: Callable[[], Any]
    form: Spec
    dtype: Any
    single: bool = False
    lent: bool = False
    shape: tuple[int, ...] = ()
    start: Any = 0
    limits: tuple[Any, Any] | None = None

    @property
    def observations(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the components, one named "" where an observation is an array."""
        return {part.name: part.shape for part in self.form.observations}

    @property
    def kind(self) -> str:
        """What an action is: `continuous`, `discrete` or `multidiscrete`."""
        return self.form.action.kind

    @property
    def size(self) -> int:
        """Numbers in a continuous action, choices of a discrete one."""
        return self.form.action.size

    @property
    def bounds(self) -> tuple[Any, Any] | None:
        """The lowest and the highest action, None where they are not finite."""
        action = self.form.action
        return None if action.low is None else (action.low, action.high)

    @property
    def horizon(self) -> int | None:
        """Steps after which an episode is timed out, None where there is no limit."""
        return self.form.horizon

    def spec(self) -> Spec:
        """Return what a log of this simulator would declare.

        Of Gymnasium's spaces, uint8 arrays with 2 or 3 axes are images, other arrays vectors, `Discrete` a category.
        Nothing is known of reward range and discount there.
        """
        return self.form

    def fitting(self, actions: Any, alive: np.ndarray) -> np.ndarray:
        """Return the actions of several simulators `(count, ...)`, flat; nothing is done with those that are not alive.

        What rounding leads beyond the limits is brought back. Raises UserError for anything that is no action here.
        """
        count = len(alive)
        action = self.form.action
        try:
            taken = np.asarray(actions)
        except ValueError:
            raise UserError("The policy's actions have different shapes.") from None
        if taken.ndim == 0 or len(taken) != count:
            many = "one" if taken.ndim == 0 else len(taken)
            raise UserError(f"The policy answered {count} observations with {many} actions.")
        if taken.dtype.kind not in "biuf":
            raise UserError(f"The policy's actions are {taken.dtype} values; {self.name} takes numbers.")
        if taken.size != count * int(np.prod(action.shape)):
            raise UserError(f"The policy's actions have shape {taken.shape[1:]}, {self.name} takes {action.shape}.")
        if not np.isfinite(taken[alive]).all():
            raise UserError("The policy's actions are not finite; its training went astray.")
        taken = taken.reshape(count, *action.shape)
        if action.kind != "continuous":
            most = np.asarray(action.counts) - 1
            wrong = (taken < 0) | (taken > (most if action.shape else most[0])) | (taken % 1 != 0)
            wrong[~alive] = False
            if wrong.any():
                raise UserError(
                    f"The policy chooses {taken[wrong][0]:g}, and {self.name} has the choices 0 to "
                    f"{', 0 to '.join(map(str, most))} (counted from 0)."
                )
            return taken.astype(np.int32)
        if self.limits is None:
            return taken
        low, high = self.limits
        room = slack(low, high)
        wrong = (taken < low - room) | (taken > high + room)
        wrong[~alive] = False
        if wrong.any():
            row, number = np.argwhere(wrong)[0]
            raise UserError(
                f"The policy's action has {taken[row, number]:.6g} as its number {number}, and {self.name} takes "
                f"[{low[number]:g}, {high[number]:g}]; clip it in the policy if that is meant."
            )
        return np.clip(taken, low, high).astype(taken.dtype)

    def enact(self, action: np.ndarray | np.generic) -> Any:
        """Return one action of a policy as the simulator takes it."""
        if self.kind == "discrete":
            return int(action) + self.start
        values = np.asarray(action, self.dtype).reshape(self.shape)
        return values + self.start if self.kind == "multidiscrete" else values


class Watched:
    """One simulator, whose answers are looked at before anything is done with them.

    `spec` says what its observations must be. Raises UserError, naming episode and step, for observations of another
    form or that are not finite, rewards that are no finite numbers, and the answers of old Gym environments.
    """

    def __init__(self, simulator: Simulator, spec: Spec) -> None:
        self.simulator, self.spec, self.env = simulator, spec, simulator.make()
        self.episode = self.time = 0

    def reset(self, seed: int, episode: int) -> Any:
        """Begin an episode; return a copy of its first observation."""
        self.episode, self.time = episode, 0
        try:
            answer = self.env.reset(seed=seed)
        except TypeError as problem:
            if "unexpected keyword argument 'seed'" not in str(problem):
                raise
            raise self._refuse("reset takes no seed; give it the form reset(seed=None, options=None)") from None
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise self._refuse("reset answers with an observation alone; Gymnasium's answers (observation, info)")
        return self._seen(answer[0])

    def step(self, action: np.ndarray | np.generic) -> tuple[Any, float, bool, bool, Mapping]:
        """Take one step; return a copy of the observation, reward, terminal, time-out and what else is told."""
        answer = self.env.step(self.simulator.enact(action))
        self.time += 1
        if not isinstance(answer, tuple) or len(answer) != 5:
            count = f"{len(answer)} values" if isinstance(answer, tuple) else f"a {type(answer).__name__}"
            raise self._refuse(
                f"step answers with {count}; Gymnasium's answers (observation, reward, terminated, truncated, info), "
                "and an old environment has to be wrapped so that terminated and truncated are apart"
            )
        seen, reward, terminal, timeout, info = answer
        gain = self._number(reward, "reward")
        over, cut = bool(self._number(terminal, "terminated")), bool(self._number(timeout, "truncated"))
        return self._seen(seen), gain, over, cut, info if isinstance(info, Mapping) else {}

    def close(self) -> None:
        """Close the simulator if it is ours."""
        if not self.simulator.lent:
            self.env.close()

    def _number(self, value: Any, what: str) -> float:
        if isinstance(value, (bool, int, float, np.bool_)):
            number = float(value)
        else:
            numbers = np.asarray(value)
            if numbers.size != 1 or numbers.dtype.kind not in "biuf":
                raise self._refuse(f"{what} is {str(value)[:60]}, which is not one number")
            number = float(numbers.reshape(-1)[0])
        if not np.isfinite(number):
            raise self._refuse(f"{what} is {number}, which is not finite")
        return number

    def _seen(self, seen: Any) -> Any:
        try:
            check_observation(self.spec, seen)
        except UserError as problem:
            raise self._refuse(str(problem).rstrip(".")) from None
        if isinstance(seen, Mapping):  # copied, because a simulator may write the next one into the same array
            return {key: np.array(part) for key, part in seen.items()}
        return np.array(seen)

    def _refuse(self, what: str) -> UserError:
        return UserError(f"{self.simulator.name}, episode {self.episode}, step {self.time}: {what}.")


class Hosted:
    """A weft world in the manner of a Gymnasium environment, for policies that cannot be compiled."""

    def __init__(self, world: Environment) -> None:
        self.world, self.key, self.state, self.time = world, jax.random.key(0), None, 0

    def reset(self, seed: int) -> tuple[np.ndarray, dict]:
        """Begin the episode that a compiled roll-out would begin with this seed."""
        reset_key, self.key = jax.random.split(jax.random.key(seed))
        self.time = 0
        self.state, seen = _hosted_reset(self.world, reset_key)
        return np.asarray(seen), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Take one step; the fourth answer is the time-out at the horizon."""
        self.state, seen, reward, terminal = _hosted_step(self.world, self.state, action, self.key, self.time)
        self.time += 1
        over = bool(terminal)
        return np.asarray(seen), float(reward), over, self.time >= self.world.horizon and not over, {}

    def close(self) -> None:
        """Nothing is open."""


@jax.jit
def _hosted_reset(world: Environment, key: PRNGKeyArray) -> tuple[PyTree, Array]:
    state = world.reset(key)
    return state, world.observe(state)


@jax.jit
def _hosted_step(world: Environment, state: PyTree, action: Array, key: PRNGKeyArray, time: Array) -> tuple:
    _, step_key = jax.random.split(jax.random.fold_in(key, time))
    following, reward, terminal = world.step(state, action, step_key)
    return following, world.observe(following), reward, terminal


def make_simulator(source: Any) -> Simulator:
    """Return the simulators behind a weft world, a Gymnasium id, a Gymnasium environment or a function that makes one.

    Raises UserError for an unknown id, a simulator that is not installed, and spaces that weft cannot act in.
    """
    if isinstance(source, Environment):
        action = source.spec.action
        limits, name, make = limits_of(action), name_of(source), partial(Hosted, source)
        return Simulator(name, make, source.spec, action.dtype, shape=action.shape, limits=limits)
    import gymnasium

    if isinstance(source, gymnasium.Env):
        return _described(source, lambda: source, lent=True)
    make = _by_id(source) if isinstance(source, str) else source
    if not callable(make):
        raise UserError(
            f"An environment is a name, a weft or Gymnasium environment or a function that makes one, "
            f"not a {type(source).__name__}."
        )
    make = partial(_made, make)
    try:
        first: Any = make()
    except (gymnasium.error.DependencyNotInstalled, ImportError) as error:
        raise UserError(f"The simulator of '{source}' is not installed; run: pip install 'weft[mujoco]'.") from error
    except gymnasium.error.Error as error:
        raise UserError(f"Gymnasium has no environment '{source}': {str(error).splitlines()[0]}") from error
    simulator = _described(first, make)
    first.close()
    return simulator


def _made(make: Callable[[], Any]) -> Any:
    """Make a simulator; what it warns of is said once, however many are made."""
    with heard():
        simulator = make()
    listen()
    return simulator


def _by_id(name: str) -> Callable[[], Any]:
    if not name.startswith("ALE/"):
        import gymnasium

        return partial(gymnasium.make, name, disable_env_checker=True)
    from .atari import make_atari

    return partial(make_atari, name)


def _described(env: Any, make: Callable[[], Any], lent: bool = False) -> Simulator:
    import gymnasium

    seen, act = env.observation_space, env.action_space
    name = env.spec.id if env.spec is not None else type(env.unwrapped).__name__
    parts = dict(seen.spaces) if isinstance(seen, gymnasium.spaces.Dict) else {"": seen}
    components = tuple(_component(name, key, part) for key, part in parts.items())
    start: Any = 0
    limits = None
    if isinstance(act, gymnasium.spaces.Discrete):
        action, start = ActionSpec("discrete", (), "int32", counts=(int(act.n),)), int(act.start)
    elif isinstance(act, gymnasium.spaces.MultiDiscrete):
        counts = tuple(act.nvec.reshape(-1).tolist())
        action = ActionSpec("multidiscrete", (len(counts),), "int32", counts=counts)
        start = np.asarray(act.start, act.dtype)
    elif isinstance(act, gymnasium.spaces.Box):
        low, high = _finite(act)
        limits = act.low.reshape(-1), act.high.reshape(-1)
        action = ActionSpec("continuous", (int(np.prod(act.shape)),), low=low, high=high)
    else:
        raise UserError(f"{name} takes {type(act).__name__} actions, which weft cannot give.")
    horizon = env.spec.max_episode_steps if env.spec is not None else None
    form = Spec(components, action, horizon=horizon, longest=horizon or 0)
    return Simulator(name, make, form, act.dtype, lent, lent, tuple(act.shape or ()), start, limits)


def _component(name: str, key: str, part: Any) -> ObservationSpec:
    """Describe one component of what a Gymnasium environment shows, as it would stand in a log."""
    from gymnasium.spaces import Box, Discrete, MultiBinary

    shape = tuple(part.shape or ())
    if isinstance(part, Discrete):
        return ObservationSpec(shape, "int32", "category", key, count=int(part.start + part.n))
    if isinstance(part, MultiBinary):
        return ObservationSpec(shape, "int32", "vector", key)
    if not isinstance(part, Box):
        raise UserError(f"{name} shows '{key}' as {type(part).__name__}; weft sees arrays and dictionaries of them.")
    if part.dtype == np.uint8 and len(shape) in (2, 3):
        return ObservationSpec(shape, "uint8", "image", key)
    if not np.issubdtype(part.dtype, np.floating):
        return ObservationSpec(shape, "float32" if part.dtype == bool else "int32", "vector", key)
    low, high = _finite(part) if len(shape) == 1 else (None, None)
    return ObservationSpec(shape, "float32", "vector", key, low, high)


def _finite(box: Any) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Return the bounds of a box, flat; None for both unless all are finite."""
    bounds = box.low.reshape(-1), box.high.reshape(-1)
    if not np.isfinite(bounds).all():
        return None, None
    low, high = (tuple(float(value) for value in bound) for bound in bounds)
    return low, high


def simulator_versions(name: str) -> dict[str, str]:
    """Return the versions of the packages that decide what happens in a Gymnasium environment, as far as installed."""
    versions = {}
    for package in ("gymnasium", "ale-py" if name.startswith("ALE/") else "mujoco"):
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions


def check_form(spec: Spec | None, simulator: Simulator, reach: tuple[Any, Any] | None = None) -> None:
    """Raise UserError when a simulator's observations or actions are not those that a policy was trained on, or its
    limits narrower than the reach of the policy.
    """
    if spec is None:
        return
    trained = {part.name: part.shape for part in spec.observations}
    shapes = simulator.observations
    if set(trained) != set(shapes):
        both = "; the policy was trained on ".join(", ".join(map(repr, names)) for names in (shapes, trained))
        raise UserError(f"{simulator.name} shows the observations {both}.")
    for key, shape in trained.items():
        if shape != shapes[key]:
            part = f"observation '{key}'" if key else "observations"
            raise UserError(f"{simulator.name} shows {part} of shape {shapes[key]}, the policy was trained on {shape}.")
    if (simulator.kind, simulator.size) != (spec.action.kind, spec.action.size):
        raise UserError(
            f"{simulator.name} takes {simulator.kind} actions of size {simulator.size}, the policy gives "
            f"{spec.action.kind} ones of size {spec.action.size}."
        )
    check_reach(reach, simulator.limits, simulator.name)
    for part in (*spec.observations, spec.action):
        check_columns(part.names, (), simulator.name, "action" if part is spec.action else "observation")
