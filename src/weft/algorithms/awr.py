r"""Advantage-weighted regression (Peng, Kumar, Zhang and Levine 2019, arXiv:1910.00177).

    L_V  = E_D[ (G - V(s))^2 ]                                             (algorithm 1, line 5)
    L_pi = -E_D[ min(exp(beta A), w_max) log pi(a | s) ],   A = G - V(s)   (algorithm 1, line 6)

G are the lambda-returns of the log with the current V (`trace` is lambda; a time-out bootstraps with V), recomputed
every `refresh_every` steps. `inverse_temperature` is beta, one over the paper's; by default A is normalised within the
batch, for which beta = 1 is the authors' setting. G belongs to the policy that made the log, so this is one step of
improvement: it cannot stitch parts of episodes. Clipping at `largest_weight` moves the optimum; watch
`clipped_weights`.

Order of updates: returns (every `refresh_every` steps); V; pi with the new V.

Differs from the reference: one step of V and of pi in turn, there 200 and 1000; Adam, there SGD with momentum;
advantages normalised over the batch, there over all new samples; the standard deviation is learned, there fixed; no
penalty for actions out of bounds.
"""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from ..algorithm import Algorithm
from ..learner import Learner, descend, learner
from ..losses import advantage_weight, backup, imitation, lambda_returns
from ..networks.actors import behaviour_actor
from ..networks.critics import value
from ..policy import ActorPolicy
from ..pytree import require, static
from ..sampler import Sampler
from ..samplers.transitions import Transitions

__all__ = ["AWR"]

CHUNK = 8192  # observations valued at once in a refresh; bounds its memory


class State(eqx.Module):
    actor: Learner
    value: Learner
    returns: Float[Array, "row"]


class AWR(Algorithm):
    """Advantage-weighted regression."""

    title: ClassVar[str] = "Advantage-weighted regression"
    paper: ClassVar[str] = "arXiv:1910.00177"
    family: ClassVar[str] = "implicit constraint"

    learning_rate: float = 3e-4
    discount: float = 0.99
    trace: float = 0.95
    inverse_temperature: float = 1.0
    largest_weight: float = 20.0
    normalise: bool = static(default=True)
    refresh_every: int = static(default=1000)  # type: ignore[assignment]
    hidden: tuple[int, ...] = static(default=(256, 256))
    sampler: Sampler = Transitions()

    def __check_init__(self):
        require(0 <= self.discount <= 1, f"The discount must be between 0 and 1, got {self.discount}.")
        require(0 <= self.trace <= 1, f"AWR's trace must be between 0 and 1, got {self.trace}.")
        require(
            self.inverse_temperature >= 0, f"The inverse temperature may not be negative: {self.inverse_temperature}."
        )
        require(self.largest_weight > 0, f"The largest weight must be positive, got {self.largest_weight}.")
        require(self.refresh_every >= 1, f"AWR must refresh its returns, got a period of {self.refresh_every}.")

    def prepare(self, key, columns):
        """Room for one return per step of the log."""
        return jnp.zeros(len(columns.terminal))

    def init(self, key, spec, prior=None):
        self.check(spec)
        actor_key, value_key = jax.random.split(key)
        adam = optax.adam(self.learning_rate)
        return State(
            actor=learner(behaviour_actor(actor_key, spec, self.hidden), adam),
            value=learner(value(value_key, spec, self.hidden), adam),
            returns=jnp.zeros(0) if prior is None else prior,
        )

    def refresh(self, state, columns, key):
        """Recompute the return of every step with the current V."""
        values = jax.lax.map(state.value.model, columns.observation, batch_size=CHUNK)
        last = jnp.append(columns.episode[1:] != columns.episode[:-1], True)
        returns = lambda_returns(
            columns.reward[:, 0],
            columns.terminal,
            last,
            columns.duration,
            self.discount,
            self.trace,
            values[columns.successor],
        )
        return State(state.actor, state.value, returns)

    def update(self, state, batch, tick):
        return self._learn(state, batch, state.returns[batch.row])

    def _learn(self, state, batch, returns):
        adam = optax.adam(self.learning_rate)

        def value_loss(v):
            return jnp.mean(jnp.square(returns - v(batch.observation)))

        value, v_loss = descend(state.value, adam, value_loss)
        advantage = returns - value.model(batch.observation)
        if self.normalise:
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-5)
        weight = advantage_weight(advantage, self.inverse_temperature, self.largest_weight)

        def actor_loss(pi):
            return jnp.mean(weight * imitation(pi(batch.observation), batch.action))

        actor, pi_loss = descend(state.actor, adam, actor_loss)
        metrics = {
            "value_loss": v_loss,
            "actor_loss": pi_loss,
            "mean_return": jnp.mean(returns),
            "clipped_weights": jnp.mean(weight >= self.largest_weight * 0.999),
        }
        return State(actor, value, state.returns), metrics

    def measure(self, state, batch, key):
        """As in an update, with one-step returns, because held-out steps have no others."""
        next_value = state.value.model(batch.next_observation)
        returns = backup(batch.reward, batch.terminal, batch.duration, self.discount, next_value)
        return self._learn(state, batch, returns)[1]

    def policy(self, state):
        return ActorPolicy(state.actor.model)

    def value(self, state, observation, key):
        return state.value.model(observation)
