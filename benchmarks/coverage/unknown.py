"""Cells in which propensities are unknown or the log cannot tell: what is issued there, and how often it holds.

    python benchmarks/coverage/unknown.py [--resume]

Worlds are those of the second edition. `estimated`: nobody logged propensities, `weft.estimate_propensities` fits them,
and `weft.certify` answers in its second tier or abstains; what it says of the improvement over the logging policy has a
chance of 5 % to miss on either side. `unlogged`: the same without any propensities. `deterministic`: the logging policy
always makes the same choice in a state, and the judged one makes another in a share of its decisions, so that its value
is not identified; asked with propensities hidden (`hidden`) and with them (`shown`). `no overlap`: the logging policy
makes all other choices once in a million, and `weft.answer` is asked, with propensities. Cells that are not identified
must abstain in 95 % of their logs.
"""

import dataclasses
import json
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from families import Cell, World, draw_log, draw_world, truth
from second import arguments, results_so_far
from second_gate import QUICK, limit

import weft
from weft.data.dataset import Dataset

RESULTS = Path(__file__).resolve().parent.parent / "results" / "unknown.json"
ISSUED = ("STAGED", "REJECT", "DEPLOY")


@dataclasses.dataclass(frozen=True)
class Unknown:
    """A cell. way: `estimated`, `unlogged`, `hidden`, `shown` or `no overlap`, as in the module's words."""

    way: str
    cell: Cell

    @property
    def identified(self) -> bool:
        """Whether the log can tell what the policy is worth."""
        return self.way in ("estimated", "unlogged")


def cells() -> list[Unknown]:
    """Return the cells; none of them was tuned on."""
    certain = {"delta": 0.5, "overlap": False}
    return [
        Unknown("hidden", Cell("deterministic, codes 500 x 1", 500, 1, **certain)),
        Unknown("hidden", Cell("deterministic, numbers 500 x 3", 500, 3, numbers=4, **certain)),
        Unknown("hidden", Cell("deterministic, codes 500 x 3", 500, 3, **certain)),
        Unknown("shown", Cell("deterministic, propensities shown 500 x 3", 500, 3, **certain)),
        Unknown("no overlap", Cell("no overlap 500 x 3", 500, 3, 0.5, epsilon=1e-6, overlap=False)),
        Unknown("estimated", Cell("estimated, bernoulli 500 x 1", 500, 1, 0.5)),
        Unknown("estimated", Cell("estimated, zero inflated 500 x 3", 500, 3, numbers=4, rewards="zero inflated")),
        Unknown("unlogged", Cell("unlogged, smooth, 8 actions 500 x 3", 500, 3, actions=8, rewards="smooth")),
    ]  # fmt: skip


@partial(jax.jit, static_argnums=(0, 2))
def drawn(unknown: Unknown, key: Any, repeats: int) -> Any:
    """Return worlds, logs, and the true values of the judged and of the logging policy, one of each per replication."""
    cell = unknown.cell

    def one(key: Any) -> Any:
        world_key, log_key = jax.random.split(key)
        world = draw_world(cell, world_key)
        if unknown.way in ("hidden", "shown"):
            usual = jax.nn.one_hot(world.logging.argmax(1), cell.actions)
            judged = (1 - cell.delta) * usual + cell.delta * jnp.roll(usual, 1, axis=1)
            world = world._replace(logging=usual, judged=judged)
        log = draw_log(cell, world, log_key)
        return world, log.columns, log.codes, truth(cell, world, world.judged), truth(cell, world, world.logging)

    return jax.lax.map(one, jax.random.split(key, repeats), batch_size=10)


def dataset(unknown: Unknown, columns: Any) -> Dataset:
    """Return a drawn log as one that a user would load.

    The last observation of an episode is a row of its own, cut off (a timeout without a next observation): a next
    observation in a column is kept once where it equals the row below, which with codes it does by chance, and logs
    of as many steps would differ in length and compile anew.
    """
    cell = unknown.cell

    def rows(part: Any, last: Any) -> np.ndarray:
        each = np.asarray(part).reshape(cell.episodes, cell.horizon, *np.shape(part)[1:])
        last = np.broadcast_to(np.asarray(last, each.dtype), each[:, 0].shape)
        return np.concatenate([each, last[:, None]], 1).reshape(-1, *each.shape[2:])

    seen = np.asarray(columns.observation)  # laid out with the last of every episode
    going = np.asarray(columns.episode) < cell.episodes
    over = np.asarray(columns.terminal).reshape(cell.episodes, -1).any(1)
    there = rows(going, ~over)
    known = unknown.way in ("shown", "no overlap")
    data = Dataset.from_arrays(
        seen[there], rows(columns.action, 0)[there], rows(columns.reward[:, 0], 0)[there],
        rows(columns.terminal, False)[there], timeouts=rows(np.zeros(len(going), bool), True)[there],
        propensities=np.exp(rows(columns.log_propensity, 0)[there]) if known else None, action_count=cell.actions,
        kinds={} if cell.numbers else {"": "category"},
    )  # fmt: skip
    data = data.declare(reward_low=(0.0,), reward_high=(1.0,), horizon=cell.horizon, discount=1.0)
    return weft.estimate_propensities(data) if unknown.way == "estimated" else data


