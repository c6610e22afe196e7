r"""Relative entropy policy search (Peters, Mülling and Altün 2010, "Relative Entropy Policy Search", AAAI).

    delta(s, a) = r + gamma V(s') - V(s)
    g(eta, V)   = k E_D[V(s) - gamma V(s')] + eta (epsilon + E_D[exp(delta / eta) - 1])     (the least over V, eta > 0)
    L_pi        = -E_D[ w log pi(a | s) ],   w = min(exp(delta / eta), w_max)

w are weights of the logged steps. Of all weights that flow as the log does (what leaves a state, less gamma times what
enters it, is for each state what it is in the log) and whose divergence E_D[w log w - w + 1] from the log is at most
`divergence` (epsilon, in nats), these earn most: g is what they earn a step. Weights of 1 are always among them, but
for time-outs: behind one the log breaks off and the flow must go on, so that in the first term of g its V(s') is left
out and k makes up for what that adds (k = 1 without time-outs). V is the price of the flow, and of a state the soft
value: what pi earns from there, less eta times how far it leaves the log. The whole distribution is held, of states as
well, so that good parts of bad episodes can be joined, and a small epsilon keeps it from joining many. Beyond
`largest_weight` (w_max) the exponential goes on as a straight line: then g is the dual of the same problem with w <=
w_max, and the weights are still its answer.

Where w_max keeps the divergence below epsilon, or nothing better is left, eta falls towards 0 (see the metrics
`temperature` and `divergence`). It follows at `heat_learning_rate`, because it has to go by orders of magnitude to the
scale of delta. exp(delta) of one s' is larger on average than exp of the mean delta: where the world is stochastic,
luck is preferred.

Order of updates: V by one step on g; eta by one step on g with the new V; pi with both.

Differs from the reference: one step of g and of pi in turn, there g to its minimum; V is a network, there linear in
features; discounted, and from where the log is, not from its first states alone (with gamma = 1 it is the same flow);
weights need not average 1, because with terminal steps that would fix how long episodes last: exp(.) - 1 stands
where there is a logarithm of a mean.
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
from ...nn.critics import value
from ...nn.losses import advantage_weight, capped_exponential, imitation
from ...nn.optimise import Learner, descend, learner
from ..algorithm import Algorithm
from ..policy import ActorPolicy

__all__ = ["REPS"]


class State(eqx.Module):
    actor: Learner
    value: Learner
    heat: Learner


class REPS(Algorithm):
    """Relative entropy policy search."""

    title: ClassVar[str] = "Relative entropy policy search"
    paper: ClassVar[str] = "AAAI 2010, Peters, Mülling and Altün"
    family: ClassVar[str] = "implicit constraint"
    traits: ClassVar[frozenset[str]] = frozenset({"values", "within", "weighs", "lucky"})

    learning_rate: float = 3e-4
    heat_learning_rate: float = 1e-2
    discount: float = 0.99
    divergence: float = 0.5
    largest_weight: float = 100.0
    hidden: tuple[int, ...] = static(default=(256, 256))
    sampler: Sampler = Transitions()

    def __check_init__(self):
        require(self.divergence > 0, f"The divergence of a dual must be positive, got {self.divergence}.")
        require(self.largest_weight > 1, f"The largest weight of REPS must be above 1, got {self.largest_weight}.")

    def init(self, key, spec, prior=None):
        self.check(spec)
        actor_key, value_key = jax.random.split(key)
        adam = optax.adam(self.learning_rate)
        return State(
            actor=learner(behaviour_actor(actor_key, spec, self.hidden), adam),
            value=learner(value(value_key, spec, self.hidden), adam),
            heat=learner(jnp.zeros(()), optax.adam(self.heat_learning_rate)),
        )

    def update(self, state, batch, tick):
        adam = optax.adam(self.learning_rate)
        carried = jnp.where(batch.terminal, 0.0, self.discount**batch.duration)
        onward = jnp.where(batch.timeout, 0.0, carried)
        # where all weights are 1 a constant added to V may not change g; with time-outs it takes k for that
        k = (1 - carried).mean() / jnp.maximum((1 - onward).mean(), 1e-8)

        def priced(v):
            return v(batch.observation), jnp.where(batch.terminal, 0.0, v(batch.next_observation))

        def exponent(here, there, log_eta):
            return (batch.reward + carried * there - here) * jnp.exp(-log_eta)

        def dual(v, log_eta):
            here, there = priced(v)
            excess = capped_exponential(exponent(here, there, log_eta), self.largest_weight) - 1
            return k * jnp.mean(here - onward * there) + jnp.exp(log_eta) * (self.divergence + excess.mean())

        value, _ = descend(state.value, adam, lambda v: dual(v, state.heat.model))
        heat, g = descend(state.heat, optax.adam(self.heat_learning_rate), lambda log_eta: dual(value.model, log_eta))
        weight = advantage_weight(exponent(*priced(value.model), heat.model), 1.0, self.largest_weight)

        def actor_loss(pi):
            return jnp.mean(weight * imitation(pi(batch.observation), batch.action))

        actor, pi_loss = descend(state.actor, adam, actor_loss)
        metrics = {
            "dual": g,
            "actor_loss": pi_loss,
            "temperature": jnp.exp(heat.model),
            "mean_weight": weight.mean(),
            "divergence": jnp.mean(jax.scipy.special.xlogy(weight, weight) - weight + 1),
        }
        return State(actor, value, heat), metrics

    def policy(self, state):
        return ActorPolicy(state.actor.model)

    def value(self, state, observation, key):
        return state.value.model(observation)
