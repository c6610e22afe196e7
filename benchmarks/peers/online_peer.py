"""Train Stable-Baselines3 or SBX by acting, evaluate on the way, and write curve and times to a JSON file.

The script runs in an environment of its own (see requirements_online.txt). Evaluations are greedy, on environments of
their own with the same seeds every time, and no clock runs during them. Two figures of time come out:

* ``training_seconds``: from the first environment step to the last update, compilation included, evaluations not;
* ``steady``: environment steps a second once learning has been going for ``--warm`` steps, so that neither the steps
  before learning starts nor the first compilation count.

Settings are those of ``--preset``, each of which an option overrides. ``zoo`` has RL Baselines3 Zoo's tuned CartPole
settings for DQN and its MuJoCo settings for SAC (Pendulum with ``--learning-rate 1e-3`` there); ``weft`` has what
weft's own methods do by default. SBX's DQN knows one width, for two layers, and does not clip gradients; the one of
Stable-Baselines3 clips their norm at 10.

    python online_peer.py --peer sbx --method sac --env Hopper-v5 --steps 100000 --out hopper.json
"""

import argparse
import json
import os
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

PACKAGES = {"sb3": ("stable-baselines3", "torch"), "sbx": ("sbx-rl", "stable-baselines3", "jax", "flax")}
EVALUATION_SEED = 100_000

DQN: dict[str, dict[str, Any]] = {
    "zoo": {
        "hidden": "256,256",
        "learning_rate": 2.3e-3,
        "buffer": 100_000,
        "batch": 64,
        "learning_starts": 1000,
        "envs": 1,
        "train_freq": 256,
        "gradient_steps": 128,
        "target_every": 10,
        "exploring": 0.16,
        "epsilon": 0.04,
    },
    # four lanes and four updates a round, the target copied every fifty updates
    "weft": {
        "hidden": "64,64",
        "learning_rate": 1e-3,
        "buffer": 50_000,
        "batch": 64,
        "learning_starts": 1000,
        "envs": 4,
        "train_freq": 1,
        "gradient_steps": 4,
        "target_every": 50,
        "exploring": 0.1,
        "epsilon": 0.05,
    },
}
SAC: dict[str, Any] = {
    "hidden": "256,256",
    "learning_rate": 3e-4,
    "buffer": 1_000_000,
    "batch": 256,
    "learning_starts": 10_000,
    "envs": 1,
    "train_freq": 1,
    "gradient_steps": 1,
}


def defaults(method: str, environment: str, preset: str) -> dict[str, Any]:
    """Return the settings of a preset."""
    if method == "dqn":
        return dict(DQN[preset])
    few = {"learning_starts": 100} if environment == "Pendulum-v1" else {}
    return {**SAC, **few, **({"learning_starts": 1000} if preset == "weft" else {})}


class Evaluator(BaseCallback):
    """Evaluate every so many steps, and keep a clock of training alone."""

    def __init__(self, environment: str, every: int, episodes: int, steady_from: int) -> None:
        super().__init__()
        self.envs = [gymnasium.make(environment) for _ in range(episodes)]
        self.every, self.steady_from = every, steady_from
        self.curve: list[dict[str, Any]] = []
        self.paused, self.begin = 0.0, 0.0
        self.steady: tuple[int, float] | None = None
        self.due = every

    def clock(self) -> float:
        """Return the seconds of training so far."""
        return time.perf_counter() - self.begin - self.paused

    def _on_training_start(self) -> None:
        self.begin = time.perf_counter()
        self.evaluate()

    def _on_step(self) -> bool:
        if self.steady is None and self.num_timesteps >= self.steady_from:
            self.steady = self.num_timesteps, self.clock()
        if self.num_timesteps >= self.due:
            self.evaluate()
            self.due += self.every
        return True

    def evaluate(self) -> None:
        """Let the greedy policy act for an episode in every environment, side by side."""
        seconds, begin = self.clock(), time.perf_counter()
        seen = np.stack([env.reset(seed=EVALUATION_SEED + i)[0] for i, env in enumerate(self.envs)])
        totals, alive = np.zeros(len(self.envs)), np.ones(len(self.envs), bool)
        while alive.any():
            actions = self.model.predict(seen, deterministic=True)[0]
            for place in np.flatnonzero(alive):
                seen[place], reward, terminal, timeout, _ = self.envs[place].step(actions[place])
                totals[place] += float(reward)
                alive[place] = not (terminal or timeout)
        self.paused += time.perf_counter() - begin
        self.curve.append({"step": self.num_timesteps, "seconds": round(seconds, 3), "returns": totals.tolist()})
        print(f"step {self.num_timesteps:>8,}  {seconds:8.1f} s  return {totals.mean():10.2f}", flush=True)


