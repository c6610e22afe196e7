"""What is served, rolled out and judged: a policy, with memory or without, that carries no optimiser.

Inside, a policy speaks the method's units. `Served` wraps one with the transforms of its run, so that the outside
only ever sees the user's units. Exploration is a policy too.
"""

import abc
import math
import secrets
from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree, Shaped

from ..core.errors import UserError
from ..core.pytree import named_leaves, static
from ..data.fingerprints import Trace
from ..data.spec import Spec
from ..data.transforms import Transform
from ..nn.critics import between, of_several
from ..nn.distributions import Categorical, Deterministic, Distribution, several
from ..nn.optimise import PIECE
from .door import check_action, check_observation

__all__ = [
    "ActorPolicy",
    "BestOfSamples",
    "Boltzmann",
    "Draws",
    "EpsilonGreedy",
    "GreedyPolicy",
    "Policy",
    "Served",
    "UniformAtFirst",
    "acts_greedily",
    "check_finite",
    "check_parameters",
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
        found = self.distribution(memory, observation)
        if greedy:
            return found.mode(), memory
        if key is None:
            raise UserError("A policy that is not greedy needs a key to draw with.")
        return found.sample(key), memory

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
        values = sum(critic.all(observation) for critic in self.critics)
        best = jax.nn.one_hot(values.argmax(-1), values.shape[-1], dtype=bool)  # type: ignore[union-attr]
        return Categorical(jnp.where(best, 0.0, -jnp.inf))


class EpsilonGreedy(Policy):
    """The best choice by a critic; with probability ε any choice, the best included."""

    critic: Callable
    epsilon: Float[Array, ""]

    def distribution(self, memory: Memory, observation: PyTree) -> Categorical:
        del memory
        values = self.critic.all(observation)  # type: ignore[attr-defined]
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


class Served(Policy):
    """A policy in the user's units: observations are transformed on the way in, actions on the way out.

    `trained_on` says which episodes it has seen, where weft trained it; `drawn` how it acts where nobody says
    otherwise: by drawing its actions, or by taking the most likely one (the mode). Where several images make an
    observation, the memory holds the last ones (and whether there are any yet) beside the memory of the policy inside.
    """

    inner: Policy
    transform: Transform
    trained_on: Trace = static(default=Trace())
    drawn: bool = static(default=False)

    @property
    def spec(self) -> Spec:
        """What the policy was trained on; enough to check what it is asked."""
        return self.transform.spec

    def drawing(self, drawn: bool = True) -> "Served":
        """Return the same policy that draws its actions where nobody says otherwise (False: takes its mode)."""
        return Served(self.inner, self.transform, self.trained_on, drawn)

    @property
    def reach(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The lowest and the highest action that it can take, None for choices."""
        return self.transform.reach

    def reset(self, prompt: PyTree = None) -> Memory:
        if self.transform.stack == 1:
            return self.inner.reset(prompt)
        blank = {part.name: jnp.zeros(part.shape, jnp.uint8) for part in self.transform.inner.observations}
        return blank[""] if self.spec.plain else blank, jnp.zeros((), bool), self.inner.reset(prompt)

    def _see(self, memory: Memory, observation: PyTree) -> tuple[PyTree, Memory, Callable[[Memory], Memory]]:
        """Return what the policy inside sees, its memory, and how to keep the images with its next memory."""
        observation = jax.tree.map(jnp.asarray, check_observation(self.spec, observation))
        if self.transform.stack == 1:
            return self.transform.observe(observation), memory, lambda following: following
        kept, begun, inside = memory

        def push(old: Array, new: Array) -> Array:
            moved = jnp.concatenate([old[..., 1:], new[..., None]], axis=-1)
            return jnp.where(begun, moved, jnp.broadcast_to(new[..., None], moved.shape))

        stacked = jax.tree.map(push, kept, observation)
        return self.transform.observe(stacked), inside, lambda following: (stacked, jnp.ones((), bool), following)

    def distribution(self, memory: Memory, observation: PyTree) -> Distribution:
        """Return the inner distribution: of transformed actions, unlike `act` and `log_prob`."""
        seen, inside, _ = self._see(memory, observation)
        return self.inner.distribution(inside, seen)

    def act(
        self, memory: Memory, observation: PyTree, key: PRNGKeyArray | None = None, greedy: bool | None = None
    ) -> tuple[Shaped[Array, "..."], Memory]:
        """Choose an action: codes where actions are choices, unlike a call, which returns labels.

        greedy: take the mode; by default the policy acts as `drawn` says. Categories may be given as codes or labels,
        columns that had names by name. Raises UserError for observations of another form than the log's
        (`check_observation`), and for a draw without a key.
        """
        greedy = acts_greedily(self, greedy)
        seen = jax.tree.map(jnp.asarray, check_observation(self.spec, observation))
        return _act(self, memory, seen, jax.random.key(0) if key is None and greedy else key, greedy)

    def draw(
        self, memory: Memory, observation: PyTree, key: PRNGKeyArray
    ) -> tuple[Shaped[Array, "..."], Float[Array, "..."], Memory]:
        """Draw an action with its log-density in the user's units: infinite where the draw was clipped to the bounds,
        because what is done then has no density.
        """
        seen, within, keep = self._see(memory, observation)
        action, inside, following = self.inner.draw(within, seen, key)
        if self.transform.action is not None:
            inside = jnp.where((jnp.abs(action) > 1.0).any(-1), jnp.inf, inside - self.transform.volume())
        return self.transform.enact(action), inside, keep(following)

    def observe(self, memory: Memory, action: Array, reward: Array, terminal: Array) -> Memory:
        if self.transform.stack == 1:
            return self.inner.observe(memory, self.transform.unenact(action), reward, terminal)
        kept, begun, inside = memory
        return kept, begun, self.inner.observe(inside, self.transform.unenact(action), reward, terminal)

    def log_prob(self, memory: Memory, observation: PyTree, action: Array) -> Float[Array, "..."]:
        """Log-probability, or log-density in the user's units, of an action."""
        seen, within, _ = self._see(memory, observation)
        check_action(self.spec.action, action)
        return self.inner.log_prob(within, seen, self.transform.unenact(action)) - self.transform.volume()

    def probabilities(self, observation: PyTree) -> Float[Array, "... choice"]:
        """Probability of every choice when it draws (discrete actions only, policies without memory)."""
        found = self.distribution(self.reset(), observation)
        if not isinstance(found, Categorical):
            raise UserError("Only a policy over discrete actions has a probability for every choice; use log_prob.")
        return found.probabilities()

    def __call__(self, observation: Any, key: PRNGKeyArray | None = None) -> Any:
        """Return the action for one observation or a batch of them, as NumPy, labels where the log had them.

        A policy that is `drawn` draws, independently for every observation: with the key, or else with chance of the
        operating system, so that every call is another draw. Otherwise it takes its mode and needs no key. Where the
        log was a table, a dictionary or a data frame of its columns does as well as arrays in their order.
        """
        memory = self.reset()
        if jax.tree.leaves(memory):
            raise UserError("This policy has a memory; use reset() and act(memory, observation, key).")
        if self.drawn and key is None:
            key = jax.random.fold_in(jax.random.key(secrets.randbits(32)), secrets.randbits(32))
        action, _ = self.act(memory, observation, key)
        found = np.asarray(action)
        labels = self.spec.action.labels
        if labels:
            return np.asarray(labels)[found]
        return found if found.ndim else found.item()


@partial(jax.jit, static_argnames="greedy")
def _act(policy: Served, memory: Memory, observation: PyTree, key: PRNGKeyArray, greedy: bool) -> tuple[Array, Memory]:
    seen, within, keep = policy._see(memory, observation)
    action, following = policy.inner.act(within, seen, key, greedy)
    return policy.transform.enact(action), keep(following)


def acts_greedily(policy: Any, greedy: bool | None = None) -> bool:
    """Say whether a policy takes its mode: as it is told, else (None) as it acts; those not `Served` take theirs."""
    return not (isinstance(policy, Served) and policy.drawn) if greedy is None else greedy


def check_parameters(policy: Any) -> None:
    """Raise UserError for a policy with parameters that are NaN, whose choices would look like any others."""
    for leaf in jax.tree.leaves(policy) if isinstance(policy, Policy) else ():
        if eqx.is_inexact_array_like(leaf) and np.isnan(np.asarray(leaf)).any():
            raise UserError(
                "The policy's actions are not finite, because its parameters are NaN; its training went astray."
            )


def check_finite(policy: Policy, name: str) -> None:
    """Raise UserError, with the name of the policy, where one of its numbers is NaN or infinite."""
    for path, leaf in named_leaves(policy):
        if eqx.is_inexact_array_like(leaf) and not np.isfinite(np.asarray(leaf)).all():
            raise UserError(
                f"The policy of {name} has numbers that are not finite ({path}): its training went astray, so take an "
                "earlier step, or train it anew."
            )
