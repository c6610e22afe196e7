r"""Off-policy learning on a log with no constraint at all: the failure that offline reinforcement learning begins with.

Continuous actions, soft actor-critic (Haarnoja et al. 2018, arXiv:1812.05905), with a' ~ pi(. | s'):

    L_Q  = E_D[ sum_i (Q_i(s, a) - r - gamma (min_j Qbar_j(s', a') - alpha log pi(a' | s')))^2 ]     (eq. 5)
    L_pi = E_{D, pi}[ alpha log pi(a | s) - min_i Q_i(s, a) ]                                        (eq. 7)

Discrete actions, double Q-learning (van Hasselt et al. 2016, arXiv:1509.06461), with a' = argmax Q(s', .):

    L_Q  = E_D[ (Q(s, a) - r - gamma Qbar(s', a'))^2 ]

Both ask for the value of actions that nobody tried, and keep whatever error makes it large. `temperature` is alpha; a
`Lagrange` holds the mean log-density per dimension at its threshold (1: the usual target entropy of minus one each).

Order of updates: Q; alpha; pi with the new alpha and the new Q; target critics.

Differs from the reference: nothing is collected; discrete actions have a slowly moving target, there a copy.
"""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from ..algorithm import Algorithm
from ..distributions import pick
from ..learner import Learner, descend, learner, polyak
from ..losses import backup
from ..multipliers import Fixed, Lagrange
from ..networks.actors import squashed_actor
from ..networks.critics import believed, critics, lowest
from ..policy import ActorPolicy, GreedyPolicy
from ..pytree import require, static
from ..sampler import Sampler
from ..samplers.transitions import Transitions
from ..soft import improve

__all__ = ["Naive"]


class State(eqx.Module):
    actor: Learner | None
    critics: Learner
    target: tuple
    temperature: PyTree


class Naive(Algorithm):
    """Off-policy learning without a constraint."""

    title: ClassVar[str] = "Unconstrained off-policy learning"
    paper: ClassVar[str] = "arXiv:1812.05905"
    family: ClassVar[str] = "unconstrained"

    learning_rate: float = 3e-4
    discount: float = 0.99
    target_rate: float = 0.005
    temperature: Fixed | Lagrange = Lagrange(threshold=1.0)
    hidden: tuple[int, ...] = static(default=(256, 256))
    sampler: Sampler = Transitions()

    def __check_init__(self):
        require(0 <= self.discount <= 1, f"The discount must be between 0 and 1, got {self.discount}.")

    def init(self, key, spec, prior=None):
        self.check(spec)
        actor_key, critic_key = jax.random.split(key)
        adam = optax.adam(self.learning_rate)
        models = critics(critic_key, spec, self.hidden, 1 if spec.discrete else 2)
        return State(
            actor=None if spec.discrete else learner(squashed_actor(actor_key, spec, self.hidden), adam),
            critics=learner(models, adam),
            target=jax.tree.map(jnp.copy, models),
            temperature=() if spec.discrete else self.temperature.begin(),
        )

    def update(self, state, batch, tick):
        adam = optax.adam(self.learning_rate)
        next_key, actor_key = jax.random.split(tick.key)
        if state.actor is None:
            best = state.critics.model[0].all(batch.next_observation).argmax(-1)
            next_value = pick(state.target[0].all(batch.next_observation), best)
        else:
            next_action, next_log_prob = state.actor.model(batch.next_observation).sample_and_log_prob(next_key)
            entropy = -self.temperature.at(state.temperature) * next_log_prob
            next_value = lowest(state.target, batch.next_observation, next_action) + entropy
        goal = backup(batch.reward, batch.terminal, batch.duration, self.discount, next_value)

        def critic_loss(models):
            logged = [q(batch.observation, batch.action) for q in models]
            return sum(jnp.mean(jnp.square(q - goal)) for q in logged), jnp.mean(logged[0])

        models, (q_loss, mean_q) = descend(state.critics, adam, critic_loss, auxiliary=True)
        target = polyak(state.target, models.model, self.target_rate)
        metrics = {"critic_loss": q_loss, "mean_q": mean_q}
        if state.actor is None:
            return State(None, models, target, ()), metrics

        def gain(chosen, action):
            return lowest(models.model, batch.observation, action)

        actor, temperature, more = improve(
            state.actor, adam, self.temperature, state.temperature, batch.observation, actor_key, gain
        )
        return State(actor, models, target, temperature), metrics | more

    def policy(self, state):
        return GreedyPolicy(state.critics.model) if state.actor is None else ActorPolicy(state.actor.model)

    def value(self, state, observation, key):
        return believed(state.critics.model, state.actor and state.actor.model, observation)
