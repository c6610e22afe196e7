r"""Fitted Q evaluation with a network (Le, Voloshin and Yue 2019, arXiv:1903.08738), by stochastic gradients.

    L_Q = E_D (Q(s, a) - r - gamma^dt (1 - d) E_{a' ~ pi} Qbar(s', a'))^2
    J   = mean_{s0} E_{a ~ pi} Q(s0, a)

d is a true terminal; a time-out bootstraps. The expectation is exact over choices; over continuous actions it is the
mode of a greedy policy or, step by step, one of several draws. Qbar follows Q by Polyak averaging. Rewards are divided
by the largest absolute return of an episode, and the learning rate falls to 0 over the second half, so that the noise
of single batches dies away. `hidden=()` is the linear case; on one-hot observations it is the exact tabular one.

Differs from the reference: one gradient step per target step instead of a regression to the end per target.
"""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ...core.pytree import require, static
from ...data.columns import Columns
from ...nn.critics import critic
from ...nn.losses import backup
from ...nn.optimise import Learner, descend, learner
from ..candidate import Candidate
from ..estimator import Estimator, mean

__all__ = ["FittedQ"]


class Rows(eqx.Module):
    """What the loop needs of every step, in the order of the log, so that a batch is one gather."""

    observation: PyTree
    action: Array
    reward: Float[Array, "row"]
    next_observation: PyTree
    following: Array
    terminal: Array
    duration: Array


class FittedQ(Estimator):
    """Fitted Q evaluation."""

    title: ClassVar[str] = "Fitted Q evaluation"
    paper: ClassVar[str] = "arXiv:1903.08738"

    discount: float = 0.99
    learning_rate: float = 2e-3
    target_rate: float = 0.05
    steps: int = static(default=1500)
    batch_size: int = static(default=128)
    hidden: tuple[int, ...] = static(default=(64, 64))

    def __check_init__(self):
        require(0 <= self.discount <= 1, f"The discount must be between 0 and 1, got {self.discount}.")
        require(self.steps >= 1, f"Fitted Q evaluation needs at least one step, got {self.steps}.")
        require(self.batch_size >= 1, f"The batch size must be at least 1, got {self.batch_size}.")

    def value(self, case, key):
        candidate, columns, weights = case.candidate, case.columns, case.weighing.weights
        init_key, run_key = jax.random.split(key)
        table = weighted_rows(columns, weights)
        scale = _largest_return(columns, weights)
        rows = _rows(candidate, columns, scale)
        model = critic(init_key, candidate.spec, self.hidden)

        def body(step: Array, carry: tuple[Learner, PyTree]) -> tuple[Learner, PyTree]:
            online, target = carry
            return self._descend(online, target, rows, table, jax.random.fold_in(run_key, step), step)

        start = (learner(model, optax.adam(self.learning_rate)), jax.tree.map(jnp.copy, model))
        online, _ = jax.lax.fori_loop(0, self.steps, body, start)
        first = jnp.zeros(len(weights), jnp.int32).at[columns.episode].set(columns.episode_start)
        values = _expected(online.model, candidate, columns, columns.position[first])
        return scale * mean(values, case.weighing.starts)

    def _descend(
        self, online: Learner, target: PyTree, rows: Rows, table: Int[Array, "row"], key: PRNGKeyArray, step: Array
    ) -> tuple[Learner, PyTree]:
        draw_key, sample_key = jax.random.split(key)
        drawn = table[jax.random.randint(draw_key, (self.batch_size,), 0, len(table))]
        batch = jax.tree.map(lambda part: part[drawn], rows)
        if jnp.issubdtype(batch.action.dtype, jnp.integer):
            next_value = (batch.following * target.all(batch.next_observation)).sum(-1)
        else:
            which = jax.random.randint(sample_key, (self.batch_size,), 0, batch.following.shape[1])
            following = jnp.take_along_axis(batch.following, which[:, None, None], axis=1)[:, 0]
            next_value = target(batch.next_observation, following)
        goal = backup(batch.reward, batch.terminal, batch.duration, self.discount, next_value)

        def loss(q):
            return jnp.mean(jnp.square(q(batch.observation, batch.action) - goal))

        rate = self.learning_rate * jnp.minimum(1.0, 2.0 * (1.0 - step / self.steps))
        online, _ = descend(online, optax.adam(rate), loss)
        return online, optax.incremental_update(online.model, target, self.target_rate)


def weighted_rows(columns: Columns, weights: Float[Array, "episode"]) -> Int[Array, "row"]:
    """Return a table in which every step of a view occurs in proportion to its episode's weight.

    The table is as long as the view's own, so that a resampled log costs no new program (systematic resampling).
    """
    size = len(columns.rows)
    there = jnp.arange(size) < columns.count
    total = jnp.cumsum(jnp.where(there, weights[columns.episode[columns.rows]], 0.0))
    wanted = (jnp.arange(size) + 0.5) / size * total[-1]
    return columns.rows[jnp.searchsorted(total, wanted)]


def _largest_return(columns: Columns, weights: Float[Array, "episode"]) -> Float[Array, ""]:
    returns = jnp.zeros(len(weights)).at[columns.episode].add(columns.reward[:, 0])
    largest = jnp.abs(jnp.where(weights > 0, returns, 0.0)).max()
    return jnp.where(largest > 0, largest, 1.0)


def _rows(candidate: Candidate, columns: Columns, scale: Float[Array, ""]) -> Rows:
    here, there = columns.position, columns.successor
    following = candidate.action if candidate.probability is None else candidate.probability
    assert following is not None
    return Rows(
        observation=jax.tree.map(lambda part: part[here], columns.observation),
        action=columns.action,
        reward=columns.reward[:, 0] / scale,
        next_observation=jax.tree.map(lambda part: part[there], columns.observation),
        following=following[there],
        terminal=columns.terminal,
        duration=columns.duration,
    )


def _expected(
    model: PyTree, candidate: Candidate, columns: Columns, at: Int[Array, "episode"]
) -> Float[Array, "episode"]:
    seen = jax.tree.map(lambda part: part[at], columns.observation)
    if candidate.probability is not None:
        return (candidate.probability[at] * model.all(seen)).sum(-1)
    assert candidate.action is not None
    half = model.state_half(seen)[:, None]
    return model.with_actions(half, candidate.action[at]).mean(-1)
