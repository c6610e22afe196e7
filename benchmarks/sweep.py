"""Eight learning rates × four seeds of IQL in one command against thirty-two separate commands.

    python benchmarks/sweep.py LOG.hdf5 [--apart 4]

Commands are whole processes with a warm compile cache on both sides. `--apart` of the separate commands are run, spread
over the learning rates; the rest is taken at their median, which the result says.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RATES = ["1e-5", "3e-5", "1e-4", "2e-4", "3e-4", "6e-4", "1e-3", "3e-3"]


def command(log: str, steps: int, rates: list[str], seeds: int, out: Path) -> float:
    """Run one `weft fit` and return its seconds."""
    words = [sys.executable, "-m", "weft", "fit", "iql", log, "--steps", str(steps), "--seeds", str(seeds)]
    began = time.perf_counter()
    subprocess.run([*words, "--learning-rate", *rates, "--out", str(out)], check=True, capture_output=True)
    return time.perf_counter() - began


def traces() -> int:
    """Count how often the training program is traced for two different sweeps of one structure."""
    import jax
    import numpy as np

    import weft
    from weft.training import loop as train

    data = weft.Dataset.from_arrays(np.zeros((64, 3)), np.zeros((64, 2)), np.zeros(64), np.arange(64) % 8 == 7)
    jax.clear_caches()
    for rates in ([1e-4, 3e-4], [1e-3, 3e-3]):
        weft.fit(weft.grid(weft.IQL(hidden=(8,)), learning_rate=rates), data, steps=4, seeds=4)
    return train.advance._cache_size()  # type: ignore[attr-defined]


def main() -> None:
    """Measure, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("log")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--apart", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "results" / "sweep.json")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        command(given.log, 10, RATES, given.seeds, place / "warm-together")
        command(given.log, 10, RATES[:1], 1, place / "warm-apart")
        together = command(given.log, given.steps, RATES, given.seeds, place / "together")
        chosen = [RATES[i * len(RATES) // given.apart] for i in range(given.apart)]
        apart = [command(given.log, given.steps, [rate], 1, place / f"apart-{i}") for i, rate in enumerate(chosen)]
    runs = len(RATES) * given.seeds
    result = {
        "settings": len(RATES), "seeds": given.seeds, "runs": runs, "steps": given.steps, "traces": traces(),
        "together": round(together, 1), "apart": round(statistics.median(apart) * runs, 1),
        "measured_apart": given.apart, "each_apart": [round(value, 1) for value in apart],
    }  # fmt: skip
    print(json.dumps(result, indent=1))
    given.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
