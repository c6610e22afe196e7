"""ICU-Sepsis: what weft says of policies whose values are known exactly, from 20,000 simulated stays of the clinicians.

    python benchmarks/icu_sepsis.py            # weights and certificates; what is in the results is not done again
    python benchmarks/icu_sepsis.py --fitted "counts, at least 1"    # and fitted values, which take long

The world is a finite model of MIMIC-III (716 states, 25 choices; survival is the reward, at the end). Policies are
learned from one log of 20,000 stays: by value iteration on its counts (tabular fitted Q) with every choice allowed that
was made so many times in a state, and by methods of weft with small networks. Each is judged on another log of 20,000
stays, with the clinicians' propensities: by `weft.estimate` and `weft.certify`, and where `--fitted` names it by
fitted values and `weft.answer` on 2,000 more. So are mixtures of the clinicians and the optimal policy. Truth is
dynamic programming over the model.
"""

import argparse
import dataclasses
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from defaults import ICU, Model, small

import weft
from weft.agents.algorithm import algorithms
from weft.data.dataset import Dataset
from weft.deployment.decision import plain

RESULTS = Path(__file__).resolve().parent / "results" / "icu_sepsis.json"
STAYS, FEWER, STEPS = 20_000, 2000, 5000
LONGEST = 200  # the model lets one in a billion stays of the clinicians last longer
COUNTS = (1, 5, 20, 50)
METHODS = ("bc", "cql", "iql", "discrete_bcq", "dqn")
SHARES = (0.1, 0.3, 0.5, 1.0)
Methods = dict[str, tuple[str, dict[str, Any]]]
WEIGHTED: Methods = {
    "IS": ("importance_sampling", {}),
    "PDIS": ("per_decision", {}),
    "WIS": ("importance_sampling", {"self_normalised": True}),
}
FITTED: Methods = {
    "DR": ("doubly_robust", {"features": 128}),
    "linear Q": ("linear_q", {"features": 128}),
    "DRL": ("double_reinforcement", {"features": 128}),
}


