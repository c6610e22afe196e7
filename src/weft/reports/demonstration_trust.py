"""The second act of the demonstration: what may be believed of a policy before anybody runs it.

A notification log with propensities goes through a whole study to a decision, and the decision is put to the test on
fresh simulated users. Then the same question is asked of a hundred logs on which hardly anything is left to gain, once
by the usual practice and once by the gate. All worlds are simulated, so the truth is known, and is only used to check.
"""

import dataclasses
import math
import tempfile
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..agents.algorithm import Algorithm
from ..agents.algorithms.bc import BC
from ..agents.algorithms.cql import CQL
from ..agents.algorithms.iql import IQL
from ..core.pytree import as_arrays
from ..data.load import load
from ..deployment import dose_test as gate
from ..deployment.dose_test import Terms
from ..deployment.ledger import Ledger
from ..envs.environment import Trajectory, unroll
from ..envs.worlds.notifications import Notifications, Rule, behaviour, reference, simulate, value
from ..evaluation.bounded_terms import Centre, Range, improvement
from ..evaluation.trajectories import Paths
from ..experiments.study import Study, study
from ._trust import Arm, Rules, Trust

__all__ = ["KINDS", "certified", "count", "dosed", "policy_of"]

SMALL: dict[str, Any] = {"hidden": (64, 64), "learning_rate": 1e-3}
METHODS: tuple[Algorithm, ...] = (
    BC(**SMALL),
    IQL(expectile=0.8, inverse_temperature=10.0, target_rate=0.05, **SMALL),
    CQL(target_rate=0.05, **SMALL),
)
USERS = 2000  # in the log that is studied
STEPS = 500  # of training
BATCH = 128
ARM = 10_000  # fresh users of each arm of the A/B test
RISK = 0.05

WEAK, GOOD = 0.5, 20.0  # how sharply the logging policy chooses
LOGS = 100
CAMPAIGNS = 1000  # users of each of the many logs
SHARES = (0.4, 0.2, 0.4)  # of train, select and certify
PESSIMISM = (0.0, 0.3, 1.0)  # what a choice that was tried once is marked down by
SHAPE = (2, 5, 2)  # kinds, levels and moments of the world's users


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of log: how sharply the logging policy chooses, and whether the log lacks what it saw of the users."""

    name: str
    about: str
    sharpness: float
    hidden: bool


KINDS = (
    Kind("A good rule that sees more", "The old rule is nearly the best one, and saw which kind of user it had; the "
         "log does not say so.", GOOD, True),
    Kind("A good rule", "The old rule is nearly the best one, and the log holds all that it saw.", GOOD, False),
    Kind("A weak rule", "The old rule is close to a coin, so nearly anything is better.", WEAK, False),
)  # fmt: skip


# --- a study and its test on fresh users ---------------------------------------------------------------------------


def certified(seed: int) -> Trust:
    """Study a weak policy's log and put the decision to the test; the many logs are left out."""
    world = Notifications(sharpness=WEAK)
    data = load("sample:notifications", seed=seed, episodes=USERS, sharpness=WEAK)
    with tempfile.TemporaryDirectory(prefix="weft-demo-") as folder:  # a lasting ledger refuses to run it again
        ledger = Ledger(folder)
        result = study(
            data,
            METHODS,
            steps=STEPS,
            seeds=1,
            seed=seed,
            ledger=ledger,
            batch_size=BATCH,
            log_every=STEPS,
            imitation=False,
        )
        entries = tuple(ledger.of(result.folds.certify))
    policy = policy_of(result)
    deploys = result.decision.action in ("DEPLOY", "STAGED")
    dose = result.decision.dose if deploys else 1.0
    tested = dosed(policy, dose, world)
    base = value(None, world)
    doses = result.decision.doses or (1.0,)
    return Trust(
        decision=result.decision,
        table=result.table,
        manifest=result.folds.manifest,
        entries=entries,
        steps=data.steps,
        training=STEPS,
        dose=dose,
        base=base,
        best=value(reference(world), world),
        gain=value(tested, world) - base,
        gains=tuple(value(dosed(policy, each, world), world) - base for each in doses),
        logging=_arm(simulate(None, ARM, seed, world)),
        policy=_arm(simulate(tested, ARM, seed + 1, world)),  # other users than those of the first arm
    )


