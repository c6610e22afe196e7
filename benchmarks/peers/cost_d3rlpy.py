"""A long-lived worker that evaluates a policy with d3rlpy's FQE and says what it cost in CPU time.

Each line on standard input is one JSON request, answered by one JSON line:

    {"do": "policy", "data": FILE, "out": FILE}    clone the log's behaviour (two layers of 64), write its weights
    {"do": "value", "steps": N, "seed": S}         fit FQE anew for N steps, answer the value at the first observations
    {"do": "steps", "steps": N}                    take N further steps of the last fit

FQE as d3rlpy has it but for the network, two hidden layers of 256: batch 100, learning rate 1e-4, a target network
copied every 100 steps. Sampling is included, building the data set and the networks is not.
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

BATCH = 100
CLONING = 5000  # steps


class Worker:
    """The log, the policy and the last fit."""

    def policy(self, data: str, out: str, discount: float) -> dict[str, Any]:
        """Read the log, clone its behaviour and write the weights, stored as (in, out), layer by layer."""
        with np.load(data) as file:
            log = dict(file)
        self.first, self.discount = log.pop("first"), discount
        self.dataset = d3rlpy.dataset.MDPDataset(**log, action_space=d3rlpy.ActionSpace.CONTINUOUS)
        d3rlpy.seed(0)
        encoder = VectorEncoderFactory([64, 64])
        self.cloned = d3rlpy.algos.BCConfig(batch_size=256, encoder_factory=encoder).create(device="cpu")
        self.cloned.build_with_dataset(self.dataset)
        for _ in range(CLONING):
            self.cloned.update(self.dataset.sample_transition_batch(256))
        linear = [part for part in self.cloned.impl.policy.modules() if isinstance(part, torch.nn.Linear)]
        weights = {}
        for number, layer in enumerate(linear):
            weights[f"weight{number}"] = layer.weight.detach().numpy().T
            weights[f"bias{number}"] = layer.bias.detach().numpy()
        np.savez(out, **weights, probe=self.first, answer=self.cloned.predict(self.first))
        return {"layers": len(linear)}

    def value(self, steps: int, seed: int) -> dict[str, Any]:
        """Fit FQE for some steps; return its value at the first observations and the CPU seconds."""
        d3rlpy.seed(seed)
        config = d3rlpy.ope.FQEConfig(
            gamma=self.discount, batch_size=BATCH, encoder_factory=VectorEncoderFactory([256, 256])
        )
        self.fitted = d3rlpy.ope.FQE(algo=self.cloned, config=config, device="cpu")
        self.fitted.build_with_dataset(self.dataset)
        return self.steps(steps) | {"value": self._value()}

    def steps(self, steps: int) -> dict[str, Any]:
        """Take some steps of the last fit and return the CPU seconds."""
        began = time.process_time()
        for _ in range(steps):
            self.fitted.update(self.dataset.sample_transition_batch(BATCH))
        return {"seconds": time.process_time() - began}

    def _value(self) -> float:
        return float(self.fitted.predict_value(self.first, self.cloned.predict(self.first)).mean())


def main() -> None:
    """Answer the requests on standard input until it closes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    torch.set_num_threads(parser.parse_args().threads)
    answers = sys.stdout
    sys.stdout = sys.stderr  # keep d3rlpy's own messages out of the answers
    worker = Worker()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(worker, request.pop("do"))(**request)
            answer |= {"d3rlpy": d3rlpy.__version__, "torch": torch.__version__}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
