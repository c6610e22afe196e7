"""Small logs and small methods: what the engine does is tested on networks of eight units and a few dozen steps."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np

import weft
from weft.agents.algorithms.bc import BC
from weft.agents.algorithms.iql import IQL
from weft.core import pytree
from weft.data.dataset import Dataset

ROOT = Path(__file__).resolve().parents[2]


def continuous(steps: int = 200, seed: int = 0) -> Dataset:
    """Return a log of two-dimensional actions; every tenth step ends an episode."""
    generator = np.random.default_rng(seed)
    ends = np.arange(steps) % 10 == 9
    return Dataset.from_arrays(
        generator.normal(size=(steps, 3)).astype(np.float32),
        generator.uniform(-0.9, 0.9, (steps, 2)).astype(np.float32),
        generator.normal(size=steps).astype(np.float32),
        ends & (np.arange(steps) % 20 == 9),
        ends & (np.arange(steps) % 20 == 19),
        action_bounds=(-1.0, 1.0),
    )


def labelled(steps: int = 120, seed: int = 0) -> Dataset:
    """Return a log of named choices whose observations are a dictionary with a category in it."""
    generator = np.random.default_rng(seed)
    choice = np.array(["left", "right", "wait"])
    return Dataset.from_arrays(
        {
            "place": generator.normal(size=(steps, 2)).astype(np.float32),
            "zone": generator.integers(2, size=steps),
        },
        choice[generator.integers(3, size=steps)],
        generator.normal(size=steps).astype(np.float32),
        np.arange(steps) % 8 == 7,
        kinds={"zone": "category"},
        categories={"zone": ("north", "south")},
    )


def iql(**settings) -> IQL:
    """Return IQL with one layer of eight units and batches of 16."""
    return pytree.replace(IQL(**{"hidden": (8,), **settings}), "sampler.batch_size", 16)


def bc(**settings) -> BC:
    """Return behaviour cloning with one layer of eight units and batches of 16."""
    return pytree.replace(BC(**{"hidden": (8,), **settings}), "sampler.batch_size", 16)


def same(first, second) -> bool:
    """Say whether two trees are equal bit for bit."""
    one, two = jax.tree.leaves(first), jax.tree.leaves(second)
    return len(one) == len(two) and all(
        np.asarray(a).dtype == np.asarray(b).dtype and np.asarray(a).tobytes() == np.asarray(b).tobytes()
        for a, b in zip(one, two, strict=True)
    )


def child(code: str, *arguments: object, **options) -> subprocess.Popen:
    """Start Python code that may import this file; its arguments are in `sys.argv[1:]`."""
    source = Path(weft.__file__).parents[1]  # the same weft as here, wherever another may be installed
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(source), str(ROOT / "tests" / "support")])}
    environment.setdefault("WEFT_CACHE", str(ROOT / ".cache" / "compiled"))
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
