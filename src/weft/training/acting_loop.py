"""The online loop: acting and the same pure `update` as on a log take turns. Pure, compiled, no files, no printing.

Worlds written in JAX act inside the compiled loop (`advance`). For simulators on the host the loop is cut in two:
`choose` gives the actions of all runs and lanes, `learn` writes what came of them into the rings and updates. Every
chance comes from the run's key and a count (of the run's steps per lane, or of its updates), so chunks and checkpoints
change no bit. A batch comes from the ring, from a log that all runs share, or from both.
"""

import dataclasses
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray, PyTree

from ..agents.algorithm import Algorithm, Tick
from ..agents.policy import Memory
from ..agents.schedule import Rounds
from ..agents.served import Served
from ..core import pytree
from ..data import replay as rings
from ..data.columns import Columns
from ..data.replay import Ring, Step
from ..data.spec import Spec
from ..data.transforms import Transform
from ..envs.environment import Environment
from .loop import over_runs

__all__ = [
    "Course",
    "Experience",
    "Live",
    "Scene",
    "advance",
    "begin",
    "blank_memory",
    "choose",
    "first_states",
    "focused",
    "learn",
    "nothing",
    "open_scenes",
    "outcomes",
    "show",
]

ACTING, LEARNING, OPENING = 1, 2, 3  # what a run's key is folded with first


class Live(eqx.Module):
    """An online run without its worlds: state, ring, counts of environment steps, steps a lane (`clock`), updates."""

    state: PyTree
    ring: Ring
    taken: Int[Array, "*run"]
    clock: Int[Array, "*run"]
    updates: Int[Array, "*run"]


class Course(eqx.Module):
    """What holds of a run from its first step to its last: its units, its key (of several runs: theirs), and how many
    steps there are to be.

    planned: the total that the run began with, 0 where it goes on from another.
    """

    transform: Transform
    key: Key[Array, "*run"]
    total: Int[Array, ""]
    planned: Int[Array, ""]

    def fold(self, purpose: int, count: Array) -> PRNGKeyArray:
        """Return the key of one purpose at one count."""
        return jax.random.fold_in(jax.random.fold_in(self.key, purpose), count)

    def tick(self, key: PRNGKeyArray, step: Array, taken: Array) -> Tick:
        """Return the tick of a step after so many environment steps were taken."""
        return Tick.at(key, step, taken, self.total, self.planned)


class Experience(eqx.Module):
    """What simulators answered: `count` steps of all lanes, leaves `(step, lane, ...)`, and for whole episodes the
    observations that they began at.
    """

    steps: Step
    count: Int[Array, ""]
    opening: PyTree | None


class Scene(eqx.Module):
    """The worlds of one run, lane by lane: their states, the explorer's memories, whether they still act, the return so
    far.
    """

    world: PyTree
    memory: Memory
    alive: Bool[Array, "lane"]
    total: Float[Array, "lane"]


@partial(jax.jit, static_argnames=("spec", "how"))
def first_states(settings: Algorithm, keys: Key[Array, "run"], spec: Spec, how: str) -> PyTree:
    """Return the first states of all runs, for methods that need no log."""
    return over_runs(lambda setting, key: setting.init(jax.random.fold_in(key, 0), spec), how)(settings, keys)


@partial(jax.jit, static_argnames=("rounds", "how", "steps"))
def begin(states: PyTree, transform: Transform, rounds: Rounds, steps: int, how: str) -> Live:
    """Return runs (leading axis of the states) that have not acted yet, with rings for `steps` steps, all lanes
    together.
    """
    lanes = rings.lanes_of(rounds.lanes, steps, transform.spec, transform.stack)

    def first(state: PyTree) -> Live:
        blank = rings.empty(transform.spec, lanes, transform.stack)
        return Live(state, blank, jnp.int32(0), jnp.int32(0), jnp.int32(0))

    return over_runs(first, how)(states)


def _explorer(setting: Algorithm, state: PyTree, transform: Transform, tick: Tick) -> Served:
    return Served(setting.explore(state, tick), transform)


def blank_memory(setting: Algorithm, state: PyTree, transform: Transform, lanes: int) -> Memory:
    """Return the memory of the explorer before its first observation, in every lane."""
    policy = _explorer(setting, state, transform, Tick(jax.random.key(0), jnp.int32(0), jnp.zeros(())))
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (lanes, *jnp.shape(leaf))), policy.reset())


