"""Worlds with exactly known values, and logs of them as weft's own `Columns`, drawn inside one compiled program.

A world is a tabular decision process over hidden states; the observation is a function of the state (all of it, or
half of it where observations are aliased). Truth is dynamic programming over the hidden states. Every replication draws
a new world. What differs between families is in `Cell`.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from rewards import means, payment, room

from weft.data.columns import Columns
from weft.data.spec import ActionSpec, ObservationSpec, Spec
from weft.evaluation.bounded_terms import Range
from weft.evaluation.candidate import Candidate
from weft.evaluation.case import Case, Weighing

__all__ = ["CELLS", "Cell", "Log", "World", "case", "draw_log", "draw_world", "efficiency_bound", "spec", "truth"]


@dataclasses.dataclass(frozen=True)
class Cell:
    """One setting of the suite.

    observed: `state`, `aliased` (half of the state is hidden from everybody) or `privileged` (the logging policy sees
    the hidden half). delta: how far the judged policy departs from the logging one. epsilon: how much the logging
    policy explores. stop: chance that an episode ends after a step. users: episodes per independent unit. adaptive:
    the logging policy learns as it logs. identified: Markov, with enough overlap to say something. rewards: their law
    (`rewards.LAWS`). numbers: observations are so many noisy numbers instead of a code. drifting: the logging policy
    changes evenly into another one while it logs. unequal: units have one to eight episodes, more where they begin in
    a state of a higher number.
    """

    name: str
    episodes: int
    horizon: int
    delta: float = 0.3
    states: int = 10
    actions: int = 3
    observed: str = "state"
    epsilon: float = 0.0
    stop: float = 0.0
    users: int = 1
    adaptive: bool = False
    discount: float = 1.0
    identified: bool = True
    overlap: bool = True
    rewards: str = "bernoulli"
    numbers: int = 0
    drifting: bool = False
    unequal: bool = False


CELLS = (
    Cell("bandit 100", 100, 1),
    Cell("bandit 500, far", 500, 1, 0.8),
    Cell("markov 100 x 5", 100, 5),
    Cell("markov 500 x 5", 500, 5),
    Cell("markov 500 x 5, far", 500, 5, 0.8),
    Cell("markov 100 x 20", 100, 20),
    Cell("markov 500 x 20", 500, 20),
    Cell("markov 500 x 20, far", 500, 20, 0.8, identified=False),
    Cell("markov 2000 x 5", 2000, 5),
    Cell("long 100 x 50", 100, 50, 0.2),
    Cell("long 500 x 50", 500, 50, 0.2),
    Cell("discounted 200 x 200", 200, 200, 0.1, discount=0.99),
    Cell("aliased 100 x 5", 100, 5, 0.8, observed="aliased", identified=False),
    Cell("aliased 500 x 5", 500, 5, 0.8, observed="aliased", identified=False),
    Cell("aliased 500 x 20", 500, 20, 0.3, observed="aliased", identified=False),
    Cell("privileged 100 x 5", 100, 5, 0.8, observed="privileged", identified=False),
    Cell("privileged 500 x 5", 500, 5, 0.8, observed="privileged", identified=False),
    Cell("privileged 500 x 20", 500, 20, 0.3, observed="privileged", identified=False),
    Cell("near deterministic 500 x 5", 500, 5, 0.2, epsilon=0.1),
    Cell("no overlap 500 x 5", 500, 5, 1.0, epsilon=1e-6, identified=False, overlap=False),
    Cell("variable length 200 x 20", 200, 20, 0.3, stop=0.2),
    Cell("variable length 500 x 20, far", 500, 20, 0.6, stop=0.3),
    Cell("repeated users 500 x 5", 500, 5, 0.3, users=5),
    Cell("repeated users 500 x 5, 10 each", 500, 5, 0.3, users=10),
    Cell("adaptive 500 x 5", 500, 5, 0.3, adaptive=True),
    Cell("adaptive bandit 500", 500, 1, 0.5, adaptive=True),
)


class World(NamedTuple):
    """`move[s, a, s']`, `pay[s, a]` (mean reward), `begin[s]`, `code[s]` what is seen, the two policies, the one that a
    drifting log ends with, and where codes lie among the numbers that are seen of them.
    """

    move: Array
    pay: Array
    begin: Array
    code: Array
    logging: Array
    judged: Array
    later: Array
    places: Array


class Log(NamedTuple):
    """A drawn log, the return of every episode, and the code of every observation."""

    columns: Columns
    weighing: Weighing
    returns: Array
    codes: Array


def spec(cell: Cell) -> Spec:
    """Return the spec of the cell's logs."""
    seen = cell.states if cell.observed == "state" else cell.states // 2
    return Spec(
        (ObservationSpec((cell.numbers,)) if cell.numbers else ObservationSpec((), "int32", "category", count=seen),),
        ActionSpec("discrete", dtype="int32", counts=(cell.actions,)),
        reward_low=(0.0,),
        reward_high=(1.0,),
        horizon=cell.horizon,
        discount=cell.discount,
        unit="user" if cell.users > 1 or cell.unequal else None,
        longest=cell.horizon,
    )


