r"""Learning by trial with a table: Q-learning and SARSA, one compiled loop over the steps of a world.

    Q-learning:  Q(s, a) += eta_n [ r + gamma (1 - d) max_a' Q(s', a') - Q(s, a) ]     (Watkins 1989)
    SARSA:       the same with Q(s', a') of the action a' that is taken next           (Rummery and Niranjan 1994)
    double:      Q_1's target is Q_2(s', argmax_a' Q_1(s', a')); a coin says which one learns   (van Hasselt 2010)

eta_n is the step size of the n-th visit of (s, a). d is 1 where the task ended. A time-out is no end: the next state is
bootstrapped from, and then a new episode begins.

Order of updates: the world answers; the next action is chosen; the table is changed.
"""

from functools import partial
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray, PyTree

from ...core.pytree import as_arrays, require, static
from ...data.spec import ActionSpec, ObservationSpec, Spec
from ...envs.environment import Environment
from ...nn.losses import backup
from .model import Model, Table, codes, one_hot

__all__ = ["Learned", "ModelWorld", "q_learning", "sarsa"]


class Learned(NamedTuple):
    """What was learned by trial: `q` and how often each choice was `visited`, both (state, choice).

    Both have a leading axis where several keys were given.
    """

    q: Float[np.ndarray, "*seed state choice"]
    visited: Int[np.ndarray, "*seed state choice"]


class ModelWorld(Environment):
    """A model as a world: it draws where the model averages. Observations are one-hot.

    `steps` is when an episode is timed out, which is no end. Make one with `ModelWorld.of(model)`.
    """

    title: ClassVar[str] = "A finite model"

    likely: Float[Array, "state choice next"]  # cumulative
    reward: Float[Array, "state choice next"]
    ends: Float[Array, "state choice next"]
    first: Float[Array, "state"]  # cumulative
    steps: int = static(default=1000)

    @classmethod
    def of(cls, model: Model, steps: int = 1000) -> "ModelWorld":
        """Return the world of a model; raise UserError if the model does not know every choice."""
        require(steps >= 1, f"An episode has at least one step, got {steps}.")
        state, choice = np.unravel_index(model.known.argmin(), model.known.shape)
        whole = bool(model.known.all())
        require(whole, f"Nothing is known of choice {choice} in state {state}, so it cannot be tried; solve exactly.")
        parts = (model.transition.cumsum(-1), model.reward, model.ends, model.first.cumsum())
        likely, reward, ends, first = (jnp.asarray(part, jnp.float32) for part in parts)
        return cls(likely, reward, ends, first, steps)

    @property
    def spec(self) -> Spec:
        size, choices = self.likely.shape[:2]
        return Spec(
            observations=(ObservationSpec((size,), low=(0.0,) * size, high=(1.0,) * size),),
            action=ActionSpec("discrete", (), "int32", counts=(choices,)),
            horizon=self.steps,
            longest=self.steps,
        )

    def reset(self, key: PRNGKeyArray) -> Int[Array, ""]:
        return _drawn(jax.random.uniform(key), self.first)

    def observe(self, state: Int[Array, ""]) -> Float[Array, "state"]:
        return jax.nn.one_hot(state, len(self.first))

    def step(
        self, state: Int[Array, ""], action: Int[Array, ""], key: PRNGKeyArray
    ) -> tuple[Int[Array, ""], Float[Array, ""], Bool[Array, ""]]:
        chance = jax.random.uniform(key, (2,))
        after = _drawn(chance[0], self.likely[state, action])
        over = chance[1] < self.ends[state, action, after]
        return after, self.reward[state, action, after], over


def q_learning(
    world: Model | Environment,
    key: PRNGKeyArray | Key[Array, "seed"],
    steps: int,
    discount: float = 0.99,
    step_size: float = 1.0,
    power: float = 0.7,
    exploration: float = 0.1,
    begin: float | Table = 0.0,
    double: bool = False,
) -> Learned:
    """Learn Q of the best policy from `steps` steps of a world whose observations are one-hot or a category.

    The n-th visit of a choice moves its Q by `step_size / n ** power` of its error: power 0 is a constant step size.
    exploration: the chance that an action is drawn from all choices alike (1: the uniform behaviour), else the best one
    so far is taken. begin: Q before the first step. double: two tables, of which one picks and the other values the
    next action, returned as their mean. An end is worth nothing; after a time-out (the world's horizon) the next state
    is valued, then a new episode begins. Several keys `(seed,)` are several runs. Raises UserError for settings out of
    range and for worlds without a table.
    """
    numbers = _Numbers(discount, step_size, power, exploration)
    return _learn(world, key, steps, numbers, begin, "double" if double else "best")


def sarsa(
    world: Model | Environment,
    key: PRNGKeyArray | Key[Array, "seed"],
    steps: int,
    discount: float = 0.99,
    step_size: float = 1.0,
    power: float = 0.7,
    exploration: float = 0.1,
    begin: float | Table = 0.0,
) -> Learned:
    """Learn Q of the behaviour itself, ε-greedy in its own Q, from `steps` steps; arguments as for `q_learning`."""
    return _learn(world, key, steps, _Numbers(discount, step_size, power, exploration), begin, "taken")


class _Numbers(NamedTuple):
    """The settings that the compiled program takes as numbers."""

    discount: float
    step_size: float
    power: float
    exploration: float

    def check(self) -> None:
        """Raise UserError for one that is out of range."""
        require(0 <= self.discount <= 1, f"The discount must be between 0 and 1, got {self.discount}.")
        require(0 < self.step_size <= 1, f"The step size must be above 0 and at most 1, got {self.step_size}.")
        require(self.power >= 0, f"The power of the step size may not be negative, got {self.power}.")
        require(0 <= self.exploration <= 1, f"The exploration must be between 0 and 1, got {self.exploration}.")


