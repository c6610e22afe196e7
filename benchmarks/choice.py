"""How good is the policy that `weft.study` chooses, where its candidates can be run? `python benchmarks/choice.py`

Every cell is a log and a world (those of `defaults.py`; its propensities, where it has some, are hidden, so that no
certificate helps). Candidates are trained on the train fold with small networks and few updates, judged by their mode
on the select fold, and ranked as a study ranks them; the truth is what they score in the world. Regret of a choice:
(best - chosen) / (best - worst) of the candidates. Rules beside it: each score alone, and always the same method.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import defaults
import numpy as np
from scipy.stats import spearmanr

import weft
from weft.agents.algorithm import algorithm
from weft.core.compilation import keep_compiled_programs
from weft.core.errors import UserError
from weft.data.folds import seal
from weft.experiments.advice.plan import BASELINES
from weft.experiments.candidates import Training, with_imitation
from weft.experiments.selection import Judged, Requirement, judge, ranked

HERE = Path(__file__).resolve().parent
CHOICES = ("bc", "filtered_bc", "one_step", "awr", "iql", "cql", "awac", "dqn")
CONTINUOUS = ("bc", "filtered_bc", "one_step", "iql", "td3_bc", "rebrac", "awac", "crr")
STEPS, HOPPER = 2500, 5000
REPLAY = HERE.parents[1] / "shared" / "data" / "d4rl" / "hopper_medium_replay.hdf5"


def hopper() -> defaults.Problem:
    """Return the replay log of Hopper."""
    return defaults.Problem(weft.load(REPLAY), HOPPER, defaults.rolled("Hopper-v5", 10))


CELLS = {
    "notifications": defaults.messages,
    "maze": defaults.maze,
    "pendulum": defaults.pendulum,
    "cartpole": defaults.cartpole,
    "catch": defaults.catch,
    "hopper": hopper,
}


def judged(problem: defaults.Problem, seed: int, steps: int) -> list[Judged]:
    """Train candidates on the train fold, whose units a seed draws, and judge them by their mode on the select fold."""
    data = dataclasses.replace(problem.data, store_log_propensities=None)
    folds = seal(data, seed=seed)
    names = CHOICES if data.spec.discrete else CONTINUOUS
    methods: dict[str, Any] = {}
    for name in (name for name in names if name not in BASELINES):
        method = defaults.small(algorithm(name))
        try:
            method.check(folds.train.spec)
        except UserError as problem_:
            print(f"{name} is left out: {problem_}")
            continue
        methods[name] = [method]
    others, _ = with_imitation({}, folds.train, None)
    for name, (method,) in others.items():
        sizes = {part: size for part, size in defaults.SIZES.items() if part == "hidden"}
        methods[name] = [dataclasses.replace(method, **sizes)]
    training = Training(steps, [seed], {})
    runs = {name: training.fit(settings, folds.train, None) for name, settings in methods.items()}
    return [one for one in judge(runs, folds, Requirement(), 0) if not one.row.drawn]


def cell(name: str, seed: int) -> dict[str, Any]:
    """Return the rows of a cell in the order of the study, each with its true score."""
    begun = time.process_time()
    problem = CELLS[name]()
    steps = HOPPER if name == "hopper" else STEPS
    order, why = ranked(judged(problem, seed, steps))
    rows = []
    for one in order:
        assert one.row.drawn is not None
        rows.append({
            "name": one.row.algorithm, "drawn": one.row.drawn, "low": one.row.low, "value": one.row.value,
            "advantage": one.row.advantage, "unsupported": one.row.unsupported, "sound": one.row.sound,
            "possible": one.row.possible, "true": problem.score(one.policy),
        })  # fmt: skip
    return {
        "cell": name, "seed": seed, "steps": steps, "rows": rows, "why": why, "logged": order[0].row.logged,
        "cpu_seconds": round(time.process_time() - begun),
    }  # fmt: skip


def regret(rows: list[dict[str, Any]], chosen: dict[str, Any]) -> float:
    """Return what a choice leaves, as a share of what lies between the worst candidate and the best."""
    true = [row["true"] for row in rows]
    reach = max(true) - min(true)
    return (max(true) - chosen["true"]) / reach if reach > 0 else 0.0


def rules(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return the regret of every rule in a cell; the study's choice comes first in `rows`."""
    told = {"weft.study": regret(rows, rows[0])}
    for score in ("low", "value", "advantage"):
        told[f"largest {score}"] = regret(rows, max(rows, key=lambda row: row[score]))
    for name in sorted({row["name"] for row in rows}):
        told[f"always {name}"] = regret(rows, next(row for row in rows if row["name"] == name))
    return told


def summary(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Return mean regrets by rule, and mean rank correlations of the scores with the truth."""
    each = [rules(one["rows"]) for one in cells]
    everywhere = [name for name in each[0] if all(name in told for told in each)]
    correlation = {
        score: float(np.mean([_correlation(one["rows"], score) for one in cells])) for score in ("low", "advantage")
    }
    means = {name: float(np.mean([told[name] for told in each])) for name in everywhere}
    return {"regret": means, "correlation": correlation, "cells": len(cells)}


def _correlation(rows: list[dict[str, Any]], score: str) -> float:
    true, said = ([row[name] for row in rows] for name in ("true", score))
    return 0.0 if len(set(true)) < 2 else float(np.nan_to_num(spearmanr(true, said)[0]))


def main() -> None:
    """Run the cells that are asked for, and write them after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("cells", nargs="*", default=list(CELLS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--out", type=Path, default=HERE / "results" / "choice.json")
    asked = parser.parse_args()
    keep_compiled_programs()
    for name in asked.cells:
        for seed in asked.seeds:
            one = cell(name, seed)
            table = json.loads(asked.out.read_text()) if asked.out.exists() else {"cells": []}
            others = [old for old in table["cells"] if (old["cell"], old["seed"]) != (name, seed)]
            cells = sorted([*others, one], key=lambda each: (each["cell"], each["seed"]))
            asked.out.write_text(json.dumps({"summary": summary(cells), "cells": cells}, indent=1) + "\n")
            print(name, seed, {rule: round(value, 3) for rule, value in rules(one["rows"]).items()}, flush=True)


if __name__ == "__main__":
    main()
