"""From an observation, whatever its form, to one vector of features.

Numeric vectors are flattened and joined; categories and tokens are embedded (tokens averaged); uint8 images go
through a convolutional network after division by 255. So no method mentions a size.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree, UInt8

from ..core.pytree import require, static
from ..data.spec import ObservationSpec, Spec
from .convolution import convolve
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
        vectors = self.table[jnp.clip(codes, 0)]
        if not self.averaged:
            return vectors.reshape(*codes.shape, -1)
        there = (codes >= 0)[..., None]
        return (vectors * there).sum(-2) / jnp.maximum(there.sum(-2), 1)


# (side, stride, channels) of every layer, padding, and features of a dense layer after them (0: there is none)
VISIONS = {
    "small": (((3, 2, 16), (3, 2, 32), (3, 2, 32)), "SAME", 64),
    "nature": (((8, 4, 32), (4, 2, 64), (3, 1, 64)), "VALID", 0),  # Mnih et al. 2015
    "2013": (((8, 4, 16), (4, 2, 32)), "VALID", 0),  # Mnih et al. 2013, arXiv:1312.5602
}


class Convolutions(eqx.Module):
    """Strided convolutions over an image `(..., height, width, channel)` and perhaps a dense layer; a `grey` image has
    no axis of channels.
    """

    kernels: tuple[Float[Array, "_side _side _inputs _outputs"], ...]  # other sizes in every layer
    biases: tuple[Float[Array, "_outputs"], ...]
    last: Linear | None
    vision: str = static(default="small")
    grey: bool = static(default=False)

    def __call__(self, image: UInt8[Array, "..."]) -> Float[Array, "... feature"]:
        image = image[..., None] if self.grey else image
        batch = image.shape[:-3]
        values = image.reshape(-1, *image.shape[-3:]).astype(jnp.float32) / 255.0
        layers, padding, _ = VISIONS[self.vision]
        for kernel, bias, (_, stride, _) in zip(self.kernels, self.biases, layers, strict=True):
            values = jax.nn.relu(convolve(values, kernel, stride, padding) + bias)
        features = values.reshape(*batch, -1)
        return features if self.last is None else jax.nn.relu(self.last(features))


class Encoder(eqx.Module):
    """One part per component of the observation; a plain observation has one part."""

    parts: tuple[Flatten | Embedding | Convolutions, ...]
    names: tuple[str, ...] = static()
    features: int = static()

    def __call__(self, observation: PyTree[Array]) -> Float[Array, "... feature"]:
        if self.names == ("",):
            return self.parts[0](observation)
        features = [part(observation[name]) for part, name in zip(self.parts, self.names, strict=True)]
        return jnp.concatenate(features, axis=-1)


def encoder(key: PRNGKeyArray, spec: Spec, vision: str = "small") -> Encoder:
    """Return an encoder for the observations of a log. `vision` is the network for images: `small`, or the ones of
    the papers on Atari, `nature` (2015) and `2013`. Raises UserError for images that are too small for it.
    """
    keys = jax.random.split(key, len(spec.observations))
    sized = [_part(k, part, vision) for k, part in zip(keys, spec.observations, strict=True)]
    names = tuple(part.name for part in spec.observations)
    return Encoder(tuple(part for part, _ in sized), names, sum(size for _, size in sized))


def _part(key: PRNGKeyArray, part: ObservationSpec, vision: str) -> tuple[Flatten | Embedding | Convolutions, int]:
    if part.kind in ("category", "tokens"):
        table = jax.random.normal(key, (max(part.count, 1), EMBEDDING)) / math.sqrt(EMBEDDING)
        repeats = 1 if part.kind == "tokens" else math.prod(part.shape)
        return Embedding(table, part.kind == "tokens"), EMBEDDING * repeats
    if part.kind == "image":
        return _convolutions(key, part.shape, vision)
    return Flatten(len(part.shape)), math.prod(part.shape)


def _convolutions(key: PRNGKeyArray, shape: tuple[int, ...], vision: str) -> tuple[Convolutions, int]:
    require(vision in VISIONS, f"There is no network for images '{vision}'; there are {', '.join(VISIONS)}.")
    layers, padding, dense = VISIONS[vision]
    height, width, inputs = shape if len(shape) == 3 else (*shape, 1)
    keys = jax.random.split(key, len(layers) + 1)
    kernels, biases = [], []
    for layer_key, (side, stride, outputs) in zip(keys[:-1], layers, strict=True):
        scale = math.sqrt(2.0 / (side * side * inputs))
        kernels.append(scale * jax.random.normal(layer_key, (side, side, inputs, outputs)))
        biases.append(jnp.zeros(outputs))
        reach = 0 if padding == "SAME" else side - 1
        height, width = (-(-(edge - reach) // stride) for edge in (height, width))
        inputs = outputs
        require(
            min(height, width) >= 1, f"Images of {shape[0]} × {shape[1]} are too small for '{vision}'; use 'small'."
        )
    flat = height * width * inputs
    last = linear(keys[-1], flat, dense, math.sqrt(2.0)) if dense else None
    return Convolutions(tuple(kernels), tuple(biases), last, vision, len(shape) == 2), dense or flat
