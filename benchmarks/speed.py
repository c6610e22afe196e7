"""Gradient steps per second, sampling included, against d3rlpy in the same run and against the machine itself.

    make bench

Batch 256, observation 17, action 6 (or 6 choices), two hidden layers of 256, 100,000 steps of synthetic log. Ours and
the peer's take turns; every figure is a median over the turns. The floor is the time of the step's own matrix products
alone. Compile times are whole processes, with an empty and with a warm compile cache. Nothing else should be running.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from floor import products, products_alone

import weft
from weft.agents.algorithm import algorithm
from weft.core import pytree
from weft.data.units import fit_transform
from weft.training import loop as train

HERE = Path(__file__).resolve().parent
ROWS = 100_000
CASES = {
    "iql": ("iql", {}, False),
    "td3_bc": ("td3_bc", {}, False),
    "discrete_cql": ("cql", {}, True),
    "cql": ("cql", {"backup": "greedy"}, False),  # the target of d3rlpy's
    "awac": ("awac", {}, False),
    "crr": ("crr", {}, False),
    "bcq": ("bcq", {}, False),
    "bear": ("bear", {}, False),
    "discrete_bcq": ("discrete_bcq", {}, True),
    "one_step": ("one_step", {}, False),
    "brac": ("brac", {"behaviour_steps": 0}, False),
    "kl_control": ("kl_control", {"behaviour_steps": 0}, False),
}
PEERLESS = ("one_step", "brac", "kl_control")  # d3rlpy has no such method
TARGETS = {"iql": 5.0, "td3_bc": 4.0, "discrete_cql": 5.0, "cql": 1.8}
TARGETS |= dict.fromkeys(("awac", "crr", "bcq", "bear", "discrete_bcq"), 3.0)
FLOORS = {"iql": 1.6, "cql": 1.4}


class Ours:
    """One method, compiled, with its state."""

    def __init__(self, case: str) -> None:
        name, settings, discrete = CASES[case]
        generator = np.random.default_rng(0)
        actions = generator.integers(0, 6, ROWS) if discrete else generator.uniform(-1, 1, (ROWS, 6)).astype(np.float32)
        data = weft.Dataset.from_arrays(
            generator.normal(size=(ROWS, 17)).astype(np.float32),
            actions,
            generator.normal(size=ROWS).astype(np.float32),
            np.zeros(ROWS, bool),
            np.arange(ROWS) % 1000 == 999,
        )
        method = algorithm(name)(**settings)
        self.columns = fit_transform(data)(data.device())
        self.settings = pytree.stack([pytree.as_arrays(method)])
        self.keys = jax.random.split(jax.random.key(0), 1)
        began = time.perf_counter()
        self.states = train.begin(self.settings, self.keys, self.columns, data.spec, "sequential")
        lowered = train.advance.lower(*self._inputs(0, 1), "sequential")
        self.program = lowered.compile()
        self.run(1)
        self.compile_seconds = time.perf_counter() - began

    def _inputs(self, start: int, stop: int) -> tuple:
        return (self.settings, self.states, self.columns, self.keys, train.Span.of(start, stop, 1_000_000))

    def run(self, steps: int) -> float:
        """Take some steps and return the seconds."""
        began = time.perf_counter()
        self.states, _ = jax.block_until_ready(self.program(*self._inputs(0, steps)))
        return time.perf_counter() - began


class Peer:
    """A d3rlpy worker in its own interpreter."""

    def __init__(self, python: str, threads: int) -> None:
        command = [python, str(HERE / "peers" / "speed_d3rlpy.py"), "--threads", str(threads)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def run(self, case: str, mode: str, steps: int) -> float:
        """Take some steps and return the seconds."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{case} {mode} {steps}\n")
        self.process.stdin.flush()
        while line := self.process.stdout.readline():
            if line.startswith("{"):
                found = json.loads(line)
                if "error" in found:
                    raise RuntimeError(found["error"])
                return float(found["seconds"])
        raise RuntimeError("the peer ended without an answer")


