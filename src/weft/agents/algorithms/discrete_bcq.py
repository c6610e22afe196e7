r"""Discrete batch-constrained Q-learning (Fujimoto, Conti, Ghavamzadeh and Pineau 2019, arXiv:1910.01708).

    A(s) = { a : b(a | s) / max_a' b(a' | s) > c }                                  (b imitates the log)
    L_Q  = E_D[ h(Q(s, a) - r - gamma Qbar(s', argmax over A(s') of Q(s', .))) ]    (algorithm 1)
    L_b  = E_D[ -log b(a | s) ] + w E_D[ mean_a i(s, a)^2 ]                         (i: logits of b)

h is the Huber loss or the square (`error`). Only choices that the log takes often enough, next to the most frequent
one, may be valued or taken: `least_ratio` is c; 0 is double Q-learning, values near 1 imitate. `logit_weight` is w.

Order of updates: Q with the old b; b; then the target, every `target_every` updates by `target_rate`.

Differs from the reference: b has a network of its own, there it shares layers with Q and their losses are added; the
target moves a little after every update, there it is copied every 8 000; two layers of 256, there a convolution.
"""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from ...core.pytree import require, static
from ...data.sampler import Sampler
from ...data.samplers.transitions import Transitions
from ...nn.actors import CategoricalActor, categorical_actor
from ...nn.critics import DiscreteCritic, critic
from ...nn.distributions import Categorical, pick
from ...nn.losses import backup, td_loss
from ...nn.optimise import Learner, descend, learner, update_every
from ..algorithm import Algorithm
from ..policy import GreedyPolicy

__all__ = ["DiscreteBCQ"]


class State(eqx.Module):
    critic: Learner
    behaviour: Learner
    target: eqx.Module


class Allowed(eqx.Module):
    """`Q(s, .)` with minus infinity for choices that the log hardly ever takes; a critic for `GreedyPolicy`."""

    critic: DiscreteCritic
    behaviour: CategoricalActor
    least_ratio: Float[Array, ""] | float

    def all(self, observation):
        """Return the value of every choice."""
        return jnp.where(allowed(self.behaviour(observation), self.least_ratio), self.critic.all(observation), -jnp.inf)


class DiscreteBCQ(Algorithm):
    """Discrete batch-constrained Q-learning."""

    title: ClassVar[str] = "Discrete batch-constrained Q-learning"
    paper: ClassVar[str] = "arXiv:1910.01708"
    family: ClassVar[str] = "explicit constraint"
    traits: ClassVar[frozenset[str]] = frozenset({"values", "tethered", "certain", "unmeasured"})
    actions: ClassVar[frozenset[str]] = frozenset({"discrete"})

    learning_rate: float = 3e-4
    discount: float = 0.99
    target_rate: float = 0.005
    least_ratio: float = 0.3
    logit_weight: float = 0.01
    error: str = static(default="huber")
    target_every: int = static(default=1)
    hidden: tuple[int, ...] = static(default=(256, 256))
    sampler: Sampler = Transitions()

    def __check_init__(self):
        require(0 <= self.least_ratio < 1, f"BCQ's least ratio must be at least 0 and below 1, got {self.least_ratio}.")
        require(self.logit_weight >= 0, f"The weight of the logits may not be negative, got {self.logit_weight}.")
        require(self.error in ("huber", "squared"), f"BCQ has no error '{self.error}'.")

    def init(self, key, spec, prior=None):
        self.check(spec)
        critic_key, behaviour_key = jax.random.split(key)
        adam = optax.adam(self.learning_rate)
        model = critic(critic_key, spec, self.hidden)
        behaviour = categorical_actor(behaviour_key, spec, self.hidden)
        return State(learner(model, adam), learner(behaviour, adam), jax.tree.map(jnp.copy, model))

    def update(self, state, batch, tick):
        adam = optax.adam(self.learning_rate)
        values = self._allowed(state).all(batch.next_observation)
        next_value = pick(state.target.all(batch.next_observation), values.argmax(-1))
        goal = backup(batch.reward, batch.terminal, batch.duration, self.discount, next_value)

        def critic_loss(q):
            value = q(batch.observation, batch.action)
            return jnp.mean(td_loss(value, goal, self.error)), jnp.mean(value)

        model, (q_loss, mean_q) = descend(state.critic, adam, critic_loss, auxiliary=True)

        def behaviour_loss(b):
            chosen = b(batch.observation)
            return -jnp.mean(chosen.log_prob(batch.action)) + self.logit_weight * jnp.mean(jnp.square(chosen.logits))

        behaviour, b_loss = descend(state.behaviour, adam, behaviour_loss)
        target = update_every(self.target_every, tick.step, model.model, state.target, self.target_rate)
        share = jnp.mean(jnp.isfinite(values))
        metrics = {"critic_loss": q_loss, "behaviour_loss": b_loss, "mean_q": mean_q, "allowed": share}
        return State(model, behaviour, target), metrics

    def _allowed(self, state):
        return Allowed(state.critic.model, state.behaviour.model, self.least_ratio)

    def policy(self, state):
        return GreedyPolicy((self._allowed(state),))

    def value(self, state, observation, key):
        return self._allowed(state).all(observation).max(-1)


def allowed(behaviour: Categorical, least_ratio):
    """Say which choices come more often than `least_ratio` times the most frequent one, which is always allowed."""
    chances = behaviour.log_probabilities()
    best = chances.max(-1, keepdims=True)
    return (chances - best > jnp.log(least_ratio)) | (chances == best)
