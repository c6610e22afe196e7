"""Convex losses of `u = Q(s, a) − V(s)` whose best V is the value of an implied policy (arXiv:2304.10573).

V is best where `E_β[f′(u)] = 0`. So `π(a | s) ∝ β(a | s) |f′(u)| / |u|`, the behaviour of a log with some actions taken
more often, has `E_π[u] = 0`: its value is V.
"""

import abc
from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ...core.pytree import require
from ...nn.losses import expectile

__all__ = ["ConvexLoss", "Expectile", "Exponential", "Implied", "Quantile"]

NEAREST = 1e-6  # advantages closer to 0 weigh as if they were this far from it
LARGEST = 100.0  # growth at which the exponential loss goes on as a straight line


class ConvexLoss(eqx.Module):
    """A convex loss of the advantage, least at 0."""

    @abc.abstractmethod
    def __call__(self, advantage: Float[Array, "*any"]) -> Float[Array, "*any"]:
        """Return `f(u)`."""

    @abc.abstractmethod
    def weight(self, advantage: Float[Array, "*any"]) -> Float[Array, "*any"]:
        """Return `|f′(u)| / |u|` up to a factor: how much more of an action the implied policy takes."""


def _level(name: str, level: float) -> None:
    require(0.5 <= level < 1, f"The level of the {name} loss must be at least 0.5 and below 1, got {level}.")


class Expectile(ConvexLoss):
    """`|τ − 1(u < 0)| u²`, whose best V is the τ-expectile of Q: the loss of IQL."""

    level: float

    def __check_init__(self) -> None:
        _level("expectile", self.level)

    def __call__(self, advantage: Float[Array, "*any"]) -> Float[Array, "*any"]:
        return expectile(advantage, self.level)

    def weight(self, advantage: Float[Array, "*any"]) -> Float[Array, "*any"]:
        return jnp.where(advantage < 0, 1.0 - self.level, self.level)


class Quantile(ConvexLoss):
    """`|τ − 1(u < 0)| |u|`, whose best V is the τ-quantile of Q."""

    level: float

    def __check_init__(self) -> None:
        _level("quantile", self.level)

    def __call__(self, advantage: Float[Array, "*any"]) -> Float[Array, "*any"]:
        return jnp.where(advantage < 0, 1.0 - self.level, self.level) * jnp.abs(advantage)

    def weight(self, advantage: Float[Array, "*any"]) -> Float[Array, "*any"]:
        slope = jnp.where(advantage < 0, 1.0 - self.level, self.level)
        return slope / jnp.maximum(jnp.abs(advantage), NEAREST)


class Exponential(ConvexLoss):
    """`exp(αu) − αu`, whose best V is the soft maximum `log E[exp(αQ)] / α`; a straight line where exp(αu) > 100."""

    inverse_temperature: float

    def __check_init__(self) -> None:
        require(
            self.inverse_temperature > 0,
            f"The inverse temperature of the exponential loss must be positive, got {self.inverse_temperature}.",
        )

    def __call__(self, advantage: Float[Array, "*any"]) -> Float[Array, "*any"]:
        scaled = self.inverse_temperature * advantage
        within = jnp.minimum(scaled, jnp.log(LARGEST))
        # the tangent at the limit goes on, so that loss and slope stay continuous and convex
        return jnp.exp(within) + LARGEST * (scaled - within) - scaled

    def weight(self, advantage: Float[Array, "*any"]) -> Float[Array, "*any"]:
        scaled = self.inverse_temperature * advantage
        scaled = jnp.where(jnp.abs(scaled) < NEAREST, NEAREST, scaled)  # the limit of (e^x - 1) / x at 0 is 1
        return jnp.expm1(jnp.minimum(scaled, jnp.log(LARGEST))) / scaled


class Implied(eqx.Module):
    """Logarithms of the implied policy's weights of several actions per state, from what critics say of them."""

    value: Callable[[PyTree], Array]
    loss: ConvexLoss

    def __call__(self, observation: PyTree, values: Float[Array, "... sample"]) -> Float[Array, "... sample"]:
        return jnp.log(self.loss.weight(values - self.value(observation)[..., None]))
