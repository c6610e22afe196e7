"""Run a training script of CORL on a D4RL-layout log, its own code from first to last, and save its actor.

    python train_corl.py td3_bc --checkout PATH/TO/CORL --data hopper.hdf5 --steps 10000 --seed 0 --out FOLDER

Runs in the environment of the peers (requirements.txt). CORL's scripts ask for gym, d4rl, wandb and pyrallis, none of
which has a say in training: they get the log, the shape of the environment and a configuration from here, and instead
of playing episodes the actor is written as plain weights (see numpy_policy.py), beside the mean of the first critic
over a fixed batch of the log. Settings are CORL's defaults, or those of `--set name=number`.
"""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stand_ins import commit, imported
from train_d3rlpy import read_log

TRAINERS = {"td3_bc": "TD3_BC", "iql": "ImplicitQLearning", "cql": "ContinuousCQL"}


def save(actor: torch.nn.Module, log: dict[str, np.ndarray], path: Path) -> None:
    """Write an actor's layers, of which the last gives the mean before tanh, and how observations are scaled."""
    linear = [module for module in actor.modules() if isinstance(module, torch.nn.Linear)]
    seen, size = log["observations"], log["actions"].shape[1]
    arrays = {"observation_mean": seen.mean(0), "observation_divisor": seen.std(0) + 1e-3}
    for index, layer in enumerate(linear):
        keep = slice(size if layer is linear[-1] else None)
        arrays[f"layer{index}/weight"] = layer.weight.detach().numpy().T[:, keep]
        arrays[f"layer{index}/bias"] = layer.bias.detach().numpy()[keep]
    np.savez(path, **arrays)


def mean_value(trainer: Any, log: dict[str, np.ndarray]) -> float:
    """Return the mean of the first critic over 4,096 logged steps."""
    rows = np.random.default_rng(0).integers(len(log["rewards"]), size=4096)
    seen = (log["observations"][rows] - log["observations"].mean(0)) / (log["observations"].std(0) + 1e-3)
    states, actions = torch.tensor(seen, dtype=torch.float32), torch.tensor(log["actions"][rows])
    with torch.no_grad():
        values = trainer.qf.both(states, actions)[0] if hasattr(trainer, "qf") else trainer.critic_1(states, actions)
    return float(values.mean())


def main() -> None:
    """Parse the arguments, train, and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("algorithm", choices=TRAINERS)
    parser.add_argument("--checkout", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--every", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="*", default=[])
    parser.add_argument("--out", type=Path, required=True)
    how = parser.parse_args()
    torch.set_num_threads(1)
    how.out.mkdir(parents=True, exist_ok=True)
    log, _ = read_log(how.data)
    module = imported(how.checkout / "algorithms" / "offline" / f"{how.algorithm}.py", log)
    trainers, values, step = [], {}, 0
    kind = getattr(module, TRAINERS[how.algorithm])

    def remembered(*arguments: Any, **settings: Any) -> Any:
        trainers.append(kind(*arguments, **settings))
        return trainers[-1]

    def written(_: Any, actor: torch.nn.Module, **__: Any) -> np.ndarray:
        nonlocal step
        step += how.every
        save(actor, log, how.out / f"{how.algorithm}_seed{how.seed}_step{step}.npz")
        values[step] = mean_value(trainers[-1], log)
        print(how.algorithm, how.seed, step, f"mean of Q {values[step]:.2f}", flush=True)
        return np.zeros(1)

    setattr(module, TRAINERS[how.algorithm], remembered)
    module.eval_actor = written
    changes = {name: float(number) for name, _, number in (change.partition("=") for change in how.set)}
    fields = {field.name: field.type for field in dataclasses.fields(module.TrainConfig)}
    changes = {name: fields[name](number) for name, number in changes.items()}
    module.train(
        module.TrainConfig(
            device="cpu", seed=how.seed, eval_freq=how.every, max_timesteps=how.steps, buffer_size=len(log["rewards"]),
            **changes,
        )
    )  # fmt: skip
    about = {
        "commit": commit(how.checkout),
        "algorithm": how.algorithm,
        "seed": how.seed,
        "settings": changes,
        "mean_q": values,
    }
    (how.out / f"{how.algorithm}_seed{how.seed}.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