def policy(cell: Cell, world: World) -> Any:
    """Return the judged policy as one that sees what the log holds."""
    table, places = np.asarray(world.judged, np.float32), np.asarray(world.places)

    def act(seen: np.ndarray) -> np.ndarray:
        if cell.numbers:  # the place that the numbers lie about; two of them are far apart
            return table[np.square(seen[:, None] - places).sum(-1).argmin(1)]
        return table[np.asarray(seen).reshape(-1)]

    return act


def ask(unknown: Unknown, drawing: Any) -> tuple[bool, bool, float, float, str]:
    """Return whether something was issued of a drawn log and whether it goes ahead, both ends less the truth, and why
    nothing was issued."""
    world, columns, _, judged, logged = drawing
    data, one = dataset(unknown, columns), policy(unknown.cell, world)
    if unknown.way == "no overlap":
        answer = weft.answer(one, data)
        why = answer.reasons[0] if answer.tier == 3 and answer.reasons else ""
        return answer.tier < 3, False, answer.low - float(judged), answer.high - float(judged), why
    with tempfile.TemporaryDirectory() as ledger:
        told = weft.certify(one, data, ledger=ledger)
    issued, gain = told.action in ISSUED, float(judged - logged)
    low, high = (np.nan if end is None else float(end) - gain for end in (told.low, told.high))
    return issued, issued and told.action != "REJECT", low, high, "" if issued else told.reason


def judge(unknown: Unknown, answers: list[tuple[bool, bool, float, float, str]], gains: np.ndarray) -> dict[str, Any]:
    """Return a cell's figures."""
    issued, forward, low, high = (np.array(part) for part in list(zip(*answers, strict=True))[:4])
    count, abstained = len(issued), int((~issued).sum())
    false = int((forward & (gains <= 1e-6)).sum())
    row: dict[str, Any] = {
        "cell": unknown.cell.name, "way": unknown.way, "identified": unknown.identified, "replications": count,
        "issued": count - abstained, "abstained": round(abstained / count, 4),
        "covered": int((issued & (low <= 0) & (high >= 0)).sum()),
        "too_high": int((issued & (low > 0)).sum()), "too_low": int((issued & (high < 0)).sum()),
        "forward": int(forward.sum()), "false": false, "false_limit": round(limit(false, count), 4),
        "better": round(float((gains > 0).mean()), 4),
    }  # fmt: skip
    return row | {"why": next((answer[4] for answer in answers if answer[4]), "")}


def verdicts(rows: list[dict[str, Any]]) -> list[str]:
    """Return why the suite fails."""
    told = [
        f"{row['cell']}: abstained in {row['abstained']:.3f} of the logs, and nothing is identified"
        for row in rows
        if not row["identified"] and row["abstained"] < 0.95
    ]
    told += [f"{row['cell']}: {row['false']} of {row['replications']} go ahead falsely" for row in rows
             if row["false"] > 0.05 * row["replications"]]  # fmt: skip
    return told


def main() -> None:
    """Run the cells, print and write them."""
    how = arguments(__doc__, 400, RESULTS).parse_args()
    before = results_so_far(how.out, how.resume)
    rows, began = before["cells"], time.process_time() - before["cpu_seconds"]

    def write() -> None:
        left = [one.cell.name for one in cells() if all(row["cell"] != one.cell.name for row in rows)]
        summary = {
            "cpu_seconds": round(time.process_time() - began),
            "failed": verdicts(rows),
            "left": left,
            "cells": rows,
        }
        how.out.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")

    for unknown in cells():
        name = unknown.cell.name
        if any(row["cell"] == name for row in rows) or (how.cells and not any(word in name for word in how.cells)):
            continue
        every = jax.tree.map(np.asarray, drawn(unknown, jax.random.key(how.seed, impl=QUICK), how.repeats))
        answers = [ask(unknown, jax.tree.map(lambda part, i=i: part[i], every)) for i in range(how.repeats)]
        rows.append(judge(unknown, answers, every[3] - every[4]))
        print(json.dumps(rows[-1]), flush=True)
        write()
    write()
    print("\n".join(verdicts(rows)) or "every cell passes")


if __name__ == "__main__":
    main()
