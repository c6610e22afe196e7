"""Success on the stitching maze, and what methods believe against what they get: five seeds each.

    python benchmarks/maze.py

Settings are the demonstration's (`weft.reports.demonstration.METHODS`) and AWR's defaults at the same network and rate.
Every policy is walked 100 times from the start region; values are discounted. Success of a seed is the share of its
walks that reach the goal.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import weft
from weft.reports.demonstration import BATCH, COMMON, METHODS, discounted

DISCOUNT = 0.99


def judge(run: weft.Run, walks: int) -> dict[str, Any]:
    """Walk the final policies of a run and ask what it believes at their first observations."""
    successes, real, believed = [], [], []
    for seed in range(len(run.seeds)):
        log = weft.collect(run.policy(seed), "maze", walks, seed=1000, greedy=True)
        successes.append(float(np.mean([log.episode(i).terminal for i in range(log.episodes)])))
        real.append(discounted(log, DISCOUNT))
        seen = run.transform.observe(jnp.asarray(log.first_observations))
        belief = run.settings[0].value(run.state(0, seed), seen, jax.random.key(0))
        believed.append(None if belief is None else float(belief.mean()))
    known = [value for value in believed if value is not None]
    return {
        "success": float(np.mean(successes)),
        "successes": successes,
        "real": round(float(np.mean(real)), 4),
        "believed": round(float(np.mean(known)), 4) if known else None,
        "believed_each": believed,
        "seeds": len(successes),
    }


def main() -> None:
    """Train, judge, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--walks", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "results" / "maze.json")
    given = parser.parse_args()
    data = weft.load("sample:maze", seed=0)
    methods = {method.name: method for method, _ in METHODS.values()} | {"awr": weft.AWR(**COMMON)}
    results: dict[str, Any] = {"steps": given.steps, "seeds": given.seeds, "episodes": given.walks, "methods": {}}
    for name, method in methods.items():
        run = weft.fit(method, data, given.steps, given.seeds, batch_size=BATCH, rewards="none")
        found = results["methods"][name] = judge(run, given.walks)
        print(name, {key: value for key, value in found.items() if key != "believed_each"}, flush=True)
    given.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
