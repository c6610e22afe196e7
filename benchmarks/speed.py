"""Gradient steps per second, sampling included, against the peers in the same run and against the machine itself.

    make bench
    make bench CORL=PATH JAX_CORL=PATH UNIFLORAL=PATH JAX_PEERS=PYTHON

Batch 256, observation 17, action 6 (or 6 choices), two hidden layers of 256, 100,000 steps of synthetic log, one core.
All take turns; every figure is a median over the turns, in time of the processor, so that other jobs disturb little but
its cache (the load is written down). d3rlpy is installed by `make bench-peers`; CORL, JAX-CORL and
Unifloral are run from a checkout each, the last two by an interpreter that has peers/requirements_jax.txt, and named by
their commit. The floor is the time of the step's own matrix products alone. Compile times are whole processes, with
an empty and with a warm compile cache (`--no-compile` leaves those of the last run).
"""

import argparse
import datetime
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
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
    "bc": ("bc", {"head": "deterministic"}, False),  # the actor of all peers
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
TARGETS = {"iql": 5.0, "td3_bc": 4.0, "discrete_cql": 5.0, "cql": 1.8}
TARGETS |= dict.fromkeys(("awac", "crr", "bcq", "bear", "discrete_bcq"), 3.0)
FLOORS = {"iql": 1.6, "cql": 1.4}
METHODS = {  # which methods each peer has in a form that compares
    "d3rlpy": ("bc", "iql", "td3_bc", "discrete_cql", "cql", "awac", "crr", "bcq", "bear", "discrete_bcq"),
    "corl": ("bc", "iql", "td3_bc", "cql", "awac"),
    "jax_corl": ("iql", "td3_bc", "cql", "awac"),
    "unifloral": ("bc", "iql", "td3_bc"),  # its CQL has ten critics of three layers
}


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
        """Take some steps and return the seconds of the processor."""
        began = time.process_time()
        self.states, _ = jax.block_until_ready(self.program(*self._inputs(0, steps)))
        return time.process_time() - began


