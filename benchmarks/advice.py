"""Hold the order of `weft.advise` against every table of methods at their defaults.

    python benchmarks/advice.py                    # measure the logs (minutes: CartPole's is made by training), judge
    python benchmarks/advice.py --train            # first train on Minari's Hopper log, whose table no other file has
    python benchmarks/advice.py --show             # print what the results hold, and the tables for advice/evidence.py

For every log: its situation, the rank correlation of the order with the methods' scores, and the regret of the first
line as a share of the way from the worst method to the best; by the rules alone, by rules and tables without the log's
own table (this is what counts), and by all tables. Scores are those of `defaults.json` and `hopper_defaults.json`.
"""

import argparse
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from defaults import PROBLEMS, small
from scipy.stats import spearmanr

import weft
from weft.agents.algorithm import algorithms
from weft.data.dataset import Dataset
from weft.experiments.advice.evidence import EVIDENCE, Table
from weft.experiments.advice.measurement import Measurement, measure
from weft.experiments.advice.recommendation import rank, traits
from weft.experiments.advice.situations import situation

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SHARED = ROOT.parent / "shared" / "data"
OUT = RESULTS / "advice.json"
MINARI = ("filtered_bc", "bc", "iql", "crr", "awac", "td3_bc", "rebrac")
UPDATES, SEEDS, EPISODES = 10_000, 3, 15


def hopper() -> Dataset:
    return weft.load(SHARED / "d4rl" / "hopper_medium_replay.hdf5")


def minari() -> Dataset:
    os.environ["MINARI_DATASETS_PATH"] = str(SHARED / "minari")
    return weft.load("minari:hopper/medium-v0")


LOGS: dict[str, Callable[[], Dataset]] = {
    **{name: (lambda problem=problem: problem().data) for name, problem in PROBLEMS.items()},
    "hopper": hopper,
    "minari": minari,
}


def scores(results: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return the mean score of every method that can be advised, by log."""
    read = {name: json.loads((RESULTS / f"{name}.json").read_text()) for name in ("defaults", "hopper_defaults")}
    tables = {
        log: {method: float(np.mean(row["scores"])) for method, row in rows.items()}
        for log, rows in {**read["defaults"], "minari": results.get("minari", {})}.items()
    }
    tables["hopper"] = {name: row["mean"] for name, row in read["hopper_defaults"]["methods"].items()}
    held = {name for name, kind in algorithms().items() if "reckless" not in traits(kind)}
    return {log: {name: rows[name] for name in sorted(held & rows.keys())} for log, rows in tables.items() if rows}


def shares(rows: Mapping[str, float]) -> dict[str, float]:
    """Return scores as shares of the way from the worst to the best."""
    low, high = min(rows.values()), max(rows.values())
    return {name: round((score - low) / (high - low), 2) for name, score in rows.items()}


def judged(measured: Measurement, rows: Mapping[str, float], tables: Mapping[str, Table]) -> dict[str, Any]:
    """Return the rank correlation of an order with scores, and the regret of its first line that has a score."""
    order = [each.algorithm for each in rank(measured, tables=tables) if each.algorithm in rows]
    share = shares(rows)
    correlation = spearmanr([-place for place in range(len(order))], [rows[name] for name in order]).statistic
    return {"first": order[0], "correlation": round(float(correlation), 2), "regret": round(1 - share[order[0]], 2)}


def regret_of(method: str, rows: Mapping[str, float]) -> float | None:
    """Return how far a method is from the best; None where it was not measured."""
    return round(1 - rows[method], 2) if method in rows else None


def train() -> dict[str, Any]:
    """Train on Minari's Hopper log, networks of 64 × 64, and play greedily in Hopper-v5."""
    data, rows = minari(), {}
    for name in MINARI:
        run = weft.fit(small(algorithms()[name]), data, UPDATES, SEEDS, progress=False)
        played = [
            weft.collect(run.policy(place), "Hopper-v5", episodes=EPISODES, seed=1000, greedy=True).returns.mean()
            for place in range(SEEDS)
        ]
        rows[name] = {"scores": [round(float(score), 1) for score in played]}
        print(name, np.round(played), flush=True)
    return rows


def judge(results: dict[str, Any]) -> None:
    """Measure every log that there is, and judge the order on it."""
    tables = scores(results)
    cases = {}
    for log, make in LOGS.items():
        if log not in tables:
            continue
        try:
            cases[log] = measure(make())
        except (ImportError, OSError, weft.UserError) as missing:
            print(f"{log}: left out ({missing})", flush=True)
    every = {
        log: Table(situation(measured).name, measured.kind, shares(tables[log])) for log, measured in cases.items()
    }
    results["logs"] = {
        log: {
            "situation": every[log].situation,
            "kind": measured.kind,
            "methods": len(tables[log]),
            "rules": judged(measured, tables[log], {}),
            "left out": judged(measured, tables[log], {name: row for name, row in every.items() if name != log}),
            "all": judged(measured, tables[log], every),
            "filtered_bc": regret_of("filtered_bc", every[log].shares),
        }
        for log, measured in cases.items()
    }


def show(results: Mapping[str, Any]) -> None:
    """Print the judgements, and the tables as `advice/evidence.py` holds them."""
    for log, row in results["logs"].items():
        words = "  ".join(
            f"{how}: {row[how]['first']} {row[how]['correlation']:.2f} {row[how]['regret']:.2f}"
            for how in ("rules", "left out", "all")
        )
        print(f"{log:14s} {row['situation']:11s} {words}")
    rows = results["logs"].values()
    for how in ("rules", "left out", "all"):
        means = [np.mean([row[how][figure] for row in rows]) for figure in ("correlation", "regret")]
        print(f"{how}: mean correlation {means[0]:.2f}, mean regret {means[1]:.2f}")
    tables = scores(results)
    for log, row in results["logs"].items():
        table = Table(row["situation"], row["kind"], shares(tables[log]))
        print(f'    "{log}": {table},' + ("" if EVIDENCE.get(log) == table else "  # new"))


def main() -> None:
    """Train where asked, judge, write, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--show", action="store_true")
    how = parser.parse_args()
    results = json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else {}
    if how.train:
        results["minari"] = train()
    if not how.show:
        judge(results)
        OUT.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    show(results)


if __name__ == "__main__":
    main()
