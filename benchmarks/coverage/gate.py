"""False deploys and power of the gate: whole train, select, certify runs on worlds whose truth is known.

Nine candidates are learned from the train fold of every log (count models with different pessimism, and imitation of
good episodes); the usual practice and its variants choose and judge among the same nine.
"""

import argparse
import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from families import Cell, World, draw_log, draw_world, spec, truth
from jax import Array

from weft.deployment import dose_test as gate
from weft.evaluation.bounded_terms import Centre, Range
from weft.evaluation.candidate import Candidate
from weft.evaluation.case import Case, mean
from weft.evaluation.estimators.doubly_robust import DoublyRobust
from weft.evaluation.estimators.linear_q import LinearQ
from weft.evaluation.interval import influence, spread
from weft.evaluation.intervals.normal import Normal
from weft.evaluation.intervals.student import Student

RISK = 0.05
DOSES = jnp.asarray(gate.DOSES)
SHARES = (0.4, 0.2, 0.4)
EVEN = 0.1  # share of even choices in every logging policy but the weak one, which makes nothing else


@dataclasses.dataclass(frozen=True)
class Trial:
    """A cell of the gate's table; kind of logging policy: `weak` (an even choice: nobody has optimised it, and nearly
    all candidates are better), `uneven` (random preferences, as likely wrong as right, so what is better is logged more
    rarely), `good` (the best choice nine times in ten: hardly anything is better), `null` (candidates differ from it,
    and pay exactly as much). floor: the least propensity that the log declares."""

    name: str
    cell: Cell
    kind: str
    floor: float | None = None


def trials() -> list[Trial]:
    found, least = [], EVEN / 3
    for n, horizon in ((300, 5), (1000, 5), (300, 10), (1000, 10), (1000, 20), (1000, 30), (1000, 40)):
        found.append(Trial(f"weak {n} x {horizon}", Cell("", n, horizon), "weak", 1 / 3))
    for n, horizon in ((300, 5), (1000, 5), (1000, 10)):
        found.append(Trial(f"weak, no floor declared {n} x {horizon}", Cell("", n, horizon), "weak"))
        found.append(Trial(f"uneven {n} x {horizon}", Cell("", n, horizon), "uneven", least))
    for n, horizon in ((60, 5), (300, 5), (1000, 5), (60, 10), (300, 10)):
        found.append(Trial(f"good {n} x {horizon}", Cell("", n, horizon), "good", least))
    found += [
        Trial("good, privileged 300 x 5", Cell("", 300, 5, observed="privileged"), "good", least),
        Trial("null 300 x 5", Cell("", 300, 5), "null", least),
        Trial("null, no floor declared 300 x 5", Cell("", 300, 5), "null"),
        Trial("null 1000 x 10", Cell("", 1000, 10), "null", least),
        Trial("null, users 500 x 5", Cell("", 500, 5, users=10), "null", least),
        Trial("null, adaptive 500 x 5", Cell("", 500, 5, adaptive=True), "null", least),
        Trial("null, variable 500 x 10", Cell("", 500, 10, stop=0.2), "null", least),
    ]
    return found


def world_of(trial: Trial, key: Array) -> World:
    """Draw a world whose logging policy is weak, uneven, good (close to the best), or one among equals."""
    world, ahead = draw_world(trial.cell, key), 1 - trial.cell.stop
    world = world._replace(logging=(1 - EVEN) * world.logging + EVEN / trial.cell.actions)
    if trial.kind == "null":  # what is done changes nothing: every policy is worth the same
        return world._replace(
            pay=jnp.broadcast_to(world.pay[:, :1], world.pay.shape),
            move=jnp.broadcast_to(world.move[:, :1], world.move.shape),
        )
    if trial.kind == "weak":
        return world._replace(logging=jnp.full_like(world.logging, 1 / trial.cell.actions))
    if trial.kind == "good":
        value = jax.lax.fori_loop(
            0, 30, lambda _, q: world.pay + ahead * world.move @ q.max(1), jnp.zeros(world.pay.shape)
        )
        best = jax.nn.one_hot(value.argmax(1), trial.cell.actions)
        return world._replace(logging=(1 - EVEN) * best + EVEN / trial.cell.actions)
    return world


