"""The second edition of the coverage suite: cells that a seed draws from a grid, most of which nobody has tuned on.

    python benchmarks/coverage/second.py --drawn COMMIT       # 24 cells drawn by the hash of a commit: those reported
    python benchmarks/coverage/second.py --developed          # the cells that were looked at while developing
    python benchmarks/coverage/second.py --developed --cells rare --repeats 400  # some of them

The grid crosses what a log looks like (codes or numbers, 2 to 50 actions, eight laws of rewards, lengths, units, how
the logging policy changed) with its size and with how far the judged policy departs. An interval that is wider than
half the range of returns, or than three times the doubly robust interval with the true values and propensities, counts
as an abstention. Cells are drawn by a seed from the hash of the last commit of code: nobody could try them before.
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import oracle
from families import Cell, case, draw_log, draw_world, truth
from holm import rejected
from rewards import LAWS
from scipy.stats import binom

from weft.evaluation.interval_rule import issue

RESULTS = Path(__file__).resolve().parent.parent / "results"
LEVEL, WIDE = 0.95, 3.0
DRAWN = 24


def developed() -> list[Cell]:
    """Return the cells that were looked at while the rule was made."""
    cells = [Cell(f"{law} {size} x 1", size, 1, 0.5, rewards=law) for law in LAWS for size in (300, 1000)]
    cells += [Cell(f"{law} 500 x 5", 500, 5, 0.3, rewards=law) for law in LAWS]
    return [
        *cells,
        Cell("numbers 500 x 5", 500, 5, numbers=4),
        Cell("numbers 500 x 20", 500, 20, numbers=4),
        Cell("20 actions 1000 x 1", 1000, 1, actions=20),
        Cell("50 actions 3000 x 1", 3000, 1, actions=50),
        Cell("20 actions 500 x 5", 500, 5, actions=20),
        Cell("unequal units 500 x 5", 500, 5, unequal=True),
        Cell("unequal units, rare loss 1000 x 1", 1000, 1, unequal=True, rewards="rare loss"),
        Cell("drifting 500 x 5", 500, 5, drifting=True),
        Cell("variable, zero inflated 500 x 20", 500, 20, stop=0.2, rewards="zero inflated"),
    ]


def drawn(commit: str) -> list[Cell]:
    """Draw cells from the grid, none of them among those that were looked at."""
    pick, cells = picker(commit), []
    while len(cells) < DRAWN:
        cell = drawn_cell(pick, (200, 500, 1000, 2000))
        if affordable(cell):
            cells.append(dataclasses.replace(cell, name=told(cell)))
    return cells


def picker(commit: str) -> Callable[..., Any]:
    """Return a function that picks one of its arguments, by a seed from the hash of a commit."""
    generator = np.random.default_rng(int(commit[:12], 16))
    return lambda *choices: choices[generator.integers(len(choices))]


def drawn_cell(pick: Callable[..., Any], sizes: tuple[int, ...]) -> Cell:
    """Draw a cell of the grid, without a name."""
    horizon, size = pick(1, 1, 3, 10, 30), int(pick(*sizes))
    change = pick("fixed", "fixed", "adaptive", "drifting")
    return Cell(
        "", size, horizon, pick(0.2, 0.5, 0.9), actions=pick(2, 3, 8, 20, 50), numbers=pick(0, 0, 4),
        rewards=pick(*LAWS), stop=0.0 if horizon == 1 else pick(0.0, 0.1), unequal=pick(False, False, True),
        adaptive=change == "adaptive", drifting=change == "drifting",
    )  # fmt: skip


def work(cell: Cell) -> int:
    """Return what a log of a cell costs, in chances of choices."""
    return cell.episodes * cell.horizon * cell.actions


def affordable(cell: Cell) -> bool:
    """Say whether a machine of two cores can repeat a cell 2,000 times."""
    return work(cell) <= 500_000


def arguments(about: str | None, repeats: int, out: Path | None) -> argparse.ArgumentParser:
    """Return the options that every suite of cells has; about: its docstring."""
    parser = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    parser.add_argument("--cells", nargs="*", default=[], help="parts of names; by default all")
    parser.add_argument("--repeats", type=int, default=repeats)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--resume", action="store_true", help="keep the cells that the results already hold")
    parser.add_argument("--out", type=Path, default=out)
    return parser


def results_so_far(out: Path, resume: bool) -> dict[str, Any]:
    """Return what a suite has written, where it is to go on, else the beginning."""
    return json.loads(out.read_text(encoding="utf-8")) if resume and out.exists() else {"cells": [], "cpu_seconds": 0}


def told(cell: Cell) -> str:
    """Name a cell by what is in it."""
    words = [cell.rewards, f"{cell.actions} actions", f"{cell.episodes} x {cell.horizon}", f"{cell.delta:g} away"]
    words += [word for word, there in (("numbers", cell.numbers), ("variable", cell.stop), ("unequal", cell.unequal),
              ("adaptive", cell.adaptive), ("drifting", cell.drifting)) if there]  # fmt: skip
    return ", ".join(words)


@partial(jax.jit, static_argnums=(0, 2))
def replicate(cell: Cell, key: Any, repeats: int) -> dict[str, Any]:
    """Return, per replication, what was issued less the truth, and the yardstick."""

    def one(key: Any) -> dict[str, Any]:
        world_key, log_key, issue_key = jax.random.split(key, 3)
        world = draw_world(cell, world_key)
        true, log = truth(cell, world, world.judged), draw_log(cell, world, log_key)
        issued = issue(case(cell, world, log), issue_key, LEVEL)
        return {
            "tier": issued.tier,
            "low": issued.low - true,
            "high": issued.high - true,
            "reach": oracle.reach(cell, world, log),
            "effective": issued.effective,
            "tests": issued.passed,
        }

    return jax.lax.map(one, jax.random.split(key, repeats), batch_size=10)


def judge(cell: Cell, figures: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return a cell's figures."""
    low, high, tier = figures["low"], figures["high"], figures["tier"]
    half = (high - low) / 2
    wide = half > WIDE * figures["reach"]
    issued = tier < 3
    covered = issued & (low <= 0) & (high >= 0)

    def rate(part: np.ndarray, whole: np.ndarray) -> float | None:
        return round(float((part & whole).sum() / whole.sum()), 4) if whole.any() else None

    return {
        "cell": cell.name,
        "replications": len(tier),
        "issued": int(issued.sum()),
        "covered": int(covered.sum()),
        "coverage": rate(covered, issued),
        "coverage_tier_1": rate(covered, tier == 1),
        "coverage_tier_2": rate(covered, tier == 2),
        "tier_2": int((tier == 2).sum()),
        "too_high": rate(low > 0, issued),
        "too_low": rate(high < 0, issued),
        "abstained": round(float((~issued | wide).mean()), 4),
        "refused": round(float((~issued).mean()), 4),
        "tests_passed": round(float(figures["tests"].mean()), 4),
        "half_width_over_oracle": round(float(np.median((half / figures["reach"])[issued])), 2)
        if issued.any()
        else None,
        "effective": round(float(np.median(figures["effective"])), 1),
    }


