"""What an environment is: a world written in JAX, with a declared horizon and a behaviour that fills logs of it.

Worlds are for learning, tests and demonstrations; simulators outside JAX are rolled out by `weft.rollout`. The
horizon is a time-out, never a terminal. A logging behaviour may know more than the observation shows (the route that
an episode was given), so that a log need not contain what the world allows.
"""

import abc
import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray, PyTree, Shaped

from ..core import pytree
from ..core.errors import UserError, nearest
from ..data.dataset import Dataset
from ..data.spec import Spec

__all__ = ["Environment", "Trajectory", "environment", "environments", "flatten", "log", "unroll"]

State = PyTree
Memory = PyTree
PACKAGE = "weft.envs.worlds"


class Environment(eqx.Module):
    """A world without side effects. One final class per file in `worlds/`, made with its defaults by name.

    Class attributes: `title`, and `logged`, the number of episodes of its sample log. `spec` declares forms, reward
    range, horizon and discount. Every method is about one episode; `vmap` makes many. States and memories are PyTrees
    of arrays.
    """

    title: ClassVar[str]
    logged: ClassVar[int] = 300

    @property
    def least_propensity(self) -> float | None:
        """Return what no choice's chance is below in the world's own logs, None where that is not known."""
        return None

    @property
    def together(self) -> int:
        """Logged episodes in a row that are of one unit (a user): `begin` gets the same key for all of them."""
        return 1

    @property
    @abc.abstractmethod
    def spec(self) -> Spec:
        """The form of a log of this world and what is declared about it (reward range, horizon, discount)."""

    @property
    def horizon(self) -> int:
        """Steps after which an episode is timed out; a policy is judged on this many."""
        horizon = self.spec.horizon
        assert horizon is not None, "a weft environment declares its horizon"
        return horizon

    @abc.abstractmethod
    def reset(self, key: PRNGKeyArray) -> State:
        """Return the state at the start of an episode that judges a policy."""

    @abc.abstractmethod
    def observe(self, state: State) -> Shaped[Array, "*obs"]:
        """Return what a policy sees of a state."""

    @abc.abstractmethod
    def step(
        self, state: State, action: Shaped[Array, "*act"], key: PRNGKeyArray
    ) -> tuple[State, Float[Array, ""], Bool[Array, ""]]:
        """Return the next state, the reward, and whether the task is over (a time-out is not)."""

    def duration(self, following: State) -> Float[Array, ""]:
        """Return the time that the step to a state took; one unless the world's decisions are irregular in time."""
        del following
        return jnp.ones(())

    def components(self, following: State, reward: Float[Array, ""]) -> Float[Array, "component"]:
        """Return what is logged as rewards of the step to a state: the components that `spec.rewards` names."""
        del following
        return jnp.float32(reward)[None]

    # --- the behaviour that fills logs ------------------------------------------------------------------------

    @property
    def logging(self) -> "Environment":
        """The world that logs come from: this one, unless it allows what was not possible when they were made."""
        return self

    def begin(self, key: PRNGKeyArray, number: Int[Array, ""]) -> tuple[State, Memory]:
        """Return the first state of a logged episode and what its behaviour knows; `number` counts episodes from 0."""
        del number
        return self.reset(key), ()

    def behave(
        self, memory: Memory, state: State, key: PRNGKeyArray
    ) -> tuple[Shaped[Array, "*act"], Float[Array, ""], Memory]:
        """Return the logged behaviour's action, its log-probability or log-density, and the behaviour's memory.

        By default every choice, or every action within its bounds, is as likely as every other.
        """
        del state
        action = self.spec.action
        if action.kind == "discrete":
            return jax.random.randint(key, (), 0, action.size), -jnp.log(jnp.float32(action.size)), memory
        low, high = jnp.asarray(action.low), jnp.asarray(action.high)
        return jax.random.uniform(key, action.shape, minval=low, maxval=high), -jnp.log(high - low).sum(), memory

    def routes(self, episodes: int) -> dict[str, np.ndarray]:
        """Return further columns of a log, one value per episode: what its behaviour was up to (none by default)."""
        del episodes
        return {}


