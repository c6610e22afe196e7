r"""Advantage-weighted actor-critic (Nair, Gupta, Dalal and Levine 2020, arXiv:2006.09359).

    L_Q  = E_D[ sum_j (Q_j(s, a) - r - gamma min_j Qbar_j(s', a'))^2 ],   a' ~ pi(. | s')     (algorithm 1)
    L_pi = -E_D[ w log pi(a | s) ],   w = exp(beta A),   A = min_j Q_j(s, a) - V(s)             (algorithm 1)

V(s) is the mean of min_j Q_j over `samples` actions of pi; with discrete actions both expectations over pi are exact.
`inverse_temperature` is beta, one over the paper's lambda, in units of one over the reward: 0 is plain imitation, more
is greedier. `weighting` by `exponential` keeps w up to `largest_weight`; by `softmax` it is divided by its mean in the
batch. Unlike IQL it asks the critics about actions of pi that nobody logged; only the likelihood holds pi near the log.
Learning goes on online with the same update: keep the state, add to the log.

Order of updates: Q; pi with the new Q and the old pi's V; target critics.

Differs from the reference: exponential weights as in the paper, there the softmax over the batch, with no limit (here
1e30); pi learns from the new Q, there from the old; no entropy, no weight decay of pi, there 1e-4; the standard
deviation is at most 1 as there, by a step back, there by a sigmoid, and at least e^-5, there e^-6; actions of pi that
are valued are clipped to the range of actions; two hidden layers, there four for pi; beta 3 as in CORL, there .5 and 2.
"""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from ...core.pytree import require, static
from ...data.sampler import Sampler
from ...data.samplers.transitions import Transitions
from ...nn.actors import behaviour_actor
from ...nn.critics import critics, lowest, lowest_of_all, of_several
from ...nn.distributions import Categorical, several
from ...nn.losses import advantage_weight, backup, batch_weight, imitation
from ...nn.optimise import Learner, descend, incremental_update, learner
from ..algorithm import Algorithm
from ..policy import ActorPolicy

__all__ = ["AWAC"]


class State(eqx.Module):
    actor: Learner
    critics: Learner
    target: tuple


class AWAC(Algorithm):
    """Advantage-weighted actor-critic."""

    title: ClassVar[str] = "Advantage-weighted actor-critic"
    paper: ClassVar[str] = "arXiv:2006.09359"
    family: ClassVar[str] = "implicit constraint"
    traits: ClassVar[frozenset[str]] = frozenset({"values", "tethered", "weighs"})
    learns_from: ClassVar[frozenset[str]] = frozenset({"log", "replay"})

    learning_rate: float = 3e-4
    discount: float = 0.99
    target_rate: float = 0.005
    inverse_temperature: float = 3.0
    largest_weight: float = 100.0
    weighting: str = static(default="exponential")
    samples: int = static(default=1)
    hidden: tuple[int, ...] = static(default=(256, 256))
    sampler: Sampler = Transitions()

    def __check_init__(self):
        kinds = ("exponential", "softmax")
        require(self.weighting in kinds, f"AWAC weighs by {kinds[0]} or {kinds[1]}, not by '{self.weighting}'.")
        require(self.samples >= 1, f"AWAC values at least one action of its policy, got {self.samples}.")

    def init(self, key, spec, prior=None):
        self.check(spec)
        actor_key, critic_key = jax.random.split(key)
        adam = optax.adam(self.learning_rate)
        pair = critics(critic_key, spec, self.hidden)
        return State(
            actor=learner(behaviour_actor(actor_key, spec, self.hidden), adam),
            critics=learner(pair, adam),
            target=jax.tree.map(jnp.copy, pair),
        )

    def update(self, state, batch, tick):
        adam = optax.adam(self.learning_rate)
        next_key, key = jax.random.split(tick.key)
        here, there = state.actor.model(batch.observation), state.actor.model(batch.next_observation)
        next_value = expected(state.target, there, batch.next_observation, next_key, 1)
        goal = backup(batch.reward, batch.terminal, batch.duration, self.discount, next_value)

        def critic_loss(pair):
            return sum(jnp.mean(jnp.square(q(batch.observation, batch.action) - goal)) for q in pair)

        pair, q_loss = descend(state.critics, adam, critic_loss)
        logged = lowest(pair.model, batch.observation, batch.action)
        advantage = logged - expected(pair.model, here, batch.observation, key, self.samples)
        weigh = batch_weight if self.weighting == "softmax" else advantage_weight
        weight = weigh(advantage, self.inverse_temperature, self.largest_weight)

        def actor_loss(pi):
            return jnp.mean(weight * imitation(pi(batch.observation), batch.action))

        actor, pi_loss = descend(state.actor, adam, actor_loss)
        target = incremental_update(pair.model, state.target, self.target_rate)
        metrics = {
            "actor_loss": pi_loss,
            "critic_loss": q_loss,
            "mean_q": jnp.mean(logged),
            "advantage": jnp.mean(advantage),
            "clipped_weights": jnp.mean(self.inverse_temperature * advantage >= jnp.log(self.largest_weight) - 1e-3),
        }
        return State(narrowed(actor), pair, target), metrics

    def policy(self, state):
        return ActorPolicy(state.actor.model)

    def value(self, state, observation, key):
        chosen = state.actor.model(observation)
        if isinstance(chosen, Categorical):
            return expected(state.critics.model, chosen, observation, key, 1)
        return lowest(state.critics.model, observation, chosen.mode())


def expected(models, chosen, observation, key, samples):
    """`E_pi[min_j Q_j(s, a)]`: exact for discrete actions, else the mean over some actions of pi within the range."""
    if isinstance(chosen, Categorical):
        return chosen.expected(lowest_of_all(models, observation))
    actions = jnp.clip(several(chosen, samples).sample(key), -1.0, 1.0)
    return jnp.minimum(*of_several(models, observation, actions)).mean(-1)


def narrowed(actor):
    """Return the actor with a standard deviation of at most 1: large weights must not widen it beyond the actions."""
    if not hasattr(actor.model, "log_std"):
        return actor
    return eqx.tree_at(lambda a: a.model.log_std, actor, jnp.minimum(actor.model.log_std, 0.0))
