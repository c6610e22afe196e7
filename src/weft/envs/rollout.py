"""Letting a policy act: returns of whole episodes, or the episodes themselves as a log.

Episode i resets with `seed + i`, whatever is run beside it, and every episode that was started is run to its end (the
first to finish are the short ones). Worlds written in JAX run as one compiled scan over all episodes. Simulators run
side by side in slots, and one compiled call of the policy answers all of them at every step; a slot whose episode is
over takes the next one, so that the batch never changes its size. A terminal and a time limit are never merged.
"""

import dataclasses
import functools
from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from ..agents.door import check_reach, check_same, limits_of
from ..agents.policy import Policy
from ..agents.served import acts_greedily, check_parameters
from ..core.compilation import keep_compiled_programs
from ..core.errors import UserError, nearest
from ..data.dataset import Dataset
from . import environment as worlds
from .environment import Environment, Trajectory, episode_keys, unroll
from .gymnasium_adapter import Simulator, Watched, check_form, make_simulator

__all__ = ["collect", "rollout", "simulator_of"]

SLOTS = 32  # simulators that run side by side
NO_DENSITY = "Without propensities: the policy has no density, or drawn actions were clipped to its bounds."
LONGEST = 100_000  # steps after which an episode without a time limit is taken for an endless one


def rollout(
    policy: Policy | Callable[[Any], Any],
    environment: Any,
    episodes: int = 20,
    seed: int = 0,
    greedy: bool | None = None,
) -> Float[np.ndarray, "episode"]:
    """Return the undiscounted returns of `episodes` whole episodes, `(episodes,)` float64.

    policy: a weft policy, or a function from a batch of observations to a batch of actions. environment: a weft
    environment or its name (`maze`, `maze:shortcut=true`), a Gymnasium id (`Hopper-v5`, `ALE/Pong-v5`), environment,
    or function that makes one. greedy: take the mode (True) or draw (False); by default as the policy acts (functions
    do as they please). Raises UserError for an environment that nobody knows, a simulator that is not installed,
    observations or actions of another form than the policy's, and actions that are not finite.
    """
    world, greedy = _prepare(policy, environment, episodes), acts_greedily(policy, greedy)
    if isinstance(world, Environment) and isinstance(policy, Policy):
        totals, astray = _totals(policy, world, jnp.int32(seed), episodes, greedy)
        _check_played(astray, world, episodes)
        return np.asarray(totals, np.float64)
    records = simulate(policy, simulator_of(world), episodes, seed, greedy, SLOTS)
    return np.array([sum(record.rewards) for record in records])


def collect(
    policy: Policy | Callable[[Any], Any],
    environment: Any,
    episodes: int = 20,
    seed: int = 0,
    greedy: bool | None = False,
) -> Dataset:
    """Return `episodes` whole episodes as a log, their last observations included; arguments as for `rollout`.

    A weft policy that draws its actions leaves its propensities in the log, so here it draws unless `greedy` is True,
    or None and the policy takes its mode. It leaves none, and a note says so, where a deterministic policy has no
    density, or where a drawn action was clipped to the policy's bounds: an action at a bound then stands for all
    beyond it, and the density of the draw is not that of what was done.
    """
    world, greedy = _prepare(policy, environment, episodes), acts_greedily(policy, greedy)
    drawn = isinstance(policy, Policy) and not greedy
    if isinstance(world, Environment) and isinstance(policy, Policy):
        played = _trajectories(policy, world, jnp.int32(seed), episodes, greedy)
        _check_played(jax.jit(_astray)(played, world), world, episodes)
        dense = bool((jnp.isfinite(played.log_propensity) | ~played.alive).all())
        name, notes = f"collected:{worlds.name_of(world)}", (NO_DENSITY,) if drawn and not dense else ()
        return worlds.flatten(world, played, name, propensities=drawn and dense, notes=notes)
    simulator = simulator_of(world)
    return log_of(simulate(policy, simulator, episodes, seed, greedy, SLOTS), simulator, drawn)


