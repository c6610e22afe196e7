r"""Behaviour-regularised actor-critic (Wu, Tucker and Nachum 2019, arXiv:1911.11361), D = KL(pi || b).

    L_b  = -E_D[ log b(a | s) ]                                                        at first, for `behaviour_steps`
    y    = r + gamma (min_i Qbar_i(s', a') - w D(s') - c log pi(a' | s')),   a' ~ pi(. | s')          (eq. 3)
    L_Q  = E_D[ sum_i (Q_i(s, a) - y)^2 ]
    L_pi = E_D[ w D(s) + c log pi(a | s) - min_i Q_i(s, a) ],   a ~ pi(. | s)                         (eq. 4)

`penalty` by `value` is the paper's BRAC-v, as above; by `policy` (BRAC-p) y has no D; by `reward` the step itself pays,
r - w D(s), so that its Q is that of BRAC-v less w D(s) (Jaques et al. 2019, arXiv:1907.00456; pi still needs D). D is
the mean log-ratio of `samples` actions of pi (exact for choices), and not cut at 0. A `Lagrange` as `weight` (w) holds
D at its threshold; `entropy_weight` is c: w = 0 and c > 0 is soft actor-critic.

Order of updates: b, of which pi becomes a copy, and nothing else, for `behaviour_steps`, a share of the run (or, from 1
on, so many updates); from then on Q with the old pi; w with the old pi; pi with the new Q and w; target critics.
Differs from the reference: pi begins as b, there it is drawn towards b for 20 000 updates first; KL by samples only
(there also MMD, Wasserstein and dual estimates), of the Gaussians before their tanh (there b is read at clipped
actions); one learning rate; two layers of 256, there 200 and 300.
"""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from ...core.pytree import require, static
from ...data.sampler import Sampler
from ...data.samplers.transitions import Transitions
from ...nn.actors import exploring_actor
from ...nn.critics import believed, critics, lowest, lowest_of_all
from ...nn.divergences import EDGE, divergence
from ...nn.losses import backup
from ...nn.multipliers import Fixed, Lagrange
from ...nn.optimise import Learner, descend, incremental_update, learner
from ..algorithm import Algorithm
from ..policy import ActorPolicy

__all__ = ["BRAC"]


class State(eqx.Module):
    behaviour: Learner
    actor: Learner
    critics: Learner
    target: tuple
    weight: Learner | tuple


