r"""TD3+BC (Fujimoto and Gu 2021, arXiv:2106.06860): TD3 whose actor also imitates the log.

    y    = r + gamma min_i Qbar_i(s', clip(pibar(s') + clip(sigma n, -c, c), -1, 1))
    L_Q  = E_D[ sum_i (Q_i(s, a) - y)^2 ]
    L_pi = -alpha / mean|Q_1| * E_D[ Q_1(s, pi(s)) ] + E_D[ (pi(s) - a)^2 ]        (eq. 5)

`value_weight` is alpha: 0 is behaviour cloning, large values trust the critic. `noise` is sigma, `noise_limit` is c.

Order of updates: Q; then, in every `actor_every`-th update from the first on: pi with the new Q_1, target critics,
target actor. `actor_loss` repeats its last value in between.

Differs from the reference: the actor moves in updates 1, 3, 5, ..., there in 2, 4, 6, ...; observations are
standardised by the log's transform, as there.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
import optax

from ...core.pytree import require, static
from ...data.sampler import Sampler
from ...data.samplers.transitions import Transitions
from ...nn.actors import deterministic_actor
from ...nn.critics import believed, critics, lowest
from ...nn.losses import backup, imitation
from ...nn.optimise import descend, learner
from ..algorithm import Algorithm
from ..parts.delayed import State, check, improve, smoothed
from ..policy import ActorPolicy

__all__ = ["TD3BC"]


class TD3BC(Algorithm):
    """TD3 with behaviour cloning."""

    title: ClassVar[str] = "TD3 with behaviour cloning"
    paper: ClassVar[str] = "arXiv:2106.06860"
    family: ClassVar[str] = "explicit constraint"
    traits: ClassVar[frozenset[str]] = frozenset({"values", "tethered", "certain"})
    actions: ClassVar[frozenset[str]] = frozenset({"continuous"})

    learning_rate: float = 3e-4
    discount: float = 0.99
    target_rate: float = 0.005
    value_weight: float = 2.5
    noise: float = 0.2
    noise_limit: float = 0.5
    actor_every: int = static(default=2)
    hidden: tuple[int, ...] = static(default=(256, 256))
    sampler: Sampler = Transitions()

    def __check_init__(self):
        require(self.value_weight >= 0, f"The weight of the value may not be negative, got {self.value_weight}.")
        check(self)

    def init(self, key, spec, prior=None):
        self.check(spec)
        actor_key, critic_key = jax.random.split(key)
        adam = optax.adam(self.learning_rate)
        actor, pair = deterministic_actor(actor_key, spec, self.hidden), critics(critic_key, spec, self.hidden)
        target_actor, target = jax.tree.map(jnp.copy, (actor, pair))
        return State(learner(actor, adam), learner(pair, adam), target_actor, target, jnp.zeros(()))

    def update(self, state, batch, tick):
        adam = optax.adam(self.learning_rate)
        next_action = smoothed(self, tick.key, state.target_actor(batch.next_observation).action)
        next_value = lowest(state.target, batch.next_observation, next_action)
        goal = backup(batch.reward, batch.terminal, batch.duration, self.discount, next_value)

        def critic_loss(pair):
            logged = [q(batch.observation, batch.action) for q in pair]
            return sum(jnp.mean(jnp.square(q - goal)) for q in logged), jnp.mean(logged[0])

        pair, (q_loss, mean_q) = descend(state.critics, adam, critic_loss, auxiliary=True)

        def actor_loss(pi):
            chosen = pi(batch.observation)
            q = pair.model[0](batch.observation, chosen.action)
            # rewards of any scale weigh alike against imitation
            scale = self.value_weight / jnp.maximum(jax.lax.stop_gradient(jnp.abs(q).mean()), 1e-6)
            return -scale * jnp.mean(q) + jnp.mean(imitation(chosen, batch.action))

        state = improve(self, adam, state, pair, actor_loss, tick.step)
        return state, {"critic_loss": q_loss, "actor_loss": state.actor_loss, "mean_q": mean_q}

    def policy(self, state):
        return ActorPolicy(state.actor.model)

    def value(self, state, observation, key):
        return believed(state.critics.model, state.actor.model, observation)
