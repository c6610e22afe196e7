"""A deterministic actor in NumPy, read from the .npz files that train_d3rlpy.py writes."""

from pathlib import Path

import numpy as np


def load_policy(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of one actor file."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def act(policy: dict[str, np.ndarray], observations: np.ndarray) -> np.ndarray:
    """Return tanh of a ReLU network's output on the standardised observations."""
    hidden = (observations.astype(np.float32) - policy["observation_mean"]) / policy["observation_divisor"]
    layers = sum(name.endswith("/weight") for name in policy)
    for index in range(layers):
        hidden = hidden @ policy[f"layer{index}/weight"] + policy[f"layer{index}/bias"]
        if index + 1 < layers:
            hidden = np.maximum(hidden, 0.0)
    return np.tanh(hidden)