def build(arguments: argparse.Namespace, settings: dict[str, Any]) -> Any:
    """Return the peer's algorithm on its training environments."""
    if arguments.peer == "sb3":
        import stable_baselines3 as peer
        import torch

        if arguments.threads:
            torch.set_num_threads(arguments.threads)
    else:
        import sbx as peer  # type: ignore[no-redef]
    shared = {
        "learning_rate": settings["learning_rate"],
        "buffer_size": settings["buffer"],
        "batch_size": settings["batch"],
        "learning_starts": settings["learning_starts"],
        "train_freq": settings["train_freq"],
        "gradient_steps": settings["gradient_steps"],
        "gamma": arguments.discount,
        "policy_kwargs": {"net_arch": [int(width) for width in settings["hidden"].split(",")]},
        "seed": arguments.seed,
        "device": arguments.device,
    }
    envs = make_vec_env(arguments.env, n_envs=settings["envs"], seed=arguments.seed)
    if arguments.method == "sac":
        return peer.SAC("MlpPolicy", envs, **shared)
    exploration = {
        "target_update_interval": settings["target_every"],
        "exploration_fraction": settings["exploring"],
        "exploration_final_eps": settings["epsilon"],
    }
    return peer.DQN("MlpPolicy", envs, **shared, **exploration)


def main() -> None:
    """Train, evaluate, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", choices=("sb3", "sbx"), required=True)
    parser.add_argument("--method", choices=("dqn", "sac"), required=True)
    parser.add_argument("--env", required=True, help="CartPole-v1, Pendulum-v1, Hopper-v5, ...")
    parser.add_argument("--steps", type=int, required=True, help="environment steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--evaluate-every", type=int, default=10_000, help="environment steps between evaluations")
    parser.add_argument("--episodes", type=int, default=10, help="episodes of an evaluation")
    parser.add_argument("--preset", choices=("zoo", "weft"), default="zoo")
    parser.add_argument("--discount", type=float, default=0.99)
    parser.add_argument("--device", default="cpu", help="of Stable-Baselines3; SBX runs where JAX does")
    parser.add_argument("--threads", type=int, default=0, help="of torch; its own choice if 0")
    parser.add_argument("--warm", type=int, default=1000, help="steps of learning before the steady rate is taken")
    parser.add_argument("--out", type=Path, required=True)
    setting = parser.add_argument_group("settings (the preset's if not given)")
    setting.add_argument("--hidden", help="widths, such as 256,256")
    setting.add_argument("--learning-rate", type=float)
    setting.add_argument("--buffer", type=int)
    setting.add_argument("--batch", type=int)
    setting.add_argument("--learning-starts", type=int, help="environment steps before the first update")
    setting.add_argument("--envs", type=int, help="environments side by side")
    setting.add_argument("--train-freq", type=int, help="steps of every environment between rounds of updates")
    setting.add_argument("--gradient-steps", type=int, help="updates in a round")
    setting.add_argument("--target-every", type=int, help="environment steps between copies of the target (DQN)")
    setting.add_argument("--exploring", type=float, help="share of the steps in which epsilon falls (DQN)")
    setting.add_argument("--epsilon", type=float, help="last epsilon (DQN)")
    arguments = parser.parse_args()
    settings = defaults(arguments.method, arguments.env, arguments.preset)
    settings |= {name: value for name in settings if (value := getattr(arguments, name)) is not None}

    model = build(arguments, settings)
    # the first updates come after a whole round of `train_freq` steps
    steady_from = settings["learning_starts"] + 2 * settings["train_freq"] * settings["envs"] + arguments.warm
    evaluator = Evaluator(arguments.env, arguments.evaluate_every, arguments.episodes, steady_from)
    model.learn(arguments.steps, callback=evaluator)
    seconds, steps = evaluator.clock(), int(model.num_timesteps)
    if evaluator.curve[-1]["step"] != steps:
        evaluator.evaluate()
    steady = None
    if evaluator.steady is not None and steps > evaluator.steady[0]:
        count, taken = steps - evaluator.steady[0], seconds - evaluator.steady[1]
        steady = {"from_step": evaluator.steady[0], "steps": count, "seconds": taken, "steps_per_second": count / taken}
    found = {
        "peer": arguments.peer,
        "method": arguments.method,
        "environment": arguments.env,
        "preset": arguments.preset,
        "settings": {**settings, "discount": arguments.discount},
        "seed": arguments.seed,
        "steps": steps,
        "training_seconds": seconds,
        "evaluation_seconds": evaluator.paused,
        "steady": steady,
        "versions": {name: version(name) for name in (*PACKAGES[arguments.peer], "gymnasium", "mujoco", "numpy")},
        "device": arguments.device,
        "cores": len(os.sched_getaffinity(0)),
        "curve": evaluator.curve,
    }
    written = arguments.out.with_suffix(".partial")
    written.write_text(json.dumps(found, indent=1) + "\n")
    written.replace(arguments.out)
    rate = "no steady phase: give more --steps" if steady is None else f"{steady['steps_per_second']:,.0f} steps/s"
    print(f"{arguments.peer} {arguments.method} {arguments.env}: {seconds:.1f} s of training, {rate}")


if __name__ == "__main__":
    main()
