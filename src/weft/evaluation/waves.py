"""Features of steps for linear value functions: a table where it is small, else random waves."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..core.pytree import static
from ..data.spec import Spec
from .candidate import Candidate

__all__ = ["Features", "feature_count", "features"]

SCALES = (0.5, 1.0, 2.0)  # of the random frequencies, in units of 1 / sqrt(dimension)
COUNTS = (8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128)  # few, so that logs of similar size share programs


def feature_count(steps: int) -> int:
    """Return how many features a linear value function has on a log of so many steps: about a tenth, 8 to 128."""
    return max(count for count in COUNTS if count <= max(steps // 10, COUNTS[0]))


class Features(eqx.Module):
    """`phi(s, a)`: one-hot states where an observation is one category, else random Fourier features with the
    constant and the linear terms (Rahimi and Recht 2007); one block per choice where actions are discrete.
    """

    frequencies: Float[Array, "input wave"] | None
    phases: Float[Array, "wave"] | None
    spec: Spec = static()

    def state(self, observation: PyTree, *more: Array) -> Float[Array, "... feature"]:
        """Features of observations, and of whatever numbers belong to them."""
        if self.frequencies is None:
            (part,) = self.spec.observations
            codes = observation if part.name == "" else observation[part.name]
            return jax.nn.one_hot(codes.reshape(codes.shape[: codes.ndim - len(part.shape)]), part.count)
        assert self.phases is not None
        numbers = jnp.concatenate([_numbers(observation, self.spec), *more], -1)
        # constant and linear terms go through the same product: putting them beside the waves would copy everything
        inputs, waves = self.frequencies.shape
        linear = 0.3 * jnp.eye(inputs, inputs + 1)
        mixed = numbers @ jnp.concatenate([self.frequencies, linear], 1)
        mixed = mixed + jnp.concatenate([self.phases, jnp.zeros(inputs), jnp.ones(1)])
        return jnp.where(jnp.arange(waves + inputs + 1) < waves, jnp.sqrt(2.0 / waves) * _cosine(mixed), mixed)

    def logged(self, observation: PyTree, action: Array) -> Float[Array, "... feature"]:
        """Features of steps: `(..., feature)`."""
        if not self.spec.discrete:
            return self.state(observation, action.reshape(*action.shape[: action.ndim - 1], -1))
        return _blocks(jax.nn.one_hot(action, self.spec.action.size), self.state(observation))

    def expected(self, candidate: Candidate, observation: PyTree, at: Array) -> Float[Array, "... feature"]:
        """Mean features over what the candidate does at the observations numbered `at`."""
        if candidate.probability is not None:
            return _blocks(candidate.probability[at], self.state(observation))
        assert candidate.action is not None
        drawn = jnp.moveaxis(candidate.action[at], -2, 0)
        if len(drawn) == 1:
            return self.state(observation, drawn[0])
        return jax.vmap(lambda action: self.state(observation, action))(drawn).mean(0)


def _cosine(angle: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return `1 - 2 sin^2(angle / 2)`, the sine by its series: six times as fast on a CPU as `jnp.cos`, right to 4e-7
    but for what 32 bits leave of a large angle.
    """
    turns = angle * (0.5 / jnp.pi)
    half = jnp.pi * (turns - jnp.round(turns))  # at most pi / 2 either way
    square = half * half
    sine = half * (
        1 + square * (-1 / 6 + square * (1 / 120 + square * (-1 / 5040 + square * (1 / 362880 - square / 39916800))))
    )
    return 1 - 2 * sine * sine


def _blocks(chance: Float[Array, "... choice"], state: Float[Array, "... feature"]) -> Float[Array, "... product"]:
    return (chance[..., :, None] * state[..., None, :]).reshape(*state.shape[:-1], -1)


def _numbers(observation: PyTree, spec: Spec) -> Float[Array, "... input"]:
    parts = []
    for part in spec.observations:
        values = observation if part.name == "" else observation[part.name]
        batch = values.shape[: values.ndim - len(part.shape)]
        if part.kind == "category":
            values = jax.nn.one_hot(values, part.count)
        parts.append(values.reshape(*batch, -1).astype(jnp.float32))
    return jnp.concatenate(parts, -1)


def features(spec: Spec, key: PRNGKeyArray, count: int) -> Features:
    """Return about `count` features of steps for the observations and actions of a log.

    One category per observation, of at most `count` values, gives the exact table whatever its size.
    """
    (part, *others) = spec.observations
    if not others and part.kind == "category" and part.count <= count and spec.discrete:
        return Features(None, None, spec)
    sizes = [max(p.count, 1) if p.kind == "category" else 1 for p in spec.observations]
    inputs = sum(size * max(1, math.prod(p.shape)) for size, p in zip(sizes, spec.observations, strict=True))
    if not spec.discrete:
        inputs += spec.action.size
    waves = max(8, (count // spec.action.size if spec.discrete else count) - inputs - 1)
    frequency_key, scale_key, phase_key = jax.random.split(key, 3)
    scale = jax.random.choice(scale_key, jnp.asarray(SCALES), (waves,)) / jnp.sqrt(float(inputs))
    frequencies = jax.random.normal(frequency_key, (inputs, waves)) * scale
    return Features(frequencies, jax.random.uniform(phase_key, (waves,), maxval=2 * jnp.pi), spec)
