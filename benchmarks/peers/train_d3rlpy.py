"""Train one d3rlpy algorithm on a D4RL-layout log and save its policy at checkpoints.

The script runs in an environment of its own (see requirements.txt). Every checkpoint is one .npz file
with plain weights and biases, so that evaluate.py can replay the policy with NumPy alone. After saving,
the file is read back and its policy compared with d3rlpy's own ``predict``. CRR is the exception: its file
holds the mean action, while ``predict`` resamples by value. The settings of AWAC, CRR, BCQ and BEAR are
d3rlpy's defaults but for the batch of 256, CRR's second critic and ten candidates in BCQ's target.
"""

import argparse
import json
import time
from pathlib import Path

import d3rlpy
import h5py
import numpy as np
import torch
from d3rlpy.models.encoders import VectorEncoderFactory
from d3rlpy.preprocessing import ReturnBasedRewardScaler, StandardObservationScaler
from numpy_policy import act, choose, load_policy, noise_shape

HIDDEN_UNITS = [256, 256]
CANDIDATES = 100  # of BCQ and BEAR when they act, as in d3rlpy's defaults


def read_log(path: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Read the log and return its arrays and the row index at which each trajectory ends (inclusive).

    Rows after the last terminal or timeout form a trajectory of their own, ended by a timeout.
    """
    names = ("observations", "actions", "rewards", "next_observations", "terminals", "timeouts")
    with h5py.File(path, "r") as file:
        log = {name: np.asarray(file[name]) for name in names}
    log["terminals"] = log["terminals"].astype(bool)
    log["timeouts"] = log["timeouts"].astype(bool) & ~log["terminals"]
    if not (log["terminals"][-1] or log["timeouts"][-1]):
        log["timeouts"][-1] = True
    return log, np.flatnonzero(log["terminals"] | log["timeouts"])


def trajectory_returns(rewards: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return the undiscounted return of every trajectory."""
    starts = np.concatenate([[0], ends[:-1] + 1])
    return np.add.reduceat(rewards.astype(np.float64), starts)


def build_algorithm(name: str, log: dict[str, np.ndarray], ends: np.ndarray) -> d3rlpy.algos.QLearningAlgoBase:
    """Create the algorithm with the settings of the comparison."""
    observations = log["observations"].astype(np.float64)
    shared = {
        "batch_size": 256,
        "gamma": 0.99,
        "tau": 0.005,
        "observation_scaler": StandardObservationScaler(
            mean=observations.mean(axis=0), std=observations.std(axis=0), eps=1e-3
        ),
        "actor_encoder_factory": VectorEncoderFactory(HIDDEN_UNITS),
        "critic_encoder_factory": VectorEncoderFactory(HIDDEN_UNITS),
        # d3rlpy ignores this flag on a CPU: it needs CUDA graphs.
        "compile_graph": False,
    }
    if name == "iql":
        returns = trajectory_returns(log["rewards"], ends)
        config = d3rlpy.algos.IQLConfig(
            actor_learning_rate=3e-4,
            critic_learning_rate=3e-4,
            expectile=0.7,
            weight_temp=3.0,
            max_weight=100.0,
            value_encoder_factory=VectorEncoderFactory(HIDDEN_UNITS),
            reward_scaler=ReturnBasedRewardScaler(
                return_max=float(returns.max()), return_min=float(returns.min()), multiplier=1000.0
            ),
            **shared,
        )
    elif name == "td3_bc":
        config = d3rlpy.algos.TD3PlusBCConfig(
            actor_learning_rate=3e-4, critic_learning_rate=3e-4, alpha=2.5, update_actor_interval=2, **shared
        )
    elif name == "cql":
        # The conservative term of each critic is multiplied by conservative_weight * alpha. A learning rate
        # of zero leaves alpha at its initial value of one, so the total weight is five.
        config = d3rlpy.algos.CQLConfig(
            actor_learning_rate=1e-4,
            critic_learning_rate=3e-4,
            temp_learning_rate=1e-4,
            alpha_learning_rate=0.0,
            initial_alpha=1.0,
            conservative_weight=5.0,
            n_action_samples=10,
            **shared,
        )
    elif name == "awac":
        config = d3rlpy.algos.AWACConfig(**shared)
    elif name == "crr":
        config = d3rlpy.algos.CRRConfig(n_critics=2, **shared)
    elif name == "bcq":
        config = d3rlpy.algos.BCQConfig(
            imitator_encoder_factory=VectorEncoderFactory(HIDDEN_UNITS), n_action_samples=10, **shared
        )
    elif name == "bear":
        config = d3rlpy.algos.BEARConfig(imitator_encoder_factory=VectorEncoderFactory(HIDDEN_UNITS), **shared)
    else:
        raise ValueError(f"unknown algorithm {name!r}")
    return config.create(device="cpu:0")


def save_actor(algorithm: d3rlpy.algos.QLearningAlgoBase, path: Path) -> None:
    """Write the policy: layers of (in, out) weights, and the observation mean and divisor.

    BCQ's file also has its decoder and BEAR's the log standard deviations beside the means; both have a critic.
    """
    scaler = algorithm.config.observation_scaler
    arrays = {
        "observation_mean": np.asarray(scaler.mean, dtype=np.float32),
        "observation_divisor": np.asarray(scaler.std + scaler.eps, dtype=np.float32),
    }

    def add(prefix: str, network: torch.nn.Module, heads: list[torch.nn.Linear]) -> None:
        hidden = [module for module in network._encoder.modules() if isinstance(module, torch.nn.Linear)]
        for index, group in enumerate([*([layer] for layer in hidden), heads]):
            weights = [layer.weight.detach().numpy().T for layer in group]
            biases = [layer.bias.detach().numpy() for layer in group]
            arrays[f"{prefix}layer{index}/weight"] = np.concatenate(weights, axis=-1)
            arrays[f"{prefix}layer{index}/bias"] = np.concatenate(biases, axis=-1)

    policy, modules = algorithm.impl.policy, algorithm.impl._modules
    heads = [policy._mu if hasattr(policy, "_mu") else policy._fc]
    if hasattr(modules, "vae_decoder"):
        arrays["candidates"] = np.asarray(CANDIDATES)
        add("critic/", modules.q_funcs[0], [modules.q_funcs[0]._fc])
        if hasattr(policy, "_mu"):
            heads.append(policy._logstd)
        else:
            arrays["perturbation"] = np.asarray(policy._scale, dtype=np.float32)
            add("decoder/", modules.vae_decoder, [modules.vae_decoder._fc])
    add("", policy, heads)
    np.savez(path, **arrays)


def differences(algorithm: d3rlpy.algos.QLearningAlgoBase, path: Path, sample: np.ndarray) -> np.ndarray:
    """Return the largest difference per row between the saved policy and d3rlpy's, both with the same noise."""
    saved, implementation = load_policy(path), algorithm.impl
    states = (sample.astype(np.float32) - saved["observation_mean"]) / saved["observation_divisor"]
    if "candidates" not in saved:
        if isinstance(algorithm, d3rlpy.algos.CRR):
            with torch.no_grad():
                theirs = implementation.policy(torch.tensor(states)).squashed_mu.numpy()
        else:
            theirs = algorithm.predict(sample)
        return np.abs(act(saved, sample) - theirs).max(axis=1)
    noise = np.random.default_rng(0).standard_normal(noise_shape(saved, len(sample)), dtype=np.float32)
    draw, samples = torch.randn, implementation._n_action_samples
    torch.randn = lambda *shape, **_: torch.tensor(noise).reshape(shape)
    implementation._n_action_samples = CANDIDATES
    try:
        theirs = algorithm.predict(sample)
    finally:
        torch.randn, implementation._n_action_samples = draw, samples
    return np.abs(choose(saved, states, noise) - theirs).max(axis=1)


def main() -> None:
    """Parse the arguments, train, and write the checkpoints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("algorithm", choices=("iql", "td3_bc", "cql", "awac", "crr", "bcq", "bear"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoints", type=int, nargs="+", default=[60_000, 80_000, 100_000])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    d3rlpy.seed(arguments.seed)
    arguments.out.mkdir(parents=True, exist_ok=True)
    log, ends = read_log(arguments.data)
    algorithm = build_algorithm(arguments.algorithm, log, ends)
    dataset = d3rlpy.dataset.MDPDataset(
        observations=log["observations"],
        actions=log["actions"],
        rewards=log["rewards"],
        terminals=log["terminals"].astype(np.float32),
        timeouts=log["timeouts"].astype(np.float32),
    )
    algorithm.build_with_dataset(dataset)

    started = time.perf_counter()
    pending = sorted(step for step in set(arguments.checkpoints) if step <= arguments.steps)
    losses: dict[str, float] = {}
    for step in range(1, arguments.steps + 1):
        losses.update(algorithm.update(dataset.sample_transition_batch(256)))
        if step in pending:
            seconds = time.perf_counter() - started
            path = arguments.out / f"{arguments.algorithm}_seed{arguments.seed}_step{step}.npz"
            save_actor(algorithm, path)
            sample = log["observations"][:: max(1, len(log["observations"]) // 1000)]
            # Rounding may turn a tie between two candidates, so that one row in a hundred may differ.
            share = 0.99 if arguments.algorithm in ("bcq", "bear") else 1.0
            difference = float(np.quantile(differences(algorithm, path, sample), share))
            record = {
                "algorithm": arguments.algorithm,
                "seed": arguments.seed,
                "step": step,
                "seconds": round(seconds, 1),
                "milliseconds_per_step": round(1000 * seconds / step, 3),
                "threads": arguments.threads,
                "numpy_policy_difference": difference,
                "losses": {name: round(float(value), 5) for name, value in losses.items()},
                "file": path.name,
                "d3rlpy": d3rlpy.__version__,
                "torch": torch.__version__,
            }
            with open(arguments.out / "train.jsonl", "a") as file:
                file.write(json.dumps(record) + "\n")
            print(json.dumps(record), flush=True)
            if difference > 1e-4:
                raise RuntimeError(f"the NumPy policy differs from d3rlpy's by {difference}")
        elif step % 5000 == 0:
            milliseconds = 1000 * (time.perf_counter() - started) / step
            print(f"{arguments.algorithm} step {step}: {milliseconds:.2f} ms per step {losses}", flush=True)


if __name__ == "__main__":
    main()
