r"""Deep Q-networks (Mnih et al. 2015, Nature 518) and double Q-learning (van Hasselt et al. 2016, arXiv:1509.06461).

    L_Q = E[ h(Q(s, a) - r - gamma Qbar(s', a')) ]      a' = argmax Qbar(s', .), or argmax Q(s', .) if `double`

h is the square, or the Huber loss (`error="huber"`), whose gradient is the error clipped to [-1, 1]. With `quantiles`
Q is the mean of so many, learned by `losses.quantile_loss` (Dabney et al. 2018, arXiv:1710.10044). Q acts: the best
choice, or with probability epsilon any; epsilon falls from `epsilon_first` to `epsilon_last` over the first `exploring`
share of all steps, and is there from the start where a learned Q goes on. Every `target_every` updates Qbar moves by
`target_rate` to Q: 1 is the copy of the paper, a small number after every update the slow target of others.
`clip_rewards` keeps rewards in [-1, 1] while learning, never in what is reported.

Order of updates: Q; then the target, where it is due.

Differs from the reference: the square (Mnih et al. 2013) is the default, because where rewards are not clipped the
large errors at the end of an episode tell most; Adam at 1e-3 and two layers of 64, for small problems. The paper's
setting for Atari is `DQN.nature()`. `target_every` counts updates (the paper's 10 000, four steps each). The gradient's
norm is kept below `largest_gradient`. Weights are orthogonal.
"""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from ...core.pytree import require, static
from ...data.sampler import Sampler
from ...data.samplers.transitions import Transitions
from ...nn.critics import critic
from ...nn.distributions import pick
from ...nn.losses import backup, check_loss, td_loss
from ...nn.optimise import Learner, descend, learner, update_every
from ..algorithm import Algorithm
from ..policy import EpsilonGreedy, GreedyPolicy
from ..schedule import Rounds

__all__ = ["DQN"]


class State(eqx.Module):
    critic: Learner
    target: eqx.Module


class DQN(Algorithm):
    """Deep Q-network."""

    title: ClassVar[str] = "Deep Q-network"
    paper: ClassVar[str] = "Nature 518"
    family: ClassVar[str] = "value based"
    actions: ClassVar[frozenset[str]] = frozenset({"discrete"})
    learns_from: ClassVar[frozenset[str]] = frozenset({"log", "replay"})
    rounds: ClassVar[Rounds] = Rounds(lanes=4, updates=4, warm_up=1000, capacity=50_000)

    learning_rate: float = 1e-3
    discount: float = 0.99
    target_rate: float = 1.0
    largest_gradient: float = 10.0
    epsilon_first: float = 1.0
    epsilon_last: float = 0.05
    exploring: float = 0.1
    double: bool = static(default=False)
    error: str = static(default="squared")
    quantiles: int = static(default=0)
    clip_rewards: bool = static(default=False)
    target_every: int = static(default=50)
    optimiser: str = static(default="adam")
    vision: str = static(default="nature")
    hidden: tuple[int, ...] = static(default=(64, 64))
    sampler: Sampler = Transitions(64)

    def __check_init__(self):
        check_loss("DQN", self.error, self.quantiles)
        require(self.optimiser in ("adam", "rmsprop"), f"DQN has no optimiser '{self.optimiser}'.")
        for name in ("epsilon_first", "epsilon_last", "exploring"):
            require(0 <= getattr(self, name) <= 1, f"DQN's {name} must be between 0 and 1, got {getattr(self, name)}.")

    @classmethod
    def nature(cls, **changes):
        """Return the setting of the Nature paper for Atari, without its rounds (`Rounds(1, 4, 1, 50_000)`)."""
        paper = {
            "learning_rate": 2.5e-4,
            "epsilon_last": 0.1,
            "exploring": 0.02,
            "clip_rewards": True,
            "error": "huber",
        }
        static_ones = {"target_every": 10_000, "optimiser": "rmsprop", "hidden": (512,), "sampler": Transitions(32)}
        return cls(**{**paper, **static_ones, **changes})

    def _optimiser(self):
        clip = optax.clip_by_global_norm(self.largest_gradient)
        if self.optimiser == "adam":
            return optax.chain(clip, optax.adam(self.learning_rate))
        return optax.chain(clip, optax.rmsprop(self.learning_rate, decay=0.95, eps=0.01, centered=True))

    def init(self, key, spec, prior=None):
        self.check(spec)
        model = critic(key, spec, self.hidden, self.vision, self.quantiles)
        return State(learner(model, self._optimiser()), jax.tree.map(jnp.copy, model))

    def update(self, state, batch, tick):
        reward = jnp.clip(batch.reward, -1.0, 1.0) if self.clip_rewards else batch.reward
        after = state.target.returns(batch.next_observation)
        chooser = state.critic.model.all(batch.next_observation) if self.double else state.target.mean(after)
        goal = backup(reward, batch.terminal, batch.duration, self.discount, pick(after, chooser.argmax(-1)))

        def loss(q):
            learned = pick(q.returns(batch.observation), batch.action)
            return jnp.mean(td_loss(learned, goal, self.error)), jnp.mean(learned)

        moved, (q_loss, mean_q) = descend(state.critic, self._optimiser(), loss, auxiliary=True)
        target = update_every(self.target_every, tick.step, moved.model, state.target, self.target_rate)
        return State(moved, target), {"critic_loss": q_loss, "mean_q": mean_q}

    def policy(self, state):
        return GreedyPolicy((state.critic.model,))

    def explore(self, state, tick):
        share = jnp.minimum(tick.opening / jnp.maximum(self.exploring, 1e-6), 1.0)
        return EpsilonGreedy(state.critic.model, self.epsilon_first + share * (self.epsilon_last - self.epsilon_first))

    def value(self, state, observation, key):
        return state.critic.model.all(observation).max(-1)
