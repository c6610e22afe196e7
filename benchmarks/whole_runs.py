"""Hold whole runs against those of CORL's own scripts, same settings, same log: scores and what the critics believe.

    cd benchmarks/peers    # CORL: five seeds of each, two of cql (--set cql_alpha=5, 5,000 steps); then their episodes
    python train_corl.py td3_bc --checkout PATH/TO/CORL --data HOPPER.hdf5 --seed 0 --out CORL_RUNS
    python evaluate.py CORL_RUNS/*.npz --out CORL_RUNS/scores.json
    cd ../..               # ours, rewards as they are, as CORL has them
    weft fit td3_bc HOPPER.hdf5 --steps 10000 --seeds 5 --keep 5000 --scale-rewards none --out RUNS/td3_bc
    weft fit iql HOPPER.hdf5 --steps 10000 --seeds 5 --keep 5000 --scale-rewards none --decay True --out RUNS/iql
    weft fit cql HOPPER.hdf5 --steps 5000 --seeds 2 --keep 2500 --scale-rewards none --weight.value 5 \\
        --hidden 256,256,256 --actor-learning-rate 3e-5 --temperature.learning-rate 3e-5 --out RUNS/cql
    python benchmarks/whole_runs.py RUNS CORL_RUNS --data HOPPER.hdf5

Twins of single updates copy weights and a batch, and cannot see what grows over a run; this can, within the noise of
so many seeds. The mean of Q is that of the first critic over 4,096 logged steps.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from hopper import play

import weft


def believed(run: weft.Run, data: weft.Dataset, seed: int, step: int) -> float:
    """Return the mean of the first critic over some logged steps, in the log's rewards."""
    rows = np.random.default_rng(0).integers(len(data.rewards), size=4096)
    seen = run.transform.observe(jnp.asarray(data.observations[rows]))
    action = run.transform.unenact(jnp.asarray(data.actions[rows]))
    return float(run.state(0, seed, step).critics.model[0](seen, action).mean()) * run.transform.reward_unit


def main() -> None:
    """Play ours, read theirs, write both."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("ours", type=Path)
    parser.add_argument("theirs", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "results" / "whole_runs.json")
    how = parser.parse_args()
    data = weft.load(how.data)
    scores = json.loads((how.theirs / "scores.json").read_text(encoding="utf-8"))["results"]
    about = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(how.theirs.glob("*_seed*.json"))]
    methods: dict[str, Any] = {}
    for folder in sorted(path for path in how.ours.iterdir() if (path / "run.json").exists()):
        run, name = weft.load_run(folder), folder.name
        steps = [*run.record["keep"], run.record["steps"]]
        ours = [
            {"seed": seed, "step": step, "score": play(run, place, step, 20)["score"],
             "mean_q": round(believed(run, data, place, step), 2)}
            for step in steps for place, seed in enumerate(run.seeds)
        ]  # fmt: skip
        values = {
            (one["seed"], int(step)): q
            for one in about
            if one["algorithm"] == name
            for step, q in one["mean_q"].items()
        }
        theirs = [
            {"seed": one["seed"], "step": one["step"], "score": round(one["score"], 2),
             "mean_q": round(values[one["seed"], one["step"]], 2)}
            for one in scores if one["algorithm"] == name and one["step"] in steps
        ]  # fmt: skip
        methods[name] = {"steps": steps, "ours": ours, "theirs": theirs}
        print(name, [one["score"] for one in ours], [one["score"] for one in theirs], flush=True)
        found = {"commit": about[0]["commit"], "methods": methods}
        how.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
