"""Play saved d3rlpy actors in Gymnasium's Hopper-v5 and write their returns and scores.

Runs in the main environment (NumPy and Gymnasium with MuJoCo, no torch). Episode i starts from a reset
with seed + i and is played to its end with the deterministic action, or with candidates drawn from that seed.
"""

import argparse
import json
import re
from pathlib import Path

import gymnasium
import numpy as np
from numpy_policy import act, load_policy

RANDOM_RETURN = -20.272305
EXPERT_RETURN = 3234.3


def play(policy: dict[str, np.ndarray], episodes: int, seed: int) -> tuple[list[float], list[int]]:
    """Return the undiscounted return and the length of every episode."""
    environment = gymnasium.make("Hopper-v5")
    returns, lengths = [], []
    for episode in range(episodes):
        observation, _ = environment.reset(seed=seed + episode)
        generator = np.random.default_rng(seed + episode)
        total, length, finished = 0.0, 0, False
        while not finished:
            observation, reward, terminated, truncated, _ = environment.step(
                act(policy, observation[None], generator)[0]
            )
            total += float(reward)
            length += 1
            finished = terminated or truncated
        returns.append(total)
        lengths.append(length)
    environment.close()
    return returns, lengths


def score(value: float) -> float:
    """Normalise a return so that the random policy scores 0 and the expert 100."""
    return 100 * (value - RANDOM_RETURN) / (EXPERT_RETURN - RANDOM_RETURN)


def main() -> None:
    """Evaluate every file that has no result yet and rewrite the result file after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", help="actors written by train_d3rlpy.py")
    parser.add_argument("--out", type=Path, required=True, help="JSON file; results already in it are kept")
    parser.add_argument("--training-log", type=Path, help="train.jsonl, to add the training times")
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1000)
    arguments = parser.parse_args()

    training = {}
    if arguments.training_log:
        for line in arguments.training_log.read_text().splitlines():
            record = json.loads(line)
            training[record["file"]] = record
    results = json.loads(arguments.out.read_text())["results"] if arguments.out.exists() else []
    known = {result["file"] for result in results}
    for path in arguments.files:
        if path.name in known:
            continue
        returns, lengths = play(load_policy(path), arguments.episodes, arguments.seed)
        matched = re.fullmatch(r"(.+)_seed(\d+)_step(\d+)", path.stem)
        name, seed, step = matched.groups() if matched else (path.stem, -1, -1)
        mean = float(np.mean(returns))
        result = {
            "file": path.name,
            "algorithm": name,
            "seed": int(seed),
            "step": int(step),
            "mean_return": round(mean, 3),
            "score": round(score(mean), 3),
            "episode_returns": [round(value, 3) for value in returns],
            "episode_lengths": lengths,
        }
        if path.name in training:
            result |= {key: training[path.name][key] for key in ("seconds", "milliseconds_per_step", "d3rlpy", "torch")}
        results.append(result)
        results.sort(key=lambda entry: (entry["algorithm"], entry["seed"], entry["step"]))
        document = {
            "environment": "Hopper-v5",
            "gymnasium": gymnasium.__version__,
            "episodes": arguments.episodes,
            "evaluation_seed": arguments.seed,
            "results": results,
        }
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(document, indent=1) + "\n")
        print(
            f"{path.name}: return {mean:.1f} score {result['score']:.1f} "
            f"lengths {min(lengths)}..{max(lengths)} (median {int(np.median(lengths))})",
            flush=True,
        )


if __name__ == "__main__":
    main()