def choose(
    setting: Algorithm, state: PyTree, memory: Memory, fresh: Bool[Array, "lane"], seen: PyTree, course: Course,
    clock: Array, taken: Array,
) -> tuple[Array, Array, Memory]:  # fmt: skip
    """Return the explorer's actions in all lanes in the user's units, their log-propensities and the memories.

    `seen` are observations `(lane, ...)` in the user's units; where an episode is `fresh` the memory is. `clock` and
    `taken` count the steps of a lane and of the run, which simulators may have taken before the ring has them.
    """
    tick_key, *keys = jax.random.split(course.fold(ACTING, clock), len(fresh) + 1)
    policy = _explorer(setting, state, course.transform, course.tick(tick_key, taken, taken))
    blank = policy.reset()

    def one(memory: Memory, fresh: Array, seen: PyTree, key: PRNGKeyArray) -> tuple[Array, Array, Memory]:
        memory = jax.tree.map(lambda first, now: jnp.where(fresh, first, now), blank, memory)
        return policy.draw(memory, seen, key)

    return jax.vmap(one)(memory, fresh, seen, jnp.stack(keys))


def _stored(step: Step, transform: Transform) -> Step:
    """Bring a step from the user's units into the method's."""
    return dataclasses.replace(
        step,
        action=transform.unenact(step.action),
        reward=transform.reward(step.reward[:, None]),
        following=transform.observe(step.following),
        restart=transform.observe(step.restart),
    )


def _noted(live: Live, step: Step, transform: Transform) -> Live:
    """Write a step of every lane into the ring."""
    ring = rings.write(live.ring, _stored(step, transform))
    return dataclasses.replace(live, ring=ring, taken=live.taken + step.alive.sum(), clock=live.clock + 1)


def _with(live: Live, outcome: Float[Array, "row"] | None) -> Live:
    """Put returns to go into the ring, or take them out, so that what is carried and saved has one form."""
    columns = dataclasses.replace(live.ring.columns, outcome=outcome)
    return dataclasses.replace(live, ring=dataclasses.replace(live.ring, columns=columns))


def _learned(
    setting: Algorithm, live: Live, log: Columns | None, course: Course, rounds: Rounds
) -> tuple[Live, dict[str, Array]]:
    """Update `rounds.updates` times; return the sums of the metrics."""

    def update(number: Array, state: PyTree) -> tuple[PyTree, dict[str, Array]]:
        sample_key, update_key = jax.random.split(course.fold(LEARNING, number))
        batch = drawn(setting, live.ring.columns, log, rounds.logged_share, sample_key)
        state, metrics = setting.update(state, batch, course.tick(update_key, number, live.taken))
        return state, {name: jnp.asarray(value, jnp.float32) for name, value in metrics.items()}

    def body(offset: Array, carry: tuple[PyTree, dict]) -> tuple[PyTree, dict]:
        state, metrics = update(live.updates + offset, carry[0])
        return state, jax.tree.map(jnp.add, carry[1], metrics)

    if rounds.updates == 1:
        state, sums = update(live.updates, live.state)
    else:
        blank = pytree.zeros(jax.eval_shape(update, jnp.int32(0), live.state)[1])
        state, sums = jax.lax.fori_loop(0, rounds.updates, body, (live.state, blank))
    return dataclasses.replace(live, state=state, updates=live.updates + rounds.updates), sums


def drawn(setting: Algorithm, ring: Columns, log: Columns | None, share: float, key: PRNGKeyArray) -> PyTree:
    """Return a batch of the ring, or of log and ring: as if they were one log (`share` −1), or a share of the log."""
    if log is None:
        return setting.sampler(ring, key)
    ring_key, log_key, choice_key = jax.random.split(key, 3)
    own, logged = setting.sampler(ring, ring_key), setting.sampler(log, log_key)
    size = jax.tree.leaves(own)[0].shape[0]
    if share < 0:
        of_log = jax.random.uniform(choice_key, (size,)) * (log.count + ring.count) < log.count
    else:
        of_log = jnp.arange(size) < round(share * size)
    return jax.tree.map(lambda one, two: jnp.where(of_log.reshape(-1, *[1] * (one.ndim - 1)), one, two), logged, own)


# --- worlds written in JAX ------------------------------------------------------------------------------------------


def _opened(
    setting: Algorithm, live: Live, world: Environment, course: Course, lanes: int, again: bool
) -> tuple[Live, Scene]:
    states = jax.vmap(world.reset)(jax.random.split(course.fold(OPENING, live.clock), lanes))
    seen = course.transform.observe(jax.vmap(world.observe)(states))
    ring = (rings.restarted if again else rings.first)(live.ring, seen)
    memory = blank_memory(setting, live.state, course.transform, lanes)
    scene = Scene(states, memory, jnp.ones(lanes, bool), jnp.zeros(lanes))
    return dataclasses.replace(live, ring=ring), scene