def learned(cell: Cell, log: Any, train: Array) -> Array:
    """Return nine policies `(candidate, observation, action)` learned from the weighted episodes of a log."""
    size, choices = cell.states, cell.actions
    columns = log.columns
    weight = train[columns.episode]
    here, there = columns.observation[columns.position], columns.observation[columns.successor]
    action = columns.action
    tried = jnp.zeros((size, choices)).at[here, action].add(weight)
    paid = jnp.zeros((size, choices)).at[here, action].add(weight * columns.reward[:, 0])
    going = jnp.where(columns.terminal, 0.0, weight)
    moved = jnp.zeros((size, choices, size)).at[here, action, there].add(going)
    pay, move = paid / jnp.maximum(tried, 1), moved / jnp.maximum(tried, 1)[..., None]
    logging = (tried + 0.1) / (tried + 0.1).sum(1, keepdims=True)

    def plan(pessimism: Array) -> Array:
        penalty = pessimism / jnp.sqrt(jnp.maximum(tried, 0.25))

        def back(_: int, q: Array) -> Array:
            return pay - penalty + move @ q.max(1)

        return jax.lax.fori_loop(0, cell.horizon, back, jnp.zeros((size, choices)))

    values = jax.vmap(plan)(jnp.asarray([0.0, 0.3, 1.0]))
    greedy = jax.nn.one_hot(values.argmax(-1), choices)
    soft = jax.vmap(lambda heat: jax.nn.softmax(jnp.log(logging) + heat * (values[1] - values[1].mean(1)[:, None])))(
        jnp.asarray([0.5, 1.0, 2.0, 4.0])
    )
    kept = jax.vmap(lambda few: _trusting(logging, values[0], tried, few))(jnp.asarray([5.0, 20.0]))
    return jnp.concatenate([greedy, soft, kept])


def _trusting(logging: Array, value: Array, tried: Array, few: Array) -> Array:
    """Move the chance of what was tried often enough to the best of it, keep the rest (SPIBB, Laroche et al. 2019)."""
    often = tried >= few
    best = jax.nn.one_hot(jnp.where(often, value, -jnp.inf).argmax(1), value.shape[1])
    return jnp.where(often, 0.0, logging) + best * jnp.where(often, logging, 0.0).sum(1, keepdims=True)


def asked(cell: Cell, table: Array, columns: Any) -> Candidate:
    """Return a policy by observation as a candidate."""
    probability = table[columns.observation]
    return Candidate(probability, None, jnp.log(probability[columns.position, columns.action]), spec(cell))