class Trajectory(eqx.Module):
    """One episode of a compiled roll-out, padded to the horizon; `alive` says which steps were really taken.

    The first axis is time; a step that is just taken has none.
    """

    observation: Shaped[Array, "..."]
    next_observation: Shaped[Array, "..."]
    action: Shaped[Array, "..."]
    log_propensity: Float[Array, "*time"]
    reward: Float[Array, "*time"]
    terminal: Bool[Array, "*time"]
    alive: Bool[Array, "*time"]
    duration: Float[Array, "*time"]
    components: Float[Array, "*time component"]

    def total(self) -> Float[Array, ""]:
        """Return the undiscounted return."""
        return jnp.where(self.alive, self.reward, 0.0).sum(-1)


def unroll(
    world: Environment,
    take: Callable[[Memory, State, PRNGKeyArray], tuple[Array, Float[Array, ""], Memory]],
    note: Callable[[Memory, Array, Array, Array], Memory],
    state: State,
    memory: Memory,
    key: PRNGKeyArray,
) -> Trajectory:
    """Run one episode to its end in a scan over the horizon.

    `take(memory, state, key)` gives action, log-propensity and memory; `note(memory, action, reward, terminal)` is
    called after the world answered. The chance of step t comes from `fold_in(key, t)`.
    """

    def body(carry: tuple, time: Array) -> tuple[tuple, Trajectory]:
        state, memory, alive = carry
        # from the step's number: a policy that draws more or less does not change the world's chance
        take_key, step_key = jax.random.split(jax.random.fold_in(key, time))
        action, log_propensity, memory = take(memory, state, take_key)
        following, reward, terminal = world.step(state, action, step_key)
        memory = note(memory, action, reward, terminal)
        seen, after = world.observe(state), world.observe(following)
        logged = world.duration(following), world.components(following, reward)
        row = Trajectory(seen, after, action, log_propensity, jnp.float32(reward), terminal, alive, *logged)
        return (following, memory, alive & ~terminal), row

    start = (state, memory, jnp.ones((), bool))
    return jax.lax.scan(body, start, jnp.arange(world.horizon))[1]


def episode_keys(seed: Int[Array, ""], episodes: int) -> Key[Array, "episode"]:
    """Return one key per episode: episode i has that of `seed + i`, whatever is run beside it."""
    return jax.vmap(jax.random.key)(jnp.arange(episodes) + seed)


@partial(jax.jit, static_argnames="episodes")
def _log(world: Environment, seed: Int[Array, ""], episodes: int) -> Trajectory:
    def keys(number: Array) -> Key[Array, "2"]:
        return jax.random.split(jax.random.fold_in(jax.random.key(seed), number))

    def one(number: Array) -> Trajectory:
        state, memory = world.begin(keys(number - number % world.together)[0], number)
        return unroll(world, world.behave, lambda memory, *_: memory, state, memory, keys(number)[1])

    return jax.vmap(one)(jnp.arange(episodes))


def log(world: Environment, episodes: int, seed: int = 0, **declared: Any) -> Dataset:
    """Return a log of a world's own behaviour with its propensities, the same for the same seed.

    `declared` are options of `Dataset.from_arrays` that override what the world declares. Raises UserError unless at
    least one episode is asked for.
    """
    pytree.require(episodes >= 1, f"A log needs at least one episode, got {episodes}.")
    world = world.logging
    trajectories = _log(pytree.as_arrays(world), jnp.int32(seed), episodes)
    return flatten(world, trajectories, f"sample:{name_of(world)}", world.routes(episodes), **declared)


