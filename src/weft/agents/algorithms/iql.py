r"""Implicit Q-learning (Kostrikov, Nair and Levine 2021, arXiv:2110.06169).

    L_V  = E_D[ |tau - 1(u < 0)| u^2 ],      u = min_i Qbar_i(s, a) - V(s)        (eq. 5)
    L_Q  = E_D[ sum_i (Q_i(s, a) - r - gamma V(s'))^2 ]                           (eq. 6)
    L_pi = -E_D[ min(exp(beta u), 100) log pi(a | s) ]                            (eq. 7)

`expectile` is tau and leans V to the best logged actions; `inverse_temperature` is beta. No action outside the log is
ever valued, so nothing can be overestimated there.

Order of updates: V; pi with the new V and the target critics; Q with the new V; target critics.

Differs from the reference: learning rate constant by default (`decay` gives the authors' cosine on the actor); actions
are clipped 1e-6 from the ends of their range, there 1e-5; discrete actions use a categorical actor.
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
from ...nn.critics import critics, lowest, value
from ...nn.losses import advantage_weight, backup, expectile
from ...nn.optimise import Learner, descend, incremental_update, learner
from ..algorithm import Algorithm
from ..policy import ActorPolicy

__all__ = ["IQL"]


class State(eqx.Module):
    actor: Learner
    critics: Learner
    value: Learner
    target: tuple


class IQL(Algorithm):
    """Implicit Q-learning."""

    title: ClassVar[str] = "Implicit Q-learning"
    paper: ClassVar[str] = "arXiv:2110.06169"
    family: ClassVar[str] = "implicit constraint"
    learns_from: ClassVar[frozenset[str]] = frozenset({"log", "replay"})

    learning_rate: float = 3e-4
    discount: float = 0.99
    target_rate: float = 0.005
    expectile: float = 0.7
    inverse_temperature: float = 3.0
    largest_weight: float = 100.0
    decay: bool = static(default=False)
    hidden: tuple[int, ...] = static(default=(256, 256))
    sampler: Sampler = Transitions()

    def __check_init__(self):
        require(0.5 <= self.expectile < 1, f"IQL's expectile must be at least 0.5 and below 1, got {self.expectile}.")

    def init(self, key, spec, prior=None):
        self.check(spec)
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
        adam = optax.adam(self.learning_rate)
        rate = jnp.asarray(optax.cosine_decay_schedule(1.0, 1)(tick.fraction)) if self.decay else 1.0
        logged = lowest(state.target, batch.observation, batch.action)

        def value_loss(v):
            return jnp.mean(expectile(logged - v(batch.observation), self.expectile))

        value, v_loss = descend(state.value, adam, value_loss)
        advantage = logged - value.model(batch.observation)
        weight = advantage_weight(advantage, self.inverse_temperature, self.largest_weight)

        def actor_loss(pi):
            return -jnp.mean(weight * pi(batch.observation).log_prob(batch.action))

        actor, pi_loss = descend(state.actor, optax.adam(self.learning_rate * rate), actor_loss)
        next_value = value.model(batch.next_observation)
        goal = backup(batch.reward, batch.terminal, batch.duration, self.discount, next_value)

        def critic_loss(pair):
            return sum(jnp.mean(jnp.square(q(batch.observation, batch.action) - goal)) for q in pair)

        pair, q_loss = descend(state.critics, adam, critic_loss)
        target = incremental_update(pair.model, state.target, self.target_rate)
        metrics = {
            "value_loss": v_loss,
            "actor_loss": pi_loss,
            "critic_loss": q_loss,
            "mean_q": jnp.mean(logged),
            "clipped_weights": jnp.mean(weight >= self.largest_weight * 0.999),
        }
        return State(actor, pair, value, target), metrics

    def policy(self, state):
        return ActorPolicy(state.actor.model)

    def value(self, state, observation, key):
        return state.value.model(observation)
