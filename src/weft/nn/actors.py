"""Actors: from an observation to a distribution over actions."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..core.pytree import static
from ..data.spec import Spec
from .dense import MLP, mlp
from .distributions import Categorical, Deterministic, Mixture, Normal, TanhNormal
from .encoder import Encoder, encoder

__all__ = [
    "HEADS",
    "CategoricalActor",
    "DeterministicActor",
    "GaussianActor",
    "MixtureActor",
    "SquashedActor",
    "behaviour_actor",
    "exploring_actor",
]

HEADS = ("gaussian", "mixture", "deterministic")
SMALL = 1e-2  # gain of the last layer of an actor: the first policy is nearly the same everywhere


class GaussianActor(eqx.Module):
    """A Gaussian with tanh on its mean only and one learned standard deviation per dimension, in [e⁻⁵, e²]."""

    encoder: Encoder
    body: MLP
    log_std: Float[Array, "act"]

    def __call__(self, observation: PyTree) -> Normal:
        mean = jnp.tanh(self.body(self.encoder(observation)))
        # the density is that of the Gaussian, not of what tanh makes of it: logged actions at the bounds have one
        return Normal(mean, jnp.broadcast_to(jnp.clip(self.log_std, -5.0, 2.0), mean.shape))


class SquashedActor(eqx.Module):
    """A Gaussian pushed through tanh, with mean and standard deviation that depend on the state (SAC's actor)."""

    encoder: Encoder
    body: MLP
    lowest_log_std: float = static(default=-20.0)
    highest_log_std: float = static(default=2.0)

    def __call__(self, observation: PyTree) -> TanhNormal:
        mean, log_std = jnp.split(self.body(self.encoder(observation)), 2, axis=-1)
        return TanhNormal(mean, jnp.clip(log_std, self.lowest_log_std, self.highest_log_std))


class MixtureActor(eqx.Module):
    """A mixture of Gaussians, for behaviour with several modes."""

    encoder: Encoder
    body: MLP
    components: int = static()

    def __call__(self, observation: PyTree) -> Mixture:
        out = self.body(self.encoder(observation))
        logits, rest = out[..., : self.components], out[..., self.components :]
        mean, log_std = jnp.split(rest.reshape(*rest.shape[:-1], self.components, -1), 2, axis=-1)
        return Mixture(logits, jnp.tanh(mean), jnp.clip(log_std, -5.0, 2.0))


class DeterministicActor(eqx.Module):
    """One action per state, tanh at the end (TD3's actor)."""

    encoder: Encoder
    body: MLP

    def __call__(self, observation: PyTree) -> Deterministic:
        return Deterministic(jnp.tanh(self.body(self.encoder(observation))))


class CategoricalActor(eqx.Module):
    """A distribution over choices."""

    encoder: Encoder
    body: MLP

    def __call__(self, observation: PyTree) -> Categorical:
        return Categorical(self.body(self.encoder(observation)))


def _parts(
    key: PRNGKeyArray, spec: Spec, hidden: Sequence[int], outputs: int, last: float = SMALL
) -> tuple[Encoder, MLP]:
    encoder_key, body_key = jax.random.split(key)
    encode = encoder(encoder_key, spec)
    return encode, mlp(body_key, (encode.features, *hidden, outputs), last)


def gaussian_actor(key: PRNGKeyArray, spec: Spec, hidden: Sequence[int]) -> GaussianActor:
    """Return a Gaussian actor with tanh on its mean."""
    return GaussianActor(*_parts(key, spec, hidden, spec.action.size), jnp.zeros(spec.action.size))


def squashed_actor(key: PRNGKeyArray, spec: Spec, hidden: Sequence[int]) -> SquashedActor:
    """Return a squashed Gaussian actor."""
    return SquashedActor(*_parts(key, spec, hidden, 2 * spec.action.size))


def deterministic_actor(key: PRNGKeyArray, spec: Spec, hidden: Sequence[int]) -> DeterministicActor:
    """Return a deterministic actor."""
    return DeterministicActor(*_parts(key, spec, hidden, spec.action.size))


def categorical_actor(key: PRNGKeyArray, spec: Spec, hidden: Sequence[int]) -> CategoricalActor:
    """Return an actor for discrete actions."""
    return CategoricalActor(*_parts(key, spec, hidden, spec.action.size))


def mixture_actor(key: PRNGKeyArray, spec: Spec, hidden: Sequence[int], components: int) -> MixtureActor:
    """Return a mixture actor; its last layer starts at full gain, so that the components differ."""
    outputs = components * (1 + 2 * spec.action.size)
    return MixtureActor(*_parts(key, spec, hidden, outputs, last=1.0), components)


def exploring_actor(key: PRNGKeyArray, spec: Spec, hidden: Sequence[int]) -> CategoricalActor | SquashedActor:
    """Return an actor whose every draw is within the bounds and has a density, for methods that learn from them."""
    return (categorical_actor if spec.discrete else squashed_actor)(key, spec, hidden)


def behaviour_actor(
    key: PRNGKeyArray, spec: Spec, hidden: Sequence[int], head: str = "gaussian", components: int = 1
) -> GaussianActor | MixtureActor | DeterministicActor | CategoricalActor:
    """Return the actor that imitation trains: categorical for discrete actions, else one of `HEADS`.

    `gaussian` has tanh on its mean, `mixture` has several `components`, `deterministic` has no density.
    """
    if spec.discrete:
        return categorical_actor(key, spec, hidden)
    if head == "mixture":
        return mixture_actor(key, spec, hidden, components)
    return (deterministic_actor if head == "deterministic" else gaussian_actor)(key, spec, hidden)
