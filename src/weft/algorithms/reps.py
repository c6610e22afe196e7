r"""Relative entropy policy search (Peters, Mülling and Altün 2010, "Relative Entropy Policy Search", AAAI).

    delta(s, a) = r + gamma V(s') - V(s)
    g(eta, V)   = c E_s0[V(s0)] + eta epsilon + eta E_D[exp(delta / eta) - 1]      (the dual: least over eta > 0 and V)
    L_pi        = -E_D[ w log pi(a | s) ],   w = min(exp(delta / eta), w_max)

w are weights of the logged steps. Of all weights that some policy can bring about (what flows into a state flows out of
it) and whose divergence E_D[w log w - w + 1] from the log is at most `divergence` (epsilon, in nats), these earn most.
V is the price of the flow. The whole distribution is held, of states as well, so that good parts of bad episodes can
be joined, and a small epsilon keeps it from joining many. c = E_D[1 - gamma m] is the share of steps that begin: with
it the log's own weights are 1. Beyond `largest_weight` (w_max) the exponential goes on as a straight line: then g is
the dual of the same problem with w <= w_max, and the weights are still its answer.

Where w_max keeps the divergence below epsilon, eta falls towards 0 (see the metrics `temperature` and `divergence`).
exp(delta) of one s' is larger on average than exp of the mean delta: where the world is stochastic, luck is preferred.
eta follows at `heat_learning_rate`, because it has to fall or rise by orders of magnitude to the scale of delta.

Order of updates: V by one step on g; eta by one step on g with the new V; pi with both.

Differs from the reference: one step of g and of pi in turn, there g to its minimum; V is a network, there linear in
features; discounted returns from the first states (`STARTS` of them, drawn once), there the average reward of a process
without an end; weights need not average 1, since with terminal steps that would fix how long episodes last, so that
exp(.) - 1 stands where there is a logarithm: without terminal steps both have one minimum.
"""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from ..algorithm import Algorithm
from ..learner import Learner, descend, learner
from ..losses import advantage_weight, capped_exponential, imitation
from ..networks.actors import behaviour_actor
from ..networks.critics import value
from ..policy import ActorPolicy
from ..pytree import require, static
from ..sampler import Sampler
from ..samplers.transitions import Transitions

__all__ = ["REPS"]

STARTS = 256  # first states over which V is averaged


class State(eqx.Module):
    actor: Learner
    value: Learner
    heat: Learner
    starts: Any


class REPS(Algorithm):
    """Relative entropy policy search."""

    title: ClassVar[str] = "Relative entropy policy search"
    paper: ClassVar[str] = "AAAI 2010, Peters, Mülling and Altün"
    family: ClassVar[str] = "implicit constraint"

    learning_rate: float = 3e-4
    heat_learning_rate: float = 1e-2
    discount: float = 0.99
    divergence: float = 0.5
    largest_weight: float = 100.0
    hidden: tuple[int, ...] = static(default=(256, 256))
    sampler: Sampler = Transitions()

    def __check_init__(self):
        require(self.divergence > 0, f"The divergence of a dual must be positive, got {self.divergence}.")

    def prepare(self, key, columns):
        """Draw first observations of the episodes that may be sampled."""
        sampled = jnp.zeros(len(columns.step), bool).at[columns.rows].max(jnp.arange(len(columns.rows)) < columns.count)
        begun = jnp.cumsum(sampled & (columns.step == 0))
        drawn = jnp.searchsorted(begun, jax.random.randint(key, (STARTS,), 1, begun[-1] + 1))
        return columns.seen(columns.position[drawn], columns.step[drawn])

    def init(self, key, spec, prior=None):
        self.check(spec)
        actor_key, value_key = jax.random.split(key)
        nothing = jnp.zeros(0) if spec.plain else {part.name: jnp.zeros(0) for part in spec.observations}
        adam = optax.adam(self.learning_rate)
        return State(
            actor=learner(behaviour_actor(actor_key, spec, self.hidden), adam),
            value=learner(value(value_key, spec, self.hidden), adam),
            heat=learner(jnp.zeros(()), optax.adam(self.heat_learning_rate)),
            starts=nothing if prior is None else prior,
        )

    def update(self, state, batch, tick):
        adam = optax.adam(self.learning_rate)
        carried = jnp.where(batch.terminal, 0.0, self.discount**batch.duration)

        def residual(v):
            after = jnp.where(batch.terminal, 0.0, v(batch.next_observation))
            return batch.reward + carried * after - v(batch.observation)

        def dual(v, log_eta):
            begun, eta = jnp.mean(1 - carried) * v(state.starts).mean(), jnp.exp(log_eta)
            excess = capped_exponential(residual(v) / eta, self.largest_weight).mean() - 1
            return begun + eta * (self.divergence + excess)

        value, _ = descend(state.value, adam, lambda v: dual(v, state.heat.model))
        heat, g = descend(state.heat, optax.adam(self.heat_learning_rate), lambda log_eta: dual(value.model, log_eta))
        eta = jnp.exp(heat.model)
        weight = advantage_weight(residual(value.model), 1 / eta, self.largest_weight)

        def actor_loss(pi):
            return jnp.mean(weight * imitation(pi(batch.observation), batch.action))

        actor, pi_loss = descend(state.actor, adam, actor_loss)
        metrics = {
            "dual": g,
            "actor_loss": pi_loss,
            "temperature": eta,
            "mean_weight": weight.mean(),
            "divergence": jnp.mean(jax.scipy.special.xlogy(weight, weight) - weight + 1),
        }
        return State(actor, value, heat, state.starts), metrics

    def policy(self, state):
        return ActorPolicy(state.actor.model)

    def value(self, state, observation, key):
        return state.value.model(observation)
