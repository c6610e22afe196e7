"""Frozen numbers of another implementation, and how they are put into weft's networks. See README.md."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from weft.data.columns import Batch
from weft.nn.actors import CategoricalActor, DeterministicActor, GaussianActor, SquashedActor
from weft.nn.critics import ContinuousCritic, DiscreteCritic, Value
from weft.nn.dense import MLP, Linear
from weft.nn.distributions import Categorical, Normal
from weft.nn.encoder import Encoder, Flatten
from weft.nn.joint import Joint
from weft.nn.variational import Variational

ENCODER = Encoder((Flatten(1),), ("",), 3)
FIXTURES = Path(__file__).parents[1] / "twins" / "fixtures"


class SpreadActor(eqx.Module):
    """d3rlpy's actor of CRR: a Gaussian with tanh on its mean and a spread that depends on the state."""

    encoder: Encoder
    body: MLP

    def __call__(self, observation: jax.Array) -> Normal:
        mean, log_std = jnp.split(self.body(self.encoder(observation)), 2, axis=-1)
        return Normal(jnp.tanh(mean), jnp.clip(log_std, -20.0, 2.0))


class BoundedActor(eqx.Module):
    """d3rlpy's actor of AWAC: a Gaussian with tanh on its mean and one spread per dimension, between two bounds."""

    encoder: Encoder
    body: MLP
    log_std_logit: jax.Array

    def __call__(self, observation: jax.Array) -> Normal:
        mean = jnp.tanh(self.body(self.encoder(observation)))
        return Normal(mean, jnp.broadcast_to(-6.0 + 6.0 * jax.nn.sigmoid(self.log_std_logit), mean.shape))


class NormalisedActor(eqx.Module):
    """d3rlpy's imitator of discrete BCQ, whose logits are log probabilities by the time they are asked for."""

    encoder: Encoder
    body: MLP

    def __call__(self, observation: jax.Array) -> Categorical:
        return Categorical(jax.nn.log_softmax(self.body(self.encoder(observation))))


