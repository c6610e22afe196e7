r"""Batch-constrained Q-learning (Fujimoto, Meger and Precup 2019, arXiv:1812.02900).

    L_G  = E_D[ (G(s, z) - a)^2 ] + 1/2 KL(q(z | s, a) || N(0, 1))       a variational model G of the log's actions
    y    = r + gamma max_i [ l min_j Qbar_j + (1 - l) max_j Qbar_j ](s', a'_i)                  (eq. 13)
    L_Q  = E_D[ sum_j (Q_j(s, a) - y)^2 ]
    L_xi = -E_D[ Q_1(s, a + xi(s, a)) ],      a = G(s, z)                                       (eq. 12)

The policy takes the best by Q_1 of `candidates` actions a + xi(s, a) that G generates and that xi, a network bounded by
`perturbation`, moves a little; one candidate and no perturbation is imitation. The a'_i are `samples` such actions,
moved by xibar. `pessimism` is l: 1 believes the smaller critic. z is cut at 0.5 on either side.

Order of updates: G; Q with the new G; xi with the new Q_1 and G; target critics, xibar.

Differs from the reference: orthogonal weights; layers of G as wide as `hidden_model`, there 750; the critics' and xi's
as wide as `hidden`, there 400 and 300.
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
from ...nn.critics import between, critics, of_several
from ...nn.joint import Joint, joint
from ...nn.losses import backup
from ...nn.optimise import Learner, descend, incremental_update, learner
from ...nn.variational import Variational, variational
from ..algorithm import Algorithm
from ..parts.candidates import BestOfSamples

__all__ = ["BCQ", "Perturbed"]


class Perturbed(eqx.Module):
    """Actions that a variational model generates, each moved by at most `limit`."""

    model: Variational
    mover: Joint
    limit: Float[Array, ""] | float

    def __call__(self, observation, key, count):
        """Return `count` actions per state."""
        return self.move(observation, self.model.sample(observation, key, count))

    def move(self, observation, actions):
        """Move several actions per state."""
        moved = actions + self.limit * jnp.tanh(self.mover.several(observation, actions))
        return jnp.clip(moved, -1.0, 1.0)


class State(eqx.Module):
    model: Learner
    critics: Learner
    mover: Learner
    target: tuple
    target_mover: eqx.Module


class BCQ(Algorithm):
    """Batch-constrained Q-learning."""

    title: ClassVar[str] = "Batch-constrained Q-learning"
    paper: ClassVar[str] = "arXiv:1812.02900"
    family: ClassVar[str] = "explicit constraint"
    traits: ClassVar[frozenset[str]] = frozenset({"values", "tethered", "certain", "unmeasured"})
    actions: ClassVar[frozenset[str]] = frozenset({"continuous"})

    learning_rate: float = 1e-3
    discount: float = 0.99
    target_rate: float = 0.005
    pessimism: float = 0.75
    perturbation: float = 0.05
    samples: int = static(default=10)
    candidates: int = static(default=100)
    hidden_model: tuple[int, ...] = static(default=(256, 256))
    hidden: tuple[int, ...] = static(default=(256, 256))
    sampler: Sampler = Transitions()

    def __check_init__(self):
        require(0 <= self.perturbation <= 2, f"BCQ moves actions by 0 to 2, got {self.perturbation}.")
        require(self.samples >= 1, f"BCQ values at least one action, got {self.samples}.")
        require(self.candidates >= 1, f"BCQ chooses among at least one action, got {self.candidates}.")
        require(bool(self.hidden and self.hidden_model), "BCQ's networks need a hidden layer each.")

    def init(self, key, spec, prior=None):
        self.check(spec)
        model_key, critic_key, mover_key = jax.random.split(key, 3)
        adam = optax.adam(self.learning_rate)
        model, pair = variational(model_key, spec, self.hidden_model), critics(critic_key, spec, self.hidden)
        mover = joint(mover_key, spec, self.hidden, spec.action.size, spec.action.size)
        target, target_mover = jax.tree.map(jnp.copy, (pair, mover))
        return State(learner(model, adam), learner(pair, adam), learner(mover, adam), target, target_mover)

    def update(self, state, batch, tick):
        adam = optax.adam(self.learning_rate)
        model_key, next_key, key = jax.random.split(tick.key, 3)

        def model_loss(model):
            return model.loss(batch.observation, batch.action, model_key)

        model, g_loss = descend(state.model, adam, model_loss)
        following = Perturbed(model.model, state.target_mover, self.perturbation)
        next_actions = following(batch.next_observation, next_key, self.samples)
        next_values = between(of_several(state.target, batch.next_observation, next_actions), self.pessimism)
        goal = backup(batch.reward, batch.terminal, batch.duration, self.discount, next_values.max(-1))

        def critic_loss(pair):
            logged = [q(batch.observation, batch.action) for q in pair]
            return sum(jnp.mean(jnp.square(q - goal)) for q in logged), jnp.mean(logged[0])

        pair, (q_loss, mean_q) = descend(state.critics, adam, critic_loss, auxiliary=True)
        generated = model.model.sample(batch.observation, key, 1)

        def mover_loss(mover):
            moved = Perturbed(model.model, mover, self.perturbation).move(batch.observation, generated)
            return -jnp.mean(pair.model[0](batch.observation, moved[..., 0, :]))

        mover, xi_loss = descend(state.mover, adam, mover_loss)
        target = incremental_update(pair.model, state.target, self.target_rate)
        target_mover = incremental_update(mover.model, state.target_mover, self.target_rate)
        metrics = {"model_loss": g_loss, "critic_loss": q_loss, "mover_loss": xi_loss, "mean_q": mean_q}
        return State(model, pair, mover, target, target_mover), metrics

    def _proposals(self, state):
        return Perturbed(state.model.model, state.mover.model, self.perturbation)

    def policy(self, state):
        return BestOfSamples(self._proposals(state), state.critics.model[:1], count=self.candidates)

    def value(self, state, observation, key):
        actions = self._proposals(state)(observation, key, self.samples)
        return between(of_several(state.critics.model, observation, actions), self.pessimism).max(-1)