def draw_world(cell: Cell, key: Array) -> World:
    """Draw a random process with a few likely successors per step, a logging policy and one that departs from it.

    Chances are softmaxed normals: as uneven as Dirichlet (.25) ones, and quicker to compile.
    """
    move_key, pay_key, begin_key, log_key, code_key = jax.random.split(key, 5)
    size, choices = cell.states, cell.actions
    move = jax.nn.softmax(2.5 * jax.random.normal(move_key, (size, choices, size)))
    pay = means(cell.rewards, jax.random.uniform(pay_key, (size, choices)))
    begin = jax.nn.softmax(jax.random.normal(begin_key, (size,)))
    code = jnp.arange(size) if cell.observed == "state" else jax.random.permutation(code_key, jnp.arange(size) // 2)
    table = jax.nn.softmax(0.8 * jax.random.normal(log_key, (size, choices)))
    logging = table if cell.observed == "privileged" else table[code]
    if cell.epsilon:
        best = jax.nn.one_hot(logging.argmax(1), choices)
        logging = (1 - cell.epsilon) * best + cell.epsilon / choices
    seen = logging if cell.observed != "privileged" else table[code]
    ahead = cell.discount * (1 - cell.stop)
    value = jax.lax.fori_loop(
        0, min(cell.horizon, 30), lambda _, value: pay + ahead * move @ value.max(1), jnp.zeros((size, choices))
    )
    share = jax.nn.one_hot(code, int(size), axis=0)  # observation x state
    averaged = (share @ value) / jnp.maximum(share.sum(1, keepdims=True), 1e-9)
    greedy = jax.nn.one_hot(averaged.argmax(1), choices)[code]
    if cell.observed == "privileged":  # the judged policy sees less than the logging one
        seen = ((share @ logging) / jnp.maximum(share.sum(1, keepdims=True), 1e-9))[code]
    if not cell.overlap:
        greedy = jnp.roll(jax.nn.one_hot(logging.argmax(1), choices), 1, axis=1)
    later_key, place_key = jax.random.split(jax.random.fold_in(key, 1))
    later = jax.nn.softmax(0.8 * jax.random.normal(later_key, (size, choices)))[code]
    places = jax.random.normal(place_key, (size, max(cell.numbers, 1)))
    return World(move, pay, begin, code, logging, (1 - cell.delta) * seen + cell.delta * greedy, later, places)


def truth(cell: Cell, world: World, policy: Array) -> Array:
    """Return the value of a policy `[s, a]` over the horizon, by dynamic programming over the hidden states."""
    ahead = cell.discount * (1 - cell.stop)

    def back(_: int, value: Array) -> Array:
        return (policy * (world.pay + ahead * world.move @ value)).sum(1)

    return world.begin @ jax.lax.fori_loop(0, cell.horizon, back, jnp.zeros(cell.states))


def efficiency_bound(cell: Cell, world: World) -> Array:
    """Return the smallest asymptotic standard error for the cell's log (Kallus and Uehara 2020), Markov cells only.

    Transitions are pooled over time, as the world is the same at all times.
    """
    horizon, go, keep = cell.horizon, cell.discount, 1 - cell.stop

    def back(value: Array, _: None) -> tuple[Array, Array]:
        found = (world.judged * (world.pay + go * keep * world.move @ value)).sum(1)
        return found, found

    later = jax.lax.scan(back, jnp.zeros(cell.states), None, length=horizon)[1]  # 1 .. horizon steps to go
    values = jnp.concatenate([jnp.zeros((1, cell.states)), later])

    def visits(policy: Array) -> Array:
        def forth(where: Array, _: None) -> tuple[Array, Array]:
            here = where[:, None] * policy
            return keep * jnp.einsum("sa,sap->p", here, world.move), here

        return jax.lax.scan(forth, world.begin, None, length=horizon)[1]

    logged = visits(world.logging).sum(0)
    ratio = visits(world.judged) / jnp.maximum(logged, 1e-12)  # per time over the pooled log
    scale = go ** jnp.arange(horizon)
    after = values[horizon - 1 :: -1] if horizon > 1 else values[:1]
    onward = jnp.einsum("h,hsa,hp->sap", scale, ratio, after)  # sum_h gamma^h w_h V_{h+1}(s')
    paid = jnp.einsum("h,hsa->sa", scale, ratio)
    mean = go * keep * jnp.einsum("sap,sap->sa", world.move, onward)
    square = go**2 * keep * jnp.einsum("sap,sap->sa", world.move, onward**2)
    noise = paid**2 * world.pay * (1 - world.pay) + square - mean**2
    first = values[-1]
    spread = world.begin @ first**2 - (world.begin @ first) ** 2
    return jnp.sqrt((spread + (logged * noise).sum()) / cell.episodes)


def draw_log(cell: Cell, world: World, key: Array, policy: Array | None = None) -> Log:
    """Log the cell's episodes with the logging policy, or with another one for what running it would tell."""
    logging = world.logging if policy is None else policy
    groups = 10 if (cell.adaptive or cell.drifting) and policy is None else 1
    each = cell.episodes // groups

    def log_group(carry: tuple, at: tuple[Array, Array, Array]) -> tuple[tuple, tuple]:
        (logging, paid, tried), (key, number, share) = carry, at
        if cell.drifting and policy is None:
            logging = (1 - share) * world.logging + share * world.later
        *steps, unit = _episodes(cell, world, logging, key, each)
        steps = (*steps, unit + number * each)
        if cell.adaptive and policy is None:
            # sharpen towards what has paid so far, never below a tenth of an even choice
            seen, action, reward = steps[0], steps[1], steps[2]
            paid = paid.at[seen, action].add(reward)
            tried = tried.at[seen, action].add(1.0)
            chance = jax.nn.softmax(4.0 * paid / tried, axis=1)
            logging = (0.9 * chance + 0.1 / cell.actions)[world.code]
        return (logging, paid, tried), steps

    size = int(cell.states)
    start = (logging, jnp.ones((size, cell.actions)), 2 * jnp.ones((size, cell.actions)))
    _, steps = jax.lax.scan(
        log_group, start, (jax.random.split(key, groups), jnp.arange(groups), jnp.linspace(0, 1, groups))
    )
    return _columns(cell, world, key, *(part.reshape(cell.episodes, *part.shape[2:]) for part in steps))


def _episodes(cell: Cell, world: World, logging: Array, key: Array, count: int) -> tuple:
    begin_key, user_key, run_key = jax.random.split(key, 3)
    units = -(-count // cell.users)
    unit = jnp.arange(count) // cell.users
    if cell.unequal:
        whole = jax.random.categorical(begin_key, jnp.log(world.begin), shape=(count,))
        unit = jnp.searchsorted(jnp.cumsum(_size(cell, whole)), jnp.arange(count), side="right")
        state, luck = whole[unit], jax.random.uniform(user_key, (count,), minval=-0.3, maxval=0.3)[unit]
    elif cell.users > 1:  # a user always begins in the same state and has luck of their own
        state = jnp.repeat(jax.random.categorical(begin_key, jnp.log(world.begin), shape=(units,)), cell.users)[:count]
        luck = jnp.repeat(jax.random.uniform(user_key, (units,), minval=-0.3, maxval=0.3), cell.users)[:count]
    else:
        state, luck = jax.random.categorical(begin_key, jnp.log(world.begin), shape=(count,)), jnp.zeros(count)

    def step(carry: tuple[Array, Array], key: Array) -> tuple[tuple[Array, Array], tuple]:
        state, alive = carry
        act_key, pay_key, move_key, stop_key = jax.random.split(key, 4)
        action = jax.random.categorical(act_key, jnp.log(logging[state]))
        chance = world.pay[state, action]
        chance = jnp.clip(chance + luck * 2 * room(cell.rewards, chance), 0.0, 1.0)
        reward = payment(cell.rewards, pay_key, chance)
        after = jax.random.categorical(move_key, jnp.log(world.move[state, action]))
        ends = jax.random.uniform(stop_key, (count,)) < cell.stop
        now = (world.code[state], action, jnp.where(alive, reward, 0.0), ends, alive, logging[state, action])
        return (after, alive & ~ends), (*now, world.code[after])

    _, found = jax.lax.scan(step, (state, jnp.ones(count, bool)), jax.random.split(run_key, cell.horizon))
    return (*(jnp.swapaxes(part, 0, 1) for part in found), unit)


def _size(cell: Cell, state: Array) -> Array:
    """Return how many episodes a unit has that begins in a state: one to eight."""
    return 1 + state * 8 // int(cell.states)


def _columns(
    cell: Cell, world: World, key: Array, seen: Array, action: Array, reward: Array, ends: Array, alive: Array,
    chance: Array, after: Array, unit: Array,
) -> Log:  # fmt: skip
    """Lay episodes out as a log; steps after an end go to one more episode, which counts for nothing."""
    count, horizon = seen.shape
    number = jnp.arange(count)[:, None] * jnp.ones((1, horizon), int)
    flat = lambda part: part.reshape(count * horizon)  # noqa: E731
    position = jnp.arange(count)[:, None] * (horizon + 1) + jnp.arange(horizon)
    shown = jnp.concatenate([seen, after[:, -1:]], 1).reshape(-1)
    rows = jnp.arange(count * horizon)
    observed = shown
    if cell.numbers:  # nothing that a linear function of the numbers would find
        noise = jax.random.normal(jax.random.fold_in(key, 2), (len(shown), cell.numbers))
        observed = world.places[shown] + 0.1 * noise
    columns = Columns(
        observation=observed,
        action=flat(action),
        reward=flat(reward)[:, None],
        terminal=flat(ends & alive),
        timeout=jnp.zeros(count * horizon, bool),
        position=flat(position),
        successor=flat(position + 1),
        step=flat(jnp.tile(jnp.arange(horizon), (count, 1))),
        episode=flat(jnp.where(alive, number, count)),
        episode_start=flat(jnp.where(alive, number * horizon, 0)),
        duration=jnp.ones(count * horizon),
        log_propensity=jnp.log(flat(chance)),
        rows=rows,
        count=jnp.asarray(count * horizon),
    )
    weights = jnp.concatenate([jnp.ones(count), jnp.zeros(1)])
    if cell.unequal:  # the last unit may have been cut short by the end of the log
        weights = weights.at[:count].set(jnp.where(unit == unit[-1], 0.0, 1.0))
    unit = jnp.concatenate([unit, jnp.full(1, count)])
    discounts = cell.discount ** jnp.arange(horizon)
    return Log(columns, Weighing(weights, weights, unit), (reward * discounts).sum(1), shown)


def case(cell: Cell, world: World, log: Log) -> Case:
    """Return the judged policy on a log."""
    codes = jnp.zeros((cell.states, cell.actions)).at[world.code].set(world.judged)
    probability = codes[log.codes]
    logged = probability[log.columns.position, log.columns.action]
    candidate = Candidate(probability, None, jnp.log(logged), spec(cell))
    return Case(candidate, log.columns, log.weighing, Range(0.0, 1.0, cell.discount, cell.horizon))
