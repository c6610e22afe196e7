r"""Mobile notifications to one user: when to send, and when to hold (after arXiv:2207.03029).

A campaign is at most T = `steps` decisions about a user. The state is the user's kind k (0 patient, 1 sensitive),
fatigue f in 0..4, whether the moment is a good one (m = 1, half of the time) and the decision's number t. With a = 1
for a send and a = 0 for a hold:

    P(click) = a (0.1, 0.9)[m] (0.9, 0.4)[k]^f
    P(visit) = 0.8^(f + 1)                                         on the user's own account
    P(leave) = a min(1, (0.3, 0.9)[k] (1 - m) + (0, 0.7)[k] m + (0.08, 0.1)[k] f)
    gap      = 1, 2 or 4 hours with probability 0.5, 0.3, 0.2      how long the step lasts
    f'       = f + (1, 2)[k] after a send, f - 1 after a hold, one less after a gap of 4, kept in 0..4

The objectives are 0 or 1 and all to be maximised: `click`, `visit`, and `quiet` (1 - a: volume is a cost). The reward
is their sum with the weights w = (5/8, 1/4, 1/8), which lies in [0, 1] like the 0 that a user who has left earns.
Leaving and the last decision are terminals: the campaign is over, and the observation shows how much of it is left.
An observation is (f / 4, m, (T - t) / T, k), without k where the kind is hidden. Campaigns begin with f in 0..2, and
half of the users are sensitive.

The states can be listed, so every policy becomes a table, whose value is exact (`value`) and which thousands of fresh
users answer in one compiled scan (`simulate`). The reference takes the best action by backward induction,

    Q_t(s, a) = w E[objectives] + P(stay) E[gamma^gap V_{t+1}(s')],    V_t(s) = Q_t(s, argmax_a E_k[Q_t(s, a)]),

the expectation over kinds only where they are hidden; it is the optimum where they are shown. The behaviour is

    pi_b(a | o) = e / 2 + (1 - e) exp(b Q(o, a)) / sum_a' exp(b Q(o, a')),    e = 0.02,

a coin for b = 0 (`sharpness`), while little is left to gain at b = 20. An `insider` sees the kind that its log hides:
at b = 20 no policy of the observation does as well, and what the log says of a send is true of the users chosen for it.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ...agents import policy as policies
from ...core.pytree import as_arrays, require, static
from ...data.spec import ActionSpec, ObservationSpec, Spec
from ..environment import Environment, unroll

__all__ = ["WEIGHTS", "Notifications", "Rule", "behaviour", "expected", "reference", "simulate", "value"]

WEIGHTS = {"click": 0.625, "visit": 0.25, "quiet": 0.125}
"""The objectives and what each counts: `data.rewarded(WEIGHTS)` makes the default reward of a log of objectives."""

LEVELS = 5  # of fatigue
CLICK = (0.1, 0.9)  # at a bad and at a good moment
VISIT = 0.8
FADE, WORN = (0.9, 0.4), (0.08, 0.1)  # of the patient and of the sensitive
SHOCK = ((0.3, 0.0), (0.9, 0.7))
GAPS, GAP_CHANCES = (1.0, 2.0, 4.0), (0.5, 0.3, 0.2)
MOMENT_CHANCES = (0.5, 0.5)  # bad, good
KIND_CHANCES = (0.5, 0.5)  # patient, sensitive
BEGIN_CHANCES = (1 / 3, 1 / 3, 1 / 3, 0.0, 0.0)  # of levels of fatigue
FLOOR = 0.02  # share of coin flips in every behaviour
FRESH = 1_000_003  # sets the chance of simulated users apart from that of logged ones

Policy = policies.Policy | Callable[[Any], Any]
Table = Float[Array, "time kind level moment choice"]


class User(eqx.Module):
    """One user during a campaign; `gap` and `objectives` are what the last step took and brought."""

    kind: Int[Array, ""]
    fatigue: Int[Array, ""]
    moment: Int[Array, ""]
    time: Int[Array, ""]
    gap: Float[Array, ""]
    objectives: Float[Array, "objective"]


class Notifications(Environment):
    """Send a notification now, or hold: clicks against fatigue and users who leave.

    `steps` is the longest campaign; `hidden` hides the user's kind, which an `insider` behaviour sees all the same;
    `objectives` logs the objectives apart instead of their sum weighted by `weights`; users have `per_user` episodes
    each; `sharpness` says how good the logging behaviour is (0: a coin, 20: near the reference).
    """

    title: ClassVar[str] = "Mobile notifications"
    logged: ClassVar[int] = 1000

    sharpness: float = 0.5
    weights: tuple[float, ...] = (0.625, 0.25, 0.125)
    steps: int = static(default=5)
    per_user: int = static(default=1)
    hidden: bool = static(default=False)
    insider: bool = static(default=False)
    objectives: bool = static(default=False)

    def __check_init__(self):
        require(self.steps >= 1, f"A campaign has at least one step, got {self.steps}.")
        require(self.per_user >= 1, f"A user has at least one episode, got {self.per_user}.")
        require(self.sharpness >= 0, f"The sharpness of the behaviour must not be negative, got {self.sharpness}.")
        require(self.hidden or not self.insider, "An insider sees a kind that is hidden; set hidden, too.")
        good = len(self.weights) == len(WEIGHTS) and min(self.weights) >= 0 and sum(self.weights) <= 1 + 1e-6
        require(
            good, f"The weights of {', '.join(WEIGHTS)} must be 0 or more and sum to at most 1, got {self.weights}."
        )

    @property
    def spec(self) -> Spec:
        size = 3 if self.hidden else 4
        names = tuple(WEIGHTS) if self.objectives else ("reward",)
        return Spec(
            observations=(ObservationSpec((size,), low=(0.0,) * size, high=(1.0,) * size),),
            action=ActionSpec("discrete", (), "int32", counts=(2,), labels=("hold", "send")),
            rewards=names,
            reward_low=(0.0,) * len(names),
            reward_high=(1.0,) * len(names),
            horizon=self.steps,
            discount=1.0,
            unit="user",
            longest=self.steps,
        )

    @property
    def least_propensity(self) -> float:
        """Return what no choice's chance is below: returns to come, and so values, lie between 0 and the steps."""
        return FLOOR / 2 + (1 - FLOOR) / (1 + math.exp(min(float(self.sharpness) * self.steps, 80.0)))

    @property
    def together(self) -> int:
        return self.per_user

    def reset(self, key: PRNGKeyArray) -> User:
        return self._start(key, jnp.int32(0))

    def _start(self, key: PRNGKeyArray, number: Int[Array, ""]) -> User:
        kind_key, rest = jax.random.split(key)  # a user's kind is that of all episodes
        kind = _drawn(jax.random.uniform(kind_key), KIND_CHANCES)
        chance = jax.random.uniform(jax.random.fold_in(rest, number), (2,))
        fatigue, moment = _drawn(chance[0], BEGIN_CHANCES), _drawn(chance[1], MOMENT_CHANCES)
        return User(kind, fatigue, moment, jnp.int32(0), jnp.ones(()), jnp.zeros(len(WEIGHTS)))

    def observe(self, state: User) -> Float[Array, "feature"]:
        seen = (state.fatigue / (LEVELS - 1), state.moment, (self.steps - state.time) / self.steps, state.kind)
        return jnp.stack([jnp.float32(part) for part in seen[: 3 if self.hidden else 4]])

    def step(self, state: User, action: Int[Array, ""], key: PRNGKeyArray) -> tuple[User, Array, Array]:
        chance = jax.random.uniform(key, (5,))
        click, visit, leave = _chances(state.kind, state.fatigue, state.moment, action)
        brought = jnp.stack([chance[0] < click, chance[1] < visit, action == 0]).astype(jnp.float32)
        gap = jnp.asarray(GAPS)[_drawn(chance[3], GAP_CHANCES)]
        fatigue, moment = _tired(state.kind, state.fatigue, action, gap), _drawn(chance[4], MOMENT_CHANCES)
        following = User(state.kind, fatigue, moment, state.time + 1, gap, brought)
        over = (chance[2] < leave) | (following.time >= self.steps)
        return following, brought @ jnp.stack(self.weights), over

    def duration(self, following: User) -> Float[Array, ""]:
        return following.gap

    def components(self, following: User, reward: Float[Array, ""]) -> Float[Array, "component"]:
        return following.objectives if self.objectives else reward[None]

    def begin(self, key: PRNGKeyArray, number: Int[Array, ""]) -> tuple[User, Table]:
        return self._start(key, number), _logging_table(self)

    def behave(self, memory: Table, state: User, key: PRNGKeyArray) -> tuple[Array, Array, Table]:
        chances = memory[state.time, state.kind, state.fatigue, state.moment]
        action = jax.random.bernoulli(key, chances[1]).astype(jnp.int32)
        return action, jnp.log(chances[action]), memory

    def routes(self, episodes: int) -> dict[str, np.ndarray]:
        """`user` is the number of the user whose episode it is."""
        return {"user": np.arange(episodes) // self.per_user}


class Rule(eqx.Module):
    """A policy as a function: observations `(n, 3 or 4)` to probabilities of hold and send `(n, 2)`."""

    table: Table

    def __call__(self, observations: Float[Array | np.ndarray, "n feature"]) -> Float[Array, "n choice"]:
        seen = jnp.asarray(observations)
        steps = len(self.table)
        time = jnp.clip(jnp.round(steps * (1.0 - seen[:, 2])), 0, steps - 1)  # none is left after the last decision
        kind = seen[:, 3] if seen.shape[1] == 4 else jnp.zeros(len(seen))
        places = (time, kind, jnp.round(seen[:, 0] * (LEVELS - 1)), seen[:, 1])
        return self.table[tuple(place.astype(jnp.int32) for place in places)]


def reference(world: Notifications | None = None, discount: float = 1.0) -> Rule:
    """Return the best known policy of the observation: the optimum where the kind is shown, near it where not."""
    world = world or Notifications()
    return Rule(jax.nn.one_hot(_best(as_arrays(world), world.hidden, jnp.float32(discount)).argmax(-1), 2))


def behaviour(world: Notifications | None = None, sharpness: float | None = None) -> Rule:
    """Return a stochastic policy of the observation, as good as `sharpness` says (by default the world's own).

    It is the one that fills the world's log, unless that is an insider's, which is no function of the observation.
    """
    world = world or Notifications()
    require(sharpness is None or sharpness >= 0, f"The sharpness must not be negative, got {sharpness}.")
    wanted = world.sharpness if sharpness is None else sharpness
    return Rule(_behaviour_table(as_arrays(world), jnp.float32(wanted), world.hidden))


def value(policy: Policy | None, world: Notifications | None = None, discount: float = 1.0) -> float:
    """Return the exact expected return of a campaign, discounted by time: `gamma^gap` a step.

    policy: a function from observations `(n, feature)` to probabilities `(n, 2)`, a weft policy over choices, or None
    for the world's own logging behaviour. Raises UserError for answers that are no probabilities.
    """
    world = world or Notifications()
    return float(_value(as_arrays(world), _table(policy, world), jnp.float32(discount)))


def expected(policy: Policy | None, world: Notifications | None = None) -> dict[str, float]:
    """Return what a campaign brings on average, exactly and undiscounted: every objective, sends and decisions.

    `click / send` is the click-through rate, `send / decision` the share of decisions that are sends. Arguments and
    errors as for `value`.
    """
    world = world or Notifications()
    table, change = _table(policy, world), as_arrays(world)
    totals = {}
    for name in (*WEIGHTS, "send", "decision"):
        count = {"send": (0.0, 0.0, -1.0), "decision": (0.0, 0.0, 0.0)}
        weights = count.get(name, tuple(float(name == known) for known in WEIGHTS))
        totals[name] = float(_value(change, table, jnp.float32(1.0), jnp.asarray(weights), float(name in count)))
    return totals


def simulate(
    policy: Policy | None,
    users: int = 10_000,
    seed: int = 0,
    world: Notifications | None = None,
    discount: float = 1.0,
) -> Float[np.ndarray, "user"]:
    """Let a policy act on fresh users, one campaign each, and return their returns `(users,)`, float64.

    Arguments as for `value`. User i of a seed is the same whoever acts, and none of a log's.
    """
    world = world or Notifications()
    require(users >= 1, f"A simulation needs at least one user, got {users}.")
    table = _table(policy, world)
    return np.asarray(_simulate(as_arrays(world), table, jnp.int32(seed), users, jnp.float32(discount)), np.float64)


# --- the equations --------------------------------------------------------------------------------------------------


def _drawn(chance: Float[Array, ""], chances: tuple[float, ...]) -> Int[Array, ""]:
    """Return the category that a uniform number falls into."""
    return (chance >= jnp.cumsum(jnp.asarray(chances))[:-1]).sum().astype(jnp.int32)


def _chances(kind: Array, fatigue: Array, moment: Array, action: Array) -> tuple[Array, Array, Array]:
    """Return the probabilities of a click, a visit and of leaving, elementwise."""
    fade, worn = jnp.asarray(FADE)[kind], jnp.asarray(WORN)[kind]
    click = action * jnp.asarray(CLICK)[moment] * fade**fatigue
    leave = action * jnp.minimum(1.0, jnp.asarray(SHOCK)[kind, moment] + worn * fatigue)
    return click, VISIT ** (fatigue + 1.0), leave


def _tired(kind: Array, fatigue: Array, action: Array, gap: Array | float) -> Array:
    """Return the fatigue after a step, elementwise."""
    change = jnp.where(action == 1, 1 + kind, -1) - (jnp.asarray(gap) == GAPS[-1])
    return jnp.clip(fatigue + change, 0, LEVELS - 1)


def _backward(
    world: Notifications,
    discount: Array,
    decide: Callable[[Array, Any], Array],
    tables: Any,
    weights: Array | None = None,
    constant: Array | float = 0.0,
) -> Any:
    """Go back from the last decision to the first; return the value of a campaign and the Q of every decision.

    `decide(q, table)` gives the probabilities `(kind, level, moment, choice)` of a decision; `tables` has one entry
    per decision, or is None. `weights` stand in for the world's, and every decision also pays a `constant`.
    """
    grid = jnp.meshgrid(*(jnp.arange(size) for size in (2, LEVELS, 2, 2)), indexing="ij")
    kind, fatigue, _, action = grid
    click, visit, leave = _chances(*grid)
    counts = jnp.stack(world.weights) if weights is None else weights
    reward = jnp.stack([click, visit, 1.0 - action], -1) @ counts + constant

    def body(later: Array, table: Any) -> tuple[Array, Array]:
        expected = later @ jnp.asarray(MOMENT_CHANCES)
        after = sum(
            chance * discount**gap * expected[kind, _tired(kind, fatigue, action, gap)]
            for gap, chance in zip(GAPS, GAP_CHANCES, strict=True)
        )
        q = reward + (1.0 - leave) * after
        return (decide(q, table) * q).sum(-1), q

    first, q = jax.lax.scan(body, jnp.zeros((2, LEVELS, 2)), tables, world.steps, reverse=True)
    begins = (jnp.asarray(chances) for chances in (KIND_CHANCES, BEGIN_CHANCES, MOMENT_CHANCES))
    return jnp.einsum("klm,k,l,m->", first, *begins), q


def _shown(q: Float[Array, "kind level moment choice"], hidden: bool) -> Float[Array, "kind level moment choice"]:
    """Return what a choice is worth as far as the kind is seen: its mean over kinds where they are hidden."""
    if not hidden:
        return q
    return jnp.broadcast_to(jnp.tensordot(jnp.asarray(KIND_CHANCES), q, 1), q.shape)


def _best(world: Notifications, hidden: bool, discount: Array | float = 1.0) -> Table:
    """Return what each choice is worth, as far as the kind is seen, when the best is done afterwards."""

    def decide(q: Array, _: Any) -> Array:
        return jax.nn.one_hot(_shown(q, hidden).argmax(-1), 2)

    q = _backward(world, jnp.float32(discount), decide, None)[1]
    return jax.vmap(lambda one: _shown(one, hidden))(q)


def _behaviour_table(world: Notifications, sharpness: Array, hidden: bool) -> Table:
    sharp = jax.nn.softmax(sharpness * _best(world, hidden), -1)
    return FLOOR / 2 + (1.0 - FLOOR) * sharp


def _logging_table(world: Notifications) -> Table:
    return _behaviour_table(world, jnp.asarray(world.sharpness), world.hidden and not world.insider)


def _table(policy: Policy | None, world: Notifications) -> Table:
    """Ask a policy once in every state."""
    if policy is None:
        return _logging_table(as_arrays(world))
    shape = (world.steps, 2, LEVELS, 2)
    time, kind, fatigue, moment = (part.reshape(-1) for part in np.indices(shape, np.int32))

    def see(kind: Array, fatigue: Array, moment: Array, time: Array) -> Array:
        return world.observe(User(kind, fatigue, moment, time, jnp.zeros(()), jnp.zeros(len(WEIGHTS))))

    seen = np.asarray(jax.vmap(see)(kind, fatigue, moment, time))
    ask: Any = getattr(policy, "probabilities", policy)
    answer = np.asarray(ask(seen), np.float64)
    wanted = f"{len(seen)} observations with probabilities ({len(seen)}, 2)"
    require(answer.shape == (len(seen), 2), f"The policy must answer {wanted}, got the shape {answer.shape}.")
    good = np.isfinite(answer).all() and (answer >= 0).all() and (np.abs(answer.sum(1) - 1.0) < 1e-3).all()
    require(bool(good), "The policy's answers are no probabilities: they must be at least 0 and sum to 1.")
    return jnp.asarray(answer.reshape(*shape, 2), jnp.float32)


@jax.jit
def _value(
    world: Notifications, table: Table, discount: Array, weights: Array | None = None, constant: Array | float = 0.0
) -> Array:
    return _backward(world, discount, lambda _, probabilities: probabilities, table, weights, constant)[0]


@partial(jax.jit, static_argnames="users")
def _simulate(world: Notifications, table: Table, seed: Array, users: int, discount: Array) -> Float[Array, "user"]:
    def one(number: Array) -> Array:
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), FRESH), number)
        reset_key, run_key = jax.random.split(key)
        campaign = unroll(world, world.behave, lambda memory, *_: memory, world.reset(reset_key), table, run_key)
        before = jnp.cumsum(campaign.duration) - campaign.duration
        return jnp.where(campaign.alive, discount**before * campaign.reward, 0.0).sum()

    return jax.vmap(one)(jnp.arange(users))
