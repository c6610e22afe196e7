"""Learning by acting: curves, five seeds each, and what happens when learning from a log goes on by acting.

    python benchmarks/online.py learn            # CartPole-v1 and Pendulum-v1, from nothing
    python benchmarks/online.py maze             # the maze with a shortcut that the log never shows
    python benchmarks/online.py hopper --data ../shared/data/d4rl/hopper_medium_replay.hdf5
    python benchmarks/online.py beside --peers .venv-peers-online/bin/python   # SAC on Hopper-v5, three libraries

Every part adds its figures to results/online.json, seed by seed.
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import weft
from weft.agents.parts.implicit import Expectile
from weft.agents.schedule import Rounds
from weft.training.finetune import switch

RESULTS = Path(__file__).resolve().parent / "results" / "online.json"
PEER = Path(__file__).resolve().parent / "peers" / "online_peer.py"

# method, environment, steps, the return that counts as solved
LEARN: dict[str, tuple[Any, str, int, float]] = {
    "dqn": (weft.DQN(), "CartPole-v1", 50_000, 475.0),
    "reinforce": (weft.Reinforce(), "CartPole-v1", 100_000, 475.0),
    "actor_critic": (weft.ActorCritic(), "CartPole-v1", 200_000, 475.0),
    "sac": (weft.SAC(learning_rate=1e-3), "Pendulum-v1", 10_000, -200.0),
}
EPISODES = 20

MAZE = {"learning_rate": 1e-3, "target_rate": 0.05, "hidden": (64, 64)}
GO_ON = {
    "iql": weft.IQL(expectile=0.8, inverse_temperature=20.0, **MAZE),
    "awac": weft.AWAC(inverse_temperature=20.0, **MAZE),
    "cql": weft.CQL(weight=weft.multipliers.Fixed(0.1), backup="plain", actor_learning_rate=1e-3, **MAZE),
    "cal_ql": weft.CQL(
        weight=weft.multipliers.Fixed(0.1), backup="plain", actor_learning_rate=1e-3, calibrated=True, **MAZE
    ),
    "idql": (idql := weft.IDQL(loss=Expectile(0.8), average_rate=0.01, blocks=2, width=64, **MAZE)),
    "idql_frozen": idql,
}
OFFLINE = {"idql": 20_000, "idql_frozen": 20_000}  # steps on the log, 2,500 for the others
CHANGES = {"idql_frozen": {"behaviour_rate": 0.0}}


def curves(run: weft.Run) -> dict[str, Any]:
    """Return the greedy returns of every seed, and the steps they were measured at."""
    rows = [row for row in run.metrics if "evaluation" in row]
    steps = sorted({row["step"] for row in rows})
    each = {seed: [r["evaluation"] for r in rows if r["seed"] == seed] for seed in run.seeds}
    return {"steps": steps, "seeds": {str(seed): [round(value, 4) for value in found] for seed, found in each.items()}}


def keep(part: str, name: str, found: dict[str, Any]) -> None:
    """Write one figure into the results."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results.setdefault(part, {})[name] = found
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(part, name, {key: value for key, value in found.items() if key not in ("seeds", "steps")}, flush=True)


def learn(names: list[str], seeds: int) -> None:
    """Learn from nothing."""
    for name in names or LEARN:
        method, env, steps, solved = LEARN[name]
        begun = time.perf_counter()
        run = weft.fit(
            method, env=env, steps=steps, seeds=seeds, evaluate_every=steps // 20, evaluate_episodes=EPISODES
        )
        seconds = time.perf_counter() - begun
        found = curves(run)
        scores = np.array(list(found["seeds"].values()))
        first = [next((s for s, v in zip(found["steps"], row, strict=True) if v >= solved), None) for row in scores]
        keep(
            "learn",
            name,
            {
                "environment": env,
                "solved_at": solved,
                "first_solved": first,
                "last": round(float(scores[:, -1].mean()), 2),
                "best": [round(float(row.max()), 2) for row in scores],
                "seconds": round(seconds, 1),
                **found,
            },
        )


def length(run: weft.Run, world: str) -> tuple[float, float]:
    """Return the share of greedy walks that reach the goal, and how many steps those take in the mean."""
    lengths, reached = [], []
    for seed in range(len(run.seeds)):
        log = weft.collect(run.policy(seed), world, 50, seed=5000, greedy=True)
        over = np.array([log.episode(i).terminal for i in range(log.episodes)])
        reached.append(over.mean())
        lengths += log.lengths[over].tolist()
    return float(np.mean(reached)), float(np.mean(lengths)) if lengths else float("nan")


