"""IDQL: an update against IQL's, and acting with 64 samples against its own matrix products.

    taskset -c 1 python benchmarks/idql.py

Batch 256, observation 17, action 6, the methods' own sizes. Times are CPU times of the process, so that whoever else is
on the machine counts less; every figure is a median over turns. The floor of acting computes each product as often as
the policy does, on the same numbers. Writes `benchmarks/results/idql.json`.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from floor import products, products_alone
from speed import machine

import weft
from weft.agents.algorithm import Algorithm
from weft.core import pytree
from weft.data.dataset import Dataset
from weft.data.units import fit_transform
from weft.training import loop as train

HERE = Path(__file__).resolve().parent
ROWS, STATES, SAMPLES = 20_000, 256, 64
Run = Callable[[int], Any]


def synthetic() -> Dataset:
    """Return a log of random numbers."""
    generator = np.random.default_rng(0)
    return Dataset.from_arrays(
        generator.normal(size=(ROWS, 17)).astype(np.float32),
        generator.uniform(-1, 1, (ROWS, 6)).astype(np.float32),
        generator.normal(size=ROWS).astype(np.float32),
        np.zeros(ROWS, bool),
        np.arange(ROWS) % 1000 == 999,
    )


def updating(method: Algorithm, data: Dataset) -> tuple[Run, Run]:
    """Return what takes so many updates, and so many times their products alone."""
    columns = fit_transform(data)(data.device())
    settings, keys = pytree.stack([pytree.as_arrays(method)]), jax.random.split(jax.random.key(0), 1)
    states = train.begin(settings, keys, columns, data.spec, "sequential")
    span = train.Span.of(0, 1, 1_000_000)
    program = train.advance.lower(settings, states, columns, keys, span, "sequential").compile()

    def run(steps: int) -> None:
        nonlocal states
        states, _ = program(settings, states, columns, keys, train.Span.of(0, steps, 1_000_000))
        jax.block_until_ready(states)

    return run, products_alone(products(program.as_text()))


def acting(data: Dataset, states: int, greedy: bool) -> tuple[Run, Run]:
    """Return what chooses an action in every state so many times, and the products of that alone."""
    method = weft.IDQL(samples=SAMPLES)
    state = jax.jit(lambda key: method.init(key, data.spec))(jax.random.key(0))
    seen = jnp.asarray(data.observations[:states])
    act = jax.jit(lambda state, seen, key: method.policy(state).act((), seen, key, greedy)[0])
    program = act.lower(state, seen, jax.random.key(1)).compile()

    def run(times: int) -> None:
        for _ in range(times):
            jax.block_until_ready(program(state, seen, jax.random.key(1)))

    return run, products_alone(products(program.as_text()), shared=True)


def measured(run: Run, floor: Run, steps: int, turns: int) -> dict[str, Any]:
    """Let both take turns; return the milliseconds of one step and of its products, and their ratio."""
    found: dict[str, list[float]] = {"ours": [], "floor": []}
    for turn in range(-1, turns):  # the first is not counted
        for name, one in (("ours", run), ("floor", floor)):
            began = time.process_time()
            one(steps)
            if turn >= 0:
                found[name].append((time.process_time() - began) / steps * 1e3)
    ratio = statistics.median(ours / alone for ours, alone in zip(*found.values(), strict=True))
    middle = {name: round(statistics.median(each), 3) for name, each in found.items()}
    return {"milliseconds": middle, "over_floor": round(ratio, 3), "turns": turns}


def main() -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--out", default=str(HERE / "results" / "idql.json"))
    given = parser.parse_args()
    data = synthetic()
    usable = sorted(os.sched_getaffinity(0))
    results: dict[str, Any] = {"machine": machine() | {"cores_used": len(usable)}, "samples": SAMPLES, "cases": {}}
    cases: dict[str, tuple[Callable[[], tuple[Run, Run]], int]] = {
        "update_iql": (lambda: updating(weft.IQL(), data), 60),
        "update_idql": (lambda: updating(weft.IDQL(), data), 15),
        "act_1_state": (lambda: acting(data, 1, True), 20),
        "act_256_states": (lambda: acting(data, STATES, True), 1),
        "draw_256_states": (lambda: acting(data, STATES, False), 1),
    }
    for name, (make, steps) in cases.items():
        found = results["cases"][name] = measured(*make(), steps, given.turns)
        print(
            f"{name:16s} {found['milliseconds']['ours']:9.2f} ms, {found['over_floor']:.2f} × its products", flush=True
        )
    middle = {name: found["milliseconds"]["ours"] for name, found in results["cases"].items()}
    results["update_over_iql"] = round(middle["update_idql"] / middle["update_iql"], 2)
    Path(given.out).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