def _arm(returns: np.ndarray) -> Arm:
    return Arm(len(returns), float(returns.mean()), float(returns.std(ddof=1) / np.sqrt(len(returns))))


def policy_of(result: Study) -> Any:
    """Return the policy of a study's decision as a function from observations to probabilities."""
    drawn = next(row.drawn for row in result.table if row.chosen)

    def answer(observations: Any) -> Array:
        seen = jnp.asarray(observations)
        if drawn:
            return result.policy.probabilities(seen)
        return jax.nn.one_hot(result.policy.act((), seen)[0], 2)

    return answer


def dosed(policy: Any, dose: float, world: Notifications) -> Any:
    """Return the policy that follows another one with chance `dose` in every step, and the logging policy otherwise."""
    logging = behaviour(world)
    return lambda observations: (1.0 - dose) * logging(observations) + dose * policy(observations)


# --- a hundred logs ------------------------------------------------------------------------------------------------


def count(kind: Kind, seed: int) -> Rules:
    """Ask the usual practice and the gate about policies learned from each of `LOGS` logs, and compare with the truth.

    Both rules learn tables from counts. The usual practice learns from all of a log, estimates the value on the same
    log (fitted Q evaluation, which has a closed form for tables) and deploys where it is above the mean logged return.
    The gate learns from the train fold, chooses on the select fold and decides on the certify fold.
    """
    world = Notifications(sharpness=kind.sharpness)
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), KINDS.index(kind)), LOGS)
    numbers = jnp.float32(not kind.hidden), jnp.float32(world.least_propensity)
    answers: Any = jax.tree.map(np.asarray, _ask(as_arrays(world), *numbers, keys, CAMPAIGNS))
    base, logging = value(None, world), behaviour(world).table
    usual = np.array([value(Rule(table), world) for table in answers["greedy"]]) - base
    gained = np.zeros(LOGS)
    for number in np.flatnonzero(answers["dose"]):
        share = answers["dose"][number]
        gained[number] = value(Rule((1 - share) * logging + share * answers["chosen"][number]), world) - base
    best = value(reference(world), world)
    believed, dose, low = answers["believed"], answers["dose"], answers["low"]
    return Rules(kind.name, kind.about, CAMPAIGNS, base, best, believed, usual, dose, low, gained)


@partial(jax.jit, static_argnums=4)
def _ask(world: Notifications, shown: Array, floor: Array, keys: Array, users: int) -> dict[str, Array]:
    """Return what both rules say of every log; the truth plays no part. `shown` is 0 where kinds are hidden, else 1."""
    declared = Range(0.0, 1.0, 1.0, world.steps, floor)
    doses = jnp.asarray(gate.DOSES)
    edges = np.round(np.cumsum((0.0, *SHARES)) * users).astype(int)
    folds = [slice(first, last) for first, last in pairwise(edges.tolist())]
    units = float(edges[3] - edges[2])

    def one(key: Array) -> dict[str, Array]:
        log = _log(world, shown, key, users)
        greedy, worth = _learned(log, 0.0)
        train, select, certify = (jax.tree.map(lambda part, fold=fold: part[fold], log) for fold in folds)
        tables = jax.vmap(lambda pessimism: _learned(train, pessimism)[0])(jnp.asarray(PESSIMISM))
        plans = jax.lax.map(lambda table: _plan(table, select, declared, doses, units), tables)
        best = plans.score.argmax()
        chosen, plan = tables[best], jax.tree.map(lambda part: part[best], plans)
        proof = gate.evidence(_terms(chosen, certify, declared, doses, plan.centre), doses, 0.0, RISK, plan=plan)
        believed = worth - log.reward.sum(1).mean()
        return {
            "greedy": _every_kind(greedy, shown), "believed": believed, "chosen": _every_kind(chosen, shown),
            "dose": proof.dose, "low": jnp.where(proof.certified > 0, proof.low[proof.certified - 1], jnp.nan),
        }  # fmt: skip

    return jax.lax.map(one, keys)