@dataclasses.dataclass(frozen=True)
class World:
    """The model, what is seen of its states, the clinicians' policy, and the optimal one."""

    model: Model
    states: np.ndarray
    clinicians: np.ndarray
    optimal: np.ndarray

    @classmethod
    def load(cls) -> "World":
        """Read the model of shared/data."""
        with np.load(ICU) as file:
            states, clinicians = file["state_cluster_centers"].astype(np.float32), file["expert_policy"]
            model = Model(file["tx_mat"], file["r_mat"], file["d_0"])
        optimal, _ = planned(model.pays, model.moves, np.ones(clinicians.shape, bool))
        return cls(model, states, clinicians, optimal)

    def policy(self, table: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """Return a policy by state as one that sees what the log holds; at the end any choice will do."""
        rows = np.ascontiguousarray(self.states).view(f"V{self.states.itemsize * self.states.shape[1]}").reshape(-1)
        names, first = np.unique(rows, return_index=True)
        decides = self.clinicians.sum(1, keepdims=True) > 0.5
        whole = np.where(decides, table, 1 / table.shape[1]).astype(np.float32)

        def act(seen: np.ndarray) -> np.ndarray:
            keys = np.ascontiguousarray(seen, np.float32).view(rows.dtype).reshape(-1)
            return whole[first[np.searchsorted(names, keys)]]

        return act

    def log(self, seed: int, count: int = STAYS) -> Dataset:
        """Draw stays of the clinicians, all side by side, with the chances of what they did."""
        random, model = np.random.default_rng(seed), self.model
        choices, ends = self.clinicians.cumsum(1), self.clinicians.sum(1) < 0.5
        stay, state = np.arange(count), drawn(np.broadcast_to(model.begins.cumsum(), (count, len(ends))), random)
        parts = []
        while len(stay):
            action = drawn(choices[state], random)
            after = drawn(model.moves[state, action].cumsum(1), random)
            parts.append((stay, state, action, model.rewards[state, action, after], ends[after], after))
            stay, state = stay[~ends[after]], after[~ends[after]]
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        order = np.argsort(columns[0], kind="stable")
        _, state, action, reward, over, after = (column[order] for column in columns)
        data = Dataset.from_arrays(
            self.states[state], action, reward.astype(np.float32), over, next_observations=self.states[after],
            propensities=self.clinicians[state, action].astype(np.float32), action_count=choices.shape[1],
        )  # fmt: skip
        return data.declare(reward_low=(0.0,), reward_high=(1.0,), horizon=LONGEST, discount=1.0)

    def numbers(self, seen: np.ndarray) -> np.ndarray:
        """Return the states of what is seen, those in which somebody decides."""
        return self.policy(np.eye(len(self.states)))(seen).argmax(1)


def drawn(chances: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draw from every row of summed chances."""
    return np.minimum((random.random((len(chances), 1)) * chances[:, -1:] > chances).sum(1), chances.shape[1] - 1)


def planned(pays: np.ndarray, moves: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the best policy among the choices that are allowed, by value iteration, and its values; nothing is worth 0
    where none is."""
    value = np.zeros(len(pays))
    while True:
        worth = np.where(allowed, pays + moves @ value, -np.inf)
        after = np.where(allowed.any(1), worth.max(1), 0.0)
        if np.abs(after - value).max() < 1e-6:
            return np.eye(pays.shape[1])[worth.argmax(1)], after
        value = after


def counted(world: World, data: Dataset) -> dict[str, tuple[np.ndarray, float]]:
    """Return the policies that are best in the model of a log's counts, and what they claim to be worth there."""
    size, choices = world.clinicians.shape
    here, there = (world.numbers(data.store_observations[at]) for at in (data.position, data.successor))
    tried, paid = np.zeros((size, choices)), np.zeros((size, choices))
    moved = np.zeros((size, choices, size), np.float32)
    action = np.asarray(data.actions)
    np.add.at(tried, (here, action), 1.0)
    np.add.at(paid, (here, action), np.asarray(data.rewards, float).reshape(-1))
    going = ~np.asarray(data.terminals)
    np.add.at(moved, (here[going], action[going], there[going]), 1.0)
    moved /= np.maximum(tried, 1)[..., None]
    begins = np.bincount(here[np.concatenate([[0], np.cumsum(data.lengths)[:-1]])], minlength=size) / data.episodes
    policies = {}
    for least in COUNTS:
        allowed = tried >= least
        table, value = planned(paid / np.maximum(tried, 1), moved, allowed)
        table = np.where(allowed.any(1, keepdims=True), table, world.clinicians)  # elsewhere as the clinicians do
        policies[f"counts, at least {least}"] = table, float(begins @ value)
    return policies


def trained(world: World, data: Dataset, name: str) -> np.ndarray:
    """Return what a method of weft does in every state, trained with one seed."""
    run = weft.fit(small(algorithms()[name]), data, STEPS, 1, progress=False)
    policy = run.policy(0)
    taken, _ = policy.act(policy.reset(), world.states, greedy=True)
    return np.eye(world.clinicians.shape[1])[np.asarray(taken)]


def estimated(policy: Any, data: Dataset, methods: Methods) -> dict[str, list[float] | str]:
    """Return value and interval of every method, or why it gives none."""
    told: dict[str, list[float] | str] = {}
    for label, (method, settings) in methods.items():
        try:
            one = weft.estimate(policy, data, method, "student", **settings)
            told[label] = [one.value, one.low, one.high]
        except weft.UserError as problem:
            told[label] = str(problem)
    return told


def answered(policy: Any, data: Dataset, truth: float) -> dict[str, Any]:
    """Return what may be shown of a policy, and whether it holds."""
    answer = weft.answer(policy, data)
    low, high = plain(answer.low), plain(answer.high)
    holds = None if low is None or high is None else low <= truth <= high
    return {"tier": answer.tier, "low": low, "high": high, "holds": holds, "reasons": list(answer.reasons)}


def judged(world: World, data: Dataset, table: np.ndarray, truth: float, logged: float) -> dict[str, Any]:
    """Ask weft about a policy, by weights, and hold the answers against the truth."""
    policy = world.policy(table)
    row: dict[str, Any] = {"truth": truth, "estimates": estimated(policy, data, WEIGHTED), "answer": None}
    with tempfile.TemporaryDirectory() as ledger:
        decision = weft.certify(policy, data, ledger=ledger)
    row["effective"] = decision.effective_sample_size
    row["decision"] = {"action": decision.action, "tier": decision.tier, "dose": decision.dose,
                       "low": plain(decision.low), "high": plain(decision.high), "reason": decision.reason}  # fmt: skip
    if decision.dose:
        mixed = (1 - decision.dose) * world.clinicians + decision.dose * table
        row["decision"]["gain"] = world.model.worth(mixed) - logged
    return row


def main() -> None:
    """Learn, judge, print and write; every policy as soon as it is judged."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--only", nargs="*", default=[], help="parts of names; by default all")
    parser.add_argument("--fitted", nargs="*", default=[], help="policies to judge by fitted values, too")
    how = parser.parse_args()
    world, began = World.load(), time.process_time()
    worth = {"clinicians": world.model.worth(world.clinicians), "optimal": world.model.worth(world.optimal)}
    learning, judging = world.log(0), world.log(1)
    results: dict[str, Any] = json.loads(how.out.read_text()) if how.out.exists() else {"policies": {}, "seconds": 0}
    alone = (world.optimal * (world.clinicians == 0)).sum(1)[world.clinicians.sum(1) > 0.5]
    alone_logged = alone[world.numbers(judging.store_observations[judging.position])].mean()
    results |= {
        "stays": STAYS, "fewer": FEWER, "rows": [learning.steps, judging.steps], "steps": STEPS, "horizon": LONGEST,
        "longest": int(judging.lengths.max()), **worth, "states": len(alone),
        "optimal_alone": {"states": int(alone.sum()), "share": round(float(alone_logged), 4)},
    }  # fmt: skip
    before = results["seconds"]
    print(worth, results["rows"], results["longest"], flush=True)
    jobs: dict[str, Callable[[], tuple[np.ndarray, float | None]]] = {"clinicians": lambda: (world.clinicians, None)}
    for share in SHARES:
        mixed = (1 - share) * world.clinicians + share * world.optimal
        jobs[f"{100 * share:.0f} % optimal"] = lambda mixed=mixed: (mixed, None)
    for name, policy in counted(world, learning).items():
        jobs[name] = lambda policy=policy: policy
    for name in METHODS:
        jobs[name] = lambda name=name: (trained(world, learning, name), None)
    for name, job in jobs.items():
        row = results["policies"].get(name)
        fitting = name in how.fitted and not (row and row["answer"])
        if (row and not fitting) or (how.only and not any(word in name for word in how.only)):
            continue
        table, claim = job()
        truth = world.model.worth(table)
        row = row or judged(world, judging, table, truth, worth["clinicians"]) | {"claims": claim}
        if fitting:  # 25 choices make 1,400 features, which take long and much memory
            few = world.log(2, FEWER)
            row["answer"] = answered(world.policy(table), few, truth)
            row["fitted"] = estimated(world.policy(table), few, FITTED)
        results["policies"][name] = row
        results["seconds"] = round(before + time.process_time() - began)
        how.out.write_text(json.dumps(results, indent=1) + "\n")
        print(name, json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
