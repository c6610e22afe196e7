"""A long-lived worker that times d3rlpy's gradient steps, sampling included.

Each line on standard input is ``algorithm mode steps`` and is answered by one JSON line with the seconds
those steps took. An algorithm/mode pair is built and warmed up on its first use, outside the timing, so
that a script outside can alternate short rounds of this worker with rounds of another library.

Algorithms: bc, iql, td3_bc, cql, discrete_cql, awac, crr, bcq, bear, discrete_bcq. All networks have two hidden layers
of 256 and all batches 256 rows; CRR has two critics, BCQ's target ten candidates, and BEAR is timed as after its
warm-up.

Modes: ``eager``; ``compile_graph`` (d3rlpy's own flag, which works on CUDA devices only: on a CPU d3rlpy
ignores it, and the answer says so in ``compiled``); ``torch_compile`` (not a d3rlpy option: the same gradient
functions wrapped in torch.compile without CUDA graphs, the nearest thing to compile_graph that a CPU can run).
"""

import argparse
import json
import sys
import time
from typing import Any

import d3rlpy
import numpy as np
import torch
from d3rlpy.models.encoders import VectorEncoderFactory

OBSERVATION_SIZE = 17
ACTION_SIZE = 6
TRANSITIONS = 100_000
EPISODE_LENGTH = 1000
BATCH_SIZE = 256
DISCRETE = ("discrete_cql", "discrete_bcq")
ALGORITHMS = ("bc", "iql", "td3_bc", "cql", "awac", "crr", "bcq", "bear", *DISCRETE)
MODES = ("eager", "compile_graph", "torch_compile")


def make_dataset(discrete: bool) -> d3rlpy.dataset.MDPDataset:
    """Make a synthetic log of episodes that end by a timeout."""
    generator = np.random.default_rng(0)
    if discrete:
        actions = generator.integers(0, ACTION_SIZE, (TRANSITIONS, 1))
    else:
        actions = generator.uniform(-1, 1, (TRANSITIONS, ACTION_SIZE)).astype(np.float32)
    timeouts = np.zeros(TRANSITIONS, dtype=np.float32)
    timeouts[EPISODE_LENGTH - 1 :: EPISODE_LENGTH] = 1.0
    return d3rlpy.dataset.MDPDataset(
        observations=generator.normal(size=(TRANSITIONS, OBSERVATION_SIZE)).astype(np.float32),
        actions=actions,
        rewards=generator.normal(size=TRANSITIONS).astype(np.float32),
        terminals=np.zeros(TRANSITIONS, dtype=np.float32),
        timeouts=timeouts,
        action_space=d3rlpy.ActionSpace.DISCRETE if discrete else d3rlpy.ActionSpace.CONTINUOUS,
        action_size=ACTION_SIZE,
    )


def build(name: str, mode: str, device: str) -> Any:
    """Create one algorithm with two hidden layers of 256 in every network."""
    encoder = VectorEncoderFactory([256, 256])
    shared = {"batch_size": BATCH_SIZE, "gamma": 0.99, "compile_graph": mode == "compile_graph"}
    continuous = shared | {"actor_encoder_factory": encoder, "critic_encoder_factory": encoder}
    if name == "bc":
        config = d3rlpy.algos.BCConfig(encoder_factory=encoder, **shared)
    elif name == "iql":
        config = d3rlpy.algos.IQLConfig(value_encoder_factory=encoder, **continuous)
    elif name == "td3_bc":
        config = d3rlpy.algos.TD3PlusBCConfig(**continuous)
    elif name == "cql":
        config = d3rlpy.algos.CQLConfig(alpha_learning_rate=0.0, n_action_samples=10, **continuous)
    elif name == "awac":
        config = d3rlpy.algos.AWACConfig(**continuous)
    elif name == "crr":
        config = d3rlpy.algos.CRRConfig(n_critics=2, **continuous)
    elif name == "bcq":
        config = d3rlpy.algos.BCQConfig(imitator_encoder_factory=encoder, n_action_samples=10, **continuous)
    elif name == "bear":
        config = d3rlpy.algos.BEARConfig(imitator_encoder_factory=encoder, warmup_steps=0, **continuous)
    elif name == "discrete_bcq":
        config = d3rlpy.algos.DiscreteBCQConfig(encoder_factory=encoder, **shared)
    else:
        config = d3rlpy.algos.DiscreteCQLConfig(encoder_factory=encoder, **shared)
    algorithm = config.create(device=device)
    algorithm.create_impl((OBSERVATION_SIZE,), ACTION_SIZE)
    if mode == "torch_compile":
        for attribute in (
            "_compute_grad",
            "_compute_critic_grad",
            "_compute_actor_grad",
            "_compute_imitator_grad",
        ):
            if hasattr(algorithm.impl, attribute):
                setattr(algorithm.impl, attribute, torch.compile(getattr(algorithm.impl, attribute)))
    return algorithm


def run_steps(algorithm: Any, dataset: d3rlpy.dataset.MDPDataset, steps: int) -> float:
    """Sample and update ``steps`` times and return the seconds, of the processor where it does the work."""
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    started = clock()
    for _ in range(steps):
        algorithm.update(dataset.sample_transition_batch(BATCH_SIZE))
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - started


def main() -> None:
    """Answer the requests on standard input until it closes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, help="torch threads (default: torch's own choice)")
    parser.add_argument("--warm-up-steps", type=int, default=20)
    parser.add_argument("--device", default="cpu", help="as d3rlpy takes it: cpu or cuda:0")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    answers = sys.stdout
    sys.stdout = sys.stderr  # keep d3rlpy's own messages out of the answers
    d3rlpy.seed(0)
    datasets: dict[bool, d3rlpy.dataset.MDPDataset] = {}
    algorithms: dict[tuple[str, str], Any] = {}
    for line in sys.stdin:
        if not line.strip():
            continue
        answer: dict[str, Any] = {"request": line.strip()}
        try:
            name, mode, count = line.split()
            if name not in ALGORITHMS or mode not in MODES:
                raise ValueError(f"expected one of {ALGORITHMS}, one of {MODES} and a number of steps")
            discrete = name in DISCRETE
            if discrete not in datasets:
                datasets[discrete] = make_dataset(discrete)
            if (name, mode) not in algorithms:
                algorithm = build(name, mode, arguments.device)
                answer["warm_up_seconds"] = round(run_steps(algorithm, datasets[discrete], arguments.warm_up_steps), 3)
                algorithms[name, mode] = algorithm
            algorithm = algorithms[name, mode]
            seconds = run_steps(algorithm, datasets[discrete], int(count))
            answer |= {
                "algorithm": name,
                "mode": mode,
                "steps": int(count),
                "seconds": seconds,
                "steps_per_second": int(count) / seconds,
                "threads": torch.get_num_threads(),
                "compiled": mode == "torch_compile" or bool(algorithm.compiled),
                "device": arguments.device,
                "d3rlpy": d3rlpy.__version__,
                "torch": torch.__version__,
            }
        except Exception as error:
            answer["error"] = f"{type(error).__name__}: {error}"
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
