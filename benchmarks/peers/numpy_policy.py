"""A policy in NumPy, read from the .npz files that train_d3rlpy.py writes.

Most files hold one deterministic actor. Files of BCQ and BEAR also hold a critic: such a policy proposes
several actions by chance and takes the one that the critic values most.
"""

from pathlib import Path

import numpy as np


def load_policy(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of one actor file."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def apply(policy: dict[str, np.ndarray], hidden: np.ndarray, prefix: str = "") -> np.ndarray:
    """Return the raw output of the ReLU network whose layers have this prefix."""
    layers = sum(name.startswith(f"{prefix}layer") and name.endswith("/weight") for name in policy)
    for index in range(layers):
        hidden = hidden @ policy[f"{prefix}layer{index}/weight"] + policy[f"{prefix}layer{index}/bias"]
        if index + 1 < layers:
            hidden = np.maximum(hidden, 0.0)
    return hidden


def noise_shape(policy: dict[str, np.ndarray], rows: int) -> tuple[int, ...]:
    """Return the shape of the standard normal numbers that a policy with a critic needs."""
    if "decoder/layer0/weight" in policy:
        size = len(policy["decoder/layer0/weight"]) - len(policy["observation_mean"])
    else:
        size = policy["layer2/bias"].size // 2
    return rows, int(policy["candidates"]), size


def act(
    policy: dict[str, np.ndarray], observations: np.ndarray, generator: np.random.Generator | None = None
) -> np.ndarray:
    """Return the actions on the standardised observations: tanh of the network's output, or the best candidate."""
    states = (observations.astype(np.float32) - policy["observation_mean"]) / policy["observation_divisor"]
    if "candidates" not in policy:
        return np.tanh(apply(policy, states))
    if generator is None:
        raise ValueError("this policy draws candidates and needs a generator")
    return choose(policy, states, generator.standard_normal(noise_shape(policy, len(states)), dtype=np.float32))


def choose(policy: dict[str, np.ndarray], states: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Return the candidate with the largest value; candidates come from the given noise."""
    repeated = np.broadcast_to(states[:, None], (*noise.shape[:2], states.shape[-1]))
    if "decoder/layer0/weight" in policy:
        latents = np.clip(noise, -0.5, 0.5)
        actions = apply(policy, np.concatenate([repeated, latents], -1), "decoder/")
        moves = np.tanh(apply(policy, np.concatenate([repeated, actions], -1)))
        actions = np.clip(actions + policy["perturbation"] * moves, -1.0, 1.0)
    else:
        mean, log_std = np.split(apply(policy, repeated), 2, axis=-1)
        actions = np.tanh(mean + noise * np.exp(np.clip(log_std, -20.0, 2.0)))
    values = apply(policy, np.concatenate([repeated, actions], -1), "critic/")[..., 0]
    return actions[np.arange(len(states)), values.argmax(axis=1)]
