"""CPU seconds and peak memory of judging a policy, by the number of decisions: `python benchmarks/growth.py`.

Every cell is a process of its own on the processors that this one may use (`taskset -c 0` for one core), without a
cache of programs: a log is made in memory, and one judge is asked twice, compiling included in the first answer, and
then about a log that is 2 % longer. Single decisions, episodes of ten and of a thousand steps; rewards in [0, 1],
logged propensities, five numbers seen. The policy leans to better choices than the logging one, the less the longer
the episodes are, so that weights stay numbers.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import weft

HERE = Path(__file__).resolve().parent
SIZES, ACTIONS = (1_000, 10_000, 100_000, 1_000_000), (3, 34, 50)
LEANS = {1: 1.0, 10: 0.2, 1000: 0.01}  # steps of an episode, and by how much the policy differs from the logging one
SEEN = 5


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities of choices."""
    exponential = np.exp(logits - logits.max(1, keepdims=True))
    return exponential / exponential.sum(1, keepdims=True)


def world(decisions: int, actions: int, steps: int) -> tuple[weft.Dataset, Callable[[np.ndarray], np.ndarray]]:
    """Return a log of so many decisions in episodes of so many steps, and a policy that is better than its own."""
    generator = np.random.default_rng(0)
    slope = generator.normal(size=(SEEN, actions)).astype(np.float32)
    observations = generator.normal(size=(decisions, SEEN)).astype(np.float32)
    chance = softmax(0.5 * observations @ slope)
    edges = chance.cumsum(1)
    action = (edges[:, -1:] * generator.random((decisions, 1)) > edges).sum(1).clip(0, actions - 1)
    rows = np.arange(decisions)
    score = (observations @ slope)[rows, action]
    rewards = (generator.random(decisions) < 1 / (1 + np.exp(1 - score))).astype(np.float32)
    ends = (rows % steps == steps - 1) | (rows == decisions - 1)
    terminals = ends & (steps == 1)  # longer episodes are cut at the horizon
    data = weft.Dataset.from_arrays(
        observations, action, rewards, terminals, ends & ~terminals, chance[rows, action], action_count=actions,
        discount=1.0,
        reward_range=(0.0, 1.0), horizon=steps, origin="growth",
    )  # fmt: skip
    return data, lambda seen: softmax((0.5 + LEANS[steps]) * np.asarray(seen) @ slope)


def peak() -> int:
    """Return the most megabytes that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def asked(judge: str, policy: Any, data: weft.Dataset) -> str:
    """Ask one judge, and return the figures that it gave, in words."""
    if judge == "certify":
        with tempfile.TemporaryDirectory() as ledger:
            decision = weft.certify(policy, data, ledger=ledger)
        return f"{decision.action} {decision.dose} {decision.low} {decision.high} {decision.means[-1]}"
    if judge == "answer":
        answer = weft.answer(policy, data)
        return f"{answer.tier} {answer.value} {answer.low} {answer.high}"
    if judge == "diagnose":
        found = weft.diagnose(policy, data)
        return " ".join(f"{test.name} {test.z} {test.p}" for test in found.tests)
    estimate = weft.estimate(policy, data)
    return f"{estimate.value} {estimate.low} {estimate.high}"


def cell(judge: str, decisions: int, actions: int, steps: int) -> dict[str, Any]:
    """Make a log and ask a judge twice, and once about a log that is a little longer."""
    data, policy = world(decisions, actions, steps)
    before, seconds, told = peak(), [], ""
    for _ in range(2):
        began = time.process_time()
        told = asked(judge, policy, data)
        seconds.append(round(time.process_time() - began, 2))
    figures = {"first": seconds[0], "second": seconds[1], "megabytes": peak(), "log_megabytes": before, "told": told}
    longer, policy = world(decisions + steps * max(1, decisions // steps // 50), actions, steps)
    began = time.process_time()
    asked(judge, policy, longer)
    return figures | {"longer": round(time.process_time() - began, 2)}


def measured(judge: str, decisions: int, actions: int, steps: int, limit: float) -> dict[str, Any]:
    """Run one cell in a process of its own."""
    about = {"judge": judge, "decisions": decisions, "actions": actions, "steps": steps}
    command = [sys.executable, __file__, "--cell", json.dumps([judge, decisions, actions, steps])]
    try:
        done = subprocess.run(
            command, check=False, env={**os.environ, "WEFT_CACHE": "off"}, capture_output=True, text=True, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return about | {"failed": f"not done after {limit:g} s"}
    if done.returncode:
        return about | {"failed": (done.stderr.strip().splitlines() or ["killed"])[-1]}
    return about | json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure the cells that are asked for, smallest logs first, and write them after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--judges", nargs="+", default=["certify", "answer", "diagnose", "estimate"])
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument("--actions", nargs="+", type=int, default=ACTIONS)
    parser.add_argument("--steps", nargs="+", type=int, default=list(LEANS))
    parser.add_argument("--limit", type=float, default=600, help="seconds that a cell may take")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "growth.json")
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.cell:
        print(json.dumps(cell(*json.loads(given.cell))))
        return
    cells = json.loads(given.out.read_text())["cells"] if given.out.exists() else []
    for size in sorted(given.sizes):
        for steps in given.steps:
            for actions in given.actions if steps == 1 else given.actions[:1]:
                for judge in given.judges if size // steps >= 2 else ():
                    one = measured(judge, size, actions, steps, given.limit)
                    print(one, flush=True)
                    same = [one[name] for name in ("judge", "decisions", "actions", "steps")]
                    cells = [c for c in cells if [c[n] for n in ("judge", "decisions", "actions", "steps")] != same]
                    cells.append(one)
                    table = {"processors": len(os.sched_getaffinity(0)), "cells": cells}
                    given.out.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
