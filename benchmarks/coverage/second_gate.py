"""The second edition of the gate's suite: how often the first tier deploys what is no better, in drawn worlds.

    python benchmarks/coverage/second_gate.py --drawn COMMIT [--resume]

Worlds and logs are those of the second edition of the coverage suite. The policy put to the test departs from the
logging policy and is worth exactly as much, or less; `weft.deployment.dose_test.certificate` is asked as `weft.certify`
asks it by default. A deploy is false where the deployed dose is no better than what made the log (in a log that
drifted: than its parts on average). Beside it the whole policy alone, as with doses=(1.0,), and a control: how often
the best policy as far away is deployed. Cells are drawn by the hash of the last commit of code.
"""

import dataclasses
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from families import Cell, World, case, draw_log, draw_world, truth
from jax import Array
from scipy.stats import beta
from second import affordable, arguments, drawn_cell, picker, results_so_far, told, work

from weft.deployment.dose_test import DOSES, certificate
from weft.evaluation.bounded_terms import Range

RESULTS = Path(__file__).resolve().parent.parent / "results" / "gate_drawn.json"
DRAWN, RISK = 24, 0.05
POINT, LIMIT = 0.05, 0.07  # of false deploys: the share, and its one-sided 95 % upper limit
TIED = 1e-5  # of the range of returns: an improvement that 32 bits may make up
QUICK = "unsafe_rbg"  # random numbers that compile in a second; those by default take half a minute a cell


@dataclasses.dataclass(frozen=True)
class Null:
    """A cell of the suite. kind: `balanced` (a mixture of a better and a worse policy with exactly the logging policy's
    value: smaller doses may be better or worse), `level` (choices pay differently but lead to the same, and in every
    state the policy earns what the logging policy does, so every dose is worth exactly as much), `equal` (what is done
    changes nothing), `worse` (the policy moves to the worst). floor: the log declares the least propensity."""

    kind: str
    cell: Cell
    floor: bool

    @property
    def name(self) -> str:
        """The cell in words."""
        return f"{self.kind}: {told(self.cell)}{', floor' if self.floor else ''}"


def drawn(commit: str) -> list[Null]:
    """Draw cells from the grid; in an adaptive log, whose parts nobody knows beforehand, all policies are equal."""
    pick, cells = picker(commit), []
    while len(cells) < DRAWN:
        cell = drawn_cell(pick, (100, 200, 500, 1000, 2000))
        kind, floor = pick("balanced", "balanced", "level", "worse"), pick(False, True)
        if kind == "level" and (cell.drifting or cell.actions == 2):
            kind = "balanced"  # parts of a log earn differently; of two choices only one mixture earns the same
        if affordable(cell):
            cells.append(Null("equal" if cell.adaptive else kind, cell, floor))
    return cells


def world_of(null: Null, key: Array) -> tuple[World, Array]:
    """Draw a world whose judged policy is what the null says, and the best policy that departs as far."""
    cell, kind = null.cell, null.kind
    world = draw_world(cell, key)
    if kind in ("level", "equal"):
        world = world._replace(move=jnp.broadcast_to(world.move[:, :1], world.move.shape))
    if kind == "equal":  # the judged policy still departs, and none is better
        return world._replace(pay=jnp.broadcast_to(world.pay[:, :1], world.pay.shape)), world.judged
    best, worst = _greedy(cell, world, jnp.max), _greedy(cell, world, jnp.min)

    def moved(share: Array | float) -> Array:
        """Return the policy that departs to the best one with this share, by state or in all, to the worst else."""
        return (1 - cell.delta) * world.logging + cell.delta * (share * best + (1 - share) * worst)

    if kind == "worse":
        return world._replace(judged=moved(0.0)), moved(1.0)
    if kind == "level":
        high, low = (best * world.pay).sum(1), (worst * world.pay).sum(1)
        share = ((world.logging * world.pay).sum(1) - low) / jnp.maximum(high - low, 1e-9)
        return world._replace(judged=moved(share[:, None])), moved(1.0)
    base = jax.vmap(lambda policy: truth(cell, world, policy))(parts(cell, world)).mean()

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        below = truth(cell, world, moved(middle)) < base
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    low, _ = jax.lax.fori_loop(0, 24, halve, (jnp.zeros(()), jnp.ones(())))
    return world._replace(judged=moved(low)), moved(1.0)


def _greedy(cell: Cell, world: World, extreme: Any) -> Array:
    """Return the policy `[s, a]` that takes the best choice (`jnp.max`) or the worst (`jnp.min`) in every state."""
    ahead = cell.discount * (1 - cell.stop)
    value = jax.lax.fori_loop(
        0, cell.horizon, lambda _, value: world.pay + ahead * world.move @ extreme(value, axis=1),
        jnp.zeros(world.pay.shape),
    )  # fmt: skip
    place = value.argmax(1) if extreme is jnp.max else value.argmin(1)
    return jax.nn.one_hot(place, cell.actions)


