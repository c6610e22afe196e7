"""Freeze the numbers of a few updates of d3rlpy's algorithms as fixtures for the twin tests.

Every fixture is one .npz of float32 arrays (initial weights, one batch, the noise of ten updates, the first
gradients, the losses and the weights after one and after ten updates) and one .json with the
hyperparameters and the exact meaning of every step. The fixture of IQL does not come from here: it was
made with the code of the paper's authors, and only its numbers are kept.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import d3rlpy
import numpy as np
import torch
from d3rlpy.torch_utility import TorchMiniBatch
from twin_cases import ACTION_SIZE, BATCH_SIZE, CASES, DISCRETE_ACTIONS, OBSERVATION_SIZE, UPDATES, Twin

SCALARS = ("log_temperature", "log_alpha")
# Draws whose rows are those of the first sample of every state, then those of the second sample, and so on.
SAMPLES_OUTSIDE = ("mmd_behaviour_latent",)


class Draw(NamedTuple):
    """What one call drew, and how to draw it again."""

    array: np.ndarray
    again: Callable[[], torch.Tensor]


class NoiseRecorder:
    """Replace torch's random functions during updates and keep a copy of every array they draw."""

    def __init__(self) -> None:
        self.draws: list[Draw] = []
        self._standard_normal = torch.distributions.normal._standard_normal
        self._randn = torch.randn
        self._uniform = torch.Tensor.uniform_

    def __enter__(self) -> "NoiseRecorder":
        recorder = self

        def standard_normal(*arguments: Any, **options: Any) -> torch.Tensor:
            return recorder._keep(lambda: recorder._standard_normal(*arguments, **options))

        def randn(*arguments: Any, **options: Any) -> torch.Tensor:
            return recorder._keep(lambda: recorder._randn(*arguments, **options))

        def uniform(tensor: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
            empty = torch.empty_like(tensor, requires_grad=False)
            drawn = recorder._keep(lambda: recorder._uniform(empty.clone(), *arguments, **options))
            return tensor.copy_(drawn)

        torch.distributions.normal._standard_normal = standard_normal
        torch.randn = randn
        torch.Tensor.uniform_ = uniform
        self.start = torch.get_rng_state()
        return self

    def __exit__(self, *_: object) -> None:
        torch.distributions.normal._standard_normal = self._standard_normal
        torch.randn = self._randn
        torch.Tensor.uniform_ = self._uniform

    def _keep(self, draw: Callable[[], torch.Tensor]) -> torch.Tensor:
        drawn = draw()
        self.draws.append(Draw(drawn.detach().numpy().copy(), draw))
        return drawn

    def take(self) -> list[np.ndarray]:
        """Return the draws made since the last call, after a check that nothing else was drawn.

        The generator is set back and the same draws are made once more. They must give the same numbers and leave
        the generator where the update left it.
        """
        end = torch.get_rng_state()
        torch.set_rng_state(self.start)
        for draw in self.draws:
            if not np.array_equal(draw.again().numpy(), draw.array):
                raise RuntimeError("a draw was made that the recorder did not see")
        if not torch.equal(torch.get_rng_state(), end):
            raise RuntimeError("a draw was made that the recorder did not see")
        draws, self.draws, self.start = self.draws, [], end
        return [draw.array for draw in draws]


def name_parameters(implementation: Any) -> dict[str, torch.nn.Parameter | torch.Tensor]:
    """Give every parameter of the implementation its path in the fixture. Weights are still (out, in)."""
    named: dict[str, torch.Tensor] = {}

    def add_linear(path: str, layer: torch.nn.Linear) -> None:
        named[f"{path}/weight"] = layer.weight
        named[f"{path}/bias"] = layer.bias

    def add_network(path: str, network: torch.nn.Module) -> None:
        hidden = [module for module in network._encoder.modules() if isinstance(module, torch.nn.Linear)]
        taken = {id(tensor) for tensor in named.values()}
        for index, layer in enumerate(hidden):
            if id(layer.weight) not in taken:  # a network that stands on another one's layers has its head only
                add_linear(f"{path}/layer{index}", layer)
        if hasattr(network, "_mu"):
            add_linear(f"{path}/mean", network._mu)
            if isinstance(network._logstd, torch.nn.Linear):
                add_linear(f"{path}/log_std", network._logstd)
            else:
                named[f"{path}/log_std_logit"] = network._logstd
        else:
            add_linear(f"{path}/layer{len(hidden)}", network._fc)

    modules = implementation._modules
    for name, attribute in (("actor", "policy"), ("target_actor", "targ_policy")):
        if hasattr(modules, attribute):
            add_network(name, getattr(modules, attribute))
    for name, attribute in (("critic", "q_funcs"), ("target_critic", "targ_q_funcs")):
        for index, network in enumerate(getattr(modules, attribute)):
            add_network(f"{name}{index}", network)
    for name in ("vae_encoder", "vae_decoder", "imitator"):
        if hasattr(modules, name):
            add_network(name, getattr(modules, name))
    if getattr(modules, "temp_optim", None) is not None:
        named["log_temperature"] = next(modules.log_temp.parameters())
    if getattr(modules, "alpha_optim", None) is not None:
        named["log_alpha"] = next(modules.log_alpha.parameters())
    return named


def to_array(path: str, tensor: torch.Tensor) -> np.ndarray:
    """Copy a tensor to a float32 array, a weight as (in, out), multipliers as scalars and free vectors as vectors."""
    array = tensor.detach().numpy().astype(np.float32).copy()
    if path.endswith("/weight"):
        return np.ascontiguousarray(array.T)
    if path in SCALARS:
        return array.reshape(())
    if path.endswith("/log_std_logit"):
        return array.reshape(-1)
    return array


def make_batch(discrete: bool, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw the one batch of a fixture."""
    if discrete:
        actions = generator.integers(0, DISCRETE_ACTIONS, BATCH_SIZE).astype(np.float32)
    else:
        actions = generator.uniform(-0.95, 0.95, (BATCH_SIZE, ACTION_SIZE)).astype(np.float32)
    return {
        "observations": generator.normal(size=(BATCH_SIZE, OBSERVATION_SIZE)).astype(np.float32),
        "actions": actions,
        "rewards": (1.5 * generator.normal(size=BATCH_SIZE)).astype(np.float32),
        "next_observations": generator.normal(size=(BATCH_SIZE, OBSERVATION_SIZE)).astype(np.float32),
        "terminals": np.array([0, 0, 1, 0, 0, 0, 1, 0], dtype=np.float32),
    }


def to_torch_batch(batch: dict[str, np.ndarray]) -> TorchMiniBatch:
    """Build d3rlpy's batch; a column of ones is the number of steps between the observations."""
    column = (BATCH_SIZE, 1)
    actions = torch.tensor(batch["actions"])
    actions = actions.reshape(column) if actions.ndim == 1 else actions
    return TorchMiniBatch(
        observations=torch.tensor(batch["observations"]),
        actions=actions,
        rewards=torch.tensor(batch["rewards"]).reshape(column),
        next_observations=torch.tensor(batch["next_observations"]),
        next_actions=torch.zeros_like(actions),
        returns_to_go=torch.zeros(column),
        terminals=torch.tensor(batch["terminals"]).reshape(column),
        intervals=torch.ones(column),
        device="cpu:0",
    )


def batch_first(name: str, draw: np.ndarray) -> np.ndarray:
    """Reorder a draw of several samples per state to (batch, samples, size)."""
    if draw.ndim == 3:
        return np.ascontiguousarray(draw.transpose(1, 0, 2))
    samples = draw.shape[0] // BATCH_SIZE
    if samples == 1:
        return draw
    if name in SAMPLES_OUTSIDE:
        return np.ascontiguousarray(draw.reshape(samples, BATCH_SIZE, -1).transpose(1, 0, 2))
    return draw.reshape(BATCH_SIZE, samples, -1)


def run(twin: Twin, seed: int) -> tuple[dict[str, np.ndarray], list[str]]:
    """Run ten updates with one batch and collect all arrays of the fixture and the names of the losses."""
    d3rlpy.seed(seed)
    batch = make_batch(twin.discrete, np.random.default_rng(seed))
    algorithm = twin.config.create(device="cpu:0")
    algorithm.create_impl((OBSERVATION_SIZE,), DISCRETE_ACTIONS if twin.discrete else ACTION_SIZE)
    named = name_parameters(algorithm.impl)
    arrays = {f"batch/{name}": array for name, array in batch.items()}
    # Move all weights, so that targets differ from the online networks and mix-ups become visible.
    generator = np.random.default_rng(seed + 1)
    with torch.no_grad():
        for path, tensor in named.items():
            if path not in SCALARS:
                tensor.add_(torch.tensor(0.2 * generator.normal(size=tuple(tensor.shape)), dtype=torch.float32))
        twin.prepare(algorithm.impl)

    def snapshot(prefix: str) -> None:
        for path, tensor in named.items():
            arrays[f"{prefix}/{path}"] = to_array(path, tensor)

    update = 0

    def record_gradients(optimiser: Any, prefixes: tuple[str, ...]) -> None:
        """Wrap an optimiser so that the gradients of its first step, and of the first one after a warm-up, are kept."""
        original = optimiser.step

        def step() -> None:
            for path, tensor in named.items():
                if path.startswith(prefixes):
                    arrays.setdefault(f"gradient/{path}", to_array(path, tensor.grad))
                    if twin.warm_up and update == twin.warm_up:
                        arrays[f"gradient{update}/{path}"] = to_array(path, tensor.grad)
            original()

        optimiser.step = step

    modules = algorithm.impl._modules
    for attribute, prefixes in (
        ("critic_optim", ("critic",)),
        ("optim", ("critic", "imitator")),
        ("actor_optim", ("actor",)),
        ("vae_optim", ("vae_",)),
        ("temp_optim", ("log_temperature",)),
        ("alpha_optim", ("log_alpha",)),
    ):
        if getattr(modules, attribute, None) is not None:
            record_gradients(getattr(modules, attribute), prefixes)

    snapshot("init")
    losses: dict[str, list[float]] = {}
    torch_batch = to_torch_batch(batch)
    with NoiseRecorder() as recorder:
        for update in range(UPDATES):
            metrics = algorithm.impl.update(torch_batch, update)
            draws = recorder.take()
            names = twin.warm_up_noise if update < twin.warm_up else twin.noise
            if len(draws) != len(names):
                raise RuntimeError(f"expected {len(names)} draws, got {len(draws)}")
            for name, draw in zip(names, draws, strict=True):
                arrays[f"noise/update{update}/{name}"] = batch_first(name, draw).astype(np.float32)
            for name in metrics:
                losses.setdefault(name, [float("nan")] * UPDATES)
            for name, value in metrics.items():
                losses[name][update] = float(value)
            if update == 0:
                snapshot("after1")
    snapshot("after10")
    for name, values in losses.items():
        arrays[f"losses/{name}"] = np.array(values, dtype=np.float32)
    return arrays, sorted(losses)


def main() -> None:
    """Write all fixtures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=tuple(CASES), help="these fixtures (default: all)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, make in CASES.items():
        if arguments.only and name not in arguments.only:
            continue
        twin = make()
        arrays, losses = run(twin, arguments.seed)
        np.savez_compressed(arguments.out / f"{name}.npz", **arrays)
        networks = sorted({path.split("/")[1] for path in arrays if path.startswith("init/")})
        document = {
            "algorithm": name,
            "peer": f"d3rlpy {d3rlpy.__version__}, torch {torch.__version__.split('+')[0]}",
            "seed": arguments.seed,
            **twin.description,
            "networks": networks,
            "losses": losses,
            "arrays": {path: list(array.shape) for path, array in sorted(arrays.items())},
        }
        (arguments.out / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
        size = (arguments.out / f"{name}.npz").stat().st_size
        print(name, size, {loss: arrays[f"losses/{loss}"][[0, 1, 9]].tolist() for loss in losses})


if __name__ == "__main__":
    main()