def measure(case: str, peer: Peer | None, modes: list[str], repeats: int, seconds: float) -> dict[str, Any]:
    """Alternate ours, the floor and the peer's modes; return medians in milliseconds a step and their ratios."""
    ours = Ours(case)
    floor = products_alone(products(ours.program.as_text()))
    floor(1)
    steps = {"ours": 20, "floor": 20, **dict.fromkeys(modes, 10)}

    def turn(who: str) -> float:
        if who == "ours":
            return ours.run(steps[who])
        if who == "floor":
            began = time.perf_counter()
            floor(steps[who])
            return time.perf_counter() - began
        assert peer is not None
        return peer.run(case, who, steps[who])

    for who, few in list(steps.items()):  # as many steps as fill a turn
        steps[who] = max(10, int(seconds / (turn(who) / few)))
    turns = {who: [] for who in steps}
    for _ in range(repeats):
        for who, taken in steps.items():
            turns[who].append(turn(who) / taken * 1e3)
    middle = {who: statistics.median(found) for who, found in turns.items()}
    result: dict[str, Any] = {
        "milliseconds": {who: round(value, 3) for who, value in middle.items()},
        "turns": {who: [round(value, 3) for value in found] for who, found in turns.items()},
        "steps_per_second": round(1e3 / middle["ours"], 1),
        "over_floor": round(statistics.median(a / b for a, b in zip(turns["ours"], turns["floor"], strict=True)), 3),
        "compile_seconds": round(ours.compile_seconds, 2),
    }
    if modes:
        fastest = min(modes, key=lambda mode: middle[mode])
        ratios = [b / a for a, b in zip(turns["ours"], turns[fastest], strict=True)]
        result["faster_than_peer"] = round(statistics.median(ratios), 2)
        result["peer_mode"] = fastest
    return result


def compile_times(case: str) -> dict[str, float]:
    """Time the first start (empty cache) and the second (warm cache) of a process, and its peak memory."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("first", "cached"):
            environment = {**os.environ, "WEFT_CACHE": folder}
            environment.pop("JAX_COMPILATION_CACHE_DIR", None)
            command = [sys.executable, __file__, "--compile-only", case]
            answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
            found.update({f"{kind}_{name}": value for name, value in json.loads(answer.splitlines()[-1]).items()})
    return found


def main() -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--peers", help="the interpreter of the peers' environment; without it only the floor")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--modes", nargs="+", default=["eager", "compile_graph"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a turn")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", default=str(HERE / "results" / "speed.json"))
    parser.add_argument("--compile-only", choices=list(CASES))
    given = parser.parse_args()
    if given.compile_only:
        from weft.core.compilation import keep_compiled_programs

        keep_compiled_programs()
        ours = Ours(given.compile_only)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": round(ours.compile_seconds, 2), "peak_megabytes": round(peak)}))
        return
    peer = Peer(given.peers, given.threads) if given.peers else None
    out = Path(given.out)
    results: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {"cases": {}}
    results |= {"machine": machine(), "repeats": given.repeats}
    for case in given.cases:
        modes = given.modes if peer and case not in PEERLESS else []
        found = measure(case, peer, modes, given.repeats, given.seconds)
        found |= {"compile": compile_times(case), "target": TARGETS.get(case), "floor_target": FLOORS.get(case)}
        found |= {"repeats": given.repeats, "threads": given.threads}
        results["cases"][case] = found
        told = f"{found['faster_than_peer']:.2f}× d3rlpy ({found['peer_mode']})" if modes else ""
        print(
            f"{case:13s} {found['milliseconds']['ours']:7.3f} ms a step, {found['over_floor']:.2f} × its products, "
            f"{told} "
            f"compile {found['compile']['first_seconds']:.1f} s, cached {found['compile']['cached_seconds']:.1f} s, "
            f"peak {found['compile']['first_peak_megabytes']} MB",
            flush=True,
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(results, indent=1) + "\n")


def machine() -> dict[str, Any]:
    """Name the processor, the cores and the versions."""
    name = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return {"processor": name, "cores": os.cpu_count(), "jax": jax.__version__, "weft": weft.__version__}


if __name__ == "__main__":
    main()
