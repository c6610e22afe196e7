"""A conditional variational auto-encoder of the actions of a log: the behaviour that BCQ and BEAR stay close to."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..data.spec import Spec
from .joint import Joint, joint

__all__ = ["Variational", "variational"]

LIMIT = 0.5  # of a latent that actions are generated from: far ones leave the support of the log


class Variational(eqx.Module):
    """`p(a | s, z)` and `q(z | s, a)`, with twice as many latents as the action has dimensions (arXiv:1812.02900)."""

    encoder: Joint
    decoder: Joint

    def loss(self, observation: PyTree, action: Float[Array, "batch act"], key: PRNGKeyArray) -> Float[Array, ""]:
        """Return the squared error of the reconstruction and half the divergence of q from N(0, 1).

        Both are means over batch and dimensions, as in the authors' code.
        """
        mean, log_std = jnp.split(self.encoder(observation, action), 2, axis=-1)
        log_std = jnp.clip(log_std, -4.0, 15.0)  # as in the authors' code: exp must not overflow early in training
        latent = mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape)
        error = jnp.mean(jnp.square(jnp.tanh(self.decoder(observation, latent)) - action))
        divergence = -0.5 * jnp.mean(1.0 + 2.0 * log_std - jnp.square(mean) - jnp.exp(2.0 * log_std))
        return error + 0.5 * divergence

    def unsquashed(self, observation: PyTree, key: PRNGKeyArray, count: int) -> Float[Array, "... sample act"]:
        """Generate several actions per state, before the tanh."""
        half = self.decoder.state_half(observation)[..., None, :]
        latents = self.decoder.other_half.shape[0]
        latent = jnp.clip(jax.random.normal(key, (*half.shape[:-2], count, latents)), -LIMIT, LIMIT)
        return self.decoder.finish(half, latent)

    def sample(self, observation: PyTree, key: PRNGKeyArray, count: int) -> Float[Array, "... sample act"]:
        """Generate several actions per state."""
        return jnp.tanh(self.unsquashed(observation, key, count))


def variational(key: PRNGKeyArray, spec: Spec, hidden: Sequence[int]) -> Variational:
    """Return an auto-encoder for the continuous actions of a log."""
    encoder_key, decoder_key = jax.random.split(key)
    act = spec.action.size
    return Variational(joint(encoder_key, spec, hidden, act, 4 * act), joint(decoder_key, spec, hidden, 2 * act, act))