def _prepare(policy: Any, environment: Any, episodes: int) -> Any:
    if episodes < 1:
        raise UserError(f"A roll-out needs at least one episode, got {episodes}.")
    if not callable(policy) and not isinstance(policy, Policy):
        raise UserError(f"A policy is a weft policy or a function of observations, not a {type(policy).__name__}.")
    check_parameters(policy)
    keep_compiled_programs()
    named = isinstance(environment, str) and worlds.known(environment)
    world = worlds.environment(environment) if named else environment
    trained = getattr(policy, "spec", None)
    if isinstance(world, Environment) and trained is not None:
        name = worlds.name_of(world)
        check_same(trained, world.spec, name)
        check_reach(getattr(policy, "reach", None), limits_of(world.spec.action), name)
    return world


def simulator_of(world: Any) -> Simulator:
    """Return the simulators behind anything that is no world of weft; raise UserError with the nearest name."""
    if isinstance(world, str) and "-v" not in world and "/" not in world:
        known, word = worlds.pytree.names(worlds.PACKAGE), world.partition(":")[0]
        raise UserError(
            f"There is no environment '{word}'.{nearest(word, known)} weft has {', '.join(known)}; "
            "Gymnasium's end in a version, such as Hopper-v5."
        )
    return make_simulator(world)


def _take(policy: Policy, memory: PyTree, seen: PyTree, key: Array, greedy: bool) -> tuple[Array, Array, PyTree]:
    if not greedy:
        return policy.draw(memory, seen, key)
    action, following = policy.act(memory, seen, key, True)
    return action, jnp.zeros(()), following


def _run(policy: Policy, world: Environment, seed: Array, episodes: int, greedy: bool) -> Trajectory:
    def one(key: Array) -> Trajectory:
        reset_key, run_key = jax.random.split(key)

        def take(memory: PyTree, state: PyTree, act_key: Array) -> tuple[Array, Array, PyTree]:
            seen = world.observe(state)
            return _take(policy, memory, seen, act_key, greedy)

        return unroll(world, take, policy.observe, world.reset(reset_key), policy.reset(), run_key)

    return jax.vmap(one)(episode_keys(seed, episodes))


@partial(jax.jit, static_argnames=("episodes", "greedy"))
def _trajectories(policy: Policy, world: Environment, seed: Int[Array, ""], episodes: int, greedy: bool) -> Trajectory:
    return _run(policy, world, seed, episodes, greedy)


@partial(jax.jit, static_argnames=("episodes", "greedy"))
def _totals(
    policy: Policy, world: Environment, seed: Int[Array, ""], episodes: int, greedy: bool
) -> tuple[Float[Array, "episode"], tuple[Array, Array]]:
    played = _run(policy, world, seed, episodes, greedy)
    return jax.vmap(Trajectory.total)(played), _astray(played, world)


def _astray(played: Trajectory, world: Environment) -> tuple[Int[Array, "what"], Array]:
    """Return where (episode times horizon plus step) the first observation is not finite, the first action not finite,
    the first action none of the world's, the first answer of the world not finite, the number of steps where there is
    none; and that action.
    """
    form, alive = world.spec.action, played.alive

    def any_of(wrong: Array) -> Bool[Array, "episode time"]:
        return wrong.reshape(*alive.shape, -1).any(-1)

    def broken(values: PyTree) -> Bool[Array, "episode time"]:
        return functools.reduce(jnp.logical_or, [any_of(~jnp.isfinite(leaf)) for leaf in jax.tree.leaves(values)])

    if form.kind == "continuous" and form.low is not None:
        low, high = jnp.asarray(form.low), jnp.asarray(form.high)
        room = 1e-5 * (high - low)  # of rounding
        outside = any_of((played.action < low - room) | (played.action > high + room))
    else:
        outside = any_of((played.action < 0) | (played.action >= form.size)) if form.kind == "discrete" else ~alive
    answers = broken((played.reward, played.next_observation))
    kinds = jnp.stack([broken(played.observation), broken(played.action), outside, answers])
    flat = (kinds & alive).reshape(len(kinds), -1)
    first = jnp.where(flat.any(1), flat.argmax(1), flat.shape[1])
    return first, played.action.reshape(flat.shape[1], -1)[first[2] % flat.shape[1]]


