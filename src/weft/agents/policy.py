"""What is served, rolled out and judged: a policy, with memory or without, that carries no optimiser.

Inside, a policy speaks the method's units. `Served` wraps one with the transforms of its run, so that the outside
only ever sees the user's units. Exploration is a policy too.
"""

import abc
import math
from collections.abc import Callable
from functools import reduce

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree, Shaped

from ..core.errors import UserError
from ..core.pytree import static
from ..nn.critics import DiscreteCritic, between, of_several
from ..nn.distributions import Categorical, Deterministic, Distribution, several
from ..nn.optimise import PIECE

__all__ = [
    "ActorPolicy",
    "BestOfSamples",
    "Boltzmann",
    "Draws",
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
    """The best choice by a critic; with probability ε any choice, the best included."""

    critic: DiscreteCritic
    epsilon: Float[Array, ""]

    def distribution(self, memory: Memory, observation: PyTree) -> Categorical:
        del memory
        values = self.critic.all(observation)
        best = jax.nn.one_hot(values.argmax(-1), values.shape[-1])
        return Categorical(jnp.log((1.0 - self.epsilon) * best + self.epsilon / values.shape[-1]))


class BestOfSamples(Policy):
    """Of `count` actions that `propose(observation, key, count)` draws, the one that the critics value most.

    The value is the smallest of the critics'. Greedily the draws are the same in every state, so that the policy is a
    function of the state, and it has no density. With `weigh(observation, values)` a draw that is not greedy takes one
    of the actions in proportion to exp of what that returns. Where the policy is that tilted proposal itself (`mode`),
    the greedy action is the draw where its density is highest: what `weigh` returns and the proposal's log-density.
    """

    propose: Callable[..., Array]
    critics: tuple
    weigh: Callable[..., Array] | None = None
    count: int = static(default=10)
    mode: bool = static(default=False)

    def distribution(self, memory: Memory, observation: PyTree) -> Deterministic:
        return Deterministic(self.act(memory, observation)[0])

    def act(
        self, memory: Memory, observation: PyTree, key: PRNGKeyArray | None = None, greedy: bool = True
    ) -> tuple[Shaped[Array, "..."], Memory]:
        if key is None and not greedy:
            raise UserError("A policy that is not greedy needs a key to draw with.")
        batch = jax.eval_shape(self.critics[0].state_half, observation).shape[:-1]
        states = math.prod(batch)
        flat = jax.tree.map(lambda leaf: leaf.reshape(states, *leaf.shape[len(batch) :]), observation)
        same = jnp.broadcast_to(jax.random.key(0), (states,))
        keys = same if greedy or key is None else jax.random.split(key, states)
        # what a few states need fits into a CPU's cache, what all need does not (11.1 against 15.9 ms a state, IDQL)
        together = max(PIECE // self.count, 1) if jax.default_backend() == "cpu" else states
        chosen = jax.lax.map(lambda one: self._choose(one[0], one[1], greedy), (flat, keys), batch_size=together)
        return chosen.reshape(*batch, -1), memory

    def _choose(self, observation: PyTree, key: PRNGKeyArray, greedy: bool) -> Float[Array, "act"]:
        """Choose an action of one state."""
        propose_key, choose_key = jax.random.split(key)
        actions = self.propose(observation, propose_key, self.count)
        values = between(of_several(self.critics, observation, actions), 1.0)
        if self.weigh is not None and not greedy:
            return actions[jax.random.categorical(choose_key, self.weigh(observation, values))]
        if self.weigh is not None and self.mode:
            values = self.weigh(observation, values) + self.propose.log_prob(observation, actions)  # type: ignore[attr-defined]
        return actions[values.argmax()]


class Boltzmann(eqx.Module):
    """Weighs actions by exp(β Q): what `BestOfSamples` then draws is its proposal, tilted."""

    inverse_temperature: Float[Array, ""] | float

    def __call__(self, observation: PyTree, values: Float[Array, "... sample"]) -> Float[Array, "... sample"]:
        del observation
        return self.inverse_temperature * values


class Draws(eqx.Module):
    """Several draws of an actor per state, kept within the range of actions: proposals for `BestOfSamples`."""

    actor: Callable[[PyTree], Distribution]

    def __call__(self, observation: PyTree, key: PRNGKeyArray, count: int) -> Float[Array, "... sample act"]:
        return jnp.clip(several(self.actor(observation), count).sample(key), -1.0, 1.0)

    def log_prob(self, observation: PyTree, actions: Float[Array, "... sample act"]) -> Float[Array, "... sample"]:
        """Return the log-density of several actions per state."""
        return several(self.actor(observation), actions.shape[-2]).log_prob(actions)


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
