"""The coverage suite: how often issued intervals hold, cell by cell, against exact truth.

    make coverage                                   # all cells, 2000 replications each
    python benchmarks/coverage/run.py --repeats 200 --cells markov

A cell fails when an exact one-sided binomial test, Holm-corrected over all cells at .05, rejects coverage >= .93 of
the issued intervals (or a lower-miss rate <= .025 where tier 1 was issued), or a point estimate is below .92. Cells
without overlap must abstain in 95 % of their replications. The positive control is running the judged policy; the
negative control is the bootstrap of one fitted V over first observations, which the suite has to flag.
"""

import argparse
import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from families import CELLS, Cell, case, draw_log, draw_world, efficiency_bound, truth
from holm import rejected
from scipy.stats import binom

from weft.evaluation.case import mean
from weft.evaluation.estimators.linear_q import LinearQ
from weft.evaluation.interval_rule import issue
from weft.evaluation.linear_q import solve

HERE = Path(__file__).resolve().parent
LEVEL = 0.95


@partial(jax.jit, static_argnums=(0, 2))
def replicate(cell: Cell, key: Any, repeats: int) -> dict[str, Any]:
    """Return, per replication, what was issued and what the controls said, less the truth."""

    def one(key: Any) -> dict[str, Any]:
        world_key, log_key, run_key, issue_key = jax.random.split(key, 4)
        world = draw_world(cell, world_key)
        true = truth(cell, world, world.judged)
        log = draw_log(cell, world, log_key)
        judged = case(cell, world, log)
        found = issue(judged, issue_key, LEVEL)
        ran = draw_log(cell, world, run_key, world.judged)
        per_user = ran.returns.reshape(-1, cell.users).mean(1)
        reach = 1.96 * per_user.std(ddof=1) / jnp.sqrt(len(per_user))
        method = LinearQ(cell.discount, horizon=cell.horizon)
        terms = method.terms(judged, issue_key)
        starts = log.weighing.starts
        theta = solve(terms.weighted(starts), mean(terms.first, starts), cell.horizon, method.ridge).theta[-1]
        first = terms.first[:-1] @ theta
        slip = 1.96 * first.std(ddof=1) / jnp.sqrt(len(first))
        return {
            "tier": found.tier,
            "low": found.low - true,
            "high": found.high - true,
            "effective": found.effective,
            "run": jnp.stack([per_user.mean() - reach - true, per_user.mean() + reach - true]),
            "naive": jnp.stack([first.mean() - slip - true, first.mean() + slip - true]),
            "reach": reach,
            "bound": 1.96 * efficiency_bound(cell, world),
            "tests": jnp.stack([found.agreement, found.bellman, found.memory, found.behaviour]),
        }

    return jax.lax.map(one, jax.random.split(key, repeats), batch_size=10)