def verdicts(rows: list[dict[str, Any]]) -> list[str]:
    """Return why the suite fails: an exact test of coverage >= .93 per cell, Holm-corrected, and points below .92."""
    asked = [row for row in rows if row["issued"]]
    tests = []
    for row in asked:
        p = float(binom.cdf(row["covered"], row["issued"], 0.93))
        tests.append((p, f"{row['cell']}: coverage of at least .93 is rejected (p = {p:.1g})"))
    low = [f"{row['cell']}: coverage {row['coverage']:.3f} is below .92" for row in asked if row["coverage"] < 0.92]
    return [*rejected(tests), *low]


def main() -> None:
    """Run the cells, print and write them."""
    parser = arguments(__doc__, 2000, None)
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--drawn", metavar="COMMIT", help="the commit whose hash draws the cells")
    group.add_argument("--developed", action="store_true")
    parser.add_argument("--list", action="store_true", help="name the cells and stop")
    how = parser.parse_args()
    cells = developed() if how.developed else drawn(how.drawn)
    cells = [cell for cell in cells if not how.cells or any(word in cell.name for word in how.cells)]
    cells.sort(key=work)  # a long run may have to be stopped
    if how.list:
        print("\n".join(cell.name for cell in cells))
        return
    out = how.out or RESULTS / ("coverage_developed.json" if how.developed else "coverage_drawn.json")
    before = results_so_far(out, how.resume)
    rows, began = before["cells"], time.process_time() - before["cpu_seconds"]
    for cell in cells:
        if any(row["cell"] == cell.name for row in rows):
            continue
        figures = replicate(cell, jax.random.key(how.seed), how.repeats)
        rows.append(judge(cell, {name: np.asarray(part) for name, part in figures.items()}))
        print(json.dumps(rows[-1]), flush=True)
        summary = {"commit": how.drawn, "replications": how.repeats, "cpu_seconds": round(time.process_time() - began),
                   "failed": verdicts(rows), "cells": rows,
                   "left": [one.name for one in cells if all(row["cell"] != one.name for row in rows)]}  # fmt: skip
        out.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")  # after every cell: it is a long run
    print("\n".join(verdicts(rows)) or "every cell passes")


if __name__ == "__main__":
    main()
