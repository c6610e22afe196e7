r"""ReBRAC (Tarasov, Kurenkov, Nikulin and Kolesnikov 2023, arXiv:2305.09836): TD3+BC whose critic is penalised, too.

    at   = clip(pibar(s') + clip(sigma n, -c, c), -1, 1)
    y    = r + gamma (min_i Qbar_i(s', at) - beta_Q |at - a'|^2)
    L_Q  = E_D[ sum_i (Q_i(s, a) - y)^2 ]
    L_pi = -1 / mean|Q| * E_D[ Q(s, pi(s)) ] + beta_pi E_D[ |pi(s) - a|^2 ],   Q = min_i Q_i

a' is the action that the log took next; where a time-out or the end of the log cut the episode there is none, and no
penalty. |.|^2 is a sum over dimensions of actions on [-1, 1]. beta_pi is `actor_penalty`: in TD3+BC, which takes the
mean over d dimensions, a `value_weight` of 1 / (beta_pi d). beta_Q is `critic_penalty`, in rewards of size 1. The
defaults are not tuned: .05 is the median of the authors' beta_pi for the hand (for locomotion .01, which follows the
critic further), .01 of their beta_Q for locomotion. `layer_norm` (critics only, after every ReLU) bounds what critics
believe of actions that the log never took. `noise` is sigma, `noise_limit` is c.

Order of updates: Q; then, in every `actor_every`-th update from the first on: pi with the new Q, target critics,
target actor. `actor_loss` repeats its last value in between. `distance` is the mean of |at - a'|^2.

Differs from the reference: one pair of penalties, where the paper has one for each data set (beta_pi .001 to .1, beta_Q
0 to .5 in the rewards of each); batches of 256, there of 1024 for locomotion; orthogonal first weights; the actor moves
in updates 1, 3, 5, ...; observations are standardised; steps that a time-out cut are kept.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
import optax

from ...core.pytree import require, static
from ...data.sampler import Sampler
from ...data.samplers.quintuples import Quintuples
from ...nn.actors import deterministic_actor
from ...nn.critics import believed, critics, lowest
from ...nn.losses import backup
from ...nn.optimise import descend, learner
from ..algorithm import Algorithm
from ..parts.delayed import State, check, improve, smoothed
from ..policy import ActorPolicy

__all__ = ["ReBRAC"]


class ReBRAC(Algorithm):
    """TD3 held near the log in the actor and in the target, with layer norms in the critics."""

    title: ClassVar[str] = "ReBRAC"
    paper: ClassVar[str] = "arXiv:2305.09836"
    family: ClassVar[str] = "explicit constraint"
    traits: ClassVar[frozenset[str]] = frozenset({"values", "tethered", "certain", "unmeasured"})
    actions: ClassVar[frozenset[str]] = frozenset({"continuous"})

    learning_rate: float = 1e-3
    discount: float = 0.99
    target_rate: float = 0.005
    actor_penalty: float = 0.05
    critic_penalty: float = 0.01
    noise: float = 0.2
    noise_limit: float = 0.5
    actor_every: int = static(default=2)
    critic_count: int = static(default=2)
    layer_norm: bool = static(default=True)
    hidden: tuple[int, ...] = static(default=(256, 256, 256))
    sampler: Sampler = Quintuples()

    def __check_init__(self):
        for penalty in (self.actor_penalty, self.critic_penalty):
            require(penalty >= 0, f"A penalty for leaving the log may not be negative, got {penalty}.")
        check(self)
        require(self.critic_count >= 1, f"ReBRAC needs at least one critic, got {self.critic_count}.")

    def init(self, key, spec, prior=None):
        self.check(spec)
        actor_key, critic_key = jax.random.split(key)
        adam, actor = optax.adam(self.learning_rate), deterministic_actor(actor_key, spec, self.hidden)
        several = critics(critic_key, spec, self.hidden, self.critic_count, norm=self.layer_norm)
        target_actor, target = jax.tree.map(jnp.copy, (actor, several))
        return State(learner(actor, adam), learner(several, adam), target_actor, target, jnp.zeros(()))

    def update(self, state, batch, tick):
        adam, step = optax.adam(self.learning_rate), batch.step
        next_action = smoothed(self, tick.key, state.target_actor(step.next_observation).action)
        # where nothing follows, next_action is of another episode
        away = jnp.where(batch.follows, jnp.square(next_action - batch.next_action).sum(-1), 0.0)
        next_value = lowest(state.target, step.next_observation, next_action) - self.critic_penalty * away
        goal = backup(step.reward, step.terminal, step.duration, self.discount, next_value)

        def critic_loss(several):
            logged = [q(step.observation, step.action) for q in several]
            return sum(jnp.mean(jnp.square(q - goal)) for q in logged), jnp.mean(logged[0])

        several, (q_loss, mean_q) = descend(state.critics, adam, critic_loss, auxiliary=True)

        def actor_loss(pi):
            action = pi(step.observation).action
            q = lowest(several.model, step.observation, action)
            # rewards of any scale weigh alike against the penalty
            scale = 1.0 / jnp.maximum(jax.lax.stop_gradient(jnp.abs(q).mean()), 1e-6)
            return -scale * jnp.mean(q) + self.actor_penalty * jnp.mean(jnp.square(action - step.action).sum(-1))

        state = improve(self, adam, state, several, actor_loss, tick.step)
        distance = away.sum() / jnp.maximum(batch.follows.sum(), 1)
        metrics = {"critic_loss": q_loss, "actor_loss": state.actor_loss, "mean_q": mean_q, "distance": distance}
        return state, metrics

    def policy(self, state):
        return ActorPolicy(state.actor.model)

    def value(self, state, observation, key):
        return believed(state.critics.model, state.actor.model, observation)