def _learn(
    source: Model | Environment,
    key: PRNGKeyArray | Key[Array, "seed"],
    steps: int,
    numbers: _Numbers,
    begin: float | Table,
    target: str,
) -> Learned:
    """Learn a table; `target` says what is bootstrapped from: the `best` choice, the one `taken`, or `double`."""
    numbers.check()
    require(steps >= 1, f"Learning takes at least one step, got {steps}.")
    world = ModelWorld.of(source) if isinstance(source, Model) else source
    spec = world.spec
    require(spec.discrete, f"A table needs discrete actions; those of this world are {spec.action.kind}.")
    require(spec.plain, "A table needs one observation; those of this world have several components.")
    kind = spec.observations[0]
    require(one_hot(kind) or kind.count > 0, "A table needs one-hot observations or a category with a declared count.")
    codes(_begins(as_arrays(world), jax.random.key(0)), kind, "this world")
    shape = (kind.shape[0] if one_hot(kind) else kind.count, spec.action.size)
    table = np.asarray(begin, np.float32)
    require(table.shape in ((), shape), f"Q before the first step is a number or {shape}, got {table.shape}.")
    start = jnp.broadcast_to(table, (2 if target == "double" else 1, *shape))
    keys, count = jnp.reshape(key, (-1,)), jnp.int32(steps)
    floats = jnp.asarray(numbers, jnp.float32)
    q, visited = _walk(as_arrays(world), floats, start, keys, count, target, one_hot(kind))
    tables = Learned(np.asarray(q), np.asarray(visited))
    return tables if jnp.ndim(key) else Learned(*(table[0] for table in tables))


@jax.jit
def _begins(world: Environment, key: PRNGKeyArray) -> Float[Array, "start *obs"]:
    """Return what is seen at the beginning of some episodes."""
    return jax.vmap(lambda key: world.observe(world.reset(key)))(jax.random.split(key, 32))


class _Walker(eqx.Module):
    """What a learner carries from step to step."""

    tables: Float[Array, "table state choice"]
    visited: Int[Array, "table state choice"]
    state: PyTree
    action: Int[Array, ""]
    time: Int[Array, ""]


@partial(jax.jit, static_argnames=("target", "whole"))
def _walk(
    world: Environment,
    numbers: Float[Array, "4"],
    start: Float[Array, "table state choice"],
    keys: Key[Array, "seed"],
    steps: Int[Array, ""],
    target: str,
    whole: bool,
) -> tuple[Float[Array, "seed state choice"], Int[Array, "seed state choice"]]:
    """Return Q and visits of every key; `whole` says that observations are whole one-hot vectors, not numbers."""
    discount, step_size, power, exploration = numbers

    def place(state: PyTree) -> Int[Array, ""]:
        seen = world.observe(state)
        return seen.argmax() if whole else seen.reshape(()).astype(jnp.int32)

    def choose(tables: Array, state: PyTree, chance: Float[Array, "2"]) -> Int[Array, ""]:
        scores = tables[:, place(state)].sum(0)
        return jnp.where(chance[0] < exploration, jnp.int32(chance[1] * len(scores)), scores.argmax())

    def body(tick: Array, walker: _Walker, key: PRNGKeyArray) -> _Walker:
        step_key, reset_key, chance_key = jax.random.split(jax.random.fold_in(key, tick), 3)
        chance = jax.random.uniform(chance_key, (5,))  # all at once: every draw of its own is slow to compile
        after, reward, terminal = world.step(walker.state, walker.action, step_key)
        follow = choose(walker.tables, after, chance[:2])
        learns = jnp.int32(chance[4] < 0.5) if target == "double" else 0
        ahead = walker.tables[:, place(after)]
        picked = follow if target == "taken" else ahead[learns].argmax()
        next_value = ahead[-1 - learns, picked]  # of the other table, if there are two
        goal = backup(reward, terminal, world.duration(after), discount, next_value)
        at = (learns, place(walker.state), walker.action)
        visited = walker.visited.at[at].add(1)
        rate = step_size / visited[at].astype(jnp.float32) ** power
        tables = walker.tables.at[at].add(rate * (goal - walker.tables[at]))
        over = terminal | (walker.time + 1 >= world.horizon)
        fresh = world.reset(reset_key)
        state = jax.tree.map(lambda new, old: jnp.where(over, new, old), fresh, after)
        action = jnp.where(over, choose(tables, fresh, chance[2:4]), follow)
        return _Walker(tables, visited, state, action, jnp.where(over, 0, walker.time + 1))

    def one(key: PRNGKeyArray) -> tuple[Array, Array]:
        reset_key, chance_key, steps_key = jax.random.split(key, 3)
        state = world.reset(reset_key)
        first = choose(start, state, jax.random.uniform(chance_key, (2,)))
        walker = _Walker(start, jnp.zeros(start.shape, jnp.int32), state, first, jnp.int32(0))
        walker = jax.lax.fori_loop(0, steps, partial(body, key=steps_key), walker)
        return walker.tables.mean(0), walker.visited.sum(0)

    return jax.vmap(one)(keys)


def _drawn(chance: Float[Array, ""], cumulative: Float[Array, "outcome"]) -> Int[Array, ""]:
    """Return an outcome by its cumulative chances; an outcome of chance 0 never comes out."""
    return (chance * cumulative[-1] >= cumulative).sum().astype(jnp.int32)
