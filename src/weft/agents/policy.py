"""What is served, rolled out and judged: a policy, with memory or without, that carries no optimiser.

Inside, a policy speaks the method's units. `Served` wraps one with the transforms of its run, so that the outside
only ever sees the user's units. Exploration is a policy too.
"""

import abc
from collections.abc import Callable
from functools import reduce
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree, Shaped

from ..core.errors import UserError
from ..nn.distributions import Categorical, Distribution

__all__ = [
    "ActorPolicy",
    "EpsilonGreedy",
    "GreedyPolicy",
    "Policy",
    "UniformAtFirst",
]

Memory = PyTree


class Policy(eqx.Module):
    """A pure way of acting: `reset`, then `act` for every decision, and `observe` after each where memory needs it."""

    def reset(self, prompt: PyTree = None) -> Memory:
        """Return the memory at the start of an episode: `()` where there is none.

        A prompt is a goal, a target return or a task; a policy that knows none refuses it with a UserError.
        """
        if prompt is not None:
            raise UserError(f"{type(self).__name__} takes no prompt.")
        return ()

    @abc.abstractmethod
    def distribution(self, memory: Memory, observation: PyTree) -> Distribution:
        """Return the distribution over the next action; leading axes of the observation are a batch."""

    def act(
        self, memory: Memory, observation: PyTree, key: PRNGKeyArray | None = None, greedy: bool = True
    ) -> tuple[Shaped[Array, "..."], Memory]:
        """Choose an action: the mode if greedy, else a draw with the key."""
        distribution = self.distribution(memory, observation)
        if greedy:
            return distribution.mode(), memory
        if key is None:
            raise UserError("A policy that is not greedy needs a key to draw with.")
        return distribution.sample(key), memory

    def draw(
        self, memory: Memory, observation: PyTree, key: PRNGKeyArray
    ) -> tuple[Shaped[Array, "..."], Float[Array, "..."], Memory]:
        """Draw an action and return it with the log-probability of what was drawn, not finite where it has none."""
        action, following = self.act(memory, observation, key, False)
        return action, self.log_prob(memory, observation, action), following

    def observe(self, memory: Memory, action: Array, reward: Array, terminal: Array) -> Memory:
        """Take note of what came of an action; policies without memory keep `()`."""
        del action, reward, terminal
        return memory

    def log_prob(self, memory: Memory, observation: PyTree, action: Array) -> Float[Array, "..."]:
        """Logarithm of the probability or density with which the policy would take an action when not greedy."""
        return self.distribution(memory, observation).log_prob(action)


class ActorPolicy(Policy):
    """The policy of an actor network without memory."""

    actor: Callable[[PyTree], Distribution]

    def distribution(self, memory: Memory, observation: PyTree) -> Distribution:
        del memory
        return self.actor(observation)

    def draw(
        self, memory: Memory, observation: PyTree, key: PRNGKeyArray
    ) -> tuple[Shaped[Array, "..."], Float[Array, "..."], Memory]:
        return *self.distribution(memory, observation).sample_and_log_prob(key), memory


class GreedyPolicy(Policy):
    """The best choice by one or the mean of several critics over discrete actions, with certainty."""

    critics: tuple

    def distribution(self, memory: Memory, observation: PyTree) -> Categorical:
        del memory
        values = reduce(jnp.add, [critic.all(observation) for critic in self.critics])
        best = jax.nn.one_hot(values.argmax(-1), values.shape[-1], dtype=bool)
        return Categorical(jnp.where(best, 0.0, -jnp.inf))


class EpsilonGreedy(Policy):
    """The best choice by a critic; with probability ε any choice, the best included, but for those that the critic
    holds to be worth minus infinity.
    """

    critic: Any
    epsilon: Float[Array, ""]

    def distribution(self, memory: Memory, observation: PyTree) -> Categorical:
        del memory
        values = self.critic.all(observation)
        best = jax.nn.one_hot(values.argmax(-1), values.shape[-1])
        open_ = values > -jnp.inf
        return Categorical(jnp.log((1.0 - self.epsilon) * best + self.epsilon * open_ / open_.sum(-1, keepdims=True)))


class UniformAtFirst(Policy):
    """An actor over [−1, 1], or while `uniform` holds any action, each as likely as every other."""

    actor: Callable[[PyTree], Distribution]
    uniform: Bool[Array, ""]

    def distribution(self, memory: Memory, observation: PyTree) -> Distribution:
        del memory
        return self.actor(observation)

    def draw(
        self, memory: Memory, observation: PyTree, key: PRNGKeyArray
    ) -> tuple[Shaped[Array, "..."], Float[Array, "..."], Memory]:
        actor_key, uniform_key = jax.random.split(key)
        action, density = self.actor(observation).sample_and_log_prob(actor_key)
        other = jax.random.uniform(uniform_key, action.shape, minval=-1.0, maxval=1.0)
        flat = jnp.full_like(density, -action.shape[-1] * jnp.log(2.0))
        return jnp.where(self.uniform, other, action), jnp.where(self.uniform, flat, density), memory
