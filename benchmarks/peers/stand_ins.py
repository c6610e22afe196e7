"""Import a training script of another library without what it asks for and does not need to train.

Such scripts import simulators, a tracker and a reader of settings at their top. The log and the shape of the
environment come from here; the rest does nothing.
"""

import importlib.util
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["NAMES", "commit", "imported", "stand_in", "synthetic"]

NAMES = ("observations", "actions", "rewards", "next_observations", "terminals")


def stand_in(name: str, **parts: Any) -> None:
    """Put a module in the place of one that is not installed."""
    module = types.ModuleType(name)
    module.__dict__.update(parts)
    sys.modules[name] = module


def imported(path: Path, log: dict[str, np.ndarray]) -> types.ModuleType:
    """Import a script with stand-ins for what it does not need here."""
    space = types.SimpleNamespace
    env = space(
        observation_space=space(shape=log["observations"].shape[1:]),
        action_space=space(shape=log["actions"].shape[1:], high=np.ones(log["actions"].shape[1]), seed=lambda _: None),
        seed=lambda _: None,
        get_normalized_score=lambda _: 0.0,
    )

    def same(wrapped: Any, _: Any) -> Any:
        return wrapped

    wrappers = space(TransformObservation=same, TransformReward=same)
    stand_in("gym", make=lambda _: env, Env=object, wrappers=wrappers)
    stand_in("d4rl", qlearning_dataset=lambda _: {name: log[name].copy() for name in NAMES})
    stand_in("wandb", init=lambda **_: None, run=space(save=lambda: None), log=lambda *_, **__: None)
    stand_in("pyrallis", wrap=lambda: lambda function: function)
    spec = importlib.util.spec_from_file_location("peer_script", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["peer_script"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def synthetic(rows: int, observation: int, action: int) -> dict[str, np.ndarray]:
    """Make the log of the speed pages: noise in episodes of 1,000 steps that no terminal ends."""
    generator = np.random.default_rng(0)
    seen = generator.normal(size=(rows, observation)).astype(np.float32)
    return {
        "observations": seen,
        "actions": generator.uniform(-1, 1, (rows, action)).astype(np.float32),
        "rewards": generator.normal(size=rows).astype(np.float32),
        "next_observations": np.roll(seen, -1, axis=0),
        "terminals": np.zeros(rows, np.float32),
    }


def commit(checkout: Path) -> str:
    """Return the commit of a checkout."""
    answer = subprocess.run(["git", "-C", checkout, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    return answer.stdout.strip()
