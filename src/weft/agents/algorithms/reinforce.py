r"""REINFORCE (Williams 1992) with reward-to-go, a discount and a baseline.

    L_pi = -E[ log pi(a_t | s_t) (G_t - b_t) ] - c E[ H(pi(. | s_t)) ],      G_t = sum_{k >= t} gamma^(k - t) r_k

`baseline` is b: `Zero()`, a `MovingAverage` of returns, updated after it was used, or a `Learned` value function,
fitted to the returns. None depends on the action: the gradient's mean is the same, only its variance differs.
`standardise_advantages` divides G - b by its deviation over the batch (and takes off its mean). The mean is over steps,
so long episodes count for more than short ones. Every update is of whole episodes that the current policy acted, one a
lane.

Order of updates: pi with the old baseline; then the baseline.

Differs from the reference: the leading gamma^t of the exact gradient is left out, as everywhere; after a time-out the
learned baseline's value is added, the others treat the cut as an end; continuous actions come from a squashed Gaussian.
"""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from ...core.pytree import require, static
from ...data.sampler import Sampler
from ...data.samplers.recent import Recent
from ...nn.actors import exploring_actor
from ...nn.losses import standardised, weighted_mean
from ...nn.optimise import Learner, descend, learner
from ...nn.returns import returns_to_go
from ..algorithm import Algorithm
from ..parts.baselines import Learned, MovingAverage, Zero
from ..policy import ActorPolicy
from ..schedule import Rounds

__all__ = ["Reinforce"]


class State(eqx.Module):
    actor: Learner
    baseline: PyTree


class Reinforce(Algorithm):
    """REINFORCE."""

    title: ClassVar[str] = "REINFORCE"
    paper: ClassVar[str] = "Williams 1992"
    family: ClassVar[str] = "policy gradient"
    learns_from: ClassVar[frozenset[str]] = frozenset({"fresh"})
    rounds: ClassVar[Rounds] = Rounds(lanes=16, steps=0)

    learning_rate: float = 3e-3
    discount: float = 0.99
    entropy_weight: float = 0.01
    largest_gradient: float = 0.5
    baseline: Zero | MovingAverage | Learned = Learned()
    standardise_advantages: bool = static(default=True)
    hidden: tuple[int, ...] = static(default=(64, 64))
    sampler: Sampler = Recent()

    def __check_init__(self):
        require(self.entropy_weight >= 0, f"The weight of the entropy may not be negative: {self.entropy_weight}.")
        require(self.largest_gradient > 0, f"The largest gradient must be positive, got {self.largest_gradient}.")

    def _optimiser(self):
        return optax.chain(optax.clip_by_global_norm(self.largest_gradient), optax.adam(self.learning_rate))

    def init(self, key, spec, prior=None):
        self.check(spec)
        actor_key, baseline_key = jax.random.split(key)
        actor = exploring_actor(actor_key, spec, self.hidden)
        return State(learner(actor, self._optimiser()), self.baseline.begin(baseline_key, spec, self.hidden))

    def update(self, state, batch, tick):
        goal = returns_to_go(batch, self.discount, 1.0, self.baseline.beyond(state.baseline, batch.next_observation))
        advantage = goal - self.baseline.at(state.baseline, batch.observation)
        weight = standardised(advantage, batch.alive) if self.standardise_advantages else advantage

        def loss(pi):
            chosen = pi(batch.observation)
            entropy = weighted_mean(chosen.entropy(tick.key), batch.alive)
            gain = weighted_mean(weight * chosen.log_prob(batch.action), batch.alive)
            return -gain - self.entropy_weight * entropy, entropy

        actor, (actor_loss, entropy) = descend(state.actor, self._optimiser(), loss, auxiliary=True)
        baseline, miss = self.baseline.follow(state.baseline, batch.observation, goal, batch.alive)
        return State(actor, baseline), {
            "actor_loss": actor_loss,
            "entropy": entropy,
            "baseline_loss": miss,
            "mean_return_to_go": weighted_mean(goal, batch.alive),
            "advantage_variance": weighted_mean(jnp.square(advantage), batch.alive),
        }

    def policy(self, state):
        return ActorPolicy(state.actor.model)
