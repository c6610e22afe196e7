"""Freeze the numbers of a few updates of d3rlpy's algorithms as fixtures for the twin tests.

Every fixture is one .npz of float32 arrays (initial weights, one batch, the noise of ten updates, the first
gradients, the losses and the weights after one and after ten updates) and one .json with the
hyperparameters and the exact meaning of every step. The fixture of IQL does not come from here: it was
made with the code of the paper's authors, and only its numbers are kept.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import d3rlpy
import numpy as np
import torch
from d3rlpy.models.encoders import VectorEncoderFactory
from d3rlpy.torch_utility import TorchMiniBatch

BATCH_SIZE = 8
OBSERVATION_SIZE = 3
ACTION_SIZE = 2
DISCRETE_ACTIONS = 3
HIDDEN_UNITS = [16, 16]
UPDATES = 10
SAMPLES = 10

ADAM = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.0}
ADAM_NOTE = (
    "Adam as in the paper: the step is learning_rate * m_hat / (sqrt(v_hat) + epsilon), bias-corrected, "
    "epsilon outside the root (optax.adam with eps=1e-8, eps_root=0). One optimiser holds both critics; since "
    "Adam works element by element, this equals one optimiser per critic. No gradient clipping, no weight decay."
)
NETWORK_NOTE = (
    "Random numbers were added to all initial weights, so that no network equals its target network at the start. "
    "Every network is a plain multilayer perceptron with ReLU after each of the two hidden layers and none "
    "after the output. Weights are stored as (in, out), so a layer is x @ weight + bias. A critic of continuous "
    "actions takes concatenate([observation, action], axis=-1) and gives one number."
)
BATCH_NOTE = (
    "The same batch is used for all ten updates. rewards and terminals have shape (8,), terminals are 0 or 1. "
    "No scaling of observations, actions or rewards."
)


class NoiseRecorder:
    """Replace torch's random functions during updates and keep a copy of every array they draw."""

    def __init__(self) -> None:
        self.draws: list[tuple[str, np.ndarray]] = []
        self._standard_normal = torch.distributions.normal._standard_normal
        self._randn = torch.randn
        self._uniform = torch.Tensor.uniform_

    def __enter__(self) -> "NoiseRecorder":
        recorder = self

        def standard_normal(*arguments: Any, **options: Any) -> torch.Tensor:
            return recorder._keep("normal", recorder._standard_normal(*arguments, **options))

        def randn(*arguments: Any, **options: Any) -> torch.Tensor:
            return recorder._keep("normal", recorder._randn(*arguments, **options))

        def uniform(tensor: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
            return recorder._keep("uniform", recorder._uniform(tensor, *arguments, **options))

        torch.distributions.normal._standard_normal = standard_normal
        torch.randn = randn
        torch.Tensor.uniform_ = uniform
        return self

    def __exit__(self, *_: object) -> None:
        torch.distributions.normal._standard_normal = self._standard_normal
        torch.randn = self._randn
        torch.Tensor.uniform_ = self._uniform

    def _keep(self, kind: str, drawn: torch.Tensor) -> torch.Tensor:
        self.draws.append((kind, drawn.detach().numpy().copy()))
        return drawn

    def take(self) -> list[tuple[str, np.ndarray]]:
        """Return the draws made since the last call."""
        draws, self.draws = self.draws, []
        return draws


def name_parameters(implementation: Any) -> dict[str, torch.nn.Parameter | torch.Tensor]:
    """Give every parameter of the implementation its path in the fixture. Weights are still (out, in)."""
    named: dict[str, torch.Tensor] = {}

    def add_linear(path: str, layer: torch.nn.Linear) -> None:
        named[f"{path}/weight"] = layer.weight
        named[f"{path}/bias"] = layer.bias

    def add_network(path: str, network: torch.nn.Module) -> None:
        hidden = [module for module in network._encoder.modules() if isinstance(module, torch.nn.Linear)]
        for index, layer in enumerate(hidden):
            add_linear(f"{path}/layer{index}", layer)
        if hasattr(network, "_mu"):
            add_linear(f"{path}/mean", network._mu)
            add_linear(f"{path}/log_std", network._logstd)
        else:
            add_linear(f"{path}/layer{len(hidden)}", network._fc)

    modules = implementation._modules
    for name, attribute in (("actor", "policy"), ("target_actor", "targ_policy")):
        if hasattr(modules, attribute):
            add_network(name, getattr(modules, attribute))
    for name, attribute in (("critic", "q_funcs"), ("target_critic", "targ_q_funcs")):
        for index, network in enumerate(getattr(modules, attribute)):
            add_network(f"{name}{index}", network)
    if hasattr(modules, "log_temp"):
        named["log_temperature"] = next(modules.log_temp.parameters())
    return named


def to_array(path: str, tensor: torch.Tensor) -> np.ndarray:
    """Copy a tensor to a float32 array, a weight as (in, out) and the temperature as a scalar."""
    array = tensor.detach().numpy().astype(np.float32).copy()
    if path.endswith("/weight"):
        return np.ascontiguousarray(array.T)
    if path == "log_temperature":
        return array.reshape(())
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


def batch_first(draw: np.ndarray) -> np.ndarray:
    """Reorder a draw of several actions per state to (batch, samples, action)."""
    if draw.ndim == 3:
        return np.ascontiguousarray(draw.transpose(1, 0, 2))
    if draw.shape[0] == BATCH_SIZE * SAMPLES:
        return draw.reshape(BATCH_SIZE, SAMPLES, -1)
    return draw


def run(config: Any, discrete: bool, noise_names: list[str], seed: int) -> tuple[dict[str, np.ndarray], list[str]]:
    """Run ten updates with one batch and collect all arrays of the fixture and the names of the losses."""
    d3rlpy.seed(seed)
    batch = make_batch(discrete, np.random.default_rng(seed))
    algorithm = config.create(device="cpu:0")
    algorithm.create_impl((OBSERVATION_SIZE,), DISCRETE_ACTIONS if discrete else ACTION_SIZE)
    named = name_parameters(algorithm.impl)
    arrays = {f"batch/{name}": array for name, array in batch.items()}
    # Move all weights, so that targets differ from the online networks and mix-ups become visible.
    generator = np.random.default_rng(seed + 1)
    with torch.no_grad():
        for path, tensor in named.items():
            if path != "log_temperature":
                tensor.add_(torch.tensor(0.2 * generator.normal(size=tuple(tensor.shape)), dtype=torch.float32))

    def snapshot(prefix: str) -> None:
        for path, tensor in named.items():
            arrays[f"{prefix}/{path}"] = to_array(path, tensor)

    def record_gradients(optimiser: Any, prefixes: tuple[str, ...]) -> None:
        """Wrap an optimiser so that the gradients of its first step are kept."""
        original = optimiser.step

        def step() -> None:
            for path, tensor in named.items():
                key = f"gradient/{path}"
                if path.startswith(prefixes) and key not in arrays:
                    arrays[key] = to_array(path, tensor.grad)
            original()

        optimiser.step = step

    modules = algorithm.impl._modules
    for attribute, prefixes in (
        ("critic_optim", ("critic",)),
        ("optim", ("critic",)),
        ("actor_optim", ("actor",)),
        ("temp_optim", ("log_temperature",)),
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
            if len(draws) != len(noise_names):
                raise RuntimeError(f"expected {len(noise_names)} draws, got {len(draws)}")
            for name, (_, draw) in zip(noise_names, draws, strict=True):
                arrays[f"noise/update{update}/{name}"] = batch_first(draw).astype(np.float32)
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


def shared_settings() -> dict[str, Any]:
    """Return the d3rlpy settings that the continuous algorithms share."""
    return {
        "batch_size": BATCH_SIZE,
        "gamma": 0.97,
        "tau": 0.05,
        "actor_learning_rate": 1e-3,
        "critic_learning_rate": 3e-3,
        "actor_encoder_factory": VectorEncoderFactory(HIDDEN_UNITS),
        "critic_encoder_factory": VectorEncoderFactory(HIDDEN_UNITS),
    }


def shared_description() -> dict[str, Any]:
    """Return the hyperparameters of shared_settings under plain names."""
    return {
        "batch_size": BATCH_SIZE,
        "observation_size": OBSERVATION_SIZE,
        "hidden_sizes": HIDDEN_UNITS,
        "discount": 0.97,
        "polyak_rate": 0.05,
        "critics": 2,
        "actor_learning_rate": 1e-3,
        "critic_learning_rate": 3e-3,
        "adam": ADAM,
        "updates": UPDATES,
    }


def td3_bc() -> tuple[Any, bool, list[str], dict[str, Any]]:
    """Describe TD3+BC."""
    config = d3rlpy.algos.TD3PlusBCConfig(
        alpha=2.5,
        update_actor_interval=2,
        target_smoothing_sigma=0.2,
        target_smoothing_clip=0.3,
        **shared_settings(),
    )
    description = {
        "hyperparameters": shared_description()
        | {
            "action_size": ACTION_SIZE,
            "alpha": 2.5,
            "actor_interval": 2,
            "target_noise": 0.2,
            "target_noise_clip": 0.3,
        },
        "semantics": {
            "networks": NETWORK_NOTE,
            "optimiser": ADAM_NOTE,
            "batch": BATCH_NOTE,
            "policy": "action = tanh(actor(observation)); deterministic.",
            "order": (
                "Update k = 0..9: (1) step of both critics. (2) Only if k % actor_interval == 0, that is in "
                "updates 0, 2, 4, 6, 8 (the very first update is one of them): step of the actor with the "
                "critics as updated in (1); then Polyak update of both target critics and of the target actor. "
                "In updates 1, 3, 5, 7, 9 actor, target actor and target critics do not change. (The authors' "
                "code counts from 1, so there the first update would leave the actor alone.)"
            ),
            "target": (
                "noise = clip(target_noise * n, -target_noise_clip, target_noise_clip) with n the array "
                "noise/update{k}/target_smoothing (standard normal, drawn in every update); next_action = "
                "clip(tanh(target_actor(next_observation)) + noise, -1, 1); y = reward + discount * (1 - "
                "terminal) * min over the two target critics of Q(next_observation, next_action). No gradient."
            ),
            "critic_loss": "sum over the two critics of mean over the batch of (Q - y)^2; no factor one half.",
            "actor_loss": (
                "action = tanh(actor(observation)); q = critic0(observation, action) (first critic only); weight = "
                "alpha / mean(|q|), without gradient; bc_loss = mean over batch AND action dimensions of "
                "(data_action - action)^2; actor_loss = -weight * mean(q) + bc_loss."
            ),
            "polyak": "target = (1 - polyak_rate) * target + polyak_rate * online, after the actor's step.",
            "losses": (
                "losses/critic_loss, losses/actor_loss, losses/bc_loss: values before the step they belong to; "
                "the actor's are NaN in updates without an actor step."
            ),
        },
    }
    return config, False, ["target_smoothing"], description


def cql(soft_backup: bool) -> tuple[Any, bool, list[str], dict[str, Any]]:
    """Describe CQL(H) with a fixed conservative weight."""
    config = d3rlpy.algos.CQLConfig(
        temp_learning_rate=2e-2,
        alpha_learning_rate=0.0,
        initial_alpha=1.0,
        initial_temperature=0.7,
        alpha_threshold=0.0,
        conservative_weight=5.0,
        n_action_samples=SAMPLES,
        soft_q_backup=soft_backup,
        **shared_settings(),
    )
    if soft_backup:
        target = (
            "a', log_prob' = one sample of the CURRENT (online) actor at next_observation with the noise "
            "noise/update{k}/target; y = reward + discount * (1 - terminal) * (min over the two target critics "
            "of Q(next_observation, a') - temperature * log_prob'), temperature = exp(log_temperature) as it is "
            "before this update. No gradient."
        )
    else:
        target = (
            "a' = tanh(mean(next_observation)) of the CURRENT (online) actor: no noise, no target actor and no "
            "entropy term; y = reward + discount * (1 - terminal) * min over the two target critics of "
            "Q(next_observation, a'). No gradient. (d3rlpy's default, soft_q_backup=False.)"
        )
    description = {
        "hyperparameters": shared_description()
        | {
            "action_size": ACTION_SIZE,
            "conservative_weight": 5.0,
            "action_samples_per_source": SAMPLES,
            "temperature_learning_rate": 2e-2,
            "initial_temperature": 0.7,
            "target_entropy": -float(ACTION_SIZE),
            "log_std_min": -20.0,
            "log_std_max": 2.0,
            "soft_backup": soft_backup,
        },
        "semantics": {
            "networks": NETWORK_NOTE
            + " The actor has two heads on its second hidden layer: actor/mean and actor/log_std.",
            "optimiser": ADAM_NOTE + " The scalar log_temperature has an Adam of its own.",
            "batch": BATCH_NOTE,
            "policy": (
                "Squashed Gaussian: log_std = clip(log_std_head, -20, 2); u = mean + exp(log_std) * noise; action "
                "= tanh(u); log_prob = sum over action dimensions of [Normal(mean, std).log_prob(u) - 2 * (log 2 "
                "- u - softplus(-2 * u))], taken at the unsquashed u (no atanh, no epsilon)."
            ),
            "order": (
                "Every update: (1) critic step (both critics, with the old actor and the old temperature); (2) "
                "sample actions of the old actor, make the temperature step with their log_prob; (3) actor step "
                "with the same sample, the NEW temperature of (2) and the NEW critics of (1); (4) Polyak update of "
                "the target critics. There is no target actor."
            ),
            "target": target,
            "critic_loss": (
                "critic_loss = sum over both critics of [mean over the batch of (Q(s, a) - y)^2 (no one half) + "
                "conservative_weight * mean over the batch of (logsumexp_30 - Q(s, a))]. The data action's Q in "
                "the conservative term has its gradient. (d3rlpy multiplies by a further alpha, here fixed to 1, "
                "and subtracts a threshold, here 0.)"
            ),
            "logsumexp": (
                "Over the 30 numbers of one state and one critic, without subtracting log 30 or log 10: ten "
                "Q(s, a_i) - log_prob(a_i) with a_i from the actor at s (noise/update{k}/policy_current); ten "
                "Q(s, a_i) - log_prob(a_i) with a_i from the actor at the NEXT observation and that state's "
                "log_prob, but Q at the CURRENT observation (noise/update{k}/policy_next); ten Q(s, a_i) - log(0.5 "
                "** action_size) with a_i = noise/update{k}/uniform, which are actions in [-1, 1]. Both critics "
                "see the same samples. The data action is not among the 30. Sampled actions and log_probs carry "
                "no gradient to the actor; the Q values carry theirs to the critics. Terminal rows are not masked."
            ),
            "temperature_loss": (
                "-mean over the batch of exp(log_temperature) * (log_prob + target_entropy), target_entropy = "
                "-action_size, gradient with respect to log_temperature only; log_prob is that of the actor's "
                "sample at observation with noise/update{k}/actor."
            ),
            "actor_loss": (
                "mean over the batch of exp(log_temperature) * log_prob - min over the two critics of Q(s, a), a "
                "and log_prob reparameterised with noise/update{k}/actor; temperature after its step, constant."
            ),
            "polyak": "target = (1 - polyak_rate) * target + polyak_rate * online, every update, last.",
            "noise": (
                "Drawn in this order: "
                + ("target (8, 2), " if soft_backup else "")
                + "policy_current, policy_next (standard normal) and uniform (in [-1, 1]), all three stored as "
                "(batch, samples, action) = (8, 10, 2), then actor (8, 2) standard normal."
            ),
            "losses": (
                "losses/critic_loss (whole), losses/conservative_loss (the weighted conservative part, summed over "
                "critics), losses/actor_loss, losses/temp_loss: before their steps. losses/temp: the temperature "
                "AFTER its step. losses/alpha: constant 1."
            ),
        },
    }
    noise = ["policy_current", "policy_next", "uniform", "actor"]
    return config, False, (["target"] if soft_backup else []) + noise, description


def discrete_cql() -> tuple[Any, bool, list[str], dict[str, Any]]:
    """Describe discrete CQL on double DQN."""
    config = d3rlpy.algos.DiscreteCQLConfig(
        learning_rate=3e-3,
        batch_size=BATCH_SIZE,
        gamma=0.97,
        n_critics=1,
        target_update_interval=4,
        alpha=2.0,
        encoder_factory=VectorEncoderFactory(HIDDEN_UNITS),
    )
    description = {
        "hyperparameters": {
            "batch_size": BATCH_SIZE,
            "observation_size": OBSERVATION_SIZE,
            "actions": DISCRETE_ACTIONS,
            "hidden_sizes": HIDDEN_UNITS,
            "discount": 0.97,
            "critics": 1,
            "learning_rate": 3e-3,
            "conservative_weight": 2.0,
            "target_interval": 4,
            "huber_threshold": 1.0,
            "adam": ADAM,
            "updates": UPDATES,
        },
        "semantics": {
            "networks": NETWORK_NOTE + " Here there is one critic, which gives one number per action.",
            "optimiser": ADAM_NOTE,
            "batch": BATCH_NOTE + " actions are stored as float32 whole numbers 0..2, shape (8,).",
            "order": (
                "Update k = 0..9: (1) critic step; (2) if k % target_interval == 0, that is after updates 0, 4 and "
                "8, copy the critic to the target critic (hard copy, no Polyak averaging)."
            ),
            "target": (
                "Double DQN: a' = argmax of the ONLINE critic at next_observation; y = reward + discount * (1 - "
                "terminal) * target_critic(next_observation)[a']. No gradient."
            ),
            "critic_loss": (
                "loss = td_loss + conservative_weight * conservative_loss; td_loss = mean over the batch of "
                "Huber(y - Q[a]) with Huber(d) = d^2 / 2 if |d| < 1, else |d| - 1/2; conservative_loss = mean over "
                "the batch of (logsumexp over all actions of Q - Q[a]); the data action is included in the "
                "logsumexp; both terms have gradients. No factor one half on the conservative term."
            ),
            "losses": "losses/loss, losses/td_loss, losses/conservative_loss (not weighted): before the step.",
        },
    }
    return config, True, [], description


def main() -> None:
    """Write all fixtures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    twins = {
        "td3_bc": td3_bc(),
        "cql": cql(soft_backup=False),
        "cql_soft_backup": cql(soft_backup=True),
        "discrete_cql": discrete_cql(),
    }
    for name, (config, discrete, noise_names, description) in twins.items():
        arrays, losses = run(config, discrete, noise_names, arguments.seed)
        np.savez_compressed(arguments.out / f"{name}.npz", **arrays)
        networks = sorted({path.split("/")[1] for path in arrays if path.startswith("init/")})
        document = {
            "algorithm": name,
            "peer": f"d3rlpy {d3rlpy.__version__}, torch {torch.__version__.split('+')[0]}",
            "seed": arguments.seed,
            **description,
            "networks": networks,
            "losses": losses,
            "arrays": {path: list(array.shape) for path, array in sorted(arrays.items())},
        }
        (arguments.out / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
        size = (arguments.out / f"{name}.npz").stat().st_size
        print(name, size, {loss: arrays[f"losses/{loss}"][[0, 1, 9]].tolist() for loss in losses})


if __name__ == "__main__":
    main()
