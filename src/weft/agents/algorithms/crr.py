r"""Critic-regularised regression (Wang et al. 2020, arXiv:2006.15134).

    L_Q  = E_D[ sum_i (Q_i(s, a) - r - gamma min_j Qbar_j(s', a'))^2 ],   a' ~ pibar(. | s')    (eq. 3)
    L_pi = -E_D[ f log pi(a | s) ]                                                             (eq. 2)
    A    = Q(s, a) - mean_k Q(s, a_k),   or the max over k,   a_k ~ pi(. | s),   Q = l min_i Q_i + (1 - l) max_i Q_i

f is 1[A > 0] (`weighting="binary"`) or min(exp(beta A), w_max) (`"exponential"`); `baseline` is the `mean` or the `max`
over `samples` actions of pi (the mean over choices is exact). The max filters harder: with few samples in the log's
support no step may be left, which `kept_weight` shows. `pessimism` is l: 1 takes the smaller critic, one half the mean
of both. `inverse_temperature` is beta: sharp weights gain more and differ more between seeds (Hopper replay, 30,000
updates, 5 seeds: 22 to 59 with 3, 26 to 29 with 1). With `candidates` above 0 the policy is the paper's critic-weighted
one: the best of so many draws, or one of them in proportion to exp(beta Q) where it is drawn.

Order of updates: Q with the old targets; pi with the new Q; every `target_every` updates the target critics and pibar.

Differs from the reference: squared errors, there a distribution over values; a feed-forward network, there a recurrent
residual one; targets move by `target_rate` after every update, there they are copied every 100 (`target_rate=1,
target_every=100`); two critics, there one; pi is a Gaussian with the same spread in all states, there a mixture.
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
from ...nn.critics import believed, between, critics, lowest, lowest_of_all, of_several
from ...nn.distributions import several
from ...nn.losses import advantage_weight, backup
from ...nn.optimise import Learner, descend, learner, update_every
from ..algorithm import Algorithm
from ..parts.candidates import BestOfSamples, Boltzmann, Draws
from ..policy import ActorPolicy

__all__ = ["CRR"]


class State(eqx.Module):
    actor: Learner
    critics: Learner
    target_actor: eqx.Module
    target: tuple


class CRR(Algorithm):
    """Critic-regularised regression."""

    title: ClassVar[str] = "Critic-regularised regression"
    paper: ClassVar[str] = "arXiv:2006.15134"
    family: ClassVar[str] = "implicit constraint"
    traits: ClassVar[frozenset[str]] = frozenset({"values", "tethered", "weighs"})

    learning_rate: float = 3e-4
    discount: float = 0.99
    target_rate: float = 0.005
    inverse_temperature: float = 3.0
    largest_weight: float = 20.0
    pessimism: float = 1.0
    weighting: str = static(default="exponential")
    baseline: str = static(default="mean")
    samples: int = static(default=4)
    candidates: int = static(default=0)
    target_every: int = static(default=1)
    hidden: tuple[int, ...] = static(default=(256, 256))
    sampler: Sampler = Transitions()

    def __check_init__(self):
        require(self.weighting in ("binary", "exponential"), f"CRR has no weighting '{self.weighting}'.")
        require(self.baseline in ("mean", "max"), f"CRR has no baseline '{self.baseline}'.")
        require(self.samples >= 1, f"CRR values at least one action of its policy, got {self.samples}.")
        require(self.candidates >= 0, f"CRR cannot choose among {self.candidates} actions.")

    def init(self, key, spec, prior=None):
        self.check(spec)
        require(not (self.candidates and spec.discrete), "CRR draws candidates of continuous actions only.")
        actor_key, critic_key = jax.random.split(key)
        adam = optax.adam(self.learning_rate)
        actor, pair = behaviour_actor(actor_key, spec, self.hidden), critics(critic_key, spec, self.hidden)
        return State(learner(actor, adam), learner(pair, adam), *jax.tree.map(jnp.copy, (actor, pair)))

    def update(self, state, batch, tick):
        adam = optax.adam(self.learning_rate)
        next_key, key = jax.random.split(tick.key)
        discrete = jnp.issubdtype(batch.action.dtype, jnp.integer)
        following = state.target_actor(batch.next_observation)
        if discrete:
            next_value = following.expected(lowest_of_all(state.target, batch.next_observation))
        else:
            next_action = jnp.clip(following.sample(next_key), -1.0, 1.0)
            next_value = lowest(state.target, batch.next_observation, next_action)
        goal = backup(batch.reward, batch.terminal, batch.duration, self.discount, next_value)

        def critic_loss(pair):
            return sum(jnp.mean(jnp.square(q(batch.observation, batch.action) - goal)) for q in pair)

        pair, q_loss = descend(state.critics, adam, critic_loss)
        logged = between([q(batch.observation, batch.action) for q in pair.model], self.pessimism)
        advantage = logged - self._baseline(pair.model, state.actor.model(batch.observation), batch, key, discrete)
        if self.weighting == "binary":
            weight = (advantage > 0).astype(jnp.float32)
        else:
            weight = advantage_weight(advantage, self.inverse_temperature, self.largest_weight)

        def actor_loss(pi):
            return -jnp.mean(weight * pi(batch.observation).log_prob(batch.action))

        actor, pi_loss = descend(state.actor, adam, actor_loss)
        slow, fast = (state.target_actor, state.target), (actor.model, pair.model)
        slow = update_every(self.target_every, tick.step, fast, slow, self.target_rate)
        metrics = {
            "actor_loss": pi_loss,
            "critic_loss": q_loss,
            "mean_q": jnp.mean(logged),
            "advantage": jnp.mean(advantage),
            "kept_weight": jnp.mean(weight),
        }
        return State(actor, pair, *slow), metrics

    def _baseline(self, models, chosen, batch, key, discrete):
        """The mean or the max of Q over actions of pi."""
        if discrete:
            values = between([q.all(batch.observation) for q in models], self.pessimism)
            if self.baseline == "mean":
                return chosen.expected(values)
            return jnp.take_along_axis(values, several(chosen, self.samples).sample(key), axis=-1).max(-1)
        actions = jnp.clip(several(chosen, self.samples).sample(key), -1.0, 1.0)
        values = between(of_several(models, batch.observation, actions), self.pessimism)
        return values.mean(-1) if self.baseline == "mean" else values.max(-1)

    def policy(self, state):
        if not self.candidates:
            return ActorPolicy(state.actor.model)
        draws, tilt = Draws(state.actor.model), Boltzmann(self.inverse_temperature)
        return BestOfSamples(draws, state.critics.model, tilt, count=self.candidates, pessimism=self.pessimism)

    def value(self, state, observation, key):
        return believed(state.critics.model, state.actor.model, observation)
