"""Every offline method on the stitching maze, every discrete one on CartPole and on catch: five seeds each.

    python benchmarks/family.py maze                       # all that is not done yet
    python benchmarks/family.py maze --methods crr bear    # some of them
    python benchmarks/family.py cartpole
    python benchmarks/family.py catch
    python benchmarks/family.py maze_long                  # eight times the steps, for IDQL, beside IQL

The log of CartPole is what double DQN did in its first 10,000 steps, good and bad; that of catch is 2,000 games of even
moves, in pictures of 10 × 10 pixels. Networks of 64 × 64, a learning rate of 1e-3, targets that move by .05 (maze) or
.01 and batches of 128 for all; temperatures and weights were set once a task and not tuned by method. The results
folders are those of `weft benchmark`, whose pages compare final scores: the share of 50 greedy walks that reach the
goal, the mean return of 20 greedy episodes, of 100 games.
"""

import argparse
import dataclasses
from pathlib import Path

import weft
from weft.agents.parts.implicit import Expectile
from weft.nn.multipliers import Fixed, Lagrange
from weft.reports.benchmark import write_page

RESULTS = Path(__file__).resolve().parent / "results"
ACTOR = {"hidden": (64, 64), "learning_rate": 1e-3}
CRITIC = {**ACTOR, "target_rate": 0.05}
MODEL = {"hidden_model": (64, 64)}
CONSERVATIVE = {"temperature": Fixed(0.03), "backup": "plain", "samples": 3, "actor_learning_rate": 1e-3}
MAZE: dict[str, weft.Algorithm] = {
    "bc": weft.BC(**ACTOR),
    "filtered_bc": weft.FilteredBC(fraction=0.1, **ACTOR),
    "awr": weft.AWR(**ACTOR),
    "reps": weft.REPS(**ACTOR),
    "one_step": weft.OneStep(inverse_temperature=20.0, **CRITIC),
    "awac": weft.AWAC(inverse_temperature=20.0, **CRITIC),
    "crr": weft.CRR(inverse_temperature=20.0, largest_weight=100.0, **CRITIC),
    "crr-binary": weft.CRR(weighting="binary", **CRITIC),
    "iql": weft.IQL(expectile=0.8, inverse_temperature=20.0, **CRITIC),
    "idql": weft.IDQL(loss=Expectile(0.8), average_rate=0.01, blocks=2, width=64, **CRITIC),
    "td3_bc": weft.TD3BC(**CRITIC),
    "brac": weft.BRAC(weight=Fixed(0.03), behaviour_steps=500, **CRITIC),
    "bear": weft.BEAR(weight=Lagrange(0.1, learning_rate=1e-2), actor_learning_rate=1e-3, **MODEL, **CRITIC),
    "bcq": weft.BCQ(**MODEL, **CRITIC),
    "kl_control": weft.KLControl(inverse_temperature=200.0, behaviour_steps=500, **CRITIC),
    "cql": weft.CQL(weight=Fixed(0.1), **CONSERVATIVE, **CRITIC),
    "sac": weft.SAC(temperature=Fixed(0.03), **CRITIC),
}


LONG = ("iql", "idql")
SLOW = {**ACTOR, "target_rate": 0.01}
CHOICES: dict[str, weft.Algorithm] = {
    "bc": weft.BC(**ACTOR),
    "filtered_bc": weft.FilteredBC(fraction=0.1, **ACTOR),
    "awr": weft.AWR(**ACTOR),
    "reps": weft.REPS(**ACTOR),
    "one_step": weft.OneStep(inverse_temperature=1.0, **SLOW),
    "awac": weft.AWAC(inverse_temperature=1.0, **SLOW),
    "crr": weft.CRR(inverse_temperature=1.0, **SLOW),
    "iql": weft.IQL(expectile=0.8, inverse_temperature=1.0, **SLOW),
    "brac": weft.BRAC(weight=Fixed(1.0), behaviour_steps=1000, **SLOW),
    "kl_control": weft.KLControl(inverse_temperature=1.0, behaviour_steps=1000, **SLOW),
    "discrete_bcq": weft.DiscreteBCQ(**SLOW),
    "cql": weft.CQL(weight=Fixed(1.0), backup="plain", **SLOW),
    "cql-quantiles": weft.CQL(weight=Fixed(1.0), backup="plain", quantiles=32, error="huber", **SLOW),
    "double_dqn": weft.DQN(double=True, target_every=1, **SLOW),
    "double_dqn-quantiles": weft.DQN(double=True, target_every=1, quantiles=32, error="huber", **SLOW),
}


def main() -> None:
    """Train, act, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("task", choices=("maze", "maze_long", "cartpole", "catch"))
    parser.add_argument("--methods", nargs="*", default=[])
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    if given.task.startswith("maze"):
        methods, data, steps, every, episodes = MAZE, weft.load("sample:maze"), 2500, 500, 50
        if given.task == "maze_long":
            methods, steps, every = {name: MAZE[name] for name in LONG}, 20_000, 2500
    elif given.task == "catch":
        data = weft.load("sample:catch", size=10, episodes=2000)
        seeing = {
            name: dataclasses.replace(CHOICES[name], vision="small") for name in ("double_dqn", "double_dqn-quantiles")
        }
        methods, steps, every, episodes = {**CHOICES, **seeing}, 4000, 1000, 100
    else:
        learner = weft.fit(weft.DQN(double=True), env="cartpole", steps=10_000)
        methods, data, steps, every, episodes = CHOICES, learner.collected(), 10_000, 2000, 20
        print(f"{data.episodes} episodes, mean return {data.returns.mean():.1f}, best {data.returns.max():.0f}")
    if unknown := [name for name in given.methods if name not in methods]:
        parser.error(f"{given.task} has no {', '.join(unknown)}; it has {', '.join(methods)}.")
    world = {"catch": "catch:size=10", "maze_long": "maze"}.get(given.task, given.task)
    weft.benchmark(
        {name: methods[name] for name in given.methods or methods},
        {given.task: (data, world)},
        RESULTS / given.task,
        steps=steps,
        every=every,
        episodes=episodes,
        seeds=given.seeds,
        batch_size=128,
        rewards="none",  # the units in which the settings were chosen
        progress=True,
    )
    print(write_page(RESULTS / given.task))


if __name__ == "__main__":
    main()
