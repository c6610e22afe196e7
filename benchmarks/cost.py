"""What an estimate costs in CPU time, against d3rlpy's fitted Q evaluation in the same run, on one core.

    make bench-peers && python benchmarks/cost.py --peers .venv-peers/bin/python

100,000 transitions of a pendulum (500 episodes of 200 steps), a policy that d3rlpy cloned from them, its value from
20,000 fresh roll-outs. Ours: a value with standard error by linear fitted Q (256 features), with 200 refits, the step
of neural fitted Q, and 1,000 policies in one call. The peer: 10,000 steps of FQE, 256 × 256, batch 100. Both take
turns; asking the policy what it does is included. CPU seconds of the process, so that neighbours count little.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CORE = {max(os.sched_getaffinity(0))}
os.sched_setaffinity(0, CORE)  # before JAX starts its threads; the peer inherits it

import jax  # noqa: E402
import numpy as np  # noqa: E402

import weft  # noqa: E402
from weft.core import pytree  # noqa: E402
from weft.core.compilation import keep_compiled_programs  # noqa: E402
from weft.evaluation.case import case_of  # noqa: E402
from weft.evaluation.estimate import estimate  # noqa: E402
from weft.evaluation.estimators.fitted_q import FittedQ  # noqa: E402
from weft.evaluation.intervals.bootstrap import Bootstrap  # noqa: E402

HERE = Path(__file__).resolve().parent
EPISODES, STEPS, DISCOUNT, FEATURES, FRESH = 500, 200, 0.97, 256, 20_000
PEER_STEPS, REFITS, POLICIES = 10_000, 200, 1000
TARGETS = {"value_faster": 50.0, "step_faster": 5.0, "step_milliseconds": 0.48, "refits_seconds": 10.0}


# --- the world ------------------------------------------------------------------------------------------------------


def begin(generator: np.random.Generator, count: int) -> np.ndarray:
    """Draw angles (0 is upright) and speeds `(count, 2)`."""
    return np.stack([generator.uniform(-np.pi, np.pi, count), generator.uniform(-1, 1, count)], 1)


def seen(state: np.ndarray) -> np.ndarray:
    """Return what is observed: cosine, sine, speed."""
    return np.stack([np.cos(state[:, 0]), np.sin(state[:, 0]), state[:, 1]], 1).astype(np.float32)


def advance(state: np.ndarray, torque: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Take a step of 0.05 s; return the next states and the rewards in [−1, 0] (Gymnasium's Pendulum, scaled)."""
    angle, speed = state.T
    torque = np.clip(torque, -2, 2)
    off = (angle + np.pi) % (2 * np.pi) - np.pi
    cost = off**2 + 0.1 * speed**2 + 0.001 * torque**2
    speed = np.clip(speed + 0.05 * (15 * np.sin(angle) + 3 * torque), -8, 8)
    return np.stack([angle + 0.05 * speed, speed], 1), -cost / 16.3


def controller(state: np.ndarray) -> np.ndarray:
    """Pump energy until it is enough, and balance near the top."""
    angle, speed = (state[:, 0] + np.pi) % (2 * np.pi) - np.pi, state[:, 1]
    energy = speed**2 / 2 + 15 * (np.cos(angle) - 1)
    near = np.exp(-4 * (1 - np.cos(angle)))
    return 2 * np.tanh((1 - near) * -0.15 * speed * energy - near * (4 * angle + speed))


def collected(seed: int) -> tuple[weft.Dataset, dict[str, np.ndarray]]:
    """Return the log, and its arrays for the peer: the controller with noise of 0.6."""
    generator = np.random.default_rng(seed)
    state, parts = begin(generator, EPISODES), []
    for _ in range(STEPS):
        torque = np.clip(controller(state) + 0.6 * generator.normal(size=EPISODES), -2, 2)
        after, reward = advance(state, torque)
        parts.append((seen(state), torque[:, None].astype(np.float32), reward.astype(np.float32), seen(after)))
        state = after
    observations, actions, rewards, following = (
        np.stack(part, 1).reshape(EPISODES * STEPS, *part[0].shape[1:]) for part in zip(*parts, strict=True)
    )
    timeouts = np.arange(len(rewards)) % STEPS == STEPS - 1
    none = np.zeros(len(rewards), bool)
    data = weft.Dataset.from_arrays(
        observations, actions, rewards, none, timeouts, next_observations=following, action_bounds=(-2.0, 2.0),
        discount=DISCOUNT, origin="pendulum",
    )  # fmt: skip
    log = {"observations": observations, "actions": actions, "rewards": rewards}
    flags = {"terminals": none.astype(np.float32), "timeouts": timeouts.astype(np.float32)}
    return data, log | flags | {"first": data.first_observations}