def maze(names: list[str], seeds: int, steps: int) -> None:
    """Learn from the maze's log, then act where there is a shortcut."""
    data, world = weft.load("sample:maze", seed=0), "maze:shortcut=true"
    for name in names or GO_ON:
        run = weft.fit(GO_ON[name], data, OFFLINE.get(name, 2500), seeds, batch_size=128, rewards="none")
        before = length(run, world)
        begun = time.perf_counter()
        rounds = Rounds(lanes=1, updates=1, warm_up=200, logged_share=0.5)
        after = weft.finetune(
            run,
            world,
            steps,
            data=data,
            rounds=rounds,
            evaluate_every=steps // 20,
            evaluate_episodes=EPISODES,
            changes=CHANGES.get(name),
        )
        seconds = time.perf_counter() - begun
        ended, found = length(after, world), switch(after)
        keep(
            "maze",
            name,
            {
                "offline_steps": OFFLINE.get(name, 2500),
                "offline": {"success": round(before[0], 3), "steps": round(before[1], 2)},
                "online": {"success": round(ended[0], 3), "steps": round(ended[1], 2)},
                "dip": round(found["dip"], 4),
                "seconds": round(seconds, 1),
                "curve": curves(after),
            },
        )


def hopper(names: list[str], seeds: int, data: str, offline: int, online: int) -> None:
    """Learn from the replay log of Hopper, then act in Hopper-v5."""
    log = weft.load(data)
    methods = {
        "iql": weft.IQL(),
        "awac": weft.AWAC(),
        "cal_ql": weft.CQL(calibrated=True),
        "cql": weft.CQL(),
    }
    for name in names or methods:
        begun = time.perf_counter()
        run = weft.fit(methods[name], log, offline, seeds)
        rounds = Rounds(warm_up=1000, logged_share=0.5)
        after = weft.finetune(
            run, "Hopper-v5", online, data=log, rounds=rounds, evaluate_every=online // 10, evaluate_episodes=10
        )
        found = switch(after)
        keep(
            "hopper",
            name,
            {
                **{key: round(value, 1) for key, value in found.items()},
                "offline_steps": offline,
                "online_steps": online,
                "seconds": round(time.perf_counter() - begun, 1),
                "curve": curves(after),
            },
        )


def beside(names: list[str], seeds: int, steps: int, peers: str) -> None:
    """Let SAC of three libraries learn Hopper-v5 with the same setting, and keep every greedy score on the way."""
    for name in names or ("weft", "sbx", "sb3"):
        if name == "weft":
            begun = time.perf_counter()
            run = weft.fit(
                weft.SAC(), env="Hopper-v5", steps=steps, seeds=seeds, evaluate_every=10_000, evaluate_episodes=10
            )
            found, seconds = curves(run), time.perf_counter() - begun
        else:
            found, seconds = {"steps": [], "seeds": {}}, 0.0
            for seed in range(seeds):
                with tempfile.TemporaryDirectory() as folder:
                    out = Path(folder) / "curve.json"
                    line = [peers, str(PEER), "--peer", name, "--method", "sac", "--env", "Hopper-v5"]
                    line += ["--steps", str(steps), "--seed", str(seed), "--preset", "weft", "--out", str(out)]
                    subprocess.run(line, check=True)
                    curve = json.loads(out.read_text())
                found["steps"] = [row["step"] for row in curve["curve"]]
                found["seeds"][str(seed)] = [round(float(np.mean(row["returns"])), 4) for row in curve["curve"]]
                seconds += curve["training_seconds"] + curve["evaluation_seconds"]
        scores = np.array(list(found["seeds"].values()))
        last = scores[:, -5:].mean(1)  # the last five evaluations of each seed
        kept = {"environment": "Hopper-v5", "last_five": np.round(last, 1).tolist(), "seconds": round(seconds, 1)}
        keep("beside", name, {**kept, "best": np.round(scores.max(1), 1).tolist(), **found})


def main() -> None:
    """Read the line and run one part."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=("learn", "maze", "hopper", "beside"))
    parser.add_argument("--methods", nargs="*", default=[])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data", default="../shared/data/d4rl/hopper_medium_replay.hdf5")
    parser.add_argument("--offline", type=int, default=30_000)
    parser.add_argument("--online", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=200_000, help="of every library (beside)")
    parser.add_argument("--peers", default=".venv-peers-online/bin/python", help="made by make bench-peers")
    given = parser.parse_args()
    if given.part == "learn":
        learn(given.methods, given.seeds)
    elif given.part == "maze":
        maze(given.methods, given.seeds, given.online)
    elif given.part == "beside":
        beside(given.methods, given.seeds, given.steps, given.peers)
    else:
        hopper(given.methods, given.seeds, given.data, given.offline, given.online)


if __name__ == "__main__":
    main()
