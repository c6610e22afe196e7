"""Every method that learns from a log, with its default settings, on ten problems: five seeds, the last state.

    python benchmarks/defaults.py                          # all that is not done yet, but for breakout
    python benchmarks/defaults.py maze icu --methods iql cql
    python benchmarks/defaults.py notifications --rewards none --out before.json
    python benchmarks/defaults.py --show

Networks are of 64 × 64 units and their like, for the time they take; nothing else is set. `maze`, `crossroads`: the
share of 50 greedy walks that reach the goal. `cartpole`, `pendulum`: the mean return of 20 greedy episodes; the log of
CartPole is what double DQN did in its first 10,000 steps. `breakout`: MinAtar's, mean return of 50 greedy episodes; the
log is what double DQN did in its first 50,000 steps (needs what minatar.py names). `catch`: of 100 games
in pictures of 10 × 10. `notifications`: the share of the possible gain over the logging policy, and `icu`
(ICU-Sepsis, a model of shared/data): that over the clinicians, both exact. `decisions`: notifications whose campaigns
are one decision each, 5,000 of them; `careful`: 10,000 of a product that seldom sends where it seems unwise.
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import weft
from weft.agents.algorithm import Algorithm, algorithms, applied
from weft.data.dataset import Dataset
from weft.envs.worlds import notifications

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "defaults.json"
ICU = ROOT.parent / "shared" / "data" / "icu_sepsis" / "dynamics.npz"
SIZES = {"hidden": (64, 64), "hidden_model": (64, 64), "width": 64, "blocks": 2, "vision": "small"}
PICTURES = {"vision": "small", "hidden": (64, 64)}
SEEDS = 5
Score = Callable[[Any], float]


@dataclasses.dataclass(frozen=True)
class Problem:
    """A log, how many updates, and what a policy is worth."""

    data: Dataset
    steps: int
    score: Score


def small(kind: type[Algorithm]) -> Algorithm:
    """Return a method with small networks and everything else by default."""
    names = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    blocks = "blocks" in names  # elsewhere `width` is that of a kernel
    return kind(**{name: size for name, size in SIZES.items() if name in names and (name != "width" or blocks)})


def rolled(world: str, episodes: int) -> Score:
    return lambda policy: float(weft.rollout(policy, world, episodes, 1_000_000).mean())


def maze() -> Problem:
    return Problem(weft.load("sample:maze"), 5000, rolled("maze", 50))


def crossroads() -> Problem:
    def arrived(policy: Any) -> float:
        return float((weft.rollout(policy, "crossroads", 50, 1_000_000) >= 1.0).mean())

    return Problem(weft.load("sample:crossroads"), 10_000, arrived)


def cartpole() -> Problem:
    learner = weft.fit(weft.DQN(double=True), env="cartpole", steps=10_000, progress=False)
    return Problem(learner.collected(), 10_000, rolled("cartpole", 20))


def pendulum() -> Problem:
    return Problem(weft.load("sample:pendulum"), 5000, rolled("pendulum", 20))


def catch() -> Problem:
    return Problem(weft.load("sample:catch", size=10, episodes=2000), 4000, rolled("catch:size=10", 100))


def messages() -> Problem:
    return notified(weft.load("sample:notifications"), notifications.Notifications())


def decisions() -> Problem:
    return notified(weft.load("sample:notifications", steps=1, episodes=5000), notifications.Notifications(steps=1))


def careful() -> Problem:
    from notifications import Careful  # the benchmark beside this one

    world = notifications.Notifications(steps=1)
    return notified(weft.collect(Careful(), world, 10_000, 1), world, Careful())


def notified(data: Dataset, world: notifications.Notifications, product: Any = None) -> Problem:
    """Return the problem of a log of notifications; product: what filled it, by default the world's behaviour."""
    logged, best = notifications.value(product, world), notifications.value(notifications.reference(world), world)
    return Problem(
        data,
        4000,
        lambda policy: (notifications.value(lambda seen: greedy(policy, seen, 2), world) - logged) / (best - logged),
    )


def greedy(policy: Any, seen: Any, choices: int) -> np.ndarray:
    """Return what a policy takes, as probabilities."""
    taken, _ = policy.act(policy.reset(), np.asarray(seen, np.float32), greedy=True)
    return np.eye(choices, dtype=np.float32)[np.asarray(taken)]


def breakout() -> Problem:
    from minatar import Breakout

    world = Breakout()
    learner = weft.fit(weft.DQN(double=True, **PICTURES), env=world, steps=50_000, progress=False)

    def mean_return(policy: Any) -> float:
        return float(weft.rollout(policy, world, 50, 1_000_000).mean())

    print(f"breakout: what filled the log scores {mean_return(learner.policy(0)):.2f} at its end")
    return Problem(learner.collected(), 5000, mean_return)


