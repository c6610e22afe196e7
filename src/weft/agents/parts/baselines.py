"""What policy gradients subtract from returns: nothing, a moving average of them, or a learned value of the state.

None depends on the action, so the mean of the gradient stays what it is; only its variance changes.
"""

import abc
from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from ...core.pytree import require
from ...data.spec import Spec
from ...nn.critics import value
from ...nn.losses import weighted_mean
from ...nn.optimise import Learner, descend, learner

__all__ = ["Baseline", "Learned", "MovingAverage", "Zero"]


class Baseline(eqx.Module):
    """A number per state that is subtracted from returns. Its state is part of the state of the method."""

    @abc.abstractmethod
    def begin(self, key: PRNGKeyArray, spec: Spec, hidden: Sequence[int]) -> PyTree:
        """Return the first state: `()` where nothing is learned."""

    @abc.abstractmethod
    def at(self, state: PyTree, observation: PyTree) -> Float[Array, "..."]:
        """Return the baseline of observations."""

    @abc.abstractmethod
    def follow(
        self, state: PyTree, observation: PyTree, goal: Float[Array, "..."], alive: Bool[Array, "..."]
    ) -> tuple[PyTree, Float[Array, ""]]:
        """Return the next state and how far the baseline was from the returns (mean square), after it was used."""

    def beyond(self, state: PyTree, observation: PyTree) -> Float[Array, "..."]:
        """Return what a state is worth in which an episode was cut; zeros where nothing is known of it."""
        return jnp.zeros_like(self.at(state, observation))


class Zero(Baseline):
    """No baseline."""

    def begin(self, key: PRNGKeyArray, spec: Spec, hidden: Sequence[int]) -> PyTree:
        del key, spec, hidden
        return jnp.zeros(())

    def at(self, state: PyTree, observation: PyTree) -> Float[Array, "..."]:
        del observation
        return state

    def follow(
        self, state: PyTree, observation: PyTree, goal: Float[Array, "..."], alive: Bool[Array, "..."]
    ) -> tuple[PyTree, Float[Array, ""]]:
        del observation
        return state, weighted_mean(jnp.square(goal), alive)


class MovingAverage(Baseline):
    """`b ← ρ b + (1 − ρ) mean G`, with ρ = `kept`; it begins at 0 and lags one batch behind."""

    kept: float = 0.9

    def __check_init__(self) -> None:
        require(0 <= self.kept < 1, f"A moving average keeps a share in [0, 1), got {self.kept}.")

    def begin(self, key: PRNGKeyArray, spec: Spec, hidden: Sequence[int]) -> PyTree:
        del key, spec, hidden
        return jnp.zeros(())

    def at(self, state: PyTree, observation: PyTree) -> Float[Array, "..."]:
        del observation
        return state

    def follow(
        self, state: PyTree, observation: PyTree, goal: Float[Array, "..."], alive: Bool[Array, "..."]
    ) -> tuple[PyTree, Float[Array, ""]]:
        del observation
        moved = self.kept * state + (1.0 - self.kept) * weighted_mean(goal, alive)
        return moved, weighted_mean(jnp.square(goal - state), alive)


class Learned(Baseline):
    """A value network that takes one step on `½ (V(s) − G)²` per update."""

    learning_rate: float = 3e-3

    def begin(self, key: PRNGKeyArray, spec: Spec, hidden: Sequence[int]) -> Learner:
        return learner(value(key, spec, hidden), optax.adam(self.learning_rate))

    def at(self, state: Learner, observation: PyTree) -> Float[Array, "..."]:
        return state.model(observation)

    def follow(
        self, state: Learner, observation: PyTree, goal: Float[Array, "..."], alive: Bool[Array, "..."]
    ) -> tuple[Learner, Float[Array, ""]]:
        after, loss = descend(
            state,
            optax.adam(self.learning_rate),
            lambda model: 0.5 * weighted_mean(jnp.square(model(observation) - goal), alive),
        )
        return after, 2.0 * loss

    def beyond(self, state: Learner, observation: PyTree) -> Float[Array, "..."]:
        return state.model(observation)
