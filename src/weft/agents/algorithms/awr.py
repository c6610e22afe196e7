r"""Advantage-weighted regression (Peng, Kumar, Zhang and Levine 2019, arXiv:1910.00177).

    L_V  = E_D[ (G - V(s))^2 ]                                             (algorithm 1, line 5)
    L_pi = -E_D[ min(exp(beta A), w_max) log pi(a | s) ],   A = G - V(s)   (algorithm 1, line 6)

G are the lambda-returns of the log with the current V (`trace` is lambda; a time-out bootstraps with V), recomputed
every `refresh_every` steps. `inverse_temperature` is beta, one over the paper's; by default A is normalised within the
batch, for which beta = 1 is the authors' setting. G belongs to the policy that made the log, so this is one step of
improvement: it cannot stitch parts of episodes. Clipping at `largest_weight` moves the optimum; see `clipped_weights`.

`weighting` names where the weight comes from: `fixed` as above; `dual` learns 1 / beta by the dual of relative entropy
policy search (Peters et al. 2010), so that the weights leave the log by `divergence` nats, and divides them by their
mean in the batch; `soft` fits V to the soft maximum (1 / beta) log E_b[exp(beta G)] of psi-learning (Rawlik, Toussaint
and Vijayakumar 2012), so that weights average 1 in every state: pi = b exp(beta (G - V)) with its 1 / Z(s) kept.

Order of updates: returns (every `refresh_every` steps); V; the temperature; pi with the new V and the new temperature.

Differs from the reference: one step of V and of pi in turn, there 200 and 1000; Adam, there SGD with momentum;
advantages normalised over the batch, there over all new samples; the standard deviation is learned, there fixed; no
penalty for actions out of bounds. Of REPS the temperature alone, there also V from the dual.
"""

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from ...core.pytree import require, static
from ...data.sampler import Sampler
from ...data.samplers.transitions import Transitions
from ...nn.actors import behaviour_actor
from ...nn.critics import value
from ...nn.losses import advantage_weight, backup, batch_weight, dual, imitation, linex
from ...nn.optimise import Learner, descend, learner
from ...nn.returns import lambda_returns
from ..algorithm import Algorithm
from ..policy import ActorPolicy

__all__ = ["AWR"]

CHUNK = 8192  # observations valued at once in a refresh; bounds its memory


class State(eqx.Module):
    actor: Learner
    value: Learner
    returns: Float[Array, "row"]
    heat: Learner | tuple = ()


class AWR(Algorithm):
    """Advantage-weighted regression."""

    title: ClassVar[str] = "Advantage-weighted regression"
    paper: ClassVar[str] = "arXiv:1910.00177"
    family: ClassVar[str] = "implicit constraint"
    traits: ClassVar[frozenset[str]] = frozenset({"outcomes", "within"})

    learning_rate: float = 3e-4
    discount: float = 0.99
    trace: float = 0.95
    inverse_temperature: float = 1.0
    largest_weight: float = 20.0
    divergence: float = 0.2
    weighting: str = static(default="fixed")
    normalise: bool = static(default=True)
    refresh_every: int = static(default=1000)  # type: ignore[assignment]
    hidden: tuple[int, ...] = static(default=(256, 256))
    sampler: Sampler = Transitions()

    def __check_init__(self):
        require(0 <= self.trace <= 1, f"AWR's trace must be between 0 and 1, got {self.trace}.")
        require(self.divergence > 0, f"The divergence of a dual must be positive, got {self.divergence}.")
        require(self.weighting in ("fixed", "dual", "soft"), f"AWR has no weighting '{self.weighting}'.")
        require(not (self.weighting == "soft" and self.normalise), "AWR's soft weights need normalise=False.")
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
            heat=learner(jnp.zeros(()), adam) if self.weighting == "dual" else (),
        )

    def refresh(self, state, columns, key):
        """Recompute the return of every step with the current V."""
        values = jax.lax.map(state.value.model, columns.observation, batch_size=CHUNK)
        last = jnp.append(columns.episode[1:] != columns.episode[:-1], True)
        rest = (columns.duration, self.discount, self.trace, values[columns.successor])
        returns = lambda_returns(columns.reward[:, 0], columns.terminal, last, *rest)
        return dataclasses.replace(state, returns=returns)

    def update(self, state, batch, tick):
        return self._learn(state, batch, state.returns[batch.row])

    def _learn(self, state, batch, returns):
        adam = optax.adam(self.learning_rate)

        def value_loss(v):
            error = returns - v(batch.observation)
            return jnp.mean(linex(error, self.inverse_temperature) if self.weighting == "soft" else jnp.square(error))

        value, v_loss = descend(state.value, adam, value_loss)
        advantage = returns - value.model(batch.observation)
        if self.normalise:
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-5)
        heat, sharpness, weigh = state.heat, self.inverse_temperature, advantage_weight
        if self.weighting == "dual":
            heat, _ = descend(heat, adam, lambda log: dual(advantage, log, self.divergence))
            sharpness, weigh = jnp.exp(-heat.model), batch_weight
        weight = weigh(advantage, sharpness, self.largest_weight)

        def actor_loss(pi):
            return jnp.mean(weight * imitation(pi(batch.observation), batch.action))

        actor, pi_loss = descend(state.actor, adam, actor_loss)
        metrics = {
            "value_loss": v_loss,
            "actor_loss": pi_loss,
            "mean_return": jnp.mean(returns),
            "clipped_weights": jnp.mean(sharpness * advantage >= jnp.log(self.largest_weight) - 1e-3),
        }
        return State(actor, value, state.returns, heat), metrics

    def measure(self, state, batch, key):
        """As in an update, with one-step returns, because held-out steps have no others."""
        next_value = state.value.model(batch.next_observation)
        returns = backup(batch.reward, batch.terminal, batch.duration, self.discount, next_value)
        return self._learn(state, batch, returns)[1]

    def policy(self, state):
        return ActorPolicy(state.actor.model)

    def value(self, state, observation, key):
        return state.value.model(observation)
