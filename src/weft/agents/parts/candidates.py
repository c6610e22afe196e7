"""Policies that choose among several actions, which a proposal draws, by what critics say of them."""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, Shaped

from ...core.errors import UserError
from ...core.pytree import static
from ...nn.critics import between, of_several
from ...nn.distributions import Deterministic, Distribution, several
from ...nn.optimise import PIECE
from ..policy import Memory, Policy

__all__ = ["BestOfSamples", "Boltzmann", "Draws"]


class BestOfSamples(Policy):
    """Of `count` actions that `propose(observation, key, count)` draws, the one that the critics value most.

    The value is the smallest of the critics', or with `pessimism` l `l min + (1 - l) max`. Greedily the draws are the
    same in every state, so that the policy is a function of the state, and it has no density. With `weigh(observation,
    values)` a draw that is not greedy takes one of the actions in proportion to exp of what that returns. Where the
    policy is that tilted proposal itself (`mode`), the greedy action is the draw where its density is highest: what
    `weigh` returns and the proposal's log-density. With `share` above 0 the action that is taken is not the best, but
    the one amid that share of them, the best ones: of these it has the least distance to all others.
    """

    propose: Callable[..., Array]
    critics: tuple
    weigh: Callable[..., Array] | None = None
    count: int = static(default=10)
    mode: bool = static(default=False)
    pessimism: Float[Array, ""] | float | None = None
    share: float = static(default=0.0)

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
        share = 1.0 if self.pessimism is None else self.pessimism
        values = between(of_several(self.critics, observation, actions), share)
        if self.weigh is not None and not greedy:
            return actions[jax.random.categorical(choose_key, self.weigh(observation, values))]
        if self.weigh is not None and self.mode:
            values = self.weigh(observation, values) + self.propose.log_prob(observation, actions)  # type: ignore[attr-defined]
        if (best := math.ceil(self.share * self.count)) <= 1:
            return actions[values.argmax()]
        few = actions[jnp.argsort(values)[-best:]]
        return few[jnp.linalg.norm(few[:, None] - few, axis=-1).sum(-1).argmin()]


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