@partial(jax.jit, static_argnums=(0, 2))
def run(trial: Trial, key: Array, repeats: int) -> dict[str, Array]:
    """Return, per replication and rule, whether something was deployed, its true improvement, and the gap."""
    cell = trial.cell
    declared = Range(0.0, 1.0, 1.0, cell.horizon, trial.floor)
    known = {"discount": 1.0, "horizon": cell.horizon}

    def one(key: Array) -> dict[str, Array]:
        world_key, log_key, method_key = jax.random.split(key, 3)
        world = world_of(trial, world_key)
        log = draw_log(cell, world, log_key)
        units = -(-cell.episodes // cell.users)
        edges = [round(units * SHARES[0]), round(units * (SHARES[0] + SHARES[1]))]
        unit = log.weighing.unit
        fold = jnp.where(log.weighing.weights > 0, jnp.searchsorted(jnp.asarray(edges), unit, side="right"), 3)
        weighing = [log.weighing.reweighted((fold == k).astype(jnp.float32)) for k in range(3)]
        table = learned(cell, log, weighing[0].weights)
        real = jax.vmap(lambda policy: truth(cell, world, policy[world.code]))
        mean_policy = world.logging
        base = truth(cell, world, mean_policy)
        best = real(jnp.concatenate([table]))
        value = jax.lax.fori_loop(
            0, cell.horizon, lambda _, v: (world.pay + (1 - cell.stop) * world.move @ v).max(1), jnp.zeros(cell.states)
        )
        gap = world.begin @ value - base

        def case(policy: Array, fold: Any) -> Case:
            return Case(asked(cell, policy, log.columns), log.columns, fold, declared).laid_out()

        def terms(case: Case, number: int, centre: Centre) -> gate.Terms:
            """Terms of a fold, without the room of the units of other folds: those of a fold follow one another."""
            found = gate.terms(case, None, DOSES, centre)
            first, last = [0, *edges, units][number : number + 2]
            return gate.Terms(found.values[:, first:last], found.bound, found.there[first:last])

        linear = LinearQ(**known)
        logged = mean(log.returns, weighing[1].weights[:-1])

        def prospect(policy: Array) -> gate.Plan:
            judged = case(policy, weighing[1])
            value, each, count = influence(linear, linear.terms(judged, method_key), weighing[1])
            gain = value - 1.96 * spread(each, count) - logged
            return gate.prospect(
                lambda centre: terms(judged, 1, centre),
                DOSES,
                declared.share(logged),
                gain,
                jnp.float32(units - edges[1]),
                0.0,
                RISK,
                gate.STRAINS if trial.floor else (0.0,),
            )

        plans = jax.lax.map(prospect, table)
        pick = plans.score.argmax()
        chosen, plan = table[pick], jax.tree.map(lambda part: part[pick], plans)
        tested = terms(case(chosen, weighing[2]), 2, plan.centre)
        found = gate.evidence(tested, DOSES, 0.0, RISK, plan=plan)
        mixed = (1 - found.dose) * world.logging + found.dose * chosen[world.code]
        result = {"weft": (found.certified > 0, truth(cell, world, mixed) - base)}

        def judged(method: Any, interval: Any, fold: Any) -> tuple[Array, Array]:
            def one_of(policy: Array) -> tuple[Array, Array]:
                found = interval(method, case(policy, fold), method_key, 0.90)  # one-sided 5 %
                return found.value, found.low

            return jax.lax.map(one_of, table)

        def rule(values: Array, fold: Any) -> tuple[Array, Array]:
            pick = values.argmax()
            logged = (log.returns * fold.weights[:-1]).sum() / fold.weights.sum()
            return values[pick] > logged, best[pick] - base

        everything = log.weighing
        value, low = judged(LinearQ(**known), Normal(), everything)
        result["usual practice: FQE on all data"] = rule(value, everything)
        result["the same with a lower bound"] = rule(low, everything)
        later = log.weighing.reweighted((fold >= 1).astype(jnp.float32) * log.weighing.weights)
        _, low = judged(DoublyRobust(**known), Student(), later)
        result["split, best doubly robust t-bound"] = rule(low, later)
        return {name: jnp.stack([a.astype(jnp.float32), b, gap]) for name, (a, b) in result.items()}

    return jax.lax.map(one, jax.random.split(key, repeats), batch_size=10)


def summary(found: dict[str, Any]) -> dict[str, dict[str, float | None]]:
    """Return deploy rate, false deploys and share of the gap closed for every rule."""
    told = {}
    for name, values in found.items():
        deployed, gain, gap = np.asarray(values, np.float64).T
        told[name] = {
            "deploys": float(deployed.mean()),
            "false_deploys": float(((deployed > 0) & (gain <= 1e-6)).mean()),
            "gap_closed": float((deployed * gain).mean() / gap.mean()) if gap.mean() > 1e-3 else None,
        }
    return told


def main() -> None:
    """Run the trials, print and write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--trials", nargs="*", default=[], help="parts of names; by default all")
    parser.add_argument("--out", default=str(Path(__file__).resolve().parent.parent / "results" / "gate.json"))
    given = parser.parse_args()
    rows = []
    for trial in trials():
        if given.trials and not any(word in trial.name for word in given.trials):
            continue
        told = summary(run(trial, jax.random.key(0), given.repeats))
        rows.append({"name": trial.name, "kind": trial.kind, "rules": told})
        print(json.dumps(rows[-1]), flush=True)
        Path(given.out).write_text(json.dumps({"replications": given.repeats, "trials": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
