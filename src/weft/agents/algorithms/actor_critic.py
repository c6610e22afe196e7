r"""Advantage actor-critic (Mnih et al. 2016, arXiv:1602.01783), with the critics of the sources.

    L_pi = -E[ log pi(a_t | s_t) A_t ] - c E[ H(pi(. | s_t)) ]
    L_V  = 1/2 E[ (V(s_t) - R_t)^2 ],      R_t = A_t + V(s_t)

R_t is the lambda-return of `trace`: 0 is the TD error's r + gamma V(s'), 1 the Monte-Carlo return of what was acted,
between them generalised advantage estimation (Schulman et al. 2016, arXiv:1506.02438). With `lookahead` n it is the
n-step return instead. Returns are cut at the end of an episode and of a round; V(s') stands in after a cut, nothing
after a true end. Every update is of the newest steps of all lanes alone.

With `decay` both learning rates fall to 0 in a straight line over the run, as in the reference, so that a policy that
solved its task is not lost again at the end.

Order of updates: pi with the old V; V to the old R.

Differs from the reference: two networks instead of a shared one, so that L_V needs no weight; Adam instead of RMSProp;
advantages are standardised by default; continuous actions come from a squashed Gaussian.
"""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from ...core.pytree import require, static
from ...data.sampler import Sampler
from ...data.samplers.recent import Recent
from ...nn.actors import exploring_actor
from ...nn.critics import value
from ...nn.losses import standardised, weighted_mean
from ...nn.optimise import Learner, descend, learner
from ...nn.returns import n_step_returns, returns_to_go
from ..algorithm import Algorithm
from ..policy import ActorPolicy
from ..schedule import Rounds

__all__ = ["ActorCritic"]


class State(eqx.Module):
    actor: Learner
    value: Learner


class ActorCritic(Algorithm):
    """Advantage actor-critic."""

    title: ClassVar[str] = "Advantage actor-critic"
    paper: ClassVar[str] = "arXiv:1602.01783"
    family: ClassVar[str] = "policy gradient"
    learns_from: ClassVar[frozenset[str]] = frozenset({"fresh"})
    rounds: ClassVar[Rounds] = Rounds(lanes=8, steps=16)

    learning_rate: float = 1e-3
    value_learning_rate: float = 3e-3
    discount: float = 0.99
    trace: float = 0.95
    entropy_weight: float = 0.01
    largest_gradient: float = 0.5
    lookahead: int = static(default=0)
    standardise_advantages: bool = static(default=True)
    decay: bool = static(default=True)
    hidden: tuple[int, ...] = static(default=(64, 64))
    sampler: Sampler = Recent()

    def __check_init__(self):
        require(0 <= self.trace <= 1, f"The trace must be between 0 (TD) and 1 (Monte Carlo), got {self.trace}.")
        require(self.entropy_weight >= 0, f"The weight of the entropy may not be negative: {self.entropy_weight}.")
        require(self.largest_gradient > 0, f"The largest gradient must be positive, got {self.largest_gradient}.")
        require(self.lookahead >= 0, f"The lookahead is 0 (use the trace) or more steps, got {self.lookahead}.")

    def _optimisers(self, left: Float[Array, ""] | float = 1.0):
        clip = optax.clip_by_global_norm(self.largest_gradient)
        rates = self.learning_rate * left, self.value_learning_rate * left
        return [optax.chain(clip, optax.adam(rate)) for rate in rates]

    def init(self, key, spec, prior=None):
        self.check(spec)
        actor_key, value_key = jax.random.split(key)
        actor, critic = exploring_actor(actor_key, spec, self.hidden), value(value_key, spec, self.hidden)
        return State(*(learner(model, one) for model, one in zip((actor, critic), self._optimisers(), strict=True)))

    def update(self, state, batch, tick):
        actor_optimiser, value_optimiser = self._optimisers(1.0 - tick.fraction if self.decay else 1.0)
        beyond = state.value.model(batch.next_observation)
        if self.lookahead:
            goal = n_step_returns(batch, self.discount, self.lookahead, beyond)
        else:
            goal = returns_to_go(batch, self.discount, self.trace, beyond)
        advantage = goal - state.value.model(batch.observation)
        weight = standardised(advantage, batch.alive) if self.standardise_advantages else advantage

        def actor_loss(pi):
            chosen = pi(batch.observation)
            entropy = weighted_mean(chosen.entropy(tick.key), batch.alive)
            gain = weighted_mean(weight * chosen.log_prob(batch.action), batch.alive)
            return -gain - self.entropy_weight * entropy, entropy

        def value_loss(v):
            return 0.5 * weighted_mean(jnp.square(v(batch.observation) - goal), batch.alive)

        actor, (pi_loss, entropy) = descend(state.actor, actor_optimiser, actor_loss, auxiliary=True)
        critic, v_loss = descend(state.value, value_optimiser, value_loss)
        return State(actor, critic), {
            "actor_loss": pi_loss,
            "value_loss": v_loss,
            "entropy": entropy,
            "mean_value": weighted_mean(goal, batch.alive),
        }

    def policy(self, state):
        return ActorPolicy(state.actor.model)

    def value(self, state, observation, key):
        return state.value.model(observation)
