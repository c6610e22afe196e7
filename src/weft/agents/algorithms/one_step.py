r"""One-step RL (Brandfonbrener, Whitney, Ranganath and Bruna 2021, arXiv:2106.08909): SARSA's critic, one improvement.

    L_Q  = E_D[ sum_i (Q_i(s, a) - r - gamma Qbar(s', a'))^2 ],   a' the action that the log took next
    L_V  = E_D[ (Qbar(s, a) - V(s))^2 ],                          Qbar = l min_i Qbar_i + (1 - l) max_i Qbar_i
    L_pi = -E_D[ min(exp(beta A), w_max) log pi(a | s) ],         A = Qbar(s, a) - V(s)

Q is the value of the policy that made the log, and no action outside the log is ever valued, so nothing is believed
that nobody saw; but nothing is put together either: what came after a step counts as it came. `extraction` by `weights`
is the exponential of the paper (its most robust one); by `best` pi imitates the log and acts by the best of
`candidates` draws (continuous actions), which asks the critics about actions of pi. `inverse_temperature` is beta, as
for IQL. `pessimism` is l: one half takes the mean of both critics, for nothing is maximised and so nothing overrated;
the smaller one (1) would lose its distance to the mean at every step anew. Where a time-out cut the episode no action
follows, and V(s') stands in.

Order of updates: V; pi with the new V; Q with the new V; target critics.

Differs from the reference: all three learn side by side, there one after the other (5e5 steps of imitation, 2e6 of Q,
1e5 of pi); V is learned, there the mean of Q over actions of a behaviour model; two critics, there one; steps that a
time-out cut are kept.
"""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from ...core.pytree import require, static
from ...data.sampler import Sampler
from ...data.samplers.quintuples import Quintuples
from ...nn.actors import behaviour_actor
from ...nn.critics import between, critics, value
from ...nn.losses import advantage_weight, backup
from ...nn.optimise import Learner, descend, incremental_update, learner
from ..algorithm import Algorithm
from ..parts.candidates import BestOfSamples, Draws
from ..policy import ActorPolicy

__all__ = ["OneStep"]


class State(eqx.Module):
    actor: Learner
    critics: Learner
    value: Learner
    target: tuple


class OneStep(Algorithm):
    """One-step RL: the value of the log's own policy, improved upon once."""

    title: ClassVar[str] = "One-step RL"
    paper: ClassVar[str] = "arXiv:2106.08909"
    family: ClassVar[str] = "implicit constraint"
    traits: ClassVar[frozenset[str]] = frozenset({"outcomes", "within"})

    learning_rate: float = 3e-4
    discount: float = 0.99
    target_rate: float = 0.005
    inverse_temperature: float = 3.0
    largest_weight: float = 100.0
    pessimism: float = 0.5
    extraction: str = static(default="weights")
    candidates: int = static(default=10)
    hidden: tuple[int, ...] = static(default=(256, 256))
    sampler: Sampler = Quintuples()

    def __check_init__(self):
        kinds = ("weights", "best")
        require(self.extraction in kinds, f"One-step RL extracts a policy by weights or best, not '{self.extraction}'.")
        require(self.candidates >= 1, f"One-step RL chooses among at least one action, got {self.candidates}.")

    def init(self, key, spec, prior=None):
        self.check(spec)
        require(
            self.extraction == "weights" or not spec.discrete,
            "One-step RL chooses the best of several draws of continuous actions only; use extraction='weights'.",
        )
        actor_key, critic_key, value_key = jax.random.split(key, 3)
        adam = optax.adam(self.learning_rate)
        pair = critics(critic_key, spec, self.hidden)
        return State(
            actor=learner(behaviour_actor(actor_key, spec, self.hidden), adam),
            critics=learner(pair, adam),
            value=learner(value(value_key, spec, self.hidden), adam),
            target=jax.tree.map(jnp.copy, pair),
        )

    def update(self, state, batch, tick):
        adam, step = optax.adam(self.learning_rate), batch.step
        logged = self._between(state.target, step.observation, step.action)

        def value_loss(v):
            return jnp.mean(jnp.square(logged - v(step.observation)))

        value, v_loss = descend(state.value, adam, value_loss)
        advantage = logged - value.model(step.observation)
        weight = advantage_weight(advantage, self.inverse_temperature, self.largest_weight)
        weight = weight if self.extraction == "weights" else jnp.ones_like(weight)

        def actor_loss(pi):
            return -jnp.mean(weight * pi(step.observation).log_prob(step.action))

        actor, pi_loss = descend(state.actor, adam, actor_loss)
        following = self._between(state.target, step.next_observation, batch.next_action)
        next_value = jnp.where(batch.follows, following, value.model(step.next_observation))
        goal = backup(step.reward, step.terminal, step.duration, self.discount, next_value)

        def critic_loss(pair):
            return sum(jnp.mean(jnp.square(q(step.observation, step.action) - goal)) for q in pair)

        pair, q_loss = descend(state.critics, adam, critic_loss)
        metrics = {
            "value_loss": v_loss,
            "actor_loss": pi_loss,
            "critic_loss": q_loss,
            "mean_q": jnp.mean(logged),
            "clipped_weights": jnp.mean(weight >= self.largest_weight * 0.999),
        }
        return State(actor, pair, value, incremental_update(pair.model, state.target, self.target_rate)), metrics

    def _between(self, models, observation, action):
        return between([q(observation, action) for q in models], self.pessimism)

    def policy(self, state):
        if self.extraction == "weights":
            return ActorPolicy(state.actor.model)
        draws = Draws(state.actor.model)
        return BestOfSamples(draws, state.critics.model, count=self.candidates, pessimism=self.pessimism)

    def value(self, state, observation, key):
        return state.value.model(observation)