def parts(cell: Cell, world: World) -> Array:
    """Return the logging policies `(part, s, a)` of a log that does not adapt, each of which made as much of it."""
    if not cell.drifting:
        return world.logging[None]
    share = jnp.linspace(0, 1, 10)[:, None, None]  # as `families.draw_log` has it
    return (1 - share) * world.logging + share * world.later


@partial(jax.jit, static_argnums=(0, 2))
def replicate(null: Null, key: Any, repeats: int) -> dict[str, Any]:
    """Return, per replication and policy (the null's, the best), what was deployed and what it truly gains, by the
    doses in order and as a whole."""
    cell, doses = null.cell, jnp.asarray(DOSES)

    def one(key: Any) -> dict[str, Any]:
        world_key, log_key = jax.random.split(key)
        world, better = world_of(null, world_key)
        logging, value = parts(cell, world), partial(truth, cell, world)
        floor = jnp.minimum(logging.min(), 0.1 / cell.actions if cell.adaptive else 1.0) if null.floor else None
        declared = Range(0.0, 1.0, cell.discount, cell.horizon, floor)
        log = draw_log(cell, world, log_key)

        def asked(policy: Array) -> dict[str, Any]:
            judged = case(cell, world._replace(judged=policy), log)
            judged = dataclasses.replace(judged, declared=declared).by_unit().laid_out()
            found = certificate(judged, None, doses, 0.0, RISK, None, True)
            mixed = (1 - doses)[:, None, None, None] * logging + doses[:, None, None, None] * policy
            gains = (jax.vmap(jax.vmap(value))(mixed) - jax.vmap(value)(logging)).mean(1)
            place = found.evidence.certified
            return {
                "deployed": place > 0,
                "gain": gains[jnp.maximum(place - 1, 0)],
                "whole": found.evidence.log_wealth[-1] >= -jnp.log(RISK),
                "whole_gain": gains[-1],
                "effective": found.effective,
            }

        return jax.lax.map(asked, jnp.stack([world.judged, better]))

    return jax.lax.map(one, jax.random.split(key, repeats), batch_size=10)


def limit(count: int, of: int) -> float:
    """Return the one-sided 95 % upper limit of a share (Clopper and Pearson 1934)."""
    return 1.0 if count >= of else float(beta.ppf(0.95, count + 1, of - count))


def judge(null: Null, both: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return a cell's figures."""
    figures, better = ({name: part[:, place] for name, part in both.items()} for place in (0, 1))
    least, count = TIED * null.cell.horizon, len(figures["gain"])
    row: dict[str, Any] = {
        "cell": null.name, "kind": null.kind, "replications": count,
        "no_better": round(float((figures["whole_gain"] <= least).mean()), 4),
        "whole_gain": round(float(figures["whole_gain"].mean() / null.cell.horizon), 5),
        "effective": round(float(np.median(figures["effective"])), 1),
        "deploys": int(figures["deployed"].sum()),
    }  # fmt: skip
    for name, deployed, gain in (("false", "deployed", "gain"), ("whole_false", "whole", "whole_gain")):
        false = int((figures[deployed] & (figures[gain] <= least)).sum())
        row |= {name: false, f"{name}_share": round(false / count, 4), f"{name}_limit": round(limit(false, count), 4)}
    return row | {"better_deployed": None if null.kind == "equal" else round(float(better["deployed"].mean()), 4)}


def verdicts(rows: list[dict[str, Any]]) -> list[str]:
    """Return why the suite fails."""
    return [
        f"{row['cell']}: {row[f'{name}_share']:.3f} false deploys {how}, at most {row[f'{name}_limit']:.3f}"
        for row in rows
        for name, how in (("false", "by doses"), ("whole_false", "of the whole policy"))
        if row[f"{name}_share"] > POINT or row[f"{name}_limit"] > LIMIT
    ]


def main() -> None:
    """Run the cells, print and write them."""
    parser = arguments(__doc__, 2000, RESULTS)
    parser.add_argument("--drawn", metavar="COMMIT", required=True, help="the commit whose hash draws the cells")
    parser.add_argument("--list", action="store_true", help="name the cells and stop")
    how = parser.parse_args()
    cells = [null for null in drawn(how.drawn) if not how.cells or any(word in null.name for word in how.cells)]
    cells.sort(key=lambda null: work(null.cell))
    if how.list:
        print("\n".join(null.name for null in cells))
        return
    before = results_so_far(how.out, how.resume)
    rows, began = before["cells"], time.process_time() - before["cpu_seconds"]
    for null in cells:
        if any(row["cell"] == null.name for row in rows):
            continue
        figures = replicate(null, jax.random.key(how.seed, impl=QUICK), how.repeats)
        rows.append(judge(null, {name: np.asarray(part) for name, part in figures.items()}))
        print(json.dumps(rows[-1]), flush=True)
        summary = {"commit": how.drawn, "risk": RISK, "cpu_seconds": round(time.process_time() - began),
                   "failed": verdicts(rows), "cells": rows,
                   "left": [one.name for one in cells if all(row["cell"] != one.name for row in rows)]}  # fmt: skip
        how.out.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")  # after every cell: it is a long run
    print("\n".join(verdicts(rows)) or "every cell passes")


if __name__ == "__main__":
    main()