def _check_played(astray: tuple[Array, Array], world: Environment, episodes: int) -> None:
    """Raise UserError for the first thing that went wrong in a compiled roll-out."""
    first = np.asarray(astray[0])
    what = int(first.argmin())
    if first[what] == episodes * world.horizon:
        return
    name, (episode, step) = worlds.name_of(world), divmod(int(first[what]), world.horizon)
    if what == 1:
        raise UserError("The policy's actions are not finite; its training went astray.")
    form = world.spec.action
    takes = f"choices 0 to {form.size - 1}" if form.kind == "discrete" else f"[{form.low}, {form.high}]"
    raise UserError(
        f"{name}, episode {episode}, step {step}: "
        + {
            0: "the observation is not finite.",
            2: f"the policy's action is {np.asarray(astray[1]).tolist()}, and the world takes {takes}.",
            3: "the reward or the observation that follows is not finite.",
        }[what]
    )


@dataclasses.dataclass
class Recorded:
    """One episode: T observations and the one after them, actions, rewards, how it ended, log-propensities."""

    observations: list
    actions: list
    rewards: list[float]
    log_propensities: list[float]
    last: Any = None
    terminal: bool = False

    @property
    def following(self) -> list:
        """The observation after every action."""
        return [*self.observations[1:], self.last]

    def over(self, terminal: bool) -> Bool[np.ndarray, "step"]:
        """Say of every step whether it ended the episode: by a terminal, or (False) by a time-out."""
        last = np.arange(len(self.rewards)) == len(self.rewards) - 1
        return last & (self.terminal == terminal)


class Answers:
    """A policy that answers all slots at once, with one memory and one key per slot."""

    def __init__(self, policy: Any, slots: int, seed: int, greedy: bool) -> None:
        self.policy, self.seed, self.greedy = policy, seed, greedy
        self.compiled = isinstance(policy, Policy)
        self.blank = policy.reset() if self.compiled else ()
        self.memory = jax.tree.map(lambda leaf: jnp.stack([jnp.asarray(leaf)] * slots), self.blank)
        self.remembers = bool(jax.tree.leaves(self.blank))

    def start(self, slot: int) -> None:
        """Forget what a slot's memory holds."""
        if self.remembers:
            self.memory = jax.tree.map(lambda all_, one: all_.at[slot].set(one), self.memory, self.blank)

    def act(self, seen: Any, episodes: np.ndarray, times: np.ndarray) -> tuple[Any, np.ndarray]:
        """Return the actions as the policy gives them, which may be anything, and log-propensities of all slots."""
        if self.compiled:
            numbers = np.asarray(episodes + self.seed, np.int32), np.asarray(times, np.int32)
            action, log_propensity, self.memory = _answer(self.policy, self.memory, seen, *numbers, self.greedy)
        else:
            action, log_propensity = self.policy(seen), np.zeros(len(times))
        return action, np.asarray(log_propensity)

    def note(self, action: np.ndarray, reward: np.ndarray, terminal: np.ndarray) -> None:
        """Tell a policy with memory what came of its actions."""
        if self.remembers:
            self.memory = _note(self.policy, self.memory, *map(jnp.asarray, (action, reward, terminal)))


@eqx.filter_jit
def _note(policy: Policy, memory: PyTree, action: Array, reward: Array, terminal: Array) -> PyTree:
    return jax.vmap(policy.observe)(memory, action, reward, terminal)