def network(file: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Return the peer's policy as a function, and check that it answers as the peer does."""
    with np.load(file) as stored:
        weights = dict(stored)
    layers = [(weights[f"weight{i}"], weights[f"bias{i}"]) for i in range(3)]

    def policy(observations: np.ndarray) -> np.ndarray:
        found = observations
        for weight, bias in layers[:-1]:
            found = np.maximum(found @ weight + bias, 0)
        return np.tanh(found @ layers[-1][0] + layers[-1][1])

    if np.abs(policy(weights["probe"]) - weights["answer"]).max() > 1e-5:
        raise RuntimeError("the policy that was read differs from the peer's")
    return policy


def truth(policy: Callable[[np.ndarray], np.ndarray]) -> tuple[float, float]:
    """Return the policy's value over fresh roll-outs, with its standard error."""
    state, total = begin(np.random.default_rng(10**6), FRESH), np.zeros(FRESH)
    for step in range(600):  # 0.97^600 is 1e-8
        state, reward = advance(state, policy(seen(state))[:, 0].astype(float))
        total += DISCOUNT**step * reward
    return float(total.mean()), float(total.std(ddof=1) / FRESH**0.5)


# --- who is timed ---------------------------------------------------------------------------------------------------


class Peer:
    """A d3rlpy worker in its own interpreter."""

    def __init__(self, python: str) -> None:
        command = [python, str(HERE / "peers" / "cost_d3rlpy.py")]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and return its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        while line := self.process.stdout.readline():
            if line.startswith("{"):
                found = json.loads(line)
                if "error" in found:
                    raise RuntimeError(found["error"])
                return found
        raise RuntimeError("the peer ended without an answer")


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the CPU seconds of some work, and what it gave."""
    began = time.process_time()
    found = work()
    return time.process_time() - began, found


def value(policy: Any, data: weft.Dataset, seed: int, interval: Any = "normal") -> Any:
    """Estimate with a standard error by linear fitted Q."""
    return estimate(policy, data, "linear_q", interval, seed=seed, features=FEATURES)


def start(weights: Path) -> dict[str, float]:
    """Return the CPU seconds of the first call of a process with an empty cache of programs, and with a warm one."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("first", "cached"):
            command = [sys.executable, __file__, "--once", str(weights)]
            environment = {**os.environ, "WEFT_CACHE": folder}
            answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
            found[kind] = json.loads(answer.splitlines()[-1])["seconds"]
    return found


class NeuralStep:
    """Our neural fitted Q evaluation, compiled."""

    def __init__(self, policy: Any, data: weft.Dataset, steps: int) -> None:
        method = pytree.as_arrays(FittedQ(DISCOUNT, steps=steps, batch_size=100, hidden=(256, 256)))
        self.steps, self.given = steps, (method, case_of(policy, data, None, True, 8, 0), jax.random.key(0))
        self.program = jax.jit(lambda method, *rest: method.value(*rest)).lower(*self.given).compile()

    def __call__(self) -> tuple[float, float]:
        """Return CPU milliseconds a step, and the value."""
        seconds, found = timed(lambda: float(self.program(*self.given)))
        return 1e3 * seconds / self.steps, found


def preference(seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return a policy of two choices: logistic in the observation, with coefficients of its own."""
    generator = np.random.default_rng(seed)
    slope, offset = generator.normal(size=4), generator.normal()

    def policy(observations: np.ndarray) -> np.ndarray:
        chance = 1 / (1 + np.exp(-(observations @ slope + offset)))
        return np.stack([1 - chance, chance], 1)

    return policy


def many(method: str, **settings: Any) -> dict[str, Any]:
    """Judge many policies on one log in one call, and some of them one by one."""
    data = weft.load("sample:notifications", episodes=400, seed=1)
    policies = [preference(seed) for seed in range(POLICIES)]

    def judge(policies: Any) -> Any:
        return estimate(policies, data, method, "student", **settings)

    first, _ = timed(lambda: judge(policies))
    together, found = timed(lambda: judge(policies))
    few = 20
    judge(policies[0])
    apart, alone = timed(lambda: [judge(policy) for policy in policies[:few]])
    widest = max(abs(a.value - b.value) / a.deviation for a, b in zip(alone, found, strict=False))
    return {
        "method": method, "policies": POLICIES, "steps": data.steps, "first_call": round(first, 2),
        "seconds": round(together, 2), "one_by_one": round(apart / few * POLICIES, 1), "measured_one_by_one": few,
        "largest_difference_in_deviations": widest,
    }  # fmt: skip


def main() -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--peers", help="the interpreter of the peers' environment")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--step-turns", type=int, default=7)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "cost.json")
    parser.add_argument("--once", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    keep_compiled_programs()
    if given.once:
        data, policy = collected(0)[0], network(given.once)
        print(json.dumps({"seconds": timed(lambda: value(policy, data, 0))[0]}))
        return
    result = {"machine": machine(), "targets": TARGETS}
    with tempfile.TemporaryDirectory() as folder:
        result |= measure(Peer(given.peers), Path(folder), given.turns, given.step_turns)
    result["many"] = [many("per_decision"), many("linear_q", features=32)]
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def measure(peer: Peer, folder: Path, turns: int, step_turns: int) -> dict[str, Any]:
    """Alternate ours and the peer's; return medians and every turn."""
    data, log = collected(0)
    np.savez(folder / "log.npz", **log)
    weights = folder / "policy.npz"
    about = peer.ask(do="policy", data=str(folder / "log.npz"), out=str(weights), discount=DISCOUNT)
    policy = network(weights)
    exact, error = truth(policy)
    refits = Bootstrap(REFITS)
    started = start(weights)
    for interval in ("normal", refits):  # compile
        value(policy, data, 0, interval)
    found: dict[str, list[dict[str, float]]] = {"ours": [], "refits": [], "peer": []}
    for seed in range(1, turns + 1):
        for who, interval in (("ours", "normal"), ("refits", refits)):
            seconds, told = timed(lambda seed=seed, interval=interval: value(policy, data, seed, interval))
            found[who].append({"seconds": seconds, "value": told.value, "deviation": told.deviation})
        told = peer.ask(do="value", steps=PEER_STEPS, seed=seed)
        found["peer"].append({"seconds": told["seconds"], "value": told["value"]})
        print(f"turn {seed}: " + ", ".join(f"{who} {turn[-1]}" for who, turn in found.items()), flush=True)
    neural = NeuralStep(policy, data, 3000)
    neural_value = neural()[1]
    steps = [
        {"ours": neural()[0], "peer": peer.ask(do="steps", steps=1000)["seconds"]} for _ in range(step_turns)
    ]  # milliseconds

    def middle(who: str, what: str = "seconds") -> float:
        return statistics.median(turn[what] for turn in found[who])

    return {
        "versions": about, "transitions": EPISODES * STEPS, "blocks": EPISODES, "features": FEATURES,
        "truth": exact, "truth_error": error, "start": started, "turns": found, "step_turns": steps,
        "seconds": {who: middle(who) for who in found},
        "errors": {who: statistics.median(abs(turn["value"] - exact) for turn in found[who]) for who in found},
        "deviation": middle("ours", "deviation"),
        "value_faster": middle("peer") / middle("ours"),
        "step_milliseconds": {who: statistics.median(turn[who] for turn in steps) for who in ("ours", "peer")},
        "step_faster": statistics.median(turn["peer"] / turn["ours"] for turn in steps),
        "neural_value_after_3000_steps": neural_value,
    }  # fmt: skip


def machine() -> dict[str, Any]:
    """Name the processor and the versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {"processor": name, "jax": jax.__version__, "weft": weft.__version__}


if __name__ == "__main__":
    main()
