r"""Tests of Markov observations: whether Bellman's equation holds, and whether the step before says more.

    Bellman      E[ g (r + gamma V(s') - Q(s, a)) ] = 0 for every g of the past                  (Q is right, Markov)
    memory       E[ (y - E[y | s, a]) (g - E[g | s, a]) ] = 0 for every g of the step before     (Markov)

g are random waves of what must not matter; the rest as of `weft.evaluation.specification_tests`. The memory test is the
generalised covariance measure (Shah and Peters 2020, arXiv:1804.07203). Features and waves of a step are made anew for
every sum over the log, some steps at a time, so that memory does not grow with their number.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ..core.linear_algebra import positive_inverse
from ..data.columns import Columns
from ..data.spec import Spec
from .case import Case
from .linear_q import solve
from .moments import discounted, grouped, moments, summed
from .specification_tests import largest_p, of_units, plain_numbers, random_waves, spent
from .waves import Features

__all__ = ["bellman_test", "memory_test"]

WAVES = 16  # functions of what must not matter
ROOM = 2**24  # numbers that may be laid out at once


def bellman_test(
    basis: Features,
    case: Case,
    horizon: int | None,
    discount: Any,
    ridge: Any,
    key: PRNGKeyArray,
    folds: int = 1,
) -> Float[Array, ""]:
    """Return the p-value of "Bellman's equation holds for the linear Q of the candidate, whatever came before".

    Residuals are projected on random waves of the step, of its time, and of the step before with its reward; with a
    horizon, Q is that of the steps that are left. Small where observations hide what matters (are aliased), where the
    world changes with time, and where the features cannot hold Q. The error of Q counts in first order. folds: 1 fits
    Q on all episodes, with a correction for the features spent; more fit it on other units, which has no level where
    features are as rare as units (a cell that the other folds never saw has no Q).
    """
    columns, weighing = case.columns, case.weighing
    every = moments(basis, case.candidate, columns, case.episodes, discount, horizon)
    fold = weighing.unit % folds

    def coefficients(weights: Array) -> Array:
        def fit(number: Array) -> Array:
            others = weights if folds == 1 else jnp.where(fold == number, 0.0, weights)
            return solve(every.weighted(others), jnp.zeros(every.width), horizon, ridge).theta

        return jax.vmap(fit)(jnp.arange(folds))

    # the pull-back of Q's coefficients gives, for every wave, what an episode changes of its sum by way of the fit
    theta, back = jax.vjp(coefficients, weighing.weights)
    left = jnp.zeros_like(columns.step) if horizon is None else jnp.clip(horizon - columns.step, 0, horizon)
    later = left if horizon is None else jnp.clip(left - 1, 0, horizon)
    begin = fold[columns.episode] * theta.shape[1]
    equation = _Equation(basis, case, discount, theta.reshape(-1, theta.shape[2]), begin + left, begin + later)
    own, slopes = equation.sums(key)

    def indirect(slope: Array) -> Array:
        return weighing.weights * back(slope.reshape(theta.shape))[0]

    together = len(columns.terminal) * slopes[:, 0].size <= ROOM
    influences = own.T + (jax.vmap(indirect)(slopes) if together else jax.lax.map(indirect, slopes))
    factor = 1.0
    if folds == 1:  # residuals of the steps that Q was fitted on are too small
        factor = spent(every.weighted(weighing.weights).gram, ridge, weighing.weights[columns.episode].sum())
    by_unit = jax.vmap(lambda one: of_units(one, weighing))(influences).T
    return largest_p(own.sum(0), by_unit, factor, jax.random.fold_in(key, 1))


class _Equation(NamedTuple):
    """Bellman's equation at every step of a log: coefficients of Q by group, and which group holds at a step, `now` and
    after it."""

    basis: Features
    case: Case
    discount: Any
    theta: Float[Array, "group feature"]
    now: Int[Array, "row"]
    later: Int[Array, "row"]

    def features(self, row: Int[Array, "step"]) -> tuple[Float[Array, "step feature"], Float[Array, "step feature"]]:
        """Return the features of steps, and the discounted ones of what follows."""
        columns = self.case.columns
        after = columns.successor[row]
        ahead = discounted(columns, row, self.discount)[:, None]
        here = self.basis.logged(_seen(columns, columns.position[row]), columns.action[row])
        return here, ahead * self.basis.expected(self.case.candidate, _seen(columns, after), after)

    def error(self, row: Int[Array, "step"]) -> Float[Array, "step"]:
        """Return by how much the equation is wrong."""
        here, there = self.features(row)
        ahead, now = (there * self.theta[self.later[row]]).sum(1), (here * self.theta[self.now[row]]).sum(1)
        return self.case.columns.reward[row, 0] + ahead - now

    def sums(self, key: PRNGKeyArray) -> tuple[Float[Array, "episode wave"], Float[Array, "wave group feature"]]:
        """Return the sums of weighed errors times waves of the past by episode, and their slopes in `theta`."""
        case, columns = self.case, self.case.columns
        counted, (groups, width) = case.weighing.weights[columns.episode], self.theta.shape
        waves = _past(columns, case.candidate.spec, counted, key, timed=True)

        def own(row: Array, weight: Array) -> tuple[Array, Array]:
            return columns.episode[row], (weight * self.error(row))[:, None] * waves(row)

        def slope(group: Array, place: int, row: Array, weight: Array) -> tuple[Array, Array]:
            return group[row], (weight[:, None] * waves(row))[:, :, None] * self.features(row)[place][:, None, :]

        by_episode = grouped(own, counted, width, case.episodes)
        size = width * by_episode.shape[1]
        ahead, now = (
            grouped(partial(slope, group, place), counted, size, groups)
            for place, group in ((1, self.later), (0, self.now))
        )
        return by_episode, jnp.moveaxis(ahead - now, 1, 0)


def memory_test(
    basis: Features, case: Case, key: PRNGKeyArray, ridge: Any = 1e-4, target: str = "world"
) -> Float[Array, ""]:
    """Return the p-value of "the step before says nothing more", given what is seen and done now.

    target: `world` (of reward, end and next observation, given observation and action) or `behaviour` (of the action,
    given the observation). What is known of the step before: its observation, action and reward. Steps without one
    are left out; with none at all the p-value is 1.
    """
    columns, weighing = case.columns, case.weighing
    counted = jnp.where(columns.step > 0, weighing.weights[columns.episode], 0.0)
    count = jnp.maximum(counted.sum(), 1.0)
    *keys, test_key = jax.random.split(key, 4)
    step = _remembered(basis, columns, counted, keys, target)
    width, results = (part.shape[1] for part in jax.eval_shape(step, jnp.zeros(1, jnp.int32))[:2])

    def first(row: Array, weight: Array) -> tuple[Array, Array]:
        present, *both = step(row)
        return (weight[:, None] * present).T @ present, weight @ jnp.concatenate(both, 1)

    gram, total = summed(first, counted, width)
    added = ridge * (jnp.trace(gram) / len(gram) + 1e-12)

    def centred(row: Array) -> tuple[Array, Array]:
        present, *both = step(row)
        return present, jnp.concatenate(both, 1) - total / count

    def cross(row: Array, weight: Array) -> Array:
        present, both = centred(row)
        return present.T @ (weight[:, None] * both)

    fit = positive_inverse(gram + added * jnp.eye(len(gram))) @ summed(cross, counted, width)

    def squares(row: Array, weight: Array) -> tuple[Array, Array]:
        present, both = centred(row)
        return weight @ jnp.square(both - present @ fit), weight @ jnp.square(both)

    # of outcomes and of the past what is left over: without a common cause these are uncorrelated
    deviation, usual = (jnp.sqrt(part / count) for part in summed(squares, counted, width))
    scale = jnp.where(deviation > 1e-3 * usual + 1e-6, 1 / jnp.maximum(deviation, 1e-12), 0.0)  # of rounding

    def product(row: Array, weight: Array) -> tuple[Array, Array]:
        present, both = centred(row)
        rest = (both - present @ fit) * scale
        weighed = weight[:, None] * rest[:, :results]
        return weighing.unit[columns.episode[row]], weighed[:, :, None] * rest[:, None, results:]

    each = grouped(product, counted, width, len(weighing.weights)).reshape(len(weighing.weights), -1)
    return largest_p(each.sum(0), each, spent(gram, ridge, counted.sum()), test_key)


def _remembered(
    basis: Features, columns: Columns, counted: Array, keys: list[PRNGKeyArray], target: str
) -> Callable[[Int[Array, "row"]], tuple[Array, Array, Array]]:
    """Return, of any rows, features of what is seen and done now, what follows, and waves of what was."""
    spec, (mix_key, wave_key, past_key) = basis.spec, keys
    waves = _past(columns, spec, counted, past_key, acted=target != "behaviour")

    def step(row: Array) -> tuple[Array, Array, Array]:
        seen, action = _seen(columns, columns.position[row]), columns.action[row]
        if target == "behaviour":
            present = basis.state(seen) if spec.discrete else basis.logged(seen, 0 * action)
            return present, _done(action, spec), waves(row)
        after, end = _seen(columns, columns.successor[row]), columns.terminal[row][:, None]
        following = random_waves(plain_numbers(after, spec, mix_key), 4, wave_key) * ~end
        outcome = jnp.concatenate([columns.reward[row], end.astype(jnp.float32), following], 1)
        return basis.logged(seen, action), outcome, waves(row)

    return step


def _seen(columns: Columns, at: Int[Array, "row"]) -> PyTree:
    return jax.tree.map(lambda part: part[at], columns.observation)


def _done(action: Array, spec: Spec) -> Float[Array, "row act"]:
    if spec.discrete:
        return jax.nn.one_hot(action, spec.action.size)
    return action.reshape(len(action), -1).astype(jnp.float32)


def _past(
    columns: Columns, spec: Spec, counted: Array, key: PRNGKeyArray, timed: bool = False, acted: bool = True
) -> Callable[[Int[Array, "row"]], Float[Array, "row wave"]]:
    """Return waves, of any rows, of the step before alone and with the step itself (its action only if `acted`);
    `timed` adds those of its time and of itself.
    """
    number_key, before_key, both_key, now_key = jax.random.split(key, 4)
    share = counted / jnp.maximum(counted.sum(), 1.0)
    reward = columns.reward[:, 0]
    reward = (reward - share @ reward) / jnp.sqrt(share @ jnp.square(reward - share @ reward) + 1e-12)

    def step(row: Array) -> tuple[Array, Array]:
        seen = plain_numbers(_seen(columns, columns.position[row]), spec, number_key)
        return seen, _done(columns.action[row], spec)

    def waves(row: Array) -> Array:
        last = jnp.maximum(row - 1, 0)
        there = (columns.step[row] > 0).astype(jnp.float32)[:, None]
        before = jnp.concatenate([*step(last), reward[last][:, None]], 1) * there
        now = jnp.concatenate(step(row), 1) if acted else step(row)[0]
        alone = random_waves(before, WAVES // 2, before_key)
        both = random_waves(jnp.concatenate([now, before], 1), WAVES // 2, both_key)
        if not timed:
            return jnp.concatenate([alone, both], 1)
        time = (columns.step[row] / max(1, spec.longest - 1) * 3.0)[:, None]
        itself = random_waves(jnp.concatenate([now, time], 1), 5, now_key)
        return jnp.concatenate([alone, both, random_waves(time, 3, now_key), itself], 1)

    return waves
