"""Judge policies from the two real logs of the Open Bandit data, men's campaign, one from the other.

    python benchmarks/open_bandit.py --data FOLDER      (FOLDER holds men_bts.csv and men_random.csv)

From the log of Thompson sampling: what uniform choice is worth. Its truth is known from 452,949 impressions of the full
data (arXiv:2008.07146, table 1), and roughly from the other file. From the log of uniform choice: what a fixed policy
like Thompson sampling is worth. The served one adapted, so no truth is known, only a rough comparison. One decision a
row, rewards declared in [0, 1], both logs in order of time.
"""

import argparse
import dataclasses
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

import weft
from weft.core.compilation import keep_compiled_programs
from weft.data.folds import seal
from weft.data.summary import rounding
from weft.evaluation.case import case_of
from weft.evaluation.estimate import estimate
from weft.evaluation.interval_rule import issue

ROOT = Path(__file__).resolve().parent.parent
ITEMS = 34
PUBLISHED = 0.0051, 0.00021  # uniform choice in the full data, with its half-width
REFUSED = {
    "importance sampling": ("importance_sampling", {}),
    "self-normalised": ("importance_sampling", {"self_normalised": True}),
    "doubly robust": ("doubly_robust", {}),
}


def load(file: Path) -> weft.Dataset:
    """Load one log. The observation is the position, which clicks are taken to depend on with the item."""
    data = weft.load(
        file, observations="position", action="item_id", reward="click", time="timestamp",
        propensity="propensity_score", kinds={"position": "category"}, action_count=ITEMS, reward_range=(0.0, 1.0),
        horizon=1, discount=1.0,
    )  # fmt: skip
    return dataclasses.replace(data, origin=file.name)  # where it lay is not part of what is measured


def uniform(observations: Any) -> np.ndarray:
    """Show every item with the same chance."""
    return np.full((len(observations["position"]), ITEMS), 1 / ITEMS)


def recorded_means(data: weft.Dataset) -> np.ndarray:
    """Return the mean recorded propensity of every item at every position `(position, item)`.

    No policy: a propensity is recorded where the item was shown, so the means are too large, most for frequent items.
    """
    position, propensities = data.observations["position"], np.exp(data.log_propensities)
    table = np.zeros((position.max() + 1, ITEMS))
    for place, item in np.ndindex(table.shape):
        here = (position == place) & (data.actions == item)
        table[place, item] = propensities[here].mean() if here.any() else 0.0
    return table


def like_thompson(data: weft.Dataset) -> Callable[[Any], np.ndarray]:
    """Return the fixed policy of the recorded means, normalised at every position. It is not what was served."""
    table = recorded_means(data)
    table /= np.maximum(table.sum(1, keepdims=True), 1e-30)  # position 0 never comes
    return lambda observations: table[observations["position"]]


def contains(low: float, high: float, truth: float) -> bool:
    """Say whether an interval holds a value."""
    return bool(low <= truth <= high)


def judge(policy: Any, data: weft.Dataset, ledger: Path) -> dict[str, Any]:
    """Return what weft answers about a policy, and, to show them, intervals that it does not issue.

    `fitted` is what the issuing rule says: the hull of fitted and weighted intervals.
    """
    began = time.process_time()
    sure = estimate(policy, data, "per_decision", "betting")
    case = case_of(policy, data, None, True, 8, 0)
    issued = jax.device_get(jax.jit(issue)(case, jax.random.key(0)))
    refused = {}
    for name, (method, settings) in REFUSED.items():
        found = estimate(policy, data, method, "student", **settings)
        refused[name] = {"value": found.value, "low": found.low, "high": found.high}
    found = weft.certify(policy, data, ledger=ledger / "whole")
    last = seal(data, by_time="timestamp").certify
    checks = weft.diagnose(policy, data)
    return {
        "units": data.episodes,
        "effective": sure.effective_sample_size,
        "certified": {"value": sure.value, "low": sure.low, "high": sure.high, "tier": 1},
        "fitted": {"tier": int(issued.tier), "low": float(issued.low), "high": float(issued.high)},
        "not_issued": refused,
        "decision": found.record(),
        "decision_last_two_fifths": weft.certify(policy, last, ledger=ledger / "last").record(),
        "diagnostics": [list(line) for line in checks.lines() if line[0] != "log"],  # where the file lay is left out
        "cpu_seconds": round(time.process_time() - began, 1),
    }


def show(title: str, found: dict[str, Any], truth: float) -> None:
    """Print one direction, in percent of impressions that were clicked."""

    def line(name: str, low: float, high: float, more: str = "") -> None:
        said = "holds" if contains(low, high, truth) else "MISSES"
        print(f"  {name:32s} [{100 * low:.3f}, {100 * high:.3f}] %, width {100 * (high - low):.3f}, {said} {more}")

    print(f"{title} ({100 * truth:.3f} %), {found['effective']:.0f} effective of {found['units']:,}")
    sure, fitted = found["certified"], found["fitted"]
    line("certified (tier 1, betting)", sure["low"], sure["high"])
    line(f"fitted (tier {fitted['tier']} by the rule)", fitted["low"], fitted["high"])
    for name, other in found["not_issued"].items():
        line(f"NOT issued: {name}, t", other["low"], other["high"])
    for name, key in (("certify", "decision"), ("certify, last 40 % by time", "decision_last_two_fifths")):
        print(f"  {name}: {found[key]['action']}, {found[key]['reason']}")
    for what, text in found["diagnostics"]:
        if what in ("rounding", "mean weight", "warning"):
            print(f"  {what}: {text}")


def main() -> None:
    """Judge in both directions, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "open_bandit")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "open_bandit.json")
    given = parser.parse_args()
    keep_compiled_programs()
    thompson, random = load(given.data / "men_bts.csv"), load(given.data / "men_random.csv")
    fixed = like_thompson(thompson)
    with tempfile.TemporaryDirectory() as folder:
        uniform_found = judge(uniform, thompson, Path(folder) / "uniform")
        fixed_found = judge(fixed, random, Path(folder) / "fixed")
    recorded = rounding(np.exp(thompson.log_propensities.astype(float)))
    assert recorded is not None
    chances = np.exp(thompson.log_propensities)
    means = recorded_means(thompson)[thompson.observations["position"], thompson.actions] / chances
    weights = fixed(thompson.observations)[np.arange(thompson.steps), thompson.actions] / chances
    published, half_width = PUBLISHED
    other = float(random.rewards.mean())
    result = {
        "truth_uniform": {"published": published, "half_width": half_width, "other_file": other},
        "mean_thompson": float(thompson.rewards.mean()),
        "rounding": {name: getattr(recorded, name) for name in ("step", "least", "error", "chance")},
        "mean_weight_on_thompson": {"recorded_means": float(means.mean()), "normalised": float(weights.mean())},
        "uniform_from_thompson": uniform_found,
        "fixed_from_uniform": fixed_found,
    }
    show("Uniform choice from the log of Thompson sampling", uniform_found, published)
    show("A policy like Thompson sampling from the log of uniform choice", fixed_found, result["mean_thompson"])
    print("  (its rough comparison is the mean click rate of the served policy, which adapted: no truth)")
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