@partial(jax.jit, static_argnames=("rounds", "how"))
def open_scenes(
    settings: Algorithm, lives: Live, world: Environment, course: Course, rounds: Rounds, how: str
) -> tuple[Live, Scene]:
    """Reset the worlds of all runs and show their first observations to the rings."""

    def opened(setting: Algorithm, live: Live, key: PRNGKeyArray) -> tuple[Live, Scene]:
        own = dataclasses.replace(course, key=key)
        return _opened(setting, live, world, own, rounds.lanes, False)

    return over_runs(opened, how)(settings, lives, course.key)


def _played(
    setting: Algorithm, live: Live, scene: Scene, world: Environment, course: Course, whole: bool
) -> tuple[Live, Scene, dict[str, Array]]:
    """Take one step in every lane that is alive; begin anew where an episode ends, unless `whole` ones are wanted."""
    lanes = len(scene.alive)
    seen = jax.vmap(world.observe)(scene.world)
    action, log_propensity, memory = choose(
        setting, live.state, scene.memory, live.ring.elapsed == 0, seen, course, live.clock, live.taken
    )
    step_key, reset_key = jax.random.split(course.fold(OPENING + 1, live.clock))
    following, reward, terminal = jax.vmap(world.step)(scene.world, action, jax.random.split(step_key, lanes))
    over = scene.alive & (terminal | (live.ring.elapsed + 1 >= world.horizon))
    fresh = jax.vmap(world.reset)(jax.random.split(reset_key, lanes))
    after, start = jax.vmap(world.observe)(following), jax.vmap(world.observe)(fresh)
    step = Step(action, log_propensity, reward, terminal, over, scene.alive, after, start)
    live = _noted(live, step, course.transform)
    total_return = scene.total + jnp.where(scene.alive, reward, 0.0)
    ended = over.astype(jnp.float32)
    astray = _finite((seen, action)) & ~_finite((after, reward))  # a step whose fault is the world's
    sums = {
        "episode_return": (ended * total_return).sum(),
        "episodes": ended.sum(),
        "astray": (scene.alive & astray).sum().astype(jnp.float32),
    }

    def pick(first: Array, next_: Array) -> Array:
        return jnp.where(over.reshape(-1, *[1] * (first.ndim - 1)), first, next_)

    scene = Scene(
        jax.tree.map(pick, fresh, following),
        memory,
        scene.alive & ~over if whole else scene.alive,
        jnp.where(over, 0.0, total_return),
    )
    return live, scene, sums


def _finite(values: PyTree) -> Bool[Array, "lane"]:
    """Say in which lanes all numbers are finite."""
    leaves = [jnp.isfinite(leaf).reshape(len(leaf), -1).all(1) for leaf in jax.tree.leaves(values)]
    return jnp.stack(leaves).all(0)


Playing = tuple[Live, Scene, dict[str, Array]]
"""A run with its worlds, and the sums of what was measured of it."""


@partial(jax.jit, static_argnames=("rounds", "how"), donate_argnames="runs")
def advance(
    settings: Algorithm,
    runs: Playing,
    log: Columns | None,
    world: Environment,
    course: Course,
    stop: Int[Array, ""],
    rounds: Rounds,
    how: str,
) -> Playing:
    """Take all runs, in whole rounds, until `stop` environment steps, and add up what is measured (see `nothing`).

    Settings, runs and the course's key carry the run axis. The sums of the metrics of updates come with `updates`,
    those of ended episodes with `episodes`, their counts, and `astray`, the steps in which a world answered finite
    actions with what is not finite.
    """

    def run(setting: Algorithm, live: Live, scene: Scene, sums: dict[str, Array], key: PRNGKeyArray) -> Playing:
        own = dataclasses.replace(course, key=key)
        shared = None if log is None else setting.focus(log)
        live = _with(live, setting.focus(live.ring.columns).outcome)

        def improved(live: Live) -> tuple[PyTree, Array, dict]:
            after, sums = _learned(setting, live, shared, own, rounds)
            return after.state, after.updates, sums

        blank = pytree.zeros(jax.eval_shape(improved, live)[2])

        def take(carry: Playing) -> Playing:
            live, scene, sums = carry
            live, scene, played = _acted(setting, live, scene, world, own, rounds)
            due = live.taken >= max(rounds.warm_up, 1)
            state, updates, learned = jax.lax.cond(due, improved, lambda old: (old.state, old.updates, blank), live)
            live = dataclasses.replace(live, state=state, updates=updates)
            return live, scene, jax.tree.map(jnp.add, sums, {**played, **learned})

        before, updates = live.updates, sums.pop("updates")
        live, scene, sums = jax.lax.while_loop(lambda carry: carry[0].taken < stop, take, (live, scene, sums))
        sums["updates"] = updates + (live.updates - before).astype(jnp.float32)
        return _with(live, None), scene, sums

    return over_runs(run, how)(settings, *runs, course.key)


