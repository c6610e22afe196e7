"""Environment steps with their updates a second, against Stable-Baselines3 and SBX in the same run.

    python benchmarks/online_speed.py --peers .venv-peers-online/bin/python

Every turn starts each side in a process of its own, one after the other, with the same setting: SAC with 256 × 256 and
batches of 256, one update a step, on Hopper-v5; DQN with 64 × 64 and batches of 64, four lanes and four updates a round
of four steps, on CartPole-v1 (ours also on the same task written in JAX, inside the compiled loop). Rates are steady
ones, after compilation and warm-up. The figure is the median of the ratios of the turns.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "online_speed.json"
WARM = 200  # environment steps between the first update and the clock

# method, environment of ours, steps of ours, of Stable-Baselines3, of SBX
CASES: dict[str, tuple[str, str, int, int, int]] = {
    "SAC Hopper-v5": ("sac", "Hopper-v5", 2000, 500, 1000),
    "DQN CartPole-v1": ("dqn", "CartPole-v1", 4000, 2000, 3000),
    "DQN CartPole in JAX": ("dqn", "cartpole", 40_000, 0, 0),
}
PEER_OF = {"DQN CartPole in JAX": "DQN CartPole-v1"}  # whose rate it is compared with
TARGETS = {
    ("SAC Hopper-v5", "sb3"): 4.0,
    ("SAC Hopper-v5", "sbx"): 1.5,
    ("DQN CartPole-v1", "sb3"): 4.0,
    ("DQN CartPole-v1", "sbx"): 1.5,
    ("DQN CartPole in JAX", "sb3"): 20.0,
}
STARTS = {"sac": 300, "dqn": 1000}


def ours(case: str) -> float:
    """Return our steady rate; runs in a process of its own."""
    import weft
    from weft.agents.schedule import Rounds

    method, env, steps, *_ = CASES[case]
    start = STARTS[method] + WARM
    setting = weft.SAC(uniform_steps=300) if method == "sac" else weft.DQN()
    rounds = Rounds(warm_up=300) if method == "sac" else setting.rounds
    from weft.training import engines

    kind = engines.Compiled if env == "cartpole" else engines.Hosted
    plain, seconds = kind.advance, []

    def timed(self: Any, begin: int, end: int) -> Any:
        begun = time.perf_counter()
        found = plain(self, begin, end)
        seconds.append((end - begin, time.perf_counter() - begun))
        return found

    kind.advance = timed  # type: ignore[method-assign]
    weft.fit(setting, env=env, steps=start + steps, keep=[start], rounds=rounds, log_every=start + steps)
    taken, lasted = seconds[-1]
    return taken / lasted


def peer(python: Path, name: str, case: str, seed: int) -> float:
    """Return a peer's steady rate."""
    method, env, _, sb3, sbx = CASES[case]
    steps = (sb3 if name == "sb3" else sbx) + STARTS[method] + WARM
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        line = [
            str(python), str(ROOT / "benchmarks/peers/online_peer.py"), "--peer", name, "--method", method,
            "--env", env, "--steps", str(steps), "--seed", str(seed), "--evaluate-every", str(10**9),
            "--episodes", "1", "--preset", "weft", "--learning-starts", str(STARTS[method]), "--warm", str(WARM),
            "--out", str(out),
        ]  # fmt: skip
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return float(json.loads(out.read_text())["steady"]["steps_per_second"])


def main() -> None:
    """Take turns and write what came out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peers", type=Path, default=ROOT / ".venv-peers-online/bin/python")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.case:
        print(json.dumps(ours(given.case)))
        return
    turns: list[dict[str, dict[str, float]]] = []
    for repeat in range(given.repeats):
        rates: dict[str, dict[str, float]] = {}
        for case in CASES:
            child = [sys.executable, __file__, "--case", case]
            found = subprocess.run(child, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
            rates[case] = {"ours": json.loads(found)}
            for name in ("sb3", "sbx") if CASES[case][3] else ():
                rates[case][name] = peer(given.peers, name, case, repeat)
            print(repeat, case, {name: round(rate, 1) for name, rate in rates[case].items()}, flush=True)
        turns.append(rates)
    results: dict[str, Any] = {"repeats": given.repeats, "cores": os.cpu_count(), "cases": {}}
    for case in CASES:
        against = PEER_OF.get(case, case)
        row: dict[str, Any] = {"ours": round(statistics.median(turn[case]["ours"] for turn in turns), 1)}
        for name in ("sb3", "sbx"):
            ratios = [turn[case]["ours"] / turn[against][name] for turn in turns]
            row[name] = round(statistics.median(turn[against][name] for turn in turns), 1)
            row[f"over_{name}"] = round(statistics.median(ratios), 2)
            row[f"each_over_{name}"] = [round(ratio, 2) for ratio in ratios]
            row[f"target_{name}"] = TARGETS.get((case, name))
        results["cases"][case] = row
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results["cases"], indent=1))


if __name__ == "__main__":
    main()
