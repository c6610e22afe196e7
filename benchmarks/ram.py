"""RAM against dense networks that see as many pixels, on digits somewhere on a canvas of 28 by 28.

    python benchmarks/ram.py

Ten canvases of each digit; 70 % of the digits are trained on, the others are named. RAM takes three glimpses of 6 × 6
pixels at three scales, 324 numbers. The dense networks see all of the canvas shrunk to 18 × 18, as many numbers, and
all of it as it is. Writes `benchmarks/results/ram.json` and `docs/figures/glimpses.png`.
"""

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

import weft
from weft.agents.algorithms.ram import RAM
from weft.data.dataset import Dataset

ROOT = Path(__file__).resolve().parent.parent
SIZE, SCALES, GLIMPSES = 6, 3, 3
SEEN = GLIMPSES * SCALES * SIZE * SIZE
SHRUNK = math.isqrt(SEEN)


def flat(data: Dataset, side: int) -> Dataset:
    """Return the log with canvases shrunk to `side` by `side` numbers, in a row."""
    images = np.asarray(data.observations, np.float32) / 255.0
    shape = (len(images), side, side, 1)
    shrunk = np.asarray(jax.image.resize(images, shape, "linear", antialias=True)).reshape(len(images), -1)
    return Dataset.from_arrays(shrunk, data.actions, data.rewards, data.terminals, action_count=10)


def accuracies(run: weft.Run, test: Dataset) -> list[float]:
    """Return the share of canvases that the policy of each seed names rightly."""
    return [float(np.mean(run.policy(seed=seed)(test.observations) == test.actions)) for seed in run.seeds]


def draw(run: weft.Run, test: Dataset, path: Path, count: int = 10) -> None:
    """Draw where the first seed's policy looks on some test images: the finest window of each glimpse."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.patches import Rectangle

    policy = run.policy(seed=run.seeds[0])
    shown = np.random.default_rng(0).choice(test.episodes, count, replace=False)
    images, labels = test.observations[shown], test.actions[shown]
    places, named = np.asarray(policy.inner.places(images)), policy(images)
    figure, axes = pyplot.subplots(2, count // 2, figsize=(1.9 * count // 2, 4.4))
    colours = ("#4aa3ff", "#ffd166", "#ff6b6b")
    for index, axis in enumerate(axes.flat):
        axis.imshow(images[index, ..., 0], cmap="gray", vmin=0, vmax=255)
        corners = np.floor((places[:, index] + 1) / 2 * images.shape[1] - SIZE / 2 + 0.5)
        middles = corners + SIZE / 2 - 0.5
        axis.plot(middles[:, 1], middles[:, 0], color="white", linewidth=0.8, alpha=0.7)
        for number, ((row, column), colour) in enumerate(zip(corners, colours, strict=True)):
            square = (column - 0.5, row - 0.5), SIZE, SIZE
            axis.add_patch(Rectangle(*square, fill=False, edgecolor=colour, linewidth=1.6))
            axis.text(column - 0.2, row + 1.2, str(number + 1), color=colour, fontsize=7, fontweight="bold")
        axis.set_title(f"{labels[index]}, named {named[index]}", fontsize=9)
        axis.set_xlim(-0.5, images.shape[2] - 0.5)
        axis.set_ylim(images.shape[1] - 0.5, -0.5)
        axis.set_xticks([])
        axis.set_yticks([])
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Train, judge, draw, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "ram.json")
    parser.add_argument("--figure", type=Path, default=ROOT / "docs" / "figures" / "glimpses.png")
    given = parser.parse_args()
    train, test = weft.load("sample:digits", episodes=17_970).split((0.7, 0.3), seed=0)
    dense = weft.BC(learning_rate=1e-3, hidden=(256, 256))
    attention = RAM(learning_rate=1e-3, glimpses=GLIMPSES, size=SIZE, scales=SCALES, copies=4, hidden=(128,))
    cases = {
        "ram": (attention, train, test, 64, SEEN),
        f"dense, {SHRUNK} × {SHRUNK}": (dense, flat(train, SHRUNK), flat(test, SHRUNK), 256, SHRUNK**2),
        "dense, 28 × 28": (dense, flat(train, 28), flat(test, 28), 256, 28**2),
    }
    methods: dict[str, Any] = {}
    for name, (method, log, held, batch, pixels) in cases.items():
        started = time.process_time()
        run = weft.fit(method, log, given.steps, given.seeds, batch_size=batch)
        found = accuracies(run, held)
        methods[name] = {
            "accuracy": float(np.mean(found)),
            "deviation": float(np.std(found, ddof=1)) if len(found) > 1 else 0.0,
            "each": found,
            "numbers_seen": pixels,
            "seeds": given.seeds,
            "cpu_seconds": round(time.process_time() - started, 1),
        }
        print(name, methods[name], flush=True)
        if name == "ram":
            draw(run, held, given.figure)
    results = {"steps": given.steps, "train": train.episodes, "test": test.episodes, "canvas": 28, "methods": methods}
    given.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
