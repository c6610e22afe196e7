"""From an observation, whatever its form, to one vector of features.

Numeric vectors are flattened and joined; categories and tokens are embedded (tokens averaged); uint8 images go
through a small convolutional network after division by 255. So no method mentions a size.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree, UInt8

from ..pytree import static
from ..spec import ObservationSpec, Spec
from .dense import Linear, linear

__all__ = ["Encoder", "encoder"]

EMBEDDING = 16
IMAGE_FEATURES = 64


class Flatten(eqx.Module):
    """A numeric component as it is."""

    axes: int = static()

    def __call__(self, values: Array) -> Float[Array, "... feature"]:
        return values.reshape(*values.shape[: values.ndim - self.axes], -1).astype(jnp.float32)


class Embedding(eqx.Module):
    """A learned vector per category; tokens are averaged over those that are not −1."""

    table: Float[Array, "count feature"]
    averaged: bool = static(default=False)

    def __call__(self, codes: Int[Array, "..."]) -> Float[Array, "... feature"]:
        found = self.table[jnp.clip(codes, 0)]
        if not self.averaged:
            return found.reshape(*codes.shape, -1)
        there = (codes >= 0)[..., None]
        return (found * there).sum(-2) / jnp.maximum(there.sum(-2), 1)


class Convolutions(eqx.Module):
    """Strided 3×3 convolutions over an image `(..., height, width, channel)` and a dense layer."""

    kernels: tuple[Float[Array, "three three inputs outputs"], ...]
    last: Linear

    def __call__(self, image: UInt8[Array, "... height width channel"]) -> Float[Array, "... feature"]:
        batch = image.shape[:-3]
        values = image.reshape(-1, *image.shape[-3:]).astype(jnp.float32) / 255.0
        for kernel in self.kernels:
            axes = jax.lax.conv_dimension_numbers(values.shape, kernel.shape, ("NHWC", "HWIO", "NHWC"))
            values = jax.nn.relu(jax.lax.conv_general_dilated(values, kernel, (2, 2), "SAME", dimension_numbers=axes))
        return jax.nn.relu(self.last(values.reshape(*batch, -1)))


class Encoder(eqx.Module):
    """One part per component of the observation; a plain observation has one part."""

    parts: tuple[Flatten | Embedding | Convolutions, ...]
    names: tuple[str, ...] = static()
    features: int = static()

    def __call__(self, observation: PyTree[Array]) -> Float[Array, "... feature"]:
        if self.names == ("",):
            return self.parts[0](observation)
        found = [part(observation[name]) for part, name in zip(self.parts, self.names, strict=True)]
        return jnp.concatenate(found, axis=-1)


def encoder(key: PRNGKeyArray, spec: Spec) -> Encoder:
    """Return an encoder for the observations of a log."""
    keys = jax.random.split(key, len(spec.observations))
    made = [_part(k, part) for k, part in zip(keys, spec.observations, strict=True)]
    names = tuple(part.name for part in spec.observations)
    return Encoder(tuple(part for part, _ in made), names, sum(size for _, size in made))


def _part(key: PRNGKeyArray, part: ObservationSpec) -> tuple[Flatten | Embedding | Convolutions, int]:
    if part.kind in ("category", "tokens"):
        table = jax.random.normal(key, (max(part.count, 1), EMBEDDING)) / math.sqrt(EMBEDDING)
        repeats = 1 if part.kind == "tokens" else math.prod(part.shape)
        return Embedding(table, part.kind == "tokens"), EMBEDDING * repeats
    if part.kind == "image":
        return _convolutions(key, part.shape), IMAGE_FEATURES
    return Flatten(len(part.shape)), math.prod(part.shape)


def _convolutions(key: PRNGKeyArray, shape: tuple[int, ...]) -> Convolutions:
    height, width, inputs = shape if len(shape) == 3 else (*shape, 1)
    keys = jax.random.split(key, 4)
    kernels = []
    for layer_key, outputs in zip(keys[:3], (16, 32, 32), strict=True):
        scale = math.sqrt(2.0 / (9 * inputs))
        kernels.append(scale * jax.random.normal(layer_key, (3, 3, inputs, outputs)))
        height, width, inputs = -(-height // 2), -(-width // 2), outputs
    return Convolutions(tuple(kernels), linear(keys[3], height * width * inputs, IMAGE_FEATURES, math.sqrt(2.0)))
