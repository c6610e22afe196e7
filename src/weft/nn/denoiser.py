"""The behaviour of a log as a diffusion model: a residual network that tells an action from the noise on it.

The first layer is kept in parts, for the state, the action and the time, so that many actions of one state share the
state's. Layer norms and dropout keep it from learning the log by heart (arXiv:2304.10573).
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ..core.pytree import require, static
from ..data.spec import Spec
from .dense import LayerNorm, Linear, linear, orthogonal, product
from .diffusion import denoising_loss, generate, schedule
from .encoder import Encoder, encoder

__all__ = ["Block", "Clock", "Denoiser", "denoiser", "mish"]

WAVES = 32  # frequencies of time
TIMES = 128  # what is known of the time
EXPANSION = 4


def mish(values: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """`x tanh(log(1 + eˣ))` (Misra 2019, arXiv:1908.08681), with one exponential."""
    # with g = e^x, tanh(log(1 + g)) = ((1 + g)^2 - 1) / ((1 + g)^2 + 1) = g (g + 2) / (g (g + 2) + 2)
    grown = jnp.exp(jnp.minimum(values, 20.0))  # beyond, the factor is 1 in float32
    share = grown * (grown + 2.0)
    return values * (share / (share + 2.0))


class Clock(eqx.Module):
    """What a network is told of the time: learned Fourier features and one hidden layer."""

    frequency: Float[Array, "wave"]
    hidden: Linear

    def __call__(self, step: Int[Array, "..."]) -> Float[Array, "... time"]:
        angle = 2.0 * jnp.pi * step[..., None] * self.frequency
        return mish(self.hidden(jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)))


class Block(eqx.Module):
    """`x + W₂ mish(W₁ norm(x))`, four times as wide inside; dropout before the norm, while training."""

    norm: LayerNorm
    wide: Linear
    narrow: Linear

    def __call__(
        self, values: Float[Array, "... width"], dropout: Float[Array, ""] | float, key: PRNGKeyArray | None
    ) -> Float[Array, "... width"]:
        inside = values
        if key is not None:
            alive = jax.random.bernoulli(key, 1.0 - dropout, values.shape)
            inside = jnp.where(alive, values / (1.0 - dropout), 0.0)  # the mean is that of a network without dropout
        return values + self.narrow(mish(self.wide(self.norm(inside))))


class Denoiser(eqx.Module):
    """`ε(s, x_t, t)` over so many diffusion steps, with its loss and the draws that come of it."""

    encoder: Encoder
    clock: Clock
    observation_part: Float[Array, "feature width"]
    action_part: Float[Array, "act width"]
    time_part: Float[Array, "time width"]
    bias: Float[Array, "width"]
    blocks: tuple[Block, ...]
    last: Linear
    steps: int = static()

    def __call__(
        self, observation: PyTree, noisy: Float[Array, "... act"], step: Int[Array, "..."]
    ) -> Float[Array, "... act"]:
        """Return the noise on one action per state; no dropout."""
        return self.finish(self.state_part(observation), noisy, step)

    def state_part(self, observation: PyTree) -> Float[Array, "... width"]:
        """What the first layer makes of the state alone."""
        return self.encoder(observation) @ self.observation_part + self.bias

    def finish(
        self,
        part: Float[Array, "... width"],
        noisy: Float[Array, "... act"],
        step: Int[Array, "..."],
        dropout: Float[Array, ""] | float = 0.0,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, "... act"]:
        """Finish `ε(s, x_t, t)` from the state's part; leading axes are broadcast. With a key, with dropout."""
        values = part + self.clock(step) @ self.time_part + product(noisy, self.action_part)
        keys = [None] * len(self.blocks) if key is None else jax.random.split(key, len(self.blocks))
        for block, block_key in zip(self.blocks, keys, strict=True):
            values = block(values, dropout, block_key)
        return self.last(mish(values))

    def loss(
        self,
        observation: PyTree,
        action: Float[Array, "batch act"],
        key: PRNGKeyArray,
        dropout: Float[Array, ""] | float = 0.0,
    ) -> Float[Array, ""]:
        """Return the squared error of the noise, by `denoising_loss`, with dropout."""
        noise_key, dropout_key = jax.random.split(key)
        part = self.state_part(observation)

        def predict(noisy: Array, step: Array) -> Array:
            return self.finish(part, noisy, step, dropout, dropout_key)

        return denoising_loss(predict, schedule(self.steps), action, noise_key)

    def sample(self, observation: PyTree, key: PRNGKeyArray, count: int) -> Float[Array, "... sample act"]:
        """Draw several actions per state from the behaviour that was learned; no dropout."""
        part = self.state_part(observation)[..., None, :]
        shape = (*part.shape[:-2], count, len(self.action_part))
        return generate(lambda noisy, step: self.finish(part, noisy, step), schedule(self.steps), shape, key)


def denoiser(key: PRNGKeyArray, spec: Spec, steps: int, blocks: int, width: int) -> Denoiser:
    """Return a denoiser for the continuous actions of a log. Raises UserError without a step or a block."""
    require(steps >= 1, f"A denoiser needs at least one diffusion step, got {steps}.")
    require(blocks >= 1 and width >= 1, f"A denoiser needs blocks of a width, got {blocks} of {width}.")
    encoder_key, wave_key, time_key, first_key, last_key, *block_keys = jax.random.split(key, 5 + blocks)
    encode, act = encoder(encoder_key, spec), spec.action.size
    first = orthogonal(first_key, encode.features + act + TIMES, width)
    observation_part, action_part, time_part = jnp.split(first, [encode.features, encode.features + act])
    clock = Clock(0.2 * jax.random.normal(wave_key, (WAVES,)), linear(time_key, 2 * WAVES, TIMES))
    layers = tuple(_block(block_key, width) for block_key in block_keys)
    last = linear(last_key, width, act)
    return Denoiser(encode, clock, observation_part, action_part, time_part, jnp.zeros(width), layers, last, steps)


def _block(key: PRNGKeyArray, width: int) -> Block:
    wide_key, narrow_key = jax.random.split(key)
    norm = LayerNorm(jnp.ones(width), jnp.zeros(width))
    return Block(norm, _normal(wide_key, width, EXPANSION * width), _normal(narrow_key, EXPANSION * width, width))


def _normal(key: PRNGKeyArray, inputs: int, outputs: int) -> Linear:
    # not orthogonal: the iteration takes seconds for matrices this large
    return Linear(jax.random.normal(key, (inputs, outputs)) / math.sqrt(inputs), jnp.zeros(outputs))