def flatten(
    world: Environment,
    trajectories: Trajectory,
    origin: str,
    routes: dict[str, np.ndarray] | None = None,
    propensities: bool = True,
    **declared: Any,
) -> Dataset:
    """Return the taken steps of several trajectories (leading axis: episode) as a log of `world`.

    `routes` are columns with one value per episode; `propensities` says whether those of the trajectories are kept;
    `declared` are options of `Dataset.from_arrays` that override what the world declares.
    """
    rows: Any = pytree.host(trajectories)
    alive = rows.alive
    last = alive & ~np.concatenate([alive[:, 1:], np.zeros((len(alive), 1), bool)], 1)
    lengths = alive.sum(1)
    spec = world.spec
    logged = {name: rows.components[alive][:, place] for place, name in enumerate(spec.rewards)}
    regular = (rows.duration[alive] == 1.0).all()
    facts: dict[str, Any] = {
        "action_bounds": None if spec.action.low is None else (spec.action.low, spec.action.high),
        "action_count": spec.action.size if spec.discrete else None,
        "action_labels": spec.action.labels,
        "reward_range": (spec.reward_low, spec.reward_high),
        "horizon": spec.horizon,
        "discount": spec.discount,
        "propensity_low": world.least_propensity if propensities else None,
        "unit": spec.unit if spec.unit in (routes or {}) else None,
        **declared,
    }
    dataset = Dataset.from_arrays(
        rows.observation[alive],
        rows.action[alive],
        logged,
        rows.terminal[alive],
        (last & ~rows.terminal)[alive],
        propensities=np.exp(rows.log_propensity[alive]) if propensities else None,
        next_observations=rows.next_observation[alive],
        durations=None if regular else rows.duration[alive],
        columns={name: np.repeat(values, lengths) for name, values in (routes or {}).items()},
        origin=origin,
        **facts,
    )
    return dataclasses.replace(dataset, spec=dataclasses.replace(dataset.spec, observations=spec.observations))


def environments() -> dict[str, type[Environment]]:
    """Return every world by file name."""
    return pytree.discover(PACKAGE, pytree.final(Environment))


def environment(name: str) -> Environment:
    """Return a world by file name, with its defaults or the fields that follow it: `maze:shortcut=true,pace=0.4`.

    Raises UserError that names the nearest world or field if there is none of that name, and for a value that the
    field cannot take.
    """
    word, _, options = name.partition(":")
    kind = pytree.choose(PACKAGE, word, "environment", pytree.final(Environment))
    return kind(**_options(kind, name, options))


def known(name: str) -> bool:
    """Say whether a name is that of a weft environment, whatever fields follow it."""
    return name.partition(":")[0] in pytree.names(PACKAGE)


def _options(world: type[Environment], name: str, text: str) -> dict[str, Any]:
    """Read `field=value` pairs as the types that the fields have by default."""
    defaults = {field.name: field.default for field in dataclasses.fields(world)}  # type: ignore[arg-type]
    options = {}
    for pair in text.split(",") if text.strip() else ():
        field, equals, value = (part.strip() for part in pair.partition("="))
        pytree.require(bool(equals), f"{name}: fields are written field=value, got '{pair.strip()}'.")
        if field not in defaults:
            names = ", ".join(defaults) or "none"
            raise UserError(f"{name}: this world has no '{field}'.{nearest(field, defaults)} Known: {names}.")
        options[field] = _value(name, field, value, type(defaults[field]))
    return options


def _value(name: str, field: str, value: str, kind: type) -> Any:
    written = {bool: "true or false", int: "a whole number", float: "a number"}
    if kind not in written:
        raise UserError(f"{name}: {field} is a {kind.__name__}, which no name can hold; make the world in Python.")
    try:
        setting = {"true": True, "false": False}[value.lower()] if kind is bool else kind(value)
    except (KeyError, ValueError):
        setting = float("nan")
    pytree.require(math.isfinite(setting), f"{name}: {field} is {written[kind]}, got '{value}'.")
    return setting


def name_of(world: Environment) -> str:
    """Return the file name of a world."""
    return type(world).__module__.rpartition(".")[2]