class Peer:
    """A worker of another library in its own interpreter, for one method."""

    def __init__(self, library: str, method: str, python: str, checkout: str | None, threads: int) -> None:
        script = ["speed_d3rlpy.py"] if checkout is None else ["speed_scripts.py", library, method]
        command = [python, str(HERE / "peers" / script[0]), *script[1:], "--threads", str(threads)]
        command += ["--checkout", checkout] if checkout else []
        self.method = method
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.name = self._answer()["commit"][:7] if checkout else ""

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():
            if line.startswith("{"):
                return json.loads(line)
        raise RuntimeError("the peer ended without an answer")

    def run(self, steps: int) -> float:
        """Take some steps and return the seconds."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{self.method} eager {steps}\n")
        self.process.stdin.flush()
        answer = self._answer()
        if "error" in answer:
            raise RuntimeError(answer["error"])
        self.name = self.name or answer["d3rlpy"]
        return float(answer["seconds"])

    def close(self) -> None:
        """End the worker."""
        self.process.kill()
        self.process.wait()


def measure(case: str, peers: dict[str, Peer], repeats: int, seconds: float) -> dict[str, Any]:
    """Alternate ours, the floor and the peers; return medians in milliseconds a step and their ratios."""
    ours = Ours(case)
    floor = products_alone(products(ours.program.as_text()))
    floor(1)

    def products_only(steps: int) -> float:
        began = time.process_time()
        floor(steps)
        return time.process_time() - began

    takers = {"ours": ours.run, "floor": products_only} | {name: peer.run for name, peer in peers.items()}
    steps = {}
    for who, take in takers.items():  # as many steps as fill a turn, of which JAX-CORL takes eight at a time
        take(16)
        steps[who] = max(16, int(seconds / (take(16) / 16)) // 8 * 8)
        take(steps[who])
    turns = {who: [] for who in takers}
    for _ in range(repeats):
        for who, take in takers.items():
            turns[who].append(take(steps[who]) / steps[who] * 1e3)

    def ratio(who: str, to: str) -> float:
        return round(statistics.median(a / b for a, b in zip(turns[who], turns[to], strict=True)), 3)

    middle = {who: statistics.median(times) for who, times in turns.items()}
    return {
        "milliseconds": {who: round(value, 3) for who, value in middle.items()},
        "turns": {who: [round(value, 3) for value in times] for who, times in turns.items()},
        "steps_per_second": round(1e3 / middle["ours"], 1),
        "over_floor": ratio("ours", "floor"),
        "compile_seconds": round(ours.compile_seconds, 2),
        "ratios": {name: ratio(name, "ours") for name in peers},
        "peers": {name: peer.name for name, peer in peers.items()},
    }


def products_apart(case: str) -> list[dict[str, Any]]:
    """Time the products of a step by their form: how many, microseconds each (the least of five turns)."""
    forms, times = Counter(products(str(Ours(case).program.as_text()))), []
    for form, count in forms.items():
        alone, turns = products_alone([form] * 4), []
        alone(1)
        for _ in range(5):
            began = time.process_time()
            alone(400)
            turns.append((time.process_time() - began) / 1600 * 1e6)
        left, right, over_left, over_right = form
        row = {"left": left, "right": right, "over": [*over_left, *over_right], "count": count}
        times.append(row | {"microseconds": round(min(turns))})
    return sorted(times, key=lambda row: -row["count"] * row["microseconds"])


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
    parser.add_argument("--peers", help="the interpreter of d3rlpy and CORL; without it only the floor")
    parser.add_argument("--jax-peers", help="the interpreter of JAX-CORL and Unifloral")
    for name in ("corl", "jax-corl", "unifloral"):
        parser.add_argument(f"--{name}", help="a checkout of it")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a turn")
    parser.add_argument("--threads", type=int, default=1, help="of torch; JAX takes the cores it is pinned to")
    parser.add_argument("--out", default=str(HERE / "results" / "speed.json"))
    parser.add_argument("--products", action="store_true", help="add only how long every form of product takes alone")
    parser.add_argument("--no-compile", action="store_true", help="leave the compile times that the results hold")
    parser.add_argument("--compile-only", choices=list(CASES))
    given = parser.parse_args()
    if given.compile_only:
        from weft.core.compilation import keep_compiled_programs

        keep_compiled_programs()
        ours = Ours(given.compile_only)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": round(ours.compile_seconds, 2), "peak_megabytes": round(peak)}))
        return
    pythons = {"d3rlpy": given.peers, "corl": given.peers, "jax_corl": given.jax_peers, "unifloral": given.jax_peers}
    checkouts = {"d3rlpy": None, "corl": given.corl, "jax_corl": given.jax_corl, "unifloral": given.unifloral}
    asked = [name for name, python in pythons.items() if python and (checkouts[name] or name == "d3rlpy")]
    out = Path(given.out)
    results: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {"cases": {}}
    for case in given.cases if given.products else ():
        results["cases"][case]["products"] = products_apart(case)
        out.write_text(json.dumps(results, indent=1) + "\n")
    for case in () if given.products else given.cases:
        peers = {
            name: Peer(name, case, pythons[name], checkouts[name], given.threads)
            for name in asked
            if case in METHODS[name]
        }
        measured = measure(case, peers, given.repeats, given.seconds)
        for peer in peers.values():
            peer.close()
        before = results["cases"].get(case, {}).get("compile") if given.no_compile else None
        measured |= {
            "compile": before or compile_times(case),
            "target": TARGETS.get(case),
            "floor_target": FLOORS.get(case),
        }
        measured |= {"repeats": given.repeats, "threads": given.threads, "machine": machine()}
        results["cases"][case] = measured
        compiled, compared = measured["compile"], [f"{ratio:.2f}× {name}" for name, ratio in measured["ratios"].items()]
        print(
            f"{case:13s} {measured['milliseconds']['ours']:7.3f} ms a step, {measured['over_floor']:.2f} × products,"
            f" {', '.join(compared)}; compile {compiled['first_seconds']:.1f} s,"
            f" cached {compiled['cached_seconds']:.1f} s, peak {compiled['first_peak_megabytes']} MB",
            flush=True,
        )
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(results, indent=1) + "\n")


def machine() -> dict[str, Any]:
    """Name the processor, the cores in use, the date, the load, the clock and the versions."""
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "date": datetime.date.today().isoformat(),
        "load": round(os.getloadavg()[2], 1),
        "of_cores": os.cpu_count(),
        "clock": "processor",
        "jax": jax.__version__,
        "weft": weft.__version__,
    }


def processor() -> str:
    """Name the processor; where the machine hides its model, by family and model number too."""
    if not Path("/proc/cpuinfo").exists():
        return platform.processor()
    first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first.splitlines())}
    name = fields.get("model name", platform.processor())
    flags = fields.get("flags", "").split()
    vectors = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "no AVX2"
    return f"{name} (family {fields.get('cpu family', '?')}, model {fields.get('model', '?')}, {vectors})"


if __name__ == "__main__":
    main()
