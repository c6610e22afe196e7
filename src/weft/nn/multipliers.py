"""Numbers in front of a term of a loss: held fixed, or learned so that what the term measures meets a threshold."""

import abc

import equinox as eqx
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from ..core.pytree import require
from .optimise import Learner, descend, learner

__all__ = ["Fixed", "Lagrange", "Multiplier"]


class Multiplier(eqx.Module):
    """A number that is not negative. Its state, if any, is part of the state of the method."""

    @abc.abstractmethod
    def begin(self) -> PyTree:
        """Return the first state: `()` where nothing is learned."""

    @abc.abstractmethod
    def at(self, state: PyTree) -> Float[Array, ""]:
        """Return the number."""

    @abc.abstractmethod
    def follow(self, state: PyTree, measured: Float[Array, ""]) -> PyTree:
        """Take one step after the term was measured."""

    @abc.abstractmethod
    def press(self, state: PyTree, excess: Float[Array, ""]) -> PyTree:
        """Take one step by how far the term is above what is wanted, whatever the threshold."""


class Fixed(Multiplier):
    """A number that stays as it is."""

    value: float

    def __check_init__(self) -> None:
        require(self.value >= 0, f"A fixed weight may not be negative, got {self.value}.")

    def begin(self) -> PyTree:
        return ()

    def at(self, state: PyTree) -> Float[Array, ""]:
        del state
        return jnp.asarray(self.value)

    def follow(self, state: PyTree, measured: Float[Array, ""]) -> PyTree:
        del measured
        return state

    def press(self, state: PyTree, excess: Float[Array, ""]) -> PyTree:
        del excess
        return state


class Lagrange(Multiplier):
    """A number that grows while the measured term is above `threshold` and shrinks while it is below.

    One Adam step per update on `−w · (measured − threshold)` over `log w`; `w` is kept at or below `largest`.
    """

    threshold: float
    learning_rate: float = 3e-4
    initial: float = 1.0
    largest: float = 1e6

    def __check_init__(self) -> None:
        require(
            self.learning_rate > 0, f"The learning rate of a multiplier must be positive, got {self.learning_rate}."
        )
        require(
            0 < self.initial <= self.largest, f"A multiplier must start in (0, {self.largest}], got {self.initial}."
        )

    def begin(self) -> Learner[Array]:
        return learner(jnp.log(jnp.asarray(self.initial, jnp.float32)), optax.adam(self.learning_rate))

    def at(self, state: Learner[Array]) -> Float[Array, ""]:
        return jnp.exp(state.model)

    def follow(self, state: Learner[Array], measured: Float[Array, ""]) -> Learner[Array]:
        return self.press(state, measured - self.threshold)

    def press(self, state: Learner[Array], excess: Float[Array, ""]) -> Learner[Array]:
        # over log w, so that w stays positive; Adam's steps then change w by a share of itself, whatever its size
        after, _ = descend(state, optax.adam(self.learning_rate), lambda log: -jnp.exp(log) * excess)
        # cut after the step and not in `at`: log w must not run on beyond the limit, or it could not come back
        return Learner(jnp.minimum(after.model, jnp.log(self.largest)), after.moments)
