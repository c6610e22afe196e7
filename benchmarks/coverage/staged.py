"""How a staged roll-out decides: false deployments at no improvement, and units until a deployment with and without
the certificate's evidence, over many simulated certificates and roll-outs. Writes `benchmarks/results/staged.json`.

    python benchmarks/coverage/staged.py [--repeats 2000]

Every replication is a world of single decisions between two choices with rewards of 0 or 1, one of which pays more
often by a gap: a log of 100 units in which the logging policy tossed a coin, the certificate of a dose of .5 of the
policy that always takes the better choice (worth a quarter of the gap), and a roll-out with half of the units in each
arm, stopped at the first look at which the wealth reaches 20, or after 4000 units.
"""

import argparse
import json
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from weft.deployment.rollout_test import TILTS, bets
from weft.evaluation.betting import log_wealth

RESULTS = Path(__file__).resolve().parents[1] / "results" / "staged.json"
UNITS, MOST, DOSE, RISK, BASE = 100, 4000, 0.5, 0.05, 0.3
GAPS = (-0.2, 0.0, 0.1, 0.2, 0.3)


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
    """Return what the arms' shares explain, by `rollout_test.assignment`, for half of the units in each."""

    def wealth(tilts):
        each = jnp.where(arms[:, None], tilts, 0.0) - jnp.log1p(0.5 * jnp.expm1(tilts))
        return jax.scipy.special.logsumexp(jnp.cumsum(each, 0), axis=1) - jnp.log(len(tilts))

    tilts = jnp.asarray(TILTS, jnp.float32)
    return jnp.maximum(0.0, jnp.maximum(wealth(tilts), wealth(-tilts)))


def _first(path):
    there = path >= -jnp.log(RISK)
    return jnp.where(there.any(), there.argmax() + 1, MOST + 1)


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
        row = {"improvement": gap * DOSE / 2, "certified": float(sure.mean())}
        for name, first in (("carried", carried), ("restarted", restarted), ("centred", centred)):
            # what was certified is deployed at once; only the carried wealth knows of it
            units = first if name == "restarted" else np.where(sure, 0, first)
            row[name] = {"deployed": float((units <= MOST).mean()), "median_units": float(np.median(units))}
        row["rejected"] = float((against <= MOST).mean())
        rows.append(row)
        print(row)
    record = {
        "repeats": repeats, "units": UNITS, "most": MOST, "dose": DOSE, "risk": RISK, "base": BASE,
        "seconds": round(time.perf_counter() - begin, 1), "rows": rows,
    }  # fmt: skip
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
