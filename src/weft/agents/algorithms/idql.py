r"""Implicit diffusion Q-learning (Hansen-Estruch et al. 2023, arXiv:2304.10573).

    L_V   = E_D[ f(u) ],                  u = min_j Qbar_j(s, a) - V(s)
    L_Q   = E_D[ sum_j (Q_j(s, a) - r - gamma V(s'))^2 ]
    L_phi = E_D[ || eps - eps_phi(sqrt(abar_t) a + sqrt(1 - abar_t) eps, s, t) ||^2 ],   eps ~ N(0, 1), t ~ U{1 ... T}
    pi(s) = the a_k amid the best of a_1 ... a_N ~ eps_phi by min_j Qbar_j(s, a_k)

The value functions are IQL's with a convex loss f: `Expectile` (|tau - 1(u < 0)| u^2), `Quantile` (|tau - 1(u < 0)|
|u|) or `Exponential` (exp(alpha u) - alpha u). The behaviour is cloned by diffusion, bad actions included, and is asked
only when the policy acts: by the running average of its weights, for `samples` (N) actions a state. One action is the
behaviour itself; more are not always better, for the best of many is the most overestimated. So the action taken is the
one amid the best quarter of the draws (`best_share`; 0 takes the best alone, as the authors do): where a step is worth
less than the critics err, the best of 64 stands still (crossroads: 0 of 3 seeds reach the goal, amid the best quarter 3
of 3; the other maze 3 of 3 by both; pendulum, which had no say: -494 and -492, 3 seeds). With `resample` a draw
that is not greedy takes one of the N in proportion to |f'(u)| / |u|: the policy that V values. `behaviour_rate` scales
the learning rate of eps_phi; at 0 it and its average stay, as they do when the authors fine-tune (`weft.finetune(run,
env, changes={"behaviour_rate": 0.0})`): then only the choice among its draws goes on learning.

Order of updates: V; Q with the new V; target critics; eps_phi; its running average.

Differs from the reference: batches of 256, there 512 for eps_phi and 256 of them for the critics; learning rate
constant by default (`decay` gives the authors' cosine on eps_phi); resampling by the paper's |f'(u)| / |u| for every f,
in the code by the expectile's for the quantile and by a softmax for the exponential; the exponential loss is a straight
line beyond exp(alpha u) = 100, there beyond 6; first and last layers are orthogonal, there Xavier's; one layer fewer on
the time; a greedy policy draws the same noise in every state; online eps_phi goes on learning unless told otherwise.
"""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from ...core.pytree import require, static
from ...data.sampler import Sampler
from ...data.samplers.transitions import Transitions
from ...nn.critics import critics, lowest, value
from ...nn.denoiser import Denoiser, denoiser
from ...nn.losses import backup
from ...nn.optimise import Learner, descend, incremental_update, learner
from ..algorithm import Algorithm
from ..parts.candidates import BestOfSamples
from ..parts.implicit import Expectile, Exponential, Implied, Quantile

__all__ = ["IDQL"]


class State(eqx.Module):
    behaviour: Learner
    average: Denoiser
    critics: Learner
    value: Learner
    target: tuple


class IDQL(Algorithm):
    """Implicit diffusion Q-learning."""

    title: ClassVar[str] = "Implicit diffusion Q-learning"
    paper: ClassVar[str] = "arXiv:2304.10573"
    family: ClassVar[str] = "implicit constraint"
    # It asks for values when it acts, so `within` would be wrong.
    traits: ClassVar[frozenset[str]] = frozenset({"values", "tethered", "certain", "unmeasured"})
    actions: ClassVar[frozenset[str]] = frozenset({"continuous"})
    learns_from: ClassVar[frozenset[str]] = frozenset({"log", "replay"})

    learning_rate: float = 3e-4
    discount: float = 0.99
    target_rate: float = 0.005
    average_rate: float = 0.001
    behaviour_rate: float = 1.0
    dropout: float = 0.1
    loss: Expectile | Quantile | Exponential = Expectile(0.7)
    samples: int = static(default=64)
    best_share: float = static(default=0.25)
    resample: bool = static(default=False)
    diffusion_steps: int = static(default=5)
    blocks: int = static(default=3)
    width: int = static(default=256)
    decay: bool = static(default=False)
    hidden: tuple[int, ...] = static(default=(256, 256))
    sampler: Sampler = Transitions()

    def __check_init__(self):
        require(0 <= self.average_rate <= 1, f"The average's rate must be between 0 and 1, got {self.average_rate}.")
        require(self.behaviour_rate >= 0, f"The behaviour's rate may not be negative, got {self.behaviour_rate}.")
        require(0 <= self.dropout < 1, f"The dropout must be at least 0 and below 1, got {self.dropout}.")
        require(0 <= self.best_share <= 1, f"The share of the best must be between 0 and 1, got {self.best_share}.")
        require(self.samples >= 1, f"IDQL chooses among at least one action, got {self.samples} samples.")
        require(self.diffusion_steps >= 1, f"Diffusion takes at least one step, got {self.diffusion_steps}.")
        require(self.blocks >= 1, f"The behaviour model needs at least one block, got {self.blocks}.")
        require(self.width >= 1, f"The behaviour model must be at least 1 wide, got {self.width}.")

    def init(self, key, spec, prior=None):
        self.check(spec)
        behaviour_key, critic_key, value_key = jax.random.split(key, 3)
        adam = optax.adam(self.learning_rate)
        model = denoiser(behaviour_key, spec, self.diffusion_steps, self.blocks, self.width)
        pair = critics(critic_key, spec, self.hidden)
        return State(
            behaviour=learner(model, adam),
            average=jax.tree.map(jnp.copy, model),
            critics=learner(pair, adam),
            value=learner(value(value_key, spec, self.hidden), adam),
            target=jax.tree.map(jnp.copy, pair),
        )

    def update(self, state, batch, tick):
        adam = optax.adam(self.learning_rate)
        decay = jnp.asarray(optax.cosine_decay_schedule(1.0, 1)(tick.fraction)) if self.decay else 1.0
        rate = self.behaviour_rate * decay
        logged = lowest(state.target, batch.observation, batch.action)

        def value_loss(v):
            return jnp.mean(self.loss(logged - v(batch.observation)))

        value, v_loss = descend(state.value, adam, value_loss)
        next_value = value.model(batch.next_observation)
        goal = backup(batch.reward, batch.terminal, batch.duration, self.discount, next_value)

        def critic_loss(pair):
            return sum(jnp.mean(jnp.square(q(batch.observation, batch.action) - goal)) for q in pair)

        pair, q_loss = descend(state.critics, adam, critic_loss)
        target = incremental_update(pair.model, state.target, self.target_rate)

        def behaviour_loss(model):
            return model.loss(batch.observation, batch.action, tick.key, self.dropout)

        behaviour, phi_loss = descend(state.behaviour, optax.adam(self.learning_rate * rate), behaviour_loss)
        average_rate = jnp.where(self.behaviour_rate > 0, self.average_rate, 0.0)  # a model that stays has no average
        average = incremental_update(behaviour.model, state.average, average_rate)
        metrics = {
            "value_loss": v_loss,
            "critic_loss": q_loss,
            "behaviour_loss": phi_loss,
            "mean_q": jnp.mean(logged),
        }
        return State(behaviour, average, pair, value, target), metrics

    def policy(self, state):
        weigh = Implied(state.value.model, self.loss) if self.resample else None
        propose = state.average.sample
        return BestOfSamples(propose, state.target, weigh=weigh, count=self.samples, share=self.best_share)

    def value(self, state, observation, key):
        return state.value.model(observation)
