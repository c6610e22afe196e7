r"""Conservative Q-learning (Kumar, Zhou, Tucker and Levine 2020, arXiv:2006.04779, eqs. 3 and 4).

    L_Q  = sum_i E_D[ (Q_i(s, a) - y)^2 ] + w E_D[ log int exp Q_i(s, .) - Q_i(s, a) ]
    L_pi = E_{D, pi}[ alpha log pi(a | s) - min_i Q_i(s, a) ]

There is no 1/2 as in eq. 4, like in the authors' code, so a weight w acts like half of it there. A `Lagrange` as
`weight` holds the mean gap in brackets at its threshold, as `temperature` (alpha) the mean log-density per dimension.
`regulariser` chooses the variant: `entropy` is CQL(H), above; `policy` and `uniform` are CQL(rho), log E_rho exp Q_i in
its place, rho the policy or uniform (`conservative`). Discrete actions: one critic, greedy policy, rho = softmax Qbar,
`backup` by double Q-learning (`plain`) or the largest target (`greedy`); with `quantiles` Q_i is the mean of so many,
learned by `losses.quantile_loss` (arXiv:1710.10044). Continuous: the integral is estimated from `samples` actions each,
uniform, of pi(. | s) and of pi(. | s'), scored at s less their log-densities (app. F), without gradient; for CQL(rho)
from `samples` of rho. y = r + gamma min_i Qbar_i(s', a') with a' of pi (`plain`), also its entropy (`soft`), the mode
(`greedy`), or each Qbar_i's best of `samples` actions (`sampled_max`); `auto` is `greedy` for choices, else `plain`: a
mode that nobody took is overrated. For `warm_up` updates (below 1: a share of the run) pi imitates. `calibrated`
(Cal-QL, arXiv:2303.05479): max(Q_i, G(s)) stands for Q_i of all but uniform actions in the integral.
Order of updates: Q with the old w, alpha and pi; w; alpha; pi with the new alpha and the new Q; target critics.
Differs from the reference: the estimate subtracts log(3 samples), so thresholds are 3.4 lower for 10 samples, and are
not multiplied by a weight; one multiplier for both critics; no warm-up, there 40 000 updates.
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
from ...nn.critics import believed, critics, lowest
from ...nn.distributions import pick
from ...nn.losses import backup, check_loss, imitation, td_loss
from ...nn.multipliers import Fixed, Lagrange
from ...nn.optimise import Learner, descend_in_pieces, incremental_update, learner
from ...nn.returns import with_outcomes
from ..algorithm import Algorithm
from ..parts.conservative import BACKUPS, REGULARISERS, compared, log_prior, next_values, score_actions, score_choices
from ..parts.soft import improve
from ..policy import ActorPolicy, GreedyPolicy

__all__ = ["CQL"]


class State(eqx.Module):
    actor: Learner | None
    critics: Learner
    target: tuple
    weight: Learner | tuple
    temperature: Learner | tuple


class CQL(Algorithm):
    """Conservative Q-learning."""

    title: ClassVar[str] = "Conservative Q-learning"
    paper: ClassVar[str] = "arXiv:2006.04779"
    family: ClassVar[str] = "conservative"
    learns_from: ClassVar[frozenset[str]] = frozenset({"log", "replay"})
    openings: ClassVar[tuple[str, ...]] = ("warm_up",)

    learning_rate: float = 3e-4
    actor_learning_rate: float = 1e-4
    discount: float = 0.99
    target_rate: float = 0.005
    weight: Fixed | Lagrange = Fixed(1.0)
    temperature: Fixed | Lagrange = Lagrange(threshold=1.0, learning_rate=1e-3)
    backup: str = static(default="auto")
    error: str = static(default="squared")
    regulariser: str = static(default="entropy")
    quantiles: int = static(default=0)
    samples: int = static(default=10)
    warm_up: int | float = static(default=0.0)
    calibrated: bool = static(default=False)
    hidden: tuple[int, ...] = static(default=(256, 256))
    sampler: Sampler = Transitions()

    def __check_init__(self):
        require(self.backup in BACKUPS["continuous"], f"CQL has no backup '{self.backup}'.")
        check_loss("CQL", self.error, self.quantiles)
        require(self.regulariser in REGULARISERS, f"CQL has no regulariser '{self.regulariser}'.")
        require(self.samples >= 1, f"CQL needs at least one action of each kind, got {self.samples}.")

    def init(self, key, spec, prior=None):
        self.check(spec)
        wrong = f"CQL has no {self.backup} backup for discrete actions; take plain or greedy."
        require(self.backup in BACKUPS[spec.action.kind], wrong)
        require(spec.discrete or not self.quantiles, "CQL learns quantiles for discrete actions only.")
        actor_key, critic_key = jax.random.split(key)
        models = critics(critic_key, spec, self.hidden, 1 if spec.discrete else 2, self.quantiles)
        target, adam = jax.tree.map(jnp.copy, models), optax.adam(self.actor_learning_rate)
        actor = None if spec.discrete else learner(squashed_actor(actor_key, spec, self.hidden), adam)
        heat = () if spec.discrete else self.temperature.begin()
        return State(actor, learner(models, optax.adam(self.learning_rate)), target, self.weight.begin(), heat)

    def focus(self, columns):
        return with_outcomes(columns, self.discount) if self.calibrated else columns

    def update(self, state, batch, tick):
        actor_key, *keys = jax.random.split(tick.key, 3)
        next_value, score, examples, rows = (self._samples if state.actor else self._choices)(state, batch, *keys)
        goal = backup(batch.reward, batch.terminal, batch.duration, self.discount, next_value)

        def critic_loss(models, part):
            scores = [score(q, *part[1:]) for q in models]
            errors = sum(jnp.mean(td_loss(learned, part[0], self.error)) for learned, *_ in scores)
            gaps = sum(jnp.mean(everywhere - logged) for _, logged, everywhere in scores)
            extras = {"td_error": errors, "gap": gaps / len(models), "mean_q": jnp.mean(scores[0][1])}
            return errors + self.weight.at(state.weight) * gaps, extras

        adam, parts = optax.adam(self.learning_rate), (goal, *examples, batch.outcome if self.calibrated else None)
        models, (q_loss, metrics) = descend_in_pieces(state.critics, adam, critic_loss, parts, rows)
        weight = self.weight.follow(state.weight, metrics["gap"])
        target = incremental_update(models.model, state.target, self.target_rate)
        metrics |= {"critic_loss": q_loss, "weight": self.weight.at(weight)}
        if state.actor is None:
            return State(None, models, target, weight, ()), metrics

        def gain(chosen, action):
            value, first = lowest(models.model, batch.observation, action), tick.opens(self.warm_up)
            return jnp.where(first, -imitation(chosen, batch.action), value) if self.warm_up else value

        adam, heat = optax.adam(self.actor_learning_rate), (self.temperature, state.temperature)
        actor, heat, more = improve(state.actor, adam, *heat, batch.observation, actor_key, gain)
        return State(actor, models, target, weight, heat), metrics | more

    def _choices(self, state, batch, *_):
        """Discrete actions: the next value, how a critic scores the logged action and all together, and on what."""
        [target], [online] = state.target, state.critics.model
        after = target.returns(batch.next_observation)
        values = online.all(batch.next_observation) if self.backup == "plain" else target.mean(after)
        prior = log_prior(self.regulariser, target.all(batch.observation))
        return pick(after, values.argmax(-1)), score_choices, (batch.observation, batch.action, prior), 1

    def _samples(self, state, batch, next_key, sample_key):
        """Continuous actions: the same; a critic scores the logged and the sampled actions in one product."""
        here, there = state.actor.model(batch.observation), state.actor.model(batch.next_observation)
        heat, count = self.temperature.at(state.temperature), self.samples
        after = next_values(next_key, self.backup, state.target, batch.next_observation, there, count, heat)
        sampled, density, own = compared(sample_key, self.regulariser, here, there, count)
        actions = jnp.concatenate([batch.action[:, None], sampled], axis=1)
        return after, lambda *parts: score_actions(own, *parts), (batch.observation, actions, density), actions.shape[1]

    def policy(self, state):
        return GreedyPolicy(state.critics.model) if state.actor is None else ActorPolicy(state.actor.model)

    def value(self, state, observation, key):
        return believed(state.critics.model, state.actor and state.actor.model, observation)