def icu() -> Problem:
    """ICU-Sepsis: 5,000 stays as the clinicians decided, states by their 47 centres; survival is the reward."""
    with np.load(ICU) as file:
        states = file["state_cluster_centers"].astype(np.float32)
        model = Model(file["tx_mat"], file["r_mat"], file["d_0"])
        clinicians = file["expert_policy"]
    optimal, pays = np.zeros(len(states)), model.pays
    for _ in range(3000):
        optimal = (pays + model.moves @ optimal).max(1)
    logged, best = model.worth(clinicians), float(model.begins @ optimal)
    print(f"icu: clinicians {logged:.4f}, best {best:.4f}")
    choices = clinicians.shape[1]
    return Problem(
        model.stays(clinicians, states, 5000),
        5000,
        lambda policy: (model.worth(greedy(policy, states, choices)) - logged) / (best - logged),
    )


@dataclasses.dataclass(frozen=True)
class Model:
    """A finite world: chances and rewards of (state, choice, next state), and chances of the first state."""

    moves: np.ndarray
    rewards: np.ndarray
    begins: np.ndarray

    @property
    def pays(self) -> np.ndarray:
        """What a choice brings in a state on average."""
        return (self.moves * self.rewards).sum(-1)

    def worth(self, chances: np.ndarray) -> float:
        """Return the value of a policy, undiscounted, exactly but for 2,000 sweeps."""
        step, pay = (chances[:, :, None] * self.moves).sum(1), (chances * self.pays).sum(1)
        value = np.zeros(len(pay))
        for _ in range(2000):
            value = pay + step @ value
        return float(self.begins @ value)

    def stays(self, chances: np.ndarray, states: np.ndarray, count: int) -> Dataset:
        """Draw stays until they come to a state where nobody decides any more."""
        generator, ends = np.random.default_rng(0), chances.sum(1) < 0.5
        numbers, rows = len(self.begins), []
        for _ in range(count):
            state = int(generator.choice(numbers, p=self.begins))
            while not ends[state]:
                action = int(generator.choice(chances.shape[1], p=chances[state]))
                after = int(generator.choice(numbers, p=self.moves[state, action]))
                rows.append((state, action, self.rewards[state, action, after], ends[after], after))
                state = after
        at, actions, rewards, over, then = (np.array(column) for column in zip(*rows, strict=True))
        return Dataset.from_arrays(
            states[at], actions, rewards.astype(np.float32), over, next_observations=states[then],
            action_count=chances.shape[1],
        )  # fmt: skip


PROBLEMS = {
    "maze": maze, "crossroads": crossroads, "notifications": messages, "cartpole": cartpole, "catch": catch,
    "pendulum": pendulum, "icu": icu, "breakout": breakout, "decisions": decisions, "careful": careful,
}  # fmt: skip


def main() -> None:
    """Train, score, write; print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("problems", nargs="*", choices=(*PROBLEMS, []), default=[])
    parser.add_argument("--methods", nargs="*", default=[])
    parser.add_argument("--rewards", default="size", help="the scale that weft.fit brings rewards to")
    parser.add_argument("--factor", type=float, default=1.0, help="multiply the rewards of the log first")
    parser.add_argument("--set", nargs="*", default=[], help="NAME=NUMBER, not the default: weight.value=0.5")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--show", action="store_true")
    how = parser.parse_args()
    changes = [change.partition("=") for change in how.set]
    results = json.loads(how.out.read_text(encoding="utf-8")) if how.out.exists() else {}
    for name in () if how.show else how.problems or [name for name in PROBLEMS if name != "breakout"]:
        done = results.setdefault(name, {})
        problem = None
        for label, kind in algorithms().items():
            if (how.methods and label not in how.methods) or label in done or "log" not in kind.learns_from:
                continue
            problem = problem or PROBLEMS[name]()
            setting = small(kind)
            try:
                setting.check(problem.data.spec)
            except weft.UserError:
                continue
            setting = applied(setting, {name: float(value) for name, _, value in changes})
            data, begun = problem.data, time.monotonic()
            if how.factor != 1.0:
                data = data.rewarded(lambda reward: reward * np.float32(how.factor))
            run = weft.fit(setting, data, problem.steps, how.seeds, rewards=how.rewards, progress=False)
            scores = [problem.score(run.policy(place)) for place in range(how.seeds)]
            last = [row for row in run.metrics if row["step"] == problem.steps]
            cut = [row["clipped_weights"] for row in last if "clipped_weights" in row]
            done[label] = {"scores": scores, "seconds": time.monotonic() - begun}
            done[label] |= {"clipped": float(np.mean(cut))} if cut else {}
            how.out.write_text(json.dumps(results, indent=1), encoding="utf-8")
            words = " ".join(f"{score:.3g}" for score in scores)
            print(f"{name:13s} {label:13s} {np.mean(scores):8.3f}  {words}  {done[label]['seconds']:.0f} s", flush=True)
    for name, rows in results.items():
        for label, row in rows.items():
            spread = f" ± {np.std(row['scores'], ddof=1):.3f}" if len(row["scores"]) > 1 else ""
            print(f"{name:13s} {label:13s} {np.mean(row['scores']):8.3f}{spread}")


if __name__ == "__main__":
    main()
