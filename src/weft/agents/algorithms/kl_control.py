r"""KL-control from a log: G-learning (Fox, Pakman and Tishby 2016, arXiv:1512.08562) with a learned prior b.

    L_b  = -E_D[ log b(a | s) ]                                                        at first, for `behaviour_steps`
    V(s) = (1 / beta) log E_{a ~ b(. | s)}[ exp(beta min_i Qbar_i(s, a)) ]                            (eq. 15)
    L_Q  = E_D[ sum_i (Q_i(s, a) - r - gamma V(s'))^2 ]
    pi(a | s) = b(a | s) exp(beta (min_i Q_i(s, a) - V(s)))                                           (eq. 16)

The optimum of the return less KL(pi || b) / beta at every step (Todorov 2006; Kappen 2005; Jaques et al. 2019,
arXiv:1907.00456, who divide the prior's log-ratio by a temperature instead). `inverse_temperature` is beta: near 0 pi
is b and V its value, large values are greedy where b is not 0. `scheduled` lets beta rise from 0 in proportion to the
share of training done, which is G-learning's cure for the bias of a max over noisy values. Choices are summed exactly;
continuous actions are drawn from b, `samples` for V and `candidates` for acting, where the greedy action is the mode of
pi among them, the draw with the largest log b + beta Q, and not the one with the largest Q. Where the log forks, a
Gaussian b reaches where nobody went, so b is a mixture.

Order of updates: b and nothing else for `behaviour_steps`, a share of the run (or, from 1 on, so many updates); from
then on Q; target critics.

Differs from the reference: tables there; a log's own b for the prior, there a uniform one; the smaller of two critics.
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
from ...nn.actors import CategoricalActor, behaviour_actor
from ...nn.critics import between, critics, lowest_of_all, of_several
from ...nn.distributions import Categorical
from ...nn.losses import backup
from ...nn.optimise import Learner, descend, incremental_update, learner
from ..algorithm import Algorithm
from ..parts.candidates import BestOfSamples, Boltzmann, Draws
from ..policy import ActorPolicy

__all__ = ["KLControl"]


class State(eqx.Module):
    behaviour: Learner
    critics: Learner
    target: tuple


class Tilted(eqx.Module):
    """The prior over choices, tilted by exp(β Q)."""

    behaviour: CategoricalActor
    critics: tuple
    inverse_temperature: Float[Array, ""] | float

    def __call__(self, observation):
        """Return the distribution over choices."""
        values = lowest_of_all(self.critics, observation)
        return Categorical(self.behaviour(observation).log_probabilities() + self.inverse_temperature * values)


class KLControl(Algorithm):
    """KL-control with the log's own policy as the prior."""

    title: ClassVar[str] = "KL-control (G-learning)"
    paper: ClassVar[str] = "arXiv:1512.08562"
    family: ClassVar[str] = "explicit constraint"
    traits: ClassVar[frozenset[str]] = frozenset({"values", "tethered"})
    openings: ClassVar[tuple[str, ...]] = ("behaviour_steps",)

    learning_rate: float = 3e-4
    discount: float = 0.99
    target_rate: float = 0.005
    inverse_temperature: float = 3.0
    scheduled: bool = static(default=False)
    samples: int = static(default=10)
    candidates: int = static(default=64)
    behaviour_steps: int | float = static(default=0.2)
    head: str = static(default="mixture")
    components: int = static(default=5)
    hidden: tuple[int, ...] = static(default=(256, 256))
    sampler: Sampler = Transitions()

    def __check_init__(self):
        require(
            self.inverse_temperature > 0, f"The inverse temperature must be positive, got {self.inverse_temperature}."
        )
        require(min(self.samples, self.candidates) >= 1, "KL-control needs at least one sample and one candidate.")
        require(self.behaviour_steps >= 0, f"KL-control cannot imitate for {self.behaviour_steps} updates.")
        heads = ("gaussian", "mixture")
        require(self.head in heads, f"The prior of KL-control is one of {', '.join(heads)}, not '{self.head}'.")
        require(self.components >= 1, f"The prior needs at least one mixture component, got {self.components}.")

    def init(self, key, spec, prior=None):
        self.check(spec)
        actor_key, critic_key = jax.random.split(key)
        adam = optax.adam(self.learning_rate)
        behaviour = behaviour_actor(actor_key, spec, self.hidden, self.head, self.components)
        pair = critics(critic_key, spec, self.hidden)
        return State(learner(behaviour, adam), learner(pair, adam), jax.tree.map(jnp.copy, pair))

    def update(self, state, batch, tick):
        first = tick.opens(self.behaviour_steps)
        return jax.lax.cond(first, lambda s: self._imitate(s, batch), lambda s: self._improve(s, batch, tick), state)

    def _imitate(self, state, batch):
        def loss(b):
            return -jnp.mean(b(batch.observation).log_prob(batch.action))

        behaviour, b_loss = descend(state.behaviour, optax.adam(self.learning_rate), loss)
        nothing = jnp.zeros(())
        metrics = {"behaviour_loss": b_loss, "critic_loss": nothing, "mean_q": nothing}
        return State(behaviour, state.critics, state.target), metrics

    def _improve(self, state, batch, tick):
        sharp = self.inverse_temperature * (tick.fraction if self.scheduled else 1.0)
        next_value = self._soft(state, state.target, batch.next_observation, tick.key, jnp.maximum(sharp, 1e-3))
        goal = backup(batch.reward, batch.terminal, batch.duration, self.discount, next_value)

        def critic_loss(pair):
            logged = [q(batch.observation, batch.action) for q in pair]
            return sum(jnp.mean(jnp.square(q - goal)) for q in logged), jnp.mean(logged[0])

        pair, (q_loss, mean_q) = descend(state.critics, optax.adam(self.learning_rate), critic_loss, auxiliary=True)
        target = incremental_update(pair.model, state.target, self.target_rate)
        metrics = {"behaviour_loss": jnp.zeros(()), "critic_loss": q_loss, "mean_q": mean_q}
        return State(state.behaviour, pair, target), metrics

    def _soft(self, state, models, observation, key, sharp):
        """Return the soft value of states under the prior."""
        prior = state.behaviour.model(observation)
        if isinstance(prior, Categorical):
            values = prior.log_probabilities() + sharp * lowest_of_all(models, observation)
            return jax.nn.logsumexp(values, axis=-1) / sharp
        actions = Draws(state.behaviour.model)(observation, key, self.samples)
        values = between(of_several(models, observation, actions), 1.0)
        return (jax.nn.logsumexp(sharp * values, axis=-1) - jnp.log(self.samples)) / sharp

    def policy(self, state):
        models, behaviour = state.critics.model, state.behaviour.model
        if hasattr(models[0], "all"):
            return ActorPolicy(Tilted(behaviour, models, self.inverse_temperature))
        tilt = Boltzmann(self.inverse_temperature)
        return BestOfSamples(Draws(behaviour), models, tilt, count=self.candidates, mode=True)

    def value(self, state, observation, key):
        return self._soft(state, state.critics.model, observation, key, self.inverse_temperature)