class BRAC(Algorithm):
    """Behaviour-regularised actor-critic."""

    title: ClassVar[str] = "Behaviour-regularised actor-critic"
    paper: ClassVar[str] = "arXiv:1911.11361"
    family: ClassVar[str] = "explicit constraint"
    traits: ClassVar[frozenset[str]] = frozenset({"values", "tethered"})
    openings: ClassVar[tuple[str, ...]] = ("behaviour_steps",)

    learning_rate: float = 3e-4
    discount: float = 0.99
    target_rate: float = 0.005
    weight: Fixed | Lagrange = Fixed(1.0)
    entropy_weight: float = 0.0
    penalty: str = static(default="value")
    samples: int = static(default=4)
    behaviour_steps: int | float = static(default=0.2)
    hidden: tuple[int, ...] = static(default=(256, 256))
    sampler: Sampler = Transitions()

    def __check_init__(self):
        require(self.entropy_weight >= 0, f"The weight of the entropy may not be negative, got {self.entropy_weight}.")
        kinds = ("value", "policy", "reward")
        require(self.penalty in kinds, f"BRAC's penalty is one of {', '.join(kinds)}, not '{self.penalty}'.")
        require(self.samples >= 1, f"BRAC measures at least one action of its policy, got {self.samples}.")
        require(self.behaviour_steps >= 0, f"BRAC cannot imitate for {self.behaviour_steps} updates.")

    def init(self, key, spec, prior=None):
        self.check(spec)
        actor_key, critic_key = jax.random.split(key)
        adam = optax.adam(self.learning_rate)
        actor, pair = exploring_actor(actor_key, spec, self.hidden), critics(critic_key, spec, self.hidden)
        imitator, copied, target = learner(actor, adam), *jax.tree.map(jnp.copy, (actor, pair))
        return State(imitator, learner(copied, adam), learner(pair, adam), target, self.weight.begin())

    def update(self, state, batch, tick):
        imitate, improve = lambda s: self._imitate(s, batch), lambda s: self._improve(s, batch, tick.key)
        return jax.lax.cond(tick.opens(self.behaviour_steps), imitate, improve, state)

    def _imitate(self, state, batch):
        discrete = jnp.issubdtype(batch.action.dtype, jnp.integer)
        action = batch.action if discrete else jnp.clip(batch.action, -1.0 + EDGE, 1.0 - EDGE)

        def loss(b):
            return -jnp.mean(b(batch.observation).log_prob(action))

        behaviour, b_loss = descend(state.behaviour, optax.adam(self.learning_rate), loss)
        actor, nothing = learner(behaviour.model, optax.adam(self.learning_rate)), jnp.zeros(())
        metrics = {"behaviour_loss": b_loss, "critic_loss": nothing, "actor_loss": nothing, "mean_q": nothing}
        metrics |= {"divergence": nothing, "weight": self.weight.at(state.weight)}
        return State(behaviour, actor, state.critics, state.target, state.weight), metrics

    def _improve(self, state, batch, key):
        adam, discrete = optax.adam(self.learning_rate), jnp.issubdtype(batch.action.dtype, jnp.integer)
        there_key, next_key, here_key, own_key, action_key = jax.random.split(key, 5)
        behaviour = state.behaviour.model

        def worth(models, chosen, observation, key):
            """Return the value of what pi does, and its entropy (or -log pi of the draw)."""
            if discrete:
                return chosen.expected(lowest_of_all(models, observation)), chosen.entropy(key)
            action, log_prob = chosen.sample_and_log_prob(key)
            return lowest(models, observation, action), -log_prob

        def apart(chosen, observation, key):
            return divergence(chosen, behaviour(observation), key, self.samples)

        following, weight = state.actor.model(batch.next_observation), self.weight.at(state.weight)
        next_value, entropy = worth(state.target, following, batch.next_observation, next_key)
        next_value, reward = next_value + self.entropy_weight * entropy, batch.reward
        distance = apart(state.actor.model(batch.observation), batch.observation, here_key)
        if self.penalty == "value":
            next_value -= weight * apart(following, batch.next_observation, there_key)
        if self.penalty == "reward":
            reward -= weight * distance
        goal = backup(reward, batch.terminal, batch.duration, self.discount, next_value)

        def critic_loss(pair):
            logged = [q(batch.observation, batch.action) for q in pair]
            return sum(jnp.mean(jnp.square(q - goal)) for q in logged), jnp.mean(logged[0])

        pair, (q_loss, mean_q) = descend(state.critics, adam, critic_loss, auxiliary=True)
        pressed = self.weight.follow(state.weight, jnp.mean(distance))

        def actor_loss(pi):
            chosen = pi(batch.observation)
            value, entropy = worth(pair.model, chosen, batch.observation, action_key)
            cost = self.weight.at(pressed) * apart(chosen, batch.observation, own_key)
            return jnp.mean(cost - value - self.entropy_weight * entropy)

        actor, pi_loss = descend(state.actor, adam, actor_loss)
        metrics = {"behaviour_loss": jnp.zeros(()), "critic_loss": q_loss, "actor_loss": pi_loss, "mean_q": mean_q}
        metrics |= {"divergence": jnp.mean(distance), "weight": self.weight.at(pressed)}
        target = incremental_update(pair.model, state.target, self.target_rate)
        return State(state.behaviour, actor, pair, target, pressed), metrics

    def policy(self, state):
        return ActorPolicy(state.actor.model)

    def value(self, state, observation, key):
        return believed(state.critics.model, state.actor.model, observation)
