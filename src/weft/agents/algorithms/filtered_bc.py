r"""Filtered behaviour cloning, also "%BC": imitate the best episodes only (Chen et al. 2021, arXiv:2106.01345).

    L_pi = -E_{(s, a) in D'}[ log pi(a | s) ],      D' = the episodes with the highest returns

`fraction` of the episodes (`budget="trajectories"`) or of the steps (`budget="timesteps"`) is kept, from the best
return down: as many whole episodes as fit into it, at least one, and then every episode with the same return as the
worst one kept. Returns are undiscounted and of the rewards that the method sees.

Order of updates: the rows are narrowed once, before training; then one gradient step on the actor per update.

Differs from the reference: ties are kept, so that rewards of 0 and 1 give no arbitrary choice; there the order of the
file decides. Where no kept episode visits a state, the policy there is whatever the network makes of it.
"""

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from ...core.pytree import require, static
from ...data.sampler import Sampler
from ...data.samplers.transitions import Transitions
from ...nn.actors import HEADS, behaviour_actor
from ...nn.losses import imitation
from ...nn.optimise import Learner, descend, learner
from ..algorithm import Algorithm
from ..policy import ActorPolicy

__all__ = ["FilteredBC"]


class State(eqx.Module):
    actor: Learner


class FilteredBC(Algorithm):
    """Behaviour cloning of the best episodes."""

    title: ClassVar[str] = "Filtered behaviour cloning"
    paper: ClassVar[str] = "arXiv:2106.01345"
    family: ClassVar[str] = "imitation"
    traits: ClassVar[frozenset[str]] = frozenset({"copies", "selects"})

    learning_rate: float = 3e-4
    fraction: float = 0.1
    budget: str = static(default="trajectories")
    head: str = static(default="gaussian")
    components: int = static(default=5)
    hidden: tuple[int, ...] = static(default=(256, 256))
    sampler: Sampler = Transitions()

    def __check_init__(self):
        require(0 < self.fraction <= 1, f"The fraction of the log to imitate must be in (0, 1], got {self.fraction}.")
        budgets = ("trajectories", "timesteps")
        require(self.budget in budgets, f"A budget is counted in trajectories or timesteps, not in '{self.budget}'.")
        require(self.head in HEADS, f"Filtered BC has no head '{self.head}'.")
        require(self.components >= 1, f"Filtered BC needs at least one mixture component, got {self.components}.")

    def init(self, key, spec, prior=None):
        self.check(spec)
        actor = behaviour_actor(key, spec, self.hidden, self.head, self.components)
        return State(learner(actor, optax.adam(self.learning_rate)))

    def focus(self, columns):
        """Keep the rows of the best episodes."""
        sampled = jnp.arange(len(columns.rows)) < columns.count
        episode = columns.episode[columns.rows]
        most = len(columns.episode)  # there cannot be more episodes than steps
        lengths = jax.ops.segment_sum(sampled.astype(jnp.int32), episode, most)
        rewards = jnp.where(sampled, columns.reward[columns.rows, 0], 0.0)
        returns = jnp.where(lengths > 0, jax.ops.segment_sum(rewards, episode, most), -jnp.inf)

        best_first = jnp.argsort(-returns)
        costs = lengths if self.budget == "timesteps" else (lengths > 0).astype(jnp.int32)
        spent = jnp.cumsum(costs[best_first])
        room = self.fraction * spent[-1] * (1 + 1e-6)  # two thirds of three must be two
        fitting = jnp.sum((spent <= room) & (costs[best_first] > 0))
        worst_kept = returns[best_first[jnp.maximum(fitting - 1, 0)]]

        best = sampled & (returns[episode] >= worst_kept)
        # of the same size whatever the fraction, so that a sweep over it shares one program; `count` says what is meant
        places = jnp.nonzero(best, size=len(best), fill_value=0)[0]
        return dataclasses.replace(columns, rows=columns.rows[places], count=best.sum().astype(columns.count.dtype))

    def update(self, state, batch, tick):
        def actor_loss(pi):
            return jnp.mean(imitation(pi(batch.observation), batch.action))

        actor, loss = descend(state.actor, optax.adam(self.learning_rate), actor_loss)
        return State(actor), {"actor_loss": loss}

    def policy(self, state):
        return ActorPolicy(state.actor.model)
