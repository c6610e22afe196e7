r"""BEAR: bootstrapping error accumulation reduction (Kumar, Fu, Tucker and Levine 2019, arXiv:1906.00949).

    L_G  = E_D[ (G(s, z) - a)^2 ] + 1/2 KL(q(z | s, a) || N(0, 1))       a variational model G of the log's actions
    y    = r + gamma max_i [ l min_j Qbar_j + (1 - l) max_j Qbar_j ](s', a'_i),   a'_i ~ pibar(. | s')
    L_Q  = E_D[ sum_j (Q_j(s, a) - y)^2 ]
    L_pi = E_D[ w MMD(G(s, .), pi(. | s)) - min_j Q_j(s, a) ],   a ~ pi(. | s)                  (eq. 2 and app. C)

pi is to stay within the support of the log, not near its density: the distance is the maximum mean discrepancy of
`samples` actions each, before the tanh, with a `kernel` of `width` sigma. So few samples are apart even where they are
of one distribution, so a `Lagrange` as `weight` (w) holds at its threshold by how much the distance to pi exceeds that
of two sets of G (`relative`). Whether a threshold rejects anything depends on the kernel: a wide Gaussian sees hardly
more than the mean, so that two points at both ends of the range pass .05 beside a log in the middle
(tests/nn/test_discrepancy.py). In the first `warm_up` updates (below 1 a share of the run) pi learns from the distance
alone. `pessimism` is l. The policy takes the best by Q_1 of `candidates` draws.

Order of updates: G; Q with the old targets; pi with the new G and Q and the old w; w by the old pi; targets.

Differs from the reference: `relative` (there the threshold is held against the distance itself, which two sets of one
distribution exceed, .06 to .27 in three dimensions, so that w grows whatever pi does); two layers of 256 (there 400 and
300, G 750) and orthogonal weights; the multiplier has no lower bound; the warm-up is counted in updates; pi learns from
Q of one draw, there from the mean over `samples` draws, and from no term for the spread of the critics.
"""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from ...core.pytree import require, static
from ...data.sampler import Sampler
from ...data.samplers.transitions import Transitions
from ...nn.actors import squashed_actor
from ...nn.critics import believed, between, critics, lowest, of_several
from ...nn.discrepancy import KERNELS, discrepancy
from ...nn.distributions import several
from ...nn.losses import backup
from ...nn.multipliers import Fixed, Lagrange
from ...nn.optimise import Learner, descend, incremental_update, learner
from ...nn.variational import variational
from ..algorithm import Algorithm
from ..parts.candidates import BestOfSamples, Draws

__all__ = ["BEAR"]


class State(eqx.Module):
    model: Learner
    critics: Learner
    actor: Learner
    target: tuple
    target_actor: eqx.Module
    weight: Learner | tuple


class BEAR(Algorithm):
    """Bootstrapping error accumulation reduction."""

    title: ClassVar[str] = "Bootstrapping error accumulation reduction"
    paper: ClassVar[str] = "arXiv:1906.00949"
    family: ClassVar[str] = "explicit constraint"
    traits: ClassVar[frozenset[str]] = frozenset({"values", "tethered", "certain", "unmeasured"})
    actions: ClassVar[frozenset[str]] = frozenset({"continuous"})
    openings: ClassVar[tuple[str, ...]] = ("warm_up",)

    learning_rate: float = 3e-4
    actor_learning_rate: float = 1e-4
    discount: float = 0.99
    target_rate: float = 0.005
    pessimism: float = 0.75
    width: float = 10.0
    weight: Fixed | Lagrange = Lagrange(threshold=0.05, learning_rate=1e-3, largest=22026.0)
    kernel: str = static(default="laplacian")
    relative: bool = static(default=True)
    samples: int = static(default=4)
    target_samples: int = static(default=10)
    candidates: int = static(default=100)
    warm_up: int | float = static(default=0.0)
    hidden_model: tuple[int, ...] = static(default=(256, 256))
    hidden: tuple[int, ...] = static(default=(256, 256))
    sampler: Sampler = Transitions()

    def __check_init__(self):
        require(self.width > 0, f"The width of a kernel must be positive, got {self.width}.")
        require(self.kernel in KERNELS, f"BEAR has no kernel '{self.kernel}'; it has {' and '.join(KERNELS)}.")
        few = min(self.samples, self.target_samples, self.candidates)
        require(few >= 1, f"BEAR's numbers of samples and candidates must be at least 1, got {few}.")
        require(self.warm_up >= 0, f"The warm-up may not be negative, got {self.warm_up}.")
        require(bool(self.hidden and self.hidden_model), "BEAR's networks need a hidden layer each.")

    def init(self, key, spec, prior=None):
        self.check(spec)
        model_key, critic_key, actor_key = jax.random.split(key, 3)
        adam = optax.adam(self.learning_rate)
        model, pair = variational(model_key, spec, self.hidden_model), critics(critic_key, spec, self.hidden)
        actor = squashed_actor(actor_key, spec, self.hidden)
        target, target_actor = jax.tree.map(jnp.copy, (pair, actor))
        moving = learner(actor, optax.adam(self.actor_learning_rate))
        return State(learner(model, adam), learner(pair, adam), moving, target, target_actor, self.weight.begin())

    def update(self, state, batch, tick):
        adam = optax.adam(self.learning_rate)
        model_key, next_key, log_key, own_key, key = jax.random.split(tick.key, 5)
        model, g_loss = descend(state.model, adam, lambda g: g.loss(batch.observation, batch.action, model_key))
        next_actions = several(state.target_actor(batch.next_observation), self.target_samples).sample(next_key)
        next_values = between(of_several(state.target, batch.next_observation, next_actions), self.pessimism)
        goal = backup(batch.reward, batch.terminal, batch.duration, self.discount, next_values.max(-1))

        def critic_loss(pair):
            logged = [q(batch.observation, batch.action) for q in pair]
            return sum(jnp.mean(jnp.square(q - goal)) for q in logged), jnp.mean(logged[0])

        pair, (q_loss, mean_q) = descend(state.critics, adam, critic_loss, auxiliary=True)
        log, floor = model.model.unsquashed(batch.observation, log_key, (1 + self.relative) * self.samples), 0.0
        if self.relative:
            log, other = jnp.split(log, 2, axis=-2)
            floor = jnp.mean(discrepancy(log, other, self.kernel, self.width))

        def actor_loss(pi):
            chosen = pi(batch.observation)
            own = several(chosen, self.samples).unsquashed(own_key)
            apart = jnp.mean(discrepancy(log, own, self.kernel, self.width))
            value = lowest(pair.model, batch.observation, chosen.sample(key))
            value = jnp.where(tick.opens(self.warm_up), 0.0, jnp.mean(value))
            return self.weight.at(state.weight) * apart - value, apart

        adam = optax.adam(self.actor_learning_rate)
        actor, (pi_loss, apart) = descend(state.actor, adam, actor_loss, auxiliary=True)
        weight = self.weight.follow(state.weight, apart - floor)
        target = incremental_update(pair.model, state.target, self.target_rate)
        target_actor = incremental_update(actor.model, state.target_actor, self.target_rate)
        metrics = {"model_loss": g_loss, "critic_loss": q_loss, "actor_loss": pi_loss, "mean_q": mean_q}
        metrics |= {"discrepancy": apart - floor, "weight": self.weight.at(weight)}
        return State(model, pair, actor, target, target_actor, weight), metrics

    def policy(self, state):
        return BestOfSamples(Draws(state.actor.model), state.critics.model[:1], count=self.candidates)

    def value(self, state, observation, key):
        return believed(state.critics.model, state.actor.model, observation)