@partial(jax.jit, static_argnames="greedy")
def _answer(
    policy: Policy, memory: PyTree, seen: PyTree, seeds: Int[Array, "slot"], times: Int[Array, "slot"], greedy: bool
) -> tuple[Array, Array, PyTree]:
    def one(memory: PyTree, seen: PyTree, seed: Array, time: Array) -> tuple[Array, Array, PyTree]:
        key = jax.random.fold_in(jax.random.key(seed), time)
        return _take(policy, memory, seen, key, greedy)

    return jax.vmap(one)(memory, seen, seeds, times)


def simulate(policy: Any, simulator: Simulator, episodes: int, seed: int, greedy: bool, slots: int) -> list[Recorded]:
    """Run whole episodes, as many side by side as there are slots, and return them in order.

    Raises UserError for forms that do not fit the policy, actions that the simulator does not take, whatever `Watched`
    refuses, and for an episode that does not end.
    """
    spec = getattr(policy, "spec", None)
    check_form(spec, simulator, getattr(policy, "reach", None))
    slots = 1 if simulator.single else min(slots, episodes)
    envs = [Watched(simulator, simulator.form if spec is None else spec) for _ in range(slots)]
    answers = Answers(policy, slots, seed, greedy)
    records: list[Recorded] = []
    current: list[Any] = [None] * slots
    holds = np.full(slots, -1)
    rewards, terminals = np.zeros(slots), np.zeros(slots, bool)

    def begin(slot: int) -> None:
        holds[slot] = len(records) if len(records) < episodes else -1
        if holds[slot] < 0:
            return
        records.append(Recorded([], [], [], []))
        current[slot] = envs[slot].reset(seed + int(holds[slot]), int(holds[slot]))
        answers.start(slot)

    try:
        for slot in range(slots):
            begin(slot)
        while (holds >= 0).any():
            times = np.array([len(records[number].rewards) if number >= 0 else 0 for number in holds])
            actions, log_propensities = answers.act(_batch(current), holds, times)
            actions = simulator.fitting(actions, holds >= 0)
            for slot in np.flatnonzero(holds >= 0):
                record = records[holds[slot]]
                seen, reward, terminal, timeout, _ = envs[slot].step(actions[slot])
                record.observations.append(current[slot])
                record.actions.append(actions[slot])
                record.rewards.append(reward)
                record.log_propensities.append(float(log_propensities[slot]))
                current[slot], rewards[slot], terminals[slot] = seen, reward, terminal
                if terminal or timeout:
                    record.last, record.terminal = seen, terminal
                elif len(record.rewards) >= LONGEST:
                    raise UserError(f"An episode of {simulator.name} lasts over {LONGEST} steps; give it a time limit.")
            answers.note(actions, rewards, terminals)
            for slot in np.flatnonzero(holds >= 0):
                if records[holds[slot]].last is not None:
                    begin(int(slot))
    finally:
        for env in envs:
            env.close()
    return records


def _batch(current: list[Any]) -> Any:
    if isinstance(current[0], dict):
        return {key: np.stack([seen[key] for seen in current]) for key in current[0]}
    return np.stack(current)


def log_of(records: list[Recorded], simulator: Simulator, drawn: bool) -> Dataset:
    """Return recorded episodes as a log, with propensities where actions were drawn from a density."""

    def steps(rows: Callable[[Recorded], Any]) -> list[Any]:
        return [row for record in records for row in rows(record)]

    log_propensities = np.array(steps(lambda record: record.log_propensities))
    dense = bool(np.isfinite(log_propensities).all())
    return Dataset.from_arrays(
        _batch(steps(lambda record: record.observations)),
        np.stack(steps(lambda record: record.actions)),
        np.array(steps(lambda record: record.rewards)),
        np.array(steps(lambda record: record.over(True))),
        np.array(steps(lambda record: record.over(False))),
        propensities=np.exp(log_propensities) if drawn and dense else None,
        next_observations=_batch(steps(lambda record: record.following)),
        action_bounds=simulator.bounds,
        action_count=simulator.size if simulator.kind == "discrete" else None,
        horizon=simulator.horizon,
        origin=f"collected:{simulator.name}",
        notes=(NO_DENSITY,) if drawn and not dense else (),
    )
