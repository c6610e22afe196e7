r"""Regression of single decisions with doubly robust scores (after Dudík, Langford and Li 2011, arXiv:1103.4601).

    L_m = sum_{i: a_i = a} (r_i - m_a(x_i))^2
    L_c = sum_{i: a_i = a} w_i (r_i - m_a^{-}(x_i) - c_a(x_i))^2,     w_i = min(1 / p_i, w_max)
    q_a(x) = m_a(x) + c_a(x),     pi(x) = argmax_a q_a(x)

Boosted trees m_a for each action a, and, where propensities p_i are logged, trees c_a that correct them. m^{-}(x_i)
comes from a model that saw nothing of the unit (else episode) of i. In every leaf c_a is the self-normalised doubly
robust estimate of what m_a lacks there: q is right where the propensities are, though m is not (they may depend on what
x does not show), and where m is right, c_a is nothing but noise, which the held-out rows cut off. Without propensities
c_a = 0 and q is right only if x shows all that the choice and the outcome share.

Units are dealt to `folds`. Member k fits m on all folds but k and the next, which says when to stop, and scores fold k;
c fits what is left on all folds but k, which says when to stop. q is the mean over the members. Before its trees an
ensemble has a constant, drawn towards the mean of all actions (towards 0 in c) by as much as `penalty` rows; so are the
leaves, towards 0. An action that was never logged is never chosen.

The policy takes the best action; drawn, any logged one with a chance of `epsilon` in all, so that its log has support.

Order of updates: all is fitted before the first, on the host; update t lets tree t of every ensemble count, until all
of them do, at most `trees`.

Differs from the reference: no classifier is fitted to the scores, the best action is read off their regression; leaves
are self-normalised; models are cross-fitted.
"""

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ...core.pytree import require, static
from ...data.sampler import Sampler
from ...data.samplers.transitions import Transitions
from ...nn.distributions import pick
from ...nn.forest import Forest
from ..algorithm import Algorithm
from ..parts.boosting import Boosted, Boosting, boosted, library
from ..parts.crossfitting import Decisions, blank, constant, forest_of
from ..policy import EpsilonGreedy

__all__ = ["Regression"]


class State(eqx.Module):
    forest: Forest  # with all its rounds
    grown: Int[Array, ""]  # how many of them count
    figures: dict[str, Float[Array, ""]]

    @property
    def so_far(self) -> Forest:
        return dataclasses.replace(self.forest, rounds=jnp.minimum(self.grown, self.forest.rounds))


class Regression(Algorithm):
    """Regression with doubly robust scores."""

    title: ClassVar[str] = "Regression with doubly robust scores"
    paper: ClassVar[str] = "arXiv:1103.4601"
    family: ClassVar[str] = "regression"
    actions: ClassVar[frozenset[str]] = frozenset({"discrete"})
    sees: ClassVar[frozenset[str] | None] = frozenset({"vector", "category"})
    single: ClassVar[bool] = True
    traits: ClassVar[frozenset[str]] = frozenset({"values"})

    learning_rate: float = 0.1
    penalty: float = 10.0
    largest_weight: float = 50.0
    epsilon: float = 0.05
    trees: int = static(default=100)
    leaves: int = static(default=8)
    least_rows: int = static(default=20)
    patience: int = static(default=20)
    folds: int = static(default=5)
    sampler: Sampler = Transitions()

    def __check_init__(self):
        require(self.penalty >= 0, f"The penalty of a regression may not be negative, got {self.penalty}.")
        require(0 <= self.epsilon <= 1, f"A chance is between 0 and 1, got epsilon={self.epsilon}.")
        require(self.learning_rate > 0, f"Trees need a learning rate above 0, got {self.learning_rate}.")
        for name, least in {"leaves": 2, "folds": 3, "trees": 1, "least_rows": 1, "patience": 1}.items():
            have = getattr(self, name)
            require(have >= least, f"A regression's {name} must be at least {least}, got {have}.")

    def check_rows(self, actions, rewards, units):
        """Raise UserError for rows that cannot teach it: too few rows or units, one action, one reward; no LightGBM."""
        library()
        fewest, title = self.folds * self.least_rows, self.title
        require(len(actions) >= fewest, f"{title} needs at least {fewest} decisions, the log has {len(actions)}.")
        require(units >= self.folds, f"{title} deals units to {self.folds} folds, and the log has {units} of them.")
        require(np.ptp(actions) > 0, f"{title} compares actions, and the log holds one action only.")
        require(np.ptp(rewards) > 0, f"{title} has nothing to learn: all rewards of the log are equal.")

    def prefit(self, key, columns, spec):
        """Fit all members of every action."""
        log = Decisions.of(key, columns, spec, self.folds, float(self.largest_weight))
        each = [self._ensemble(log, action) for action in range(spec.action.size)]
        return forest_of(log, spec, each, (self.trees, 2 * self.folds, 2 * self.leaves - 1))

    def _ensemble(self, log: Decisions, action: int) -> tuple[float, list[Boosted]]:
        """Return the constant of an action, the mean over its members, and their trees."""
        mine, step, penalty = log.where(log.action == action), float(self.learning_rate), float(self.penalty)
        how = Boosting(self.trees, self.leaves, self.least_rows, self.patience, step, penalty, 1.0 / self.folds)
        base, parts, rest, even = 0.0, [], mine.reward.copy(), np.ones(len(mine.reward))
        for k in range(self.folds):
            stops, own = mine.fold == (k + 1) % self.folds, mine.fold == k
            fits, centre = ~(stops | own), log.reward[log.fold != k].mean()
            start = constant(mine.reward[fits], even[fits], penalty, centre)
            parts.append(boosted(mine.table, mine.reward, even, fits, stops, how, start))
            rest[own] -= start + parts[-1].predict(mine.table[own])
            base += start / self.folds
        w = even if mine.weight is None else mine.weight / max(mine.weight.sum(), 1e-30) * len(rest)
        for k in range(self.folds) if mine.weight is not None else ():
            stops = mine.fold == k
            start = constant(rest[~stops], w[~stops], penalty)
            if np.sum(w[stops] * (np.square(rest[stops] - start) - np.square(rest[stops]))) >= 0:
                start = 0.0  # no better on the rows held out
            parts.append(boosted(mine.table, rest, w, ~stops, stops, how, start))
            base += start / self.folds
        return base, parts

    def init(self, key, spec, prior=None):
        self.check(spec)
        forest = blank(spec, (self.trees, 2 * self.folds, 2 * self.leaves - 1)) if prior is None else prior
        return State(forest, jnp.zeros((), jnp.int32), {"critic_loss": jnp.zeros(()), "mean_q": jnp.zeros(())})

    def update(self, state, batch, tick):
        grown = jnp.minimum(state.grown + 1, self.trees)
        more = State(state.forest, grown, state.figures)
        look, rest = (lambda: self.measure(more, batch, tick.key)), (lambda: state.figures)
        figures = jax.lax.cond(grown > state.grown, look, rest)
        return State(state.forest, grown, figures), figures

    def measure(self, state, batch, key):
        """The squared error of what is predicted for logged actions, and the mean of the best predictions."""
        forest = state.so_far
        q = forest.predict(batch.observation)
        error = batch.reward - pick(q, batch.action)
        return {"critic_loss": jnp.square(error).mean(), "mean_q": forest.held(q).max(-1).mean()}

    def policy(self, state):
        return EpsilonGreedy(state.so_far, jnp.asarray(self.epsilon))

    def value(self, state, observation, key):
        return state.so_far.all(observation).max(-1)
