"""Score trained runs on Hopper-v5 and hold them against the peer's results.

    python benchmarks/hopper.py RUNS_FOLDER [--peers benchmarks/results/peers_hopper.json]

RUNS_FOLDER holds one run folder per method (`weft fit ... --out RUNS_FOLDER/iql --keep 60000 80000`); `iql~2` beside
`iql` holds further seeds of it. Every kept step of every seed is played greedily for 20 episodes (episode i resets with
1000 + i and ends after 1000 steps); the score is 100 (return + 20.27) / 3254.57. The two gaits of the log show in the
forward speed and the length of an episode.
Differences to the peer have a bootstrap interval over seeds and episodes; with one or two seeds on the other side it
tells little, and the page says so.
"""

import argparse
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import weft

RANDOM, EXPERT = -20.272305, 3234.3
FORWARD_SPEED = 5  # index of the torso's forward velocity in the observation


def score(returns: np.ndarray) -> np.ndarray:
    """Return the normalised score of undiscounted returns."""
    return 100 * (np.asarray(returns) - RANDOM) / (EXPERT - RANDOM)


def play(run: weft.Run, seed: int, step: int, episodes: int) -> dict[str, Any]:
    """Play one policy and describe what it does."""
    log = weft.collect(run.policy(seed=seed, step=step), "Hopper-v5", episodes=episodes, seed=1000, greedy=True)
    returns = log.returns
    return {
        "seed": run.seeds[seed],
        "step": step,
        "score": round(float(score(returns).mean()), 2),
        "returns": [round(float(value), 2) for value in returns],
        "length": round(float(log.lengths.mean()), 1),
        "forward_speed": round(float(log.observations[:, FORWARD_SPEED].mean()), 3),
    }


def difference(ours: list[dict], theirs: list[list[float]], draws: int = 4000) -> list[float]:
    """Return the difference of mean scores and its 95 % bootstrap interval, seeds first, then episodes."""
    generator = np.random.default_rng(0)

    def draw(groups: list[np.ndarray]) -> float:
        chosen = [groups[i] for i in generator.integers(len(groups), size=len(groups))]
        return float(np.mean([group[generator.integers(len(group), size=len(group))].mean() for group in chosen]))

    mine = [score(np.array(found["returns"])) for found in ours]
    yours = [score(np.array(found)) for found in theirs]
    middle = float(np.mean([m.mean() for m in mine]) - np.mean([y.mean() for y in yours]))
    drawn = [draw(mine) - draw(yours) for _ in range(draws)]
    return [round(middle, 2), *(round(float(value), 2) for value in np.quantile(drawn, (0.025, 0.975)))]


def main() -> None:
    """Play, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    here = Path(__file__).resolve().parent / "results"
    parser.add_argument("runs", type=Path)
    parser.add_argument("--peers", type=Path, default=here / "peers_hopper.json")
    parser.add_argument("--out", type=Path, default=here / "hopper.json")
    parser.add_argument("--episodes", type=int, default=20)
    given = parser.parse_args()
    peers = json.loads(given.peers.read_text())["results"] if given.peers.exists() else []
    results: dict[str, Any] = json.loads(given.out.read_text()) if given.out.exists() else {"methods": {}}
    results |= {"episodes": given.episodes, "mujoco": version("mujoco"), "gymnasium": version("gymnasium")}
    groups: dict[str, list[weft.Run]] = {}
    for folder in sorted(path for path in given.runs.iterdir() if (path / "run.json").exists()):
        run = weft.load_run(folder)
        if run.steps and run.steps[-1] >= run.record["steps"]:
            groups.setdefault(folder.name.partition("~")[0], []).append(run)
    for name, runs in groups.items():
        record = runs[0].record
        steps = [step for step in runs[0].steps if step in record["keep"] or step == record["steps"]]
        played = [
            play(run, seed, step, given.episodes) for step in steps for run in runs for seed in range(len(run.seeds))
        ]
        last = [found for found in played if found["step"] == steps[-1]]
        scores = [found["score"] for found in last]
        summary: dict[str, Any] = {
            "mean": round(float(np.mean(scores)), 2),
            "deviation": round(float(np.std(scores, ddof=1)), 2) if len(scores) > 1 else 0.0,
            "seeds": len(scores),
            "steps": steps[-1],
            "played": played,
        }
        same = [p for p in peers if p["algorithm"] == name and p["step"] == steps[-1]]
        if same:
            summary["d3rlpy"] = [p["score"] for p in same]
            summary["difference"] = difference(last, [p["episode_returns"] for p in same])
        results["methods"][name] = summary
        print(
            name,
            f"{summary['mean']:.1f} ± {summary['deviation']:.1f}",
            summary.get("difference", ""),
            flush=True,
        )
        for found in played:
            print("  ", {key: value for key, value in found.items() if key != "returns"}, flush=True)
        given.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
