r"""Soft actor-critic (Haarnoja et al. 2018, arXiv:1812.05905); choices as in Christodoulou (2019, arXiv:1910.07207).

    L_Q  = E[ sum_i (Q_i(s, a) - r - gamma (min_j Qbar_j(s', a') - alpha log pi(a' | s')))^2 ]     a' ~ pi(. | s')
    L_pi = E[ alpha log pi(a | s) - min_i Q_i(s, a) ]                                             a ~ pi(. | s)

(eqs. 5 and 7 of the first paper.) Where actions are choices, both expectations over them are summed exactly.
`temperature` is alpha. A `Lagrange` holds the mean log-density per dimension at its threshold (1: the usual target
entropy of minus one each); for choices it holds the entropy at `entropy_share` of the largest, log |A|. While acting,
the first `uniform_steps` continuous actions are drawn from all alike (none where a learned pi goes on). On a log
nothing constrains it: what nobody tried is asked for and believed, which is the failure that offline learning begins
with.

Order of updates: Q; alpha; pi with the new alpha and the new Q; target critics.

Differs from the reference: alpha is learned as log alpha, with a gradient in alpha itself; weights are orthogonal.
"""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from ...core.pytree import require, static
from ...data.sampler import Sampler
from ...data.samplers.transitions import Transitions
from ...nn.actors import CategoricalActor, exploring_actor
from ...nn.critics import believed, critics, lowest, lowest_of_all
from ...nn.losses import backup
from ...nn.multipliers import Fixed, Lagrange
from ...nn.optimise import Learner, descend, incremental_update, learner
from ..algorithm import Algorithm
from ..parts.soft import improve
from ..policy import ActorPolicy, UniformAtFirst
from ..schedule import Rounds

__all__ = ["SAC"]


class State(eqx.Module):
    actor: Learner
    critics: Learner
    target: tuple
    temperature: PyTree


class SAC(Algorithm):
    """Soft actor-critic."""

    title: ClassVar[str] = "Soft actor-critic"
    paper: ClassVar[str] = "arXiv:1812.05905"
    family: ClassVar[str] = "unconstrained"
    learns_from: ClassVar[frozenset[str]] = frozenset({"log", "replay"})
    rounds: ClassVar[Rounds] = Rounds(warm_up=1000)

    learning_rate: float = 3e-4
    discount: float = 0.99
    target_rate: float = 0.005
    temperature: Fixed | Lagrange = Lagrange(threshold=1.0, learning_rate=1e-3)
    entropy_share: float = 0.5
    uniform_steps: int = static(default=1000)
    hidden: tuple[int, ...] = static(default=(256, 256))
    sampler: Sampler = Transitions()

    def __check_init__(self):
        require(0 <= self.entropy_share <= 1, f"The share of the largest entropy is 0 to 1, got {self.entropy_share}.")

    def init(self, key, spec, prior=None):
        self.check(spec)
        actor_key, critic_key = jax.random.split(key)
        adam = optax.adam(self.learning_rate)
        actor = exploring_actor(actor_key, spec, self.hidden)
        models = critics(critic_key, spec, self.hidden)
        target = jax.tree.map(jnp.copy, models)
        return State(learner(actor, adam), learner(models, adam), target, self.temperature.begin())

    def update(self, state, batch, tick):
        adam = optax.adam(self.learning_rate)
        next_key, actor_key = jax.random.split(tick.key)
        alpha = self.temperature.at(state.temperature)
        discrete = jnp.issubdtype(batch.action.dtype, jnp.integer)
        following = state.actor.model(batch.next_observation)
        if discrete:
            after = lowest_of_all(state.target, batch.next_observation)
            next_value = following.expected(after - alpha * following.log_probabilities())
        else:
            next_action, next_log_prob = following.sample_and_log_prob(next_key)
            next_value = lowest(state.target, batch.next_observation, next_action) - alpha * next_log_prob
        goal = backup(batch.reward, batch.terminal, batch.duration, self.discount, next_value)

        def critic_loss(models):
            logged = [q(batch.observation, batch.action) for q in models]
            return sum(jnp.mean(jnp.square(q - goal)) for q in logged), jnp.mean(logged[0])

        models, (q_loss, mean_q) = descend(state.critics, adam, critic_loss, auxiliary=True)
        target = incremental_update(models.model, state.target, self.target_rate)
        if discrete:
            actor, heat, more = self._weigh(state, batch.observation, lowest_of_all(models.model, batch.observation))
        else:

            def gain(chosen, action):
                return lowest(models.model, batch.observation, action)

            actor, heat, more = improve(
                state.actor, adam, self.temperature, state.temperature, batch.observation, actor_key, gain
            )
        return State(actor, models, target, heat), {"critic_loss": q_loss, "mean_q": mean_q, **more}

    def _weigh(self, state, observation, value):
        """Step alpha and the actor where actions are choices, whose expectations are sums."""
        now = state.actor.model(observation)
        entropy = -jnp.mean(now.expected(now.log_probabilities()))
        heat = self.temperature.press(state.temperature, self.entropy_share - entropy / jnp.log(value.shape[-1]))
        alpha = self.temperature.at(heat)

        def loss(pi):
            chosen = pi(observation)
            return jnp.mean(chosen.expected(alpha * chosen.log_probabilities() - value))

        actor, actor_loss = descend(state.actor, optax.adam(self.learning_rate), loss)
        return actor, heat, {"actor_loss": actor_loss, "temperature": alpha, "entropy": entropy}

    def policy(self, state):
        return ActorPolicy(state.actor.model)

    def explore(self, state, tick):
        if isinstance(state.actor.model, CategoricalActor):
            return self.policy(state)  # which begins nearly uniform
        return UniformAtFirst(state.actor.model, tick.opens(self.uniform_steps))

    def value(self, state, observation, key):
        return believed(state.critics.model, state.actor.model, observation)