def judge(cell: Cell, found: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return a cell's figures."""
    issued = found["tier"] < 3
    low, high = found["low"][issued], found["high"][issued]
    tier1, tier2 = (found["tier"] == number for number in (1, 2))
    covered = (low <= 0) & (high >= 0)
    two = tier2 if tier2.any() else issued
    half = (found["high"] - found["low"]) / 2
    return {
        "cell": cell.name,
        "replications": len(issued),
        "identified": cell.identified,
        "overlap": cell.overlap,
        "issued": int(issued.sum()),
        "abstained": round(1 - issued.mean(), 4),
        "tier_1": int(tier1.sum()),
        "tier_2": int(tier2.sum()),
        "covered": int(covered.sum()),
        "coverage": round(float(covered.mean()), 4) if issued.any() else None,
        "coverage_tier_2": _share(found, tier2),
        "coverage_tier_1": _share(found, tier1),
        "too_high": round(float((low > 0).mean()), 4) if issued.any() else None,
        "too_high_tier_1": int((found["low"][tier1] > 0).sum()),
        "too_low": round(float((high < 0).mean()), 4) if issued.any() else None,
        "half_width_over_run": _median(half, found["reach"], two),
        "half_width_over_bound": _median(half, found["bound"], two) if cell.observed == "state" else None,
        "effective": round(float(np.median(found["effective"])), 1),
        "run_coverage": round(float(((found["run"][:, 0] <= 0) & (found["run"][:, 1] >= 0)).mean()), 4),
        "naive_coverage": round(float(((found["naive"][:, 0] <= 0) & (found["naive"][:, 1] >= 0)).mean()), 4),
    }


def _share(found: dict[str, np.ndarray], where: np.ndarray) -> float | None:
    if not where.any():
        return None
    return round(float(((found["low"][where] <= 0) & (found["high"][where] >= 0)).mean()), 4)


def _median(half: np.ndarray, unit: np.ndarray, where: np.ndarray) -> float | None:
    return round(float(np.median((half / np.maximum(unit, 1e-9))[where])), 2) if where.any() else None


def verdicts(rows: list[dict[str, Any]]) -> list[str]:
    """Return why the suite fails: an exact test per cell, Holm-corrected over all of them."""
    tests = []
    for row in rows:
        if not row["overlap"]:
            continue
        if row["issued"]:
            p = float(binom.cdf(row["covered"], row["issued"], 0.93))
            tests.append((p, f"{row['cell']}: {row['coverage']:.3f} of {row['issued']} issued intervals hold"))
        if row["tier_1"]:
            p = float(binom.sf(row["too_high_tier_1"] - 1, row["tier_1"], 0.025))
            tests.append(
                (p, f"{row['cell']}: {row['too_high_tier_1']} of {row['tier_1']} certified bounds are too high")
            )
    failed = [*rejected(tests)]
    failed += [
        f"{row['cell']}: coverage {row['coverage']:.3f} is below .92"
        for row in rows
        if row["overlap"] and row["coverage"] is not None and row["coverage"] < 0.92
    ]
    failed += [
        f"{row['cell']}: issued in {1 - row['abstained']:.3f} of the replications, without overlap"
        for row in rows
        if not row["overlap"] and row["abstained"] < 0.95
    ]
    return failed


def main() -> None:
    """Run the suite, print and write it; the exit status is 1 if a cell fails or a control is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--cells", nargs="*", default=[], help="parts of names; by default all")
    parser.add_argument("--out", default=str(HERE.parent / "results" / "coverage.json"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="keep the cells that the results already hold")
    parser.add_argument("--every", type=int, default=1, help="every so manieth cell first, then those after them")
    parser.add_argument("--minutes", type=float, default=np.inf, help="begin no cell after so many CPU minutes")
    given = parser.parse_args()
    written = Path(given.out)
    before = json.loads(written.read_text()) if given.resume and written.exists() else {"cells": [], "cpu_seconds": 0}
    kept = {row["cell"]: row for row in before["cells"] if row["replications"] == given.repeats}
    rows = list(kept.values())
    order = {cell.name: place for place, cell in enumerate(CELLS)}
    began = time.process_time() - before["cpu_seconds"]
    for cell in (cell for first in range(given.every) for cell in CELLS[first :: given.every]):
        if cell.name in kept or time.process_time() - began > 60 * given.minutes:
            continue
        if given.cells and not any(word in cell.name for word in given.cells):
            continue
        drawn = replicate(cell, jax.random.key(given.seed), given.repeats)
        rows.append(judge(cell, {name: np.asarray(part) for name, part in drawn.items()}))
        print(json.dumps(rows[-1]), flush=True)
        rows.sort(key=lambda row: order[row["cell"]])
        told = summary(rows, given.repeats, time.process_time() - began)
        written.write_text(json.dumps(told, indent=1) + "\n")  # after every cell: it is a long run
    told = summary(rows, given.repeats, time.process_time() - began)
    print("\n".join(told["failed"]) or "every cell passes")
    sys.exit(1 if told["failed"] or told["negative_control_flagged_in"].startswith("0 ") else 0)


def summary(rows: list[dict[str, Any]], repeats: int, seconds: float) -> dict[str, Any]:
    """Return what is written: all cells, what failed, and how often the controls and abstention spoke."""
    identified = [row["abstained"] for row in rows if row["identified"]]
    flagged = sum(row["naive_coverage"] < 0.9 for row in rows)
    return {
        "replications": repeats,
        "cpu_seconds": round(seconds),
        "mean_abstention_identified": round(float(np.mean(identified)), 4) if identified else None,
        "failed": verdicts(rows),
        "negative_control_flagged_in": f"{flagged} of {len(rows)} cells",
        "left": [cell.name for cell in CELLS if all(row["cell"] != cell.name for row in rows)],
        "cells": rows,
    }


if __name__ == "__main__":
    main()
