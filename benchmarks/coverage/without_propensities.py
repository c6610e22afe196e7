"""What `weft.certify` answers where nobody logged propensities, against roll-outs, and what abstaining protects from.

    python benchmarks/coverage/without_propensities.py --work FOLDER

Every trained policy of Hopper, maze and pendulum (`logs`) is put to the certify fold with the propensities taken away,
each with a ledger of its own. An interval of the second tier is held against the true improvement over the logging
policy; it has a chance of 5 % to miss on either side. Beside it the intervals that ask for no leave: 95 % of linear and
of neural fitted Q, and what would be deployed if their lower bound were believed. Roll-outs are not exact: an interval
counts as `near` where it comes within two standard errors of theirs.
"""

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from logs import Candidate, Task, alone, candidates, discounted, hidden, task

import weft
from weft.deployment.decision import Decision, plain
from weft.evaluation.intervals.bootstrap import Bootstrap

# features as `weft.certify` takes them; six refits, because every one is a training run
PLAIN: dict[str, tuple[Any, dict[str, Any]]] = {
    "linear_q": ("student", {"features": 128}),
    "fitted_q": (Bootstrap(6), {}),
}
RESULTS = Path(__file__).resolve().parents[1] / "results" / "without_propensities.json"
EQUAL = 1e-9


def alarms(decision: Decision) -> list[str]:
    """Return what spoke against an estimate, by name."""
    look = decision.diagnostics
    if decision.tier == 2:
        return []
    if look is None:
        return [decision.reason]
    found = [test.name for test in look.tests if test.alarm]
    if look.unsupported is not None and look.unsupported > 0.2:
        found.append("unsupported actions")
    return found or ["open which is better"]


def ask(fold: weft.Dataset, one: Candidate) -> dict[str, Any]:
    """Ask for a decision and for plain intervals."""
    with tempfile.TemporaryDirectory() as ledger:
        decision = weft.certify(one.policy, fold, ledger=ledger)
    found: dict[str, Any] = {
        "policy": one.name,
        "action": decision.action,
        "tier": decision.tier,
        "low": plain(decision.low),
        "high": plain(decision.high),
        "alarms": alarms(decision),
    }
    for method, (interval, settings) in PLAIN.items():
        told = weft.estimate(one.policy, fold, method, interval, **settings)
        found[method] = [told.value, told.low, told.high]
    return found


def judge(task: Task, fold: weft.Dataset, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Count decisions, reasons, coverage, widths and false deploys of a task."""
    returns = discounted(task.data, task.discount)
    span = float(np.ptp(returns))
    logged = float(discounted(fold, task.discount).mean())
    truth, error, gain = (np.array([row[name] for row in rows]) for name in ("value", "error", "improvement"))
    low, high = (np.array([row[name] for row in rows], float) for name in ("low", "high"))
    shown = np.isfinite(low) & np.isfinite(high)
    issued = shown & np.array([row["action"] in ("STAGED", "REJECT") for row in rows])
    forward = np.array([row["action"] in ("DEPLOY", "STAGED") for row in rows])

    def held(low: np.ndarray, high: np.ndarray, truth: np.ndarray, error: np.ndarray) -> dict[str, Any]:
        return {
            "intervals": len(truth),
            "covered": int(((low <= truth) & (truth <= high)).sum()),
            "near": int(((low - 2 * error <= truth) & (truth <= high + 2 * error)).sum()),
            "too_high": int((low > truth + 2 * error).sum()),
            "median_width": float(np.median(high - low) / span) if len(truth) else None,
        }

    told: dict[str, Any] = {
        "task": task.name, "policies": len(rows), "better": int((gain > 0).sum()), "walks": task.walks,
        "discount": task.discount, "episodes": fold.episodes, "steps": fold.steps, "logging_policy": task.base,
        "range_of_returns": span, "worst": float(truth.min()), "best": float(truth.max()),
        "actions": dict(Counter(row["action"] for row in rows)),
        "abstained_because": dict(Counter(name for row in rows for name in row["alarms"])),
        "abstained_only_because": dict(Counter(row["alarms"][0] for row in rows if len(row["alarms"]) == 1)),
        "issued": held(low[issued], high[issued], gain[issued], error[issued]),
        "issued_or_open": held(low[shown], high[shown], gain[shown], error[shown]),
        "forward": int(forward.sum()), "false_deploys": int((forward & (gain <= EQUAL)).sum()),
    }  # fmt: skip
    for method in PLAIN:
        value, bottom, top = np.array([row[method] for row in rows]).T
        believed = bottom > logged
        told[method] = held(bottom, top, truth, error) | {
            "median_error": float(np.median(np.abs(value - truth)) / span),
            "would_deploy": int(believed.sum()),
            "would_deploy_falsely": int((believed & (gain <= EQUAL)).sum()),
        }
    return told


def main() -> None:
    """Train, roll out, ask, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--work", type=Path, required=True, help="keeps runs and roll-outs; answers in --out are kept too"
    )
    parser.add_argument("--tasks", nargs="*", default=["maze", "pendulum", "hopper"])
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    results = json.loads(given.out.read_text()) if given.out.exists() else {"tasks": {}}
    for name in given.tasks:
        asked = task(name)
        folds = weft.seal(asked.data)
        fold = alone(hidden(folds.certify))
        known = {row["policy"]: row for row in results["tasks"].get(name, {}).get("rows", [])}
        rows: list[dict[str, Any]] = []
        for one in candidates(asked, folds.train, given.work / f"{name}-0", (True,)):
            value, error = one.real(greedy=True)
            truth = {"value": value, "error": error, "improvement": value - asked.base}
            rows.append((known.get(one.name) or ask(fold, one)) | truth)
            print(name, json.dumps(rows[-1]), flush=True)
            results["tasks"][name] = judge(asked, fold, rows) | {"rows": rows}
            given.out.write_text(json.dumps(results, indent=1) + "\n")
        print(json.dumps({key: part for key, part in results["tasks"][name].items() if key != "rows"}, indent=1))


if __name__ == "__main__":
    main()