@partial(jax.jit, static_argnames="rounds")
def nothing(
    settings: Algorithm, lives: Live, log: Columns | None, course: Course, rounds: Rounds
) -> dict[str, Float[Array, "run"]]:
    """Return the sums of what `advance` measures of all runs, before anything was measured."""

    def sums(setting: Algorithm, live: Live, key: PRNGKeyArray) -> dict[str, Array]:
        shared = None if log is None else setting.focus(log)
        live = _with(live, setting.focus(live.ring.columns).outcome)
        learned = _learned(setting, live, shared, dataclasses.replace(course, key=key), rounds)[1]
        return {**_nothing(), **learned, "updates": jnp.zeros(())}

    return pytree.zeros(jax.eval_shape(jax.vmap(sums), settings, lives, course.key))


def _nothing() -> dict[str, Array]:
    """Return the sums of what is measured of acting, before anyone acted."""
    return {name: jnp.zeros(()) for name in ("episode_return", "episodes", "astray")}


def _acted(setting: Algorithm, live: Live, scene: Scene, world: Environment, course: Course, rounds: Rounds) -> Playing:
    """Take the steps of one round; return the sums of what was measured."""
    whole = rounds.steps == 0

    def once(_: Any, carry: Playing) -> Playing:
        live, scene, sums = carry
        live, scene, more = _played(setting, live, scene, world, course, whole)
        return live, scene, jax.tree.map(jnp.add, sums, more)

    if whole:
        live, scene = _opened(setting, live, world, course, rounds.lanes, True)
        begun = live, scene, _nothing()
        return jax.lax.while_loop(lambda carry: carry[1].alive.any(), lambda carry: once(0, carry), begun)
    if rounds.steps == 1:
        return once(0, (live, scene, _nothing()))
    return jax.lax.fori_loop(0, rounds.steps, once, (live, scene, _nothing()))


# --- simulators on the host: one run at a time, because a ring must be written in place; see `engines` --------------


@jax.jit
def focused(setting: Algorithm, log: Columns) -> Columns:
    """Return a log with what the method wants to know of all of it; what is the same is shared."""
    return setting.focus(log)


@jax.jit
def outcomes(setting: Algorithm, columns: Columns) -> Float[Array, "row"] | None:
    """Return what the method's `focus` knows of the returns to go of a log or of a ring."""
    return setting.focus(columns).outcome


@partial(jax.jit, donate_argnames="live")
def show(live: Live, seen: PyTree, transform: Transform) -> Live:
    """Show the first observations `(lane, ...)` of all worlds to the ring."""
    return dataclasses.replace(live, ring=rings.first(live.ring, transform.observe(seen)))


def learn(
    setting: Algorithm,
    live: Live,
    outcome: Float[Array, "row"] | None,
    log: Columns | None,
    course: Course,
    experience: Experience,
    rounds: Rounds,
    due: bool,
) -> tuple[Live, Float[Array, "row"] | None, dict[str, Float[Array, ""]]]:
    """Write what simulators answered into the ring; update if `due`.

    `outcome` are the returns to go in the ring (`outcomes`). Where whole episodes were played the ring forgets what it
    held. Returns the sums of the metrics.
    """
    live, transform, steps = _with(live, outcome), course.transform, experience.steps
    if experience.opening is not None:
        live = dataclasses.replace(live, ring=rings.restarted(live.ring, transform.observe(experience.opening)))

    def note(index: Array, live: Live) -> Live:
        return _noted(live, jax.tree.map(lambda leaf: leaf[index], steps), transform)

    many = jax.tree.leaves(steps)[0].shape[0] > 1
    live = jax.lax.fori_loop(0, experience.count, note, live) if many else note(jnp.int32(0), live)
    sums: dict[str, Array] = {}
    if due:
        live, sums = _learned(setting, live, log, course, rounds)
    return _with(live, None), live.ring.columns.outcome, sums