class Peer:
    """One fixture: arrays by path, the hyperparameters, and weft's networks made of its weights."""

    def __init__(self, name: str) -> None:
        with np.load(FIXTURES / f"{name}.npz", allow_pickle=False) as found:
            self.arrays = {path: found[path] for path in found.files}
        self.numbers = json.loads((FIXTURES / f"{name}.json").read_text())["hyperparameters"]

    @property
    def batch(self) -> Batch:
        """The one batch of the fixture."""
        part = {key: jnp.asarray(self.arrays[f"batch/{key}"]) for key in ("observations", "actions", "rewards")}
        actions = part["actions"].astype(jnp.int32) if part["actions"].ndim == 1 else part["actions"]
        return Batch(
            observation=part["observations"],
            action=actions,
            reward=part["rewards"],
            next_observation=jnp.asarray(self.arrays["batch/next_observations"]),
            terminal=jnp.asarray(self.arrays["batch/terminals"]) > 0,
            duration=jnp.ones(len(actions)),
            row=jnp.arange(len(actions)),
        )

    def layer(self, path: str) -> Linear:
        """One dense layer."""
        return Linear(jnp.asarray(self.arrays[f"{path}/weight"]), jnp.asarray(self.arrays[f"{path}/bias"]))

    def body(self, path: str, last: str = "layer2") -> MLP:
        """A whole network of dense layers."""
        return MLP(tuple(self.layer(f"{path}/{name}") for name in ("layer0", "layer1", last)))

    def critic(self, path: str) -> ContinuousCritic:
        """A critic of continuous actions; its first layer is cut in two."""
        first = self.layer(f"{path}/layer0")
        rest = MLP((self.layer(f"{path}/layer1"), self.layer(f"{path}/layer2")))
        return ContinuousCritic(ENCODER, first.weight[:3], first.weight[3:], first.bias, rest)

    def pair(self, path: str) -> tuple[ContinuousCritic, ContinuousCritic]:
        """Both critics."""
        return self.critic(f"{path}0"), self.critic(f"{path}1")

    def discrete(self, path: str) -> tuple[DiscreteCritic]:
        """The one critic of discrete actions."""
        return (DiscreteCritic(ENCODER, self.body(path)),)

    def value(self, path: str) -> Value:
        """A state value network."""
        return Value(ENCODER, self.body(path))

    def gaussian(self, path: str) -> GaussianActor:
        """An actor with tanh on its mean and a free standard deviation."""
        return GaussianActor(ENCODER, self.body(path, "mean"), jnp.asarray(self.arrays[f"{path}/log_std"]))

    def heads(self, path: str) -> Linear:
        """The heads of mean and spread as one layer."""
        mean, spread = self.layer(f"{path}/mean"), self.layer(f"{path}/log_std")
        return jax.tree.map(lambda one, two: jnp.concatenate([one, two], -1), mean, spread)

    def two_headed(self, path: str) -> MLP:
        """A whole network that ends in mean and spread."""
        return MLP((self.layer(f"{path}/layer0"), self.layer(f"{path}/layer1"), self.heads(path)))

    def squashed(self, path: str) -> SquashedActor:
        """An actor pushed through tanh; its two heads are one layer here."""
        return SquashedActor(ENCODER, self.two_headed(path))

    def spread(self, path: str) -> SpreadActor:
        """CRR's actor."""
        return SpreadActor(ENCODER, self.two_headed(path))

    def bounded(self, path: str) -> BoundedActor:
        """AWAC's actor."""
        return BoundedActor(ENCODER, self.body(path, "mean"), jnp.asarray(self.arrays[f"{path}/log_std_logit"]))

    def deterministic(self, path: str) -> DeterministicActor:
        """TD3's actor."""
        return DeterministicActor(ENCODER, self.body(path))

    def imitator(self, path: str, normalised: bool = False) -> CategoricalActor | NormalisedActor:
        """An imitator of choices with layers of its own."""
        return (NormalisedActor if normalised else CategoricalActor)(ENCODER, self.body(path))

    def joint(self, path: str, last: Linear | None = None) -> Joint:
        """A network of the observation and something else; its first layer is cut in two."""
        first, last = self.layer(f"{path}/layer0"), last or self.layer(f"{path}/layer2")
        rest = MLP((self.layer(f"{path}/layer1"), last))
        return Joint(ENCODER, first.weight[:3], first.weight[3:], first.bias, rest)

    def variational(self, place: str) -> Variational:
        """The variational auto-encoder of BCQ and BEAR."""
        encoder = self.joint(f"{place}/vae_encoder", self.heads(f"{place}/vae_encoder"))
        return Variational(encoder, self.joint(f"{place}/vae_decoder"))

    def noise(self, step: int, order: list[str], alone: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
        """The random numbers of one update; those in `alone` as one sample per state."""
        found = {use: self.arrays[f"noise/update{step}/{use}"] for use in order}
        return {use: array[:, None] if use in alone else array for use, array in found.items()}


class Recorded:
    """Stands in for `jax.random.normal` and `uniform` while an update is traced, and gives out recorded numbers.

    Every draw names the array that it must get, by its order; a draw too many, one too few or one of another shape
    fails the test.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, names: list[str]) -> None:
        self.names, self.noise = names, {}
        self.order: Iterator[str] = iter(())
        monkeypatch.setattr(jax.random, "normal", lambda key, shape: self.draw(shape))
        monkeypatch.setattr(jax.random, "uniform", lambda key, shape, minval, maxval: self.draw(shape))

    def draw(self, shape: tuple[int, ...]) -> jax.Array:
        """Return the next recorded array."""
        found = self.noise[next(self.order)]
        assert found.shape == tuple(shape)
        return found

    def update(self, setting, state, batch, tick, noise):
        """Trace one update with the given arrays instead of chance."""
        self.noise, self.order = noise, iter(self.names)
        result = setting.update(state, batch, tick)
        assert next(self.order, None) is None, "the update drew less than was recorded"
        return result


def same_weights(ours: eqx.Module, theirs: eqx.Module, moved_from: eqx.Module | None = None) -> None:
    """Check that all weights agree to within 1e-5; with `moved_from`, also that they are not the first ones."""
    for one, two in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=5e-6)
    if moved_from is not None:
        moves = [
            float(jnp.abs(a - b).max()) for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(moved_from), strict=True)
        ]
        assert max(moves) > 5e-4


def noted(peer: Peer, name: str, ours: list) -> None:
    """Check a series of losses, one per update, where the peer has one."""
    theirs = peer.arrays[f"losses/{name}"]
    there = np.isfinite(theirs)
    np.testing.assert_allclose(np.asarray(ours)[there], theirs[there], rtol=1e-5, atol=1e-5)


def rates(monkeypatch: pytest.MonkeyPatch, module, chosen: dict[type, float]) -> None:
    """Give every kind of model its own learning rate, where the peer has several and our method has one."""
    import optax

    plain = module.descend

    def descend(current, optimiser, loss, auxiliary=False):
        return plain(current, optax.adam(chosen[type(current.model)]), loss, auxiliary)

    monkeypatch.setattr(module, "descend", descend)


def with_fields(setting, **changes):
    """Change fields without the checks of the class (a target rate of 0 or 1 per update)."""
    return dataclasses.replace(setting, **changes)
