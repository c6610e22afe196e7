"""How a staged roll-out decides: false deployments at no improvement, and units until a deployment with and without
the certificate's evidence, over many simulated certificates and roll-outs. Writes `benchmarks/results/staged.json`.

    python benchmarks/coverage/staged.py [--repeats 2000]

Every replication is a world of single decisions between two choices with rewards of 0 or 1, one of which pays more
often by a gap: a log of 100 units in which the logging policy tossed a coin, the certificate of a dose of .5 of the
policy that always takes the better choice (worth a quarter of the gap), and a roll-out with half of the units in each
arm, stopped at the first look at which the wealth reaches 20, or after 4000 units. `checks` are roll-outs of 2,000
units in which something is wrong, or nothing: how often each alarm is raised by the end, whoever looks whenever.
"""

import argparse
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from weft.core.errors import UserError
from weft.deployment.outcomes import Outcomes
from weft.deployment.rollout_test import bets
from weft.deployment.safeguards import TILTS, examine
from weft.evaluation.betting import log_wealth
from weft.evaluation.thresholds import STAGED_ERROR

RESULTS = Path(__file__).resolve().parents[1] / "results" / "staged.json"
UNITS, MOST, DOSE, RISK, BASE = 100, 4000, 0.5, 0.05, 0.3
GAPS = (-0.2, 0.0, 0.1, 0.2, 0.3)
CHECKED = 400
WRONG: dict[str, dict[str, Any]] = {
    "nothing": {},
    "the policy gets 55 % instead of half": {"share": 0.55},
    "the policy loses 10 % of its outcomes, the other one 5 %": {"lost": (0.1, 0.05)},
    "the policy loses 15 % of its outcomes, the other one 5 %": {"lost": (0.15, 0.05)},
    "both arms earn .1 more than in the log": {"base": (BASE + 0.1, BASE + 0.1)},
    "the improvement falls from .2 to 0 midway": {"gain": (0.2, 0.0)},
    "the improvement falls from .2 to -.2 midway": {"gain": (0.2, -0.2)},
    "both arms earn .2 more from midway on": {"base": (BASE, BASE + 0.2)},
}


@partial(jax.jit, static_argnums=2)
def replications(key, gap, repeats):
    """Return per replication the certificate's log-wealth, and the unit at which carried, restarted, restarted with a
    centre and opposite wealth first reach 1 / risk (`MOST` + 1: never)."""
    pay = jnp.asarray([BASE - gap / 2, BASE + gap / 2])  # the policy takes the second choice

    def draw(key, chance):
        action_key, reward_key = jax.random.split(key)
        action = jax.random.bernoulli(action_key, chance).astype(int)
        return action, jax.random.bernoulli(reward_key, pay[action]).astype(jnp.float32)

    def one(key):
        log_key, arm_key, policy_key = jax.random.split(key, 3)
        action, reward = draw(log_key, jnp.full(UNITS, 0.5))
        ratio = (1 - DOSE) + DOSE * 2.0 * action
        certificate = log_wealth(((ratio - 1) * reward + DOSE) / DOSE)
        arms = jax.random.bernoulli(arm_key, 0.5, (MOST,))
        _, reward = draw(policy_key, jnp.where(arms, 0.5 + 0.5 * DOSE, 0.5))
        half = jnp.full(MOST, 0.5)
        plain = bets(arms, half, reward, 0.0, 1.0, start=certificate)
        sharp = bets(arms, half, reward, 0.0, 1.0, start=certificate, centre=BASE)
        explained = _explained(arms)
        paths = plain.carried, plain.restarted, sharp.carried, plain.against
        return certificate, *(_first(path - explained) for path in paths)

    return jax.lax.map(one, jax.random.split(key, repeats), batch_size=50)


def _explained(arms):
    """Return what the arms' shares explain, by `safeguards.assignment`, for half of the units in each."""

    def wealth(tilts):
        each = jnp.where(arms[:, None], tilts, 0.0) - jnp.log1p(0.5 * jnp.expm1(tilts))
        return jax.scipy.special.logsumexp(jnp.cumsum(each, 0), axis=1) - jnp.log(len(tilts))

    tilts = jnp.asarray(TILTS, jnp.float32)
    return jnp.maximum(0.0, jnp.maximum(wealth(tilts), wealth(-tilts)))


def _first(path):
    there = path >= -jnp.log(RISK)
    return jnp.where(there.any(), there.argmax() + 1, MOST + 1)


def alarms(name: str) -> dict[str, Any]:
    """Return how often each alarm is raised in roll-outs where something is wrong."""
    wrong, count = WRONG[name], {"arms": 0, "lost": 0, "world": 0, "drift": 0}
    for seed in range(CHECKED):
        try:
            checks = examine(_roll_out(np.random.default_rng(seed), **wrong), (BASE - 0.03, BASE + 0.03))
        except UserError as problem:
            count["lost" if "lost more often" in str(problem) else "arms"] += 1
            continue
        count["world"] += checks.moved
        count["drift"] += checks.since > 0
    row = {"wrong": name, "replications": CHECKED, **{which: times / CHECKED for which, times in count.items()}}
    print(row, flush=True)
    return row


def _roll_out(rng, share=0.5, lost=(0.05, 0.05), base=(BASE, BASE), gain=(0.1, 0.1)):
    """Return a roll-out; `base` and `gain`: what the other arm pays and the policy's more, in either half."""
    half = np.arange(2000) >= 1000
    arms = rng.random(2000) < share
    pays = np.where(half, *base[::-1]) + np.where(half, *gain[::-1]) * arms
    gone = rng.random(2000) < np.where(arms, *lost)
    return Outcomes(arms, 0.5, (rng.random(2000) < pays).astype(float), 0.0, 1.0, lost=gone)


def main() -> None:
    """Run all gaps and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=2000)
    repeats = parser.parse_args().repeats
    begin, rows = time.perf_counter(), []
    for place, gap in enumerate(GAPS):
        found = [np.asarray(part) for part in replications(jax.random.key(place), gap, repeats)]
        certificate, carried, restarted, centred, against = found
        sure = certificate >= -np.log(RISK)
        row = {
            "improvement": gap * DOSE / 2, "certified": float(sure.mean()),
            "even_odds": float(((certificate >= 0) & ~sure).mean()),
            "staged": float(((certificate >= -np.log(STAGED_ERROR)) & ~sure).mean()),
        }  # fmt: skip
        for name, first in (("carried", carried), ("restarted", restarted), ("centred", centred)):
            # what was certified is deployed at once; only the carried wealth knows of it
            units = first if name == "restarted" else np.where(sure, 0, first)
            row[name] = {"deployed": float((units <= MOST).mean()), "median_units": float(np.median(units))}
        row["rejected"] = float((against <= MOST).mean())
        rows.append(row)
        print(row)
    record = {
        "repeats": repeats, "units": UNITS, "most": MOST, "dose": DOSE, "risk": RISK, "base": BASE,
        "seconds": round(time.perf_counter() - begin, 1), "rows": rows, "checks": [alarms(name) for name in WRONG],
    }  # fmt: skip
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
