"""How fast matrix products alone are, here and with torch: what a step is made of that no program can save.

    taskset -c 0 python benchmarks/products.py --peers .venv-peers/bin/python

One core, the time of the processor (so that other processes hardly matter), the best of five turns. `hidden` is a
layer of 256 units for a batch of 256; `critics` the same for two critics at once; `candidates` a layer of BCQ's model
for ten actions of each state. `weights` and `inputs` are the products of the backward pass.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

OUT = Path(__file__).resolve().parent / "results" / "products.json"
CASES = {  # left, right, what is summed over as einsum has it
    "hidden": ((256, 256), (256, 256), "ij,jk->ik"),
    "hidden, weights": ((256, 256), (256, 256), "ji,jk->ik"),
    "hidden, inputs": ((256, 256), (256, 256), "ij,kj->ik"),
    "critics": ((2, 256, 256), (2, 256, 256), "bij,bjk->bik"),
    "candidates": ((2560, 750), (750, 750), "ij,jk->ik"),
}


def fastest(run: Callable[[], Any], times: int) -> float:
    """Return the least seconds of processor time for one of `times` products."""
    run()
    turns = []
    for _ in range(5):
        began = time.process_time()
        run()
        turns.append(time.process_time() - began)
    return min(turns) / times


def of_jax(left: np.ndarray, right: np.ndarray, sums: str, times: int) -> float:
    """Multiply in a compiled loop whose rounds wait for each other."""
    import jax
    import jax.numpy as jnp

    def loop(a: Any, b: Any) -> Any:
        def again(_: Any, carried: Any) -> Any:
            held, total = jax.lax.optimization_barrier(carried)
            return held, total + jnp.einsum(sums, held, b).ravel()[0]

        return jax.lax.fori_loop(0, times, again, (a, jnp.float32(0)))[1]

    program, given = jax.jit(loop), (jnp.asarray(left), jnp.asarray(right))
    return fastest(lambda: jax.block_until_ready(program(*given)), times)


def of_torch(left: np.ndarray, right: np.ndarray, sums: str, times: int) -> float:
    """Multiply one after another."""
    import torch  # type: ignore[import-not-found]

    torch.set_num_threads(1)
    a, b = torch.tensor(left), torch.tensor(right)
    a, b = a.mT if sums[:2] == "ji" else a, b.mT if sums[3:5] == "kj" else b
    return fastest(lambda: [a @ b for _ in range(times)], times)


def measured(which: Callable[..., float]) -> dict[str, float]:
    """Return GFLOP/s of every case."""
    found, generator = {}, np.random.default_rng(0)
    for name, (left, right, sums) in CASES.items():
        a, b = (generator.normal(size=shape).astype(np.float32) for shape in (left, right))
        flops = 2 * np.prod(left) * right[-1]
        found[name] = round(float(flops / which(a, b, sums, 20 if name == "candidates" else 200)) / 1e9, 1)
    return found


def main() -> None:
    """Measure both and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peers", help="the interpreter of the peers' environment; without it nothing is written")
    parser.add_argument("--torch", action="store_true", help="measure torch in this interpreter and print")
    given = parser.parse_args()
    if given.torch:
        print(json.dumps(measured(of_torch)))
        return
    found = {"weft": measured(of_jax)}
    if given.peers:
        line = [given.peers, __file__, "--torch"]
        found["torch"] = json.loads(subprocess.run(line, capture_output=True, text=True, check=True).stdout)
        OUT.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    sys.exit(main())
