"""Which rule finds the best of many policies from a select fold: fitted Q alone, or what `weft.study` does.

    python benchmarks/coverage/selection.py --work FOLDER

Tabular worlds: the nine policies that `gate.learned` makes of the train fold and nine more of its first half, a new
world and log in every replication, truth by dynamic programming. The rest: the trained policies of `logs`, truth by
roll-outs; the select fold and halves of the certify fold are disjoint fifths of a log, asked one by one.

Figures of a rule, per asked fold: regret@1, (best - chosen) / (best - worst) of the candidates; Spearman's rank
correlation; SharpeRatio@k (Kiyohara et al. 2024): (best of the chosen k and the logging policy - the logging policy) /
the standard deviation of these k + 1 true values, so that @1 is 2 where the choice beats the logging policy, else 0.
"""

import argparse
import json
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from families import Cell, draw_log, truth
from gate import RISK, SHARES, Trial, asked, learned, world_of
from jax import Array
from logs import alone, candidates, discounted, task
from scipy.stats import spearmanr

import weft
from weft.data.declarations import declared_discount
from weft.deployment import dose_test as gate
from weft.deployment.certify import missing
from weft.evaluation.bounded_terms import Range
from weft.evaluation.case import Case, case_of
from weft.evaluation.estimators.fitted_q import FittedQ
from weft.evaluation.estimators.linear_q import LinearQ
from weft.evaluation.interval import influence, spread
from weft.evaluation.overlap import unsupported
from weft.evaluation.waves import feature_count

DOSES = jnp.asarray(gate.DOSES)
FOLLOWED = 4  # largest k
FITTING = 3000  # steps of neural fitted Q
RESULTS = Path(__file__).resolve().parents[1] / "results" / "selection.json"
Fold = tuple[np.ndarray, dict[str, np.ndarray], float]  # true values, scores by rule, the logging policy's value
# folds that are asked, and how candidates act: as they draw (their mode has no density on the maze), by their mode, or
# both
WORLDS = {"maze": (2, (False,)), "cartpole": (2, (False,)), "hopper": (1, (True,))}


def trials() -> list[Trial]:
    """Return the tabular cells."""
    return [
        Trial("weak 300 x 5", Cell("", 300, 5), "weak"),
        Trial("weak 1000 x 10", Cell("", 1000, 10), "weak"),
        Trial("uneven 300 x 5", Cell("", 300, 5), "uneven"),
        Trial("good 300 x 5", Cell("", 300, 5), "good"),
    ]


def rate(case: Case, method: LinearQ, base: Array, key: Array) -> tuple[Array, Array]:
    """Return an estimated value, less what was logged, and its standard error."""
    value, each, count = influence(method, method.terms(case, key), case.weighing)
    return value - base, spread(each, count)


def prospect(case: Case, gain: Array, logged: Array, units: Any) -> Array:
    """Return what `weft.study` orders candidates by where propensities are logged and ranges declared."""

    def terms(centre: gate.Centre) -> gate.Terms:
        return gate.terms(case, None, DOSES, centre)

    case, strains = case.laid_out(), (0.0,) if case.range.floor is None else gate.STRAINS
    chance = gate.prospect(terms, DOSES, case.range.share(logged), gain, units, 0.0, RISK, strains).chance
    return jnp.where(gain > 0, gain * jnp.sqrt(chance), gain)


@partial(jax.jit, static_argnums=(0, 2))
def tabular(trial: Trial, key: Array, repeats: int) -> dict[str, Array]:
    """Return, per replication and candidate, the true improvement `real` and every rule's score."""
    cell = trial.cell
    declared, linear = Range(0.0, 1.0, 1.0, cell.horizon), LinearQ(1.0, horizon=cell.horizon)

    def one(key: Array) -> dict[str, Array]:
        world_key, log_key, method_key = jax.random.split(key, 3)
        world = world_of(trial, world_key)
        log = draw_log(cell, world, log_key)
        edges = jnp.asarray([SHARES[0] / 2, SHARES[0], SHARES[0] + SHARES[1]]) * cell.episodes
        number = jnp.arange(cell.episodes + 1)
        weights = log.weighing.weights
        half, train = weights * (number < edges[0]), weights * (number < edges[1])
        fold = log.weighing.reweighted(weights * (number >= edges[1]) * (number < edges[2]))
        table = jnp.concatenate([learned(cell, log, train), learned(cell, log, half)])
        real = jax.vmap(lambda policy: truth(cell, world, policy[world.code]))(table) - truth(
            cell, world, world.logging
        )
        base = (log.returns * fold.weights[:-1]).sum() / fold.weights.sum()

        def scores(policy: Array) -> dict[str, Array]:
            case = Case(asked(cell, policy, log.columns), log.columns, fold, declared)
            gain, error = rate(case, linear, base, method_key)
            low = gain - 1.96 * error
            expected = prospect(case, low, base, cell.episodes - edges[2])
            return {"linear fitted Q": gain, "its lower bound": low, "weft.study": expected}

        return {"real": real} | jax.lax.map(scores, table)

    return jax.lax.map(one, jax.random.split(key, repeats), batch_size=10)


@eqx.filter_jit
def _scores(
    case: Case, methods: tuple[LinearQ, FittedQ], base: Array, units: Array, certifiable: bool
) -> dict[str, Array]:
    linear, neural = methods
    key = jax.random.key(0)
    gain, error = rate(case, linear, base, key)
    low = gain - 1.96 * error
    found = {
        "linear fitted Q": gain,
        "its lower bound": low,
        "neural fitted Q": neural.value(case, key) - base,
        "weft.study": low,
    }
    if certifiable:
        found["weft.study"] = prospect(case, low, base, units)
    return found


