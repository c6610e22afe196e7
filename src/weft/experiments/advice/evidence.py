"""How far weft's own methods came at their defaults on measured logs, by the situation of the log.

Scores are shares of the way from the worst method to the best. `python benchmarks/advice.py` computes the tables from
`benchmarks/results/`, and a test holds the two together. No log is looked up by its name: a new log hears of all tables
in its own situation, those of other kinds of actions count half.
"""

import dataclasses
from collections.abc import Mapping

__all__ = ["EVIDENCE", "Table", "alike", "seen"]

OWN, OTHER = 1.0, 0.5  # weight of a table of the same kind of actions, and of another; the prior weighs 1


@dataclasses.dataclass(frozen=True)
class Table:
    """One log's situation and kind of actions, and the shares of methods on it."""

    situation: str
    kind: str
    shares: Mapping[str, float]


EVIDENCE: dict[str, Table] = {
    "notifications": Table("undirected", "discrete", {
        "awac": 0.99, "awr": 0.96, "bc": 0.0, "brac": 0.95, "cql": 0.98, "crr": 0.99, "discrete_bcq": 1.0,
        "filtered_bc": 0.59, "iql": 0.98, "kl_control": 1.0, "one_step": 1.0, "reps": 0.37,
    }),
    "maze": Table("stitching", "continuous", {
        "awac": 1.0, "awr": 1.0, "bc": 0.0, "bcq": 0.49, "bear": 0.5, "brac": 1.0, "cql": 1.0, "crr": 1.0,
        "filtered_bc": 0.0, "idql": 1.0, "iql": 1.0, "kl_control": 1.0, "one_step": 1.0, "rebrac": 0.1,
        "reps": 1.0, "td3_bc": 0.51,
    }),
    "crossroads": Table("stitching", "continuous", {
        "awac": 1.0, "awr": 0.0, "bc": 0.0, "bcq": 0.63, "bear": 0.5, "brac": 1.0, "cql": 1.0, "crr": 1.0,
        "filtered_bc": 0.0, "idql": 1.0, "iql": 1.0, "kl_control": 1.0, "one_step": 0.0, "rebrac": 1.0,
        "reps": 1.0, "td3_bc": 1.0,
    }),
    "cartpole": Table("whole", "discrete", {
        "awac": 0.68, "awr": 0.86, "bc": 0.89, "brac": 0.98, "cql": 0.76, "crr": 0.55, "discrete_bcq": 0.0,
        "filtered_bc": 1.0, "iql": 0.62, "kl_control": 0.88, "one_step": 0.43, "reps": 0.98,
    }),
    "icu": Table("lucky", "discrete", {
        "awac": 0.72, "awr": 0.36, "bc": 0.0, "brac": 0.66, "cql": 0.41, "crr": 0.84, "discrete_bcq": 0.94,
        "filtered_bc": 0.28, "iql": 0.81, "kl_control": 1.0, "one_step": 0.76, "reps": 0.24,
    }),
    "pendulum": Table("undirected", "continuous", {
        "awac": 0.93, "awr": 0.15, "bc": 0.0, "bcq": 0.87, "bear": 1.0, "brac": 0.51, "cql": 1.0,
        "crr": 0.91, "filtered_bc": 0.14, "idql": 0.68, "iql": 0.85, "kl_control": 1.0, "one_step": 0.87,
        "rebrac": 0.53, "reps": 0.27, "td3_bc": 0.02,
    }),
    "catch": Table("undirected", "discrete", {
        "awac": 1.0, "bc": 0.0, "cql": 1.0, "crr": 1.0, "discrete_bcq": 1.0, "iql": 1.0,
    }),
    "minari": Table("narrow", "continuous", {
        "awac": 0.19, "bc": 0.76, "crr": 0.0, "filtered_bc": 0.78, "iql": 0.63, "rebrac": 0.44,
        "td3_bc": 1.0,
    }),
    "hopper": Table("whole", "continuous", {
        "awac": 0.69, "bc": 0.0, "crr": 1.0, "filtered_bc": 0.93, "iql": 0.6, "rebrac": 0.11, "td3_bc": 0.18,
    }),
}  # fmt: skip


def alike(situation: str, tables: Mapping[str, Table] = EVIDENCE) -> list[str]:
    """Return the names of the logs whose tables tell of a situation."""
    return [name for name, table in tables.items() if table.situation == situation]


def seen(method: str, prior: float, situation: str, kind: str, tables: Mapping[str, Table] = EVIDENCE) -> float:
    """Return the weighted mean of a prior share and of a method's shares on logs in the same situation."""
    rows = [
        (OWN if table.kind == kind else OTHER, table.shares[method])
        for table in tables.values()
        if table.situation == situation and method in table.shares
    ]
    return (prior + sum(weight * share for weight, share in rows)) / (1 + sum(weight for weight, _ in rows))