class Log(NamedTuple):
    """Campaigns side by side `(user, time)`; `here` and `there` are the places of a step's two observations in the
    table of a policy; rewards are 0 after the end."""

    here: Int[Array, "user time"]
    there: Int[Array, "user time"]
    action: Int[Array, "user time"]
    reward: Float[Array, "user time"]
    log_propensity: Float[Array, "user time"]
    alive: Bool[Array, "user time"]
    goes_on: Bool[Array, "user time"]


def _plan(table: Float[Array, "time place choice"], log: Log, declared: Range, doses: Array, units: float) -> gate.Plan:
    gain = _terms(table, log, declared, doses, None).values[-1].mean()
    share = declared.share(log.reward.sum(1).mean())
    return gate.prospect(lambda c: _terms(table, log, declared, doses, c), doses, share, gain, units, 0.0, RISK)


def _log(world: Notifications, shown: Array, key: Array, users: int) -> Log:
    def one(key: Array) -> Trajectory:
        begin_key, run_key = jax.random.split(key)
        state, memory = world.begin(begin_key, jnp.int32(0))
        return unroll(world, world.behave, lambda memory, *_: memory, state, memory, run_key)

    def place(observation: Array) -> Array:
        level, moment, kind = observation[..., 0] * (SHAPE[1] - 1), observation[..., 1], observation[..., 3] * shown
        return jnp.round((kind * SHAPE[1] + level) * SHAPE[2] + moment).astype(jnp.int32)

    walk = jax.vmap(one)(jax.random.split(key, users))
    return Log(
        place(walk.observation), place(walk.next_observation), walk.action,
        jnp.where(walk.alive, walk.reward, 0.0), walk.log_propensity, walk.alive, walk.alive & ~walk.terminal,
    )  # fmt: skip


def _every_kind(
    table: Float[Array, "time place choice"], shown: Array
) -> Float[Array, "time kind level moment choice"]:
    """Return the table of a policy by state; where kinds are hidden, all users are treated as those of kind 0."""
    by_state = table.reshape(-1, *SHAPE, 2)
    return jnp.where(shown > 0, by_state, by_state[:, :1])


def _learned(log: Log, pessimism: float | Array) -> tuple[Float[Array, "time place choice"], Array]:
    """Return the greedy policy of a log's counts, and what it is worth by them.

    Choices are marked down by `pessimism / sqrt(times tried)`; one that was never tried is worth nothing. Without
    pessimism the worth is that of fitted Q evaluation on the log. Going back from the last decision makes both exact.
    """
    users, steps = log.action.shape
    size = math.prod(SHAPE)
    step = jnp.broadcast_to(jnp.arange(steps), (users, steps)), log.here, log.action
    tried = jnp.zeros((steps, size, 2)).at[step].add(log.alive.astype(jnp.float32))
    paid = jnp.zeros((steps, size, 2)).at[step].add(log.reward)
    moved = jnp.zeros((steps, size, 2, size)).at[*step, log.there].add(log.goes_on.astype(jnp.float32))

    def back(later: Array, counted: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        tried, paid, moved = counted
        often = jnp.maximum(tried, 1.0)
        worth = paid / often + (moved / often[..., None]) @ later
        cautious = worth - jnp.where(tried > 0, pessimism / jnp.sqrt(often), 0.0)
        chosen = jax.nn.one_hot(cautious.argmax(-1), 2)
        return (chosen * worth).sum(-1), chosen

    first, table = jax.lax.scan(back, jnp.zeros(size), (tried, paid, moved), reverse=True)
    return table, first[log.here[:, 0]].mean()


def _terms(
    table: Float[Array, "time place choice"], log: Log, declared: Range, doses: Array, centre: Centre | None
) -> Terms:
    """Return the improvement terms of a policy over the one that made the log, one unit per campaign (`gate.terms`)."""
    users, steps = log.action.shape
    chance = table[jnp.broadcast_to(jnp.arange(steps), (users, steps)), log.here, log.action]
    ratio = jnp.where(log.alive, jnp.log(chance) - log.log_propensity, 0.0)
    paths = Paths(ratio, log.reward, log.alive.astype(jnp.float32), log.alive)

    def one(dose: Array, centre: Centre | None) -> tuple[Array, Array]:
        taken = declared.centring(dose, centre)
        return improvement(paths.dosed(dose), None, declared, taken), declared.bound(dose, centre)

    return Terms(*jax.vmap(one)(doses, centre), jnp.ones(users, bool))