def score(policy: Any, data: weft.Dataset, greedy: bool, units: int) -> dict[str, float]:
    """Return every rule's score of a policy on a fold; `weft.study` puts what has no certificate behind what has."""
    case = case_of(policy, data, None, greedy, 8, 0)
    shared: dict[str, Any] = {"discount": declared_discount(data), "horizon": data.spec.horizon}
    shared["features"] = feature_count(data.steps)
    methods = LinearQ(**shared), FittedQ(declared_discount(data), steps=FITTING)
    base = jnp.float32(discounted(data, declared_discount(data)).mean())
    absent = missing(data, case.candidate)
    found = {name: float(part) for name, part in _scores(case, methods, base, jnp.float32(units), not absent).items()}
    if absent and data.store_log_propensities is not None:
        found["weft.study"] -= 1e6
    outside = unsupported(case.candidate, case.columns, data.rows, jax.random.key(0))
    found["lower bound, unsupported last"] = found["its lower bound"] - (1e6 if (outside or 0.0) > 0.2 else 0.0)
    return {rule: value if np.isfinite(value) else -1e30 for rule, value in found.items()}  # no value is the worst


def figures(real: np.ndarray, scores: np.ndarray, base: float) -> dict[str, float]:
    """Return regret@1, rank correlation and SharpeRatio@k of one rule on one fold."""
    order = np.argsort(-scores, kind="stable")
    reach = np.ptp(real)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a constant input has no rank correlation, and counts as none
        correlation = float(np.nan_to_num(spearmanr(real, scores)[0]))
    found = {"regret": float((real.max() - real[order[0]]) / reach) if reach > 0 else 0.0, "correlation": correlation}
    for k in range(1, FOLLOWED + 1):
        chosen = np.append(real[order[:k]], base)
        width = chosen.std()
        found[f"sharpe@{k}"] = float((chosen.max() - base) / width) if width > 1e-9 else 0.0
    return found


def mixed(scores: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the scores with one more rule: the mean rank of fitted Q and of weft's rule."""
    plain = scores.get("neural fitted Q", scores["linear fitted Q"])
    ranks = [np.argsort(np.argsort(part, kind="stable")) for part in (plain, scores["weft.study"])]
    return scores | {"mean rank of fitted Q and weft.study": np.mean(ranks, 0)}


def summary(asked: list[Fold]) -> dict[str, dict[str, float]]:
    """Return the mean figures of every rule over folds."""
    told = {}
    for rule in mixed(asked[0][1]):
        found = [figures(real, mixed(scores)[rule], base) for real, scores, base in asked]
        told[rule] = {name: round(float(np.mean([one[name] for one in found])), 4) for name in found[0]}
        told[rule]["regret_error"] = round(float(np.std([one["regret"] for one in found]) / len(found) ** 0.5), 4)
    return told


def asked_worlds(name: str, work: Path) -> tuple[list[Fold], dict[str, Any]]:
    """Ask folds of a task's log, and say what was asked."""
    count, modes = WORLDS[name]
    world = task(name)
    sealed = weft.seal(world.data)
    trained = candidates(world, sealed.train, work / f"{name}-0", modes)
    acting = [(one, greedy) for one in trained for greedy in modes]
    real = np.array([one.real(greedy)[0] for one, greedy in acting])
    folds, kept = [], []
    for fold in (sealed.select, *sealed.certify.split((0.5, 0.5)))[:count]:
        found = [score(one.policy, alone(fold), greedy, sealed.manifest["units"]["certify"]) for one, greedy in acting]
        scores = {rule: np.array([each[rule] for each in found]) for rule in found[0]}
        folds.append((real, scores, world.base))
        kept.append({rule: part.tolist() for rule, part in scores.items()})
        print(name, {rule: figures(real, part, world.base) for rule, part in scores.items()}, flush=True)
    names = [f"{one.name}, {'mode' if greedy else 'drawn'}" for one, greedy in acting]
    about = {"walks": world.walks, "candidates": len(acting), "better": float((real > world.base).mean())}
    about |= {"logging_policy": world.base, "names": names, "real": real.tolist(), "scores": kept}
    return folds, {"kind": "roll-outs", **about}


def asked_tables(trial: Trial, repeats: int) -> tuple[list[Fold], dict[str, Any]]:
    """Ask the logs of a tabular cell."""
    found = {name: np.asarray(part) for name, part in tabular(trial, jax.random.key(0), repeats).items()}
    real = found.pop("real")
    folds = [(real[i], {name: part[i] for name, part in found.items()}, 0.0) for i in range(repeats)]
    return folds, {"kind": "tabular", "candidates": real.shape[1], "better": float((real > 1e-6).mean())}


def main() -> None:
    """Ask, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, required=True, help="keeps runs and roll-outs, so that a rerun is quick")
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--only", nargs="*", default=[], help="parts of names; by default all")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    results: dict[str, Any] = json.loads(given.out.read_text()) if given.out.exists() else {"tasks": {}}
    results["neural_steps"] = FITTING
    jobs: dict[str, Any] = {trial.name: partial(asked_tables, trial, given.repeats) for trial in trials()}
    jobs |= {name: partial(asked_worlds, name, given.work) for name in WORLDS}
    for name, job in jobs.items():
        if given.only and not any(word in name for word in given.only):
            continue
        begun = time.process_time()
        folds, about = job()
        told = {
            "folds": len(folds),
            "rules": summary(folds),
            "cpu_seconds": round(time.process_time() - begun),
            **about,
        }
        results["tasks"][name] = told
        print(name, json.dumps({key: part for key, part in told.items() if key != "scores"}, indent=1), flush=True)
        given.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
