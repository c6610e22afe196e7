"""Judge a d3rlpy policy as an object and as d3rlpy's own ONNX export, by the same log and estimator.

The script runs where weft, d3rlpy, onnx and onnxruntime are installed together:

    pip install -e '.[onnx]' -r benchmarks/peers/requirements.txt onnx
    python benchmarks/peers/judge_d3rlpy.py --out external.json

A discrete CQL learns on `sample:notifications`, a TD3+BC with its scalers on `sample:pendulum`. Both are exported by
`save_policy`; the export traces scalers and greedy action into one graph. What is compared: the answers at every
observation, and the estimates. `sensitivity` is how far an estimate moves when actions are changed by their last digit
(2.4e-7), which no export can avoid.
"""

import argparse
import functools
import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

import d3rlpy
import numpy as np
import torch

import weft


def logged(data: weft.Dataset) -> d3rlpy.dataset.MDPDataset:
    """Return a log as d3rlpy takes it."""
    return d3rlpy.dataset.MDPDataset(
        np.asarray(data.observations, np.float32), np.asarray(data.actions), np.asarray(data.rewards, np.float32),
        data.terminals.astype(np.float32), data.timeouts.astype(np.float32),
        action_size=data.spec.action.size,
    )  # fmt: skip


def trained(algorithm: Any, data: weft.Dataset, steps: int) -> Any:
    """Train an algorithm for so many steps, silently."""
    quiet = d3rlpy.logging.NoopAdapterFactory()
    algorithm.fit(logged(data), n_steps=steps, n_steps_per_epoch=steps, show_progress=False, logger_adapter=quiet)
    return algorithm


def exported(algorithm: Any, path: Path) -> str:
    """Write d3rlpy's own export. It traces a function, which torch's newer exporter does not take."""
    export = torch.onnx.export
    torch.onnx.export = functools.partial(export, dynamo=False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            algorithm.save_policy(str(path))
    finally:
        torch.onnx.export = export
    return str(path)


def compared(algorithm: Any, data: weft.Dataset, path: Path, **judge: Any) -> dict[str, Any]:
    """Judge the algorithm and its export."""
    file = exported(algorithm, path)
    here, there = (weft.estimate(policy, data, **judge) for policy in (algorithm, file))
    seen = np.asarray(data.device().observation, np.float32)
    answer = algorithm.predict(seen)
    random = np.random.default_rng(0)
    figures = {
        "algorithm": type(algorithm).__name__,
        "data": data.origin,
        **judge,
        "in process": here.value,
        "onnx": there.value,
        "difference": abs(here.value - there.value),
        "relative": abs(here.value - there.value) / max(abs(here.value), 1e-12),
        "interval in process": [here.low, here.high],
        "interval onnx": [there.low, there.high],
    }
    if data.spec.action.kind == "continuous":
        moved = (answer + random.choice([-2.4e-7, 0.0, 2.4e-7], answer.shape)).astype(np.float32)
        figures["sensitivity"] = abs(weft.estimate(lambda _: moved, data, **judge).value - here.value)
    return figures


def main() -> None:
    """Train, export, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--episodes", type=int, default=300)
    arguments = parser.parse_args()
    d3rlpy.seed(0)
    scalers = d3rlpy.preprocessing
    cql = d3rlpy.algos.DiscreteCQLConfig(observation_scaler=scalers.StandardObservationScaler()).create(device="cpu")
    td3 = d3rlpy.algos.TD3PlusBCConfig(
        observation_scaler=scalers.StandardObservationScaler(), action_scaler=scalers.MinMaxActionScaler()
    ).create(device="cpu")
    notifications, held = weft.load("sample:notifications", episodes=2 * arguments.episodes).split((0.5, 0.5))
    swings, others = weft.load("sample:pendulum").split((0.5, 0.5))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        trained(cql, notifications, arguments.steps)
        trained(td3, swings, arguments.steps)
        results = [
            compared(cql, held, place / "cql.onnx", method="doubly_robust", interval="student"),
            compared(cql, held, place / "cql.onnx", method="linear_q", interval="normal"),
            compared(td3, others, place / "td3.onnx", method="linear_q", interval="normal", discount=0.9, ridge=1e-2),
            compared(td3, others, place / "td3.onnx", method="linear_q", interval="normal"),
        ]
    print(json.dumps(results, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
