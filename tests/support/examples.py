"""Logs and figures of logs that several files of tests look at."""

import numpy as np

from weft import Dataset
from weft.experiments.advice.measurement import Measurement
from weft.experiments.advice.prediction import Comparison


def small_log(**options) -> Dataset:
    """Three episodes of 2, 3 and 1 steps: terminal, timed out (next observation known), terminal."""
    observations = np.arange(12, dtype=np.float32).reshape(6, 2)
    following = observations + 2
    following[4] = [90, 91]
    return Dataset.from_arrays(
        observations,
        np.array([0, 1, 0, 1, 0, 1]),
        np.array([1.0, 2, 3, 4, 5, 6]),
        np.array([0, 1, 0, 0, 0, 1], bool),
        np.array([0, 0, 0, 0, 1, 0], bool),
        next_observations=following,
        **options,
    )


def robot_and_chatbot(seed: int = 0) -> tuple[Dataset, Dataset]:
    """Return the two logs that the project began with: a robot that hangs towels, a chatbot that is rated."""
    rng = np.random.default_rng(seed)
    steps, episodes = 200, 3  # 20 Hz, 10 seconds each
    total = steps * episodes
    last = np.arange(1, total + 1) % steps == 0
    hung = np.array([True, False, True])
    robot = Dataset.from_arrays(
        {
            "camera": rng.integers(0, 256, (total, 12, 16, 3), dtype=np.uint8),
            "joints": rng.normal(size=(total, 7)).astype(np.float32),
        },
        rng.uniform(-1, 1, (total, 7)).astype(np.float32),
        np.where(last, np.repeat(hung, steps), 0).astype(np.float32),
        last & np.repeat(hung, steps),
        last & ~np.repeat(hung, steps),
        next_observations={
            "camera": rng.integers(0, 256, (total, 12, 16, 3), dtype=np.uint8),
            "joints": rng.normal(size=(total, 7)).astype(np.float32),
        },
        action_bounds=(-1, 1),
        durations=np.full(total, 0.05),
        horizon=steps,
        reward_range=(0, 1),
        origin="towels",
    )
    tokens = [rng.integers(0, 50, rng.integers(1, 9)).tolist() for _ in range(40)]
    chatbot = Dataset.from_arrays(
        tokens,
        rng.integers(0, 4, 40),
        np.tile([1.0, -10.0, 0.0, 0.0], 10),
        np.arange(40) % 4 == 3,
        origin="chats",
        columns={"user": np.repeat(["ann", "bob", "cat", "dan", "eve"], 8)},
        unit="user",
    )
    return robot, chatbot


def steps(episodes=100, length=20, noise=0.2, seed=0, **changes) -> Dataset:
    """Return a log in which the action follows the observation, up to noise, and every episode returns about 100."""
    generator = np.random.default_rng(seed)
    seen = generator.normal(size=(episodes * length, 2)).astype(np.float32)
    does = (np.tanh(seen) + noise * generator.normal(size=seen.shape)).clip(-1, 1).astype(np.float32)
    parts = {
        "observations": seen,
        "actions": does,
        "rewards": 5 + 0.1 * generator.normal(size=len(seen)),
        "terminals": np.arange(len(seen)) % length == length - 1,
        "action_bounds": (-1, 1),
    }
    return Dataset.from_arrays(**{**parts, **changes})


PLAIN = Measurement(
    kind="continuous",
    choices=0,
    steps=100_000,
    episodes=1000,
    units=1000,
    length=100.0,
    longest=100,
    top=100.0,
    bottom=10.0,
    mean=50.0,
    deviation=30.0,
    good=0.3,
    good_episodes=300,
    good_steps=0.3,
    spread=True,
    fraction=0.3,
    kept_episodes=300,
    kept_steps=30_000,
    kept_mean=97.0,
    width=2,
    taken=1000,
    seldom=0,
    started=0.0,
    covered=1.0,
    rewarded=1.0,
    unit_reward=1.0,
    near=0.9,
    contrast=0.8,
    spliced=0.0,
    split=0.0,
    exploration=0.4,
    memory=None,
    skill=Comparison(1.0, 0.1, 9.0, 0.1, np.ones(1)),
    effect=None,
    terminal=0.5,
    irregular=0.0,
    sources=0,
    propensities=False,
    least=None,
    certain=False,
    excess=None,
    ranged=False,
    horizon=None,
    unit=None,
)
