r"""Tests of what an estimate assumes: pure functions of a log and a candidate that compile and map.

    ratios       E[ rho_t | past ] = 1,   E[ 1(a_t = a) rho_t - pi(a | s_t) | past ] = 0        (propensities, codes)
    agreement    (J_a - J_b) / sd(IF_a - IF_b)                       (estimators with different assumptions)
    behaviour    value of the logging policy by linear Q - mean logged return                   (a known answer)

Those of Markov observations are in `weft.evaluation.markov_tests`. The largest of several t values is compared with its
distribution under random signs of the units (Gaussian multipliers; Chernozhukov, Chetverikov and Kato 2013,
arXiv:1212.6906), so tests that depend on each other cost no more than they must. Errors are clustered by unit
everywhere, and sums for a fit count it as estimated.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ..core.linear_algebra import cholesky_inverse
from ..data.columns import Columns
from ..data.spec import Spec
from .case import Case, Weighing, mean
from .interval import spread
from .linear_q import block_inverse, blocks, diagonal, solve
from .moments import continued, moments, summed
from .thresholds import EFFECTIVE_STEPS, EQUAL_RATIOS, NEGLIGIBLE, PLENTY_STEPS
from .trajectories import Paths
from .waves import Features

__all__ = ["agreement", "alarmed", "behaviour_test", "effective_sizes", "largest_p", "largest_share",
           "mean_weight_test", "of_units", "pairwise", "plain_numbers", "random_waves", "spent",
           "trend_test"]  # fmt: skip

DRAWS = 999  # of the multipliers
ROUNDING = 1e-5  # mean error of ratios in 32 bits: those of the logging policy itself are 1 to the last digit but one
MOST_CHOICES = 32


# --- weights --------------------------------------------------------------------------------------------------------


def effective_sizes(paths: Paths, weighing: Weighing) -> Float[Array, "time"]:
    """Return the effective number of units at every step, `(sum W)^2 / sum W^2` with the weights of a unit summed."""
    weight = _unit_weights(paths, weighing)
    return weight.sum(0) ** 2 / jnp.maximum(jnp.square(weight).sum(0), 1e-30)


def largest_share(paths: Paths, weighing: Weighing) -> Float[Array, "time"]:
    """Return the share of all weight that the heaviest unit has, at every step."""
    weight = _unit_weights(paths, weighing)
    return weight.max(0) / jnp.maximum(weight.sum(0), 1e-30)


def _unit_weights(paths: Paths, weighing: Weighing) -> Float[Array, "unit time"]:
    counted = (weighing.starts > 0)[:, None]
    logs = jnp.where(counted, paths.log_weight, -jnp.inf)
    largest = logs.max(0)
    weight = weighing.starts[:, None] * jnp.exp(logs - jnp.where(jnp.isfinite(largest), largest, 0.0))
    return jnp.zeros_like(weight).at[weighing.unit].add(jnp.where(counted, weight, 0.0))


class MeanWeight(NamedTuple):
    """The mean one-step ratio, z values of it and of finer sums, and whether they are an alarm (`alarmed`)."""

    mean: Float[Array, ""]
    z: Float[Array, "test"]
    alarm: Bool[Array, ""]


def mean_weight_test(case: Case, key: PRNGKeyArray) -> MeanWeight:
    """Test whether one-step ratios have a mean of 1: z values of that mean, then of finer sums.

    The finer ones: ratios times waves of the observation, and for choices `1(a_t = a) rho_t - pi(a | s_t)` of every
    action, of which errors do not cancel. Cumulative weights alarm on right propensities, so they are not tested.

    The mean is 1 only where the log can show all that the policy does. A mean above 1 is always a mistake; one below
    may also be actions that the logging policy never takes. A policy whose codes are permuted is another policy with
    a mean of 1: no ratio can tell. Where the few large ratios that make up the mean have not been met often enough,
    their variance is taken to be what it would be had they (importance sampling's errors are smallest when the
    estimate is too low).
    """
    candidate, columns, weighing = case.candidate, case.columns, case.weighing
    assert candidate.log_prob is not None
    assert columns.log_propensity is not None
    counted = weighing.weights[columns.episode]
    ratio = jnp.where(counted > 0, jnp.exp(candidate.log_prob - columns.log_propensity), 0.0)
    seen = jax.tree.map(lambda part: part[columns.position], columns.observation)
    mix_key, wave_key = jax.random.split(key)
    tested = jnp.concatenate(
        [jnp.ones((len(ratio), 1)), random_waves(plain_numbers(seen, candidate.spec, mix_key), 4, wave_key)], 1
    )
    hit, expected = tested * ratio[:, None], tested
    factor, total = jnp.square(tested), jnp.full(tested.shape[1], (counted * 1.0).sum())
    met = jnp.full(tested.shape[1], (counted * ratio).sum())
    if candidate.probability is not None and candidate.spec.action.size <= MOST_CHOICES:
        chance = candidate.probability[columns.position]
        took = jax.nn.one_hot(columns.action, chance.shape[1])
        hit, expected = jnp.concatenate([hit, took * ratio[:, None]], 1), jnp.concatenate([expected, chance], 1)
        factor = jnp.concatenate([factor, took], 1)
        total, met = jnp.append(total, counted @ chance), jnp.append(met, counted @ (took * ratio[:, None]))
    error = hit - expected
    each = _by_unit(counted[:, None] * error, columns, weighing)
    square = counted @ (factor * jnp.square(ratio)[:, None])
    clustered = jnp.square(each).sum(0) / jnp.maximum(counted @ jnp.square(error), 1e-30)
    missing = jnp.maximum(clustered, 1.0) * jnp.maximum(total / jnp.maximum(met, 1e-30) - 1, 0.0) * square
    z = each.sum(0) / jnp.sqrt(jnp.square(each).sum(0) + missing + jnp.square(ROUNDING * counted.sum()) + 1e-12)
    plenty = (jnp.square(met) / jnp.maximum(square, 1e-30) >= EFFECTIVE_STEPS).at[0].set(met[0] > 0)
    z = jnp.where(plenty, z, 0.0)
    mean = met[0] / jnp.maximum(total[0], 1e-9)
    # one huge weight makes the mean wrong and its error as large; where no ratio is above 0 there is no error at all
    plainly = ((mean > EQUAL_RATIOS[1]) | (met[0] <= 0)) & ((counted > 0).sum() >= PLENTY_STEPS)
    return MeanWeight(mean, z, alarmed(z) | plainly)


def alarmed(z: Float[Array, "test"]) -> Bool[Array, ""]:
    """Say whether the z values of `mean_weight_test` are an alarm: |z| > 3 of the mean, or at .004 among the others."""
    rest = jnp.abs(z[1:])
    return (jnp.abs(z[0]) > 3) | (2 * norm.sf(rest) * len(rest) < 0.004).any()


# --- estimates ------------------------------------------------------------------------------------------------------


def pairwise(
    values: Float[Array, "k"],
    influences: Float[Array, "k unit"],
    count: Float[Array, ""] | int,
    least: Float[Array, ""] | float = 0.0,
) -> Float[Array, "k k"]:
    """Return the z value of every difference of estimates, of which the errors go together.

    A quarter of the larger error is added to that of a difference (in squares): estimators that are the same to first
    order differ by less than matters, and by an amount whose own error is not normal. So is `least`, what one more step
    would change: where hardly anything happened, no error that was seen is one.
    """
    count = jnp.asarray(count, jnp.float32)
    error = jax.vmap(lambda each: spread(each, count))(influences)
    apart = jax.vmap(lambda one: jax.vmap(lambda two: spread(one - two, count))(influences))(influences)
    floor = NEGLIGIBLE * jnp.maximum(error[:, None], error[None])
    return (values[:, None] - values[None]) / jnp.maximum(jnp.sqrt(apart**2 + floor**2 + least**2), 1e-12)


def agreement(
    values: Float[Array, "k"],
    influences: Float[Array, "k unit"],
    count: Float[Array, ""] | int,
    least: Float[Array, ""] | float = 0.0,
) -> Float[Array, ""]:
    """Return the largest |z| of a difference between two of k estimates.

    influences: of every unit on every estimate, as from `weft.evaluation.interval.influence`. count: number of units.
    least: error that every difference has at least.
    """
    return jnp.abs(pairwise(values, influences, count, least)).max()


def behaviour_test(
    basis: Features, case: Case, horizon: int | None, discount: Any, ridge: Any
) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """Return the value of the logging policy by linear Q, the mean logged return, and the z value of their difference.

    Next features are those of the logged next action, so no behaviour model is needed. The last step of an episode
    that was cut has none: there the logged return goes on with Q. Both sums see the same episodes, and the error of
    their difference counts the fit.
    """
    columns, weighing, episodes = case.columns, case.weighing, case.episodes
    every = moments(basis, None, columns, episodes, discount, horizon)
    laid = case.trajectories
    where, passed = laid.layout, laid.paths(discount).discount
    used = where(continued(columns, jnp.arange(len(columns.terminal)))[0], False)
    total = jnp.where(used, passed * laid.reward, 0.0).sum(1)
    last = where.there.sum(1) - 1  # the one step that an episode may have been cut after
    cut = jnp.take_along_axis(where.there & ~used, last[:, None], 1)[:, 0]
    reached = jnp.where(cut, jnp.take_along_axis(passed, last[:, None], 1)[:, 0], 0.0)
    row = jnp.take_along_axis(where.row, last[:, None], 1)[:, 0]

    def apart(weights: Array) -> tuple[Array, tuple[Array, Array]]:
        starts = weighing.reweighted(weights).starts
        solution = solve(every.weighted(weights), every.initial(starts), horizon, ridge)
        share = starts * reached / jnp.maximum(starts.sum(), 1e-9)

        def beyond(episode: Array, weight: Array) -> Array:
            at = columns.position[row[episode]]
            seen = jax.tree.map(lambda part: part[at], columns.observation)
            here = basis.logged(seen, columns.action[row[episode]])
            q = (here * solution.at(last[episode], horizon)).sum(1)
            return weight @ q

        logged = mean(total, starts) + summed(beyond, share, every.width)
        value = solution.first @ solution.theta[-1]
        return value - logged, (value, logged)

    slope, (value, logged) = jax.grad(apart, has_aux=True)(weighing.weights)
    each = of_units(slope * weighing.weights, weighing)
    count = _unit_count(weighing)
    returns = of_units(weighing.starts * (total - mean(total, weighing.starts)), weighing) / weighing.starts.sum()
    error = jnp.sqrt(spread(each, count) ** 2 + (NEGLIGIBLE * spread(returns, count)) ** 2)
    return value, logged, (value - logged) / jnp.maximum(error, 1e-12)


def trend_test(values: Float[Array, "episode"], order: Float[Array, "episode"], weighing: Weighing) -> Float[Array, ""]:
    """Return the z value of a trend of episodes' values over their order in time, clustered by unit."""
    weights = weighing.weights
    apart = order - mean(order, weights)
    slope = mean(apart * (values - mean(values, weights)), weights) / jnp.maximum(mean(apart**2, weights), 1e-12)
    rest = values - mean(values, weights) - slope * apart
    each = of_units(jnp.where(weights > 0, weights * apart * rest, 0.0), weighing)
    total = slope * (weights * apart**2).sum()
    return total / jnp.maximum(spread(each, _unit_count(weighing)), 1e-12)


# --- parts ----------------------------------------------------------------------------------------------------------


def largest_p(
    sums: Float[Array, "test"], each: Float[Array, "unit test"], spent: Any, key: PRNGKeyArray
) -> Float[Array, ""]:
    """Return the p-value of the largest |sum| over its error, of sums whose units contribute `each`.

    spent: factor of their variances, for what was fitted.
    """
    error = jnp.sqrt(jnp.square(each).sum(0))
    # a sum that hardly varies is one of rounding, and its t value means nothing
    usable = error > 1e-6 * jnp.maximum(error.max(), 1e-30)
    scaled = jnp.where(usable, each / jnp.maximum(error, 1e-30), 0.0)
    largest = jnp.abs(jnp.where(usable, sums / jnp.maximum(error, 1e-30), 0.0)).max() / jnp.sqrt(spent)
    if scaled.shape[1] < len(scaled):  # sums of units times normal signs, drawn by their covariance
        covariance = scaled.T @ scaled
        scaled = cholesky_inverse(covariance + ROUNDING * jnp.eye(len(covariance))) @ covariance
    drawn = jnp.abs(jax.random.normal(key, (DRAWS, len(scaled))) @ scaled).max(1)
    return (1.0 + (drawn >= largest).sum()) / (DRAWS + 1.0)  # what was seen counts as a draw, so p is never 0


def spent(gram: Array, ridge: Any, count: Array) -> Array:
    """Return by how much squared residuals are too small, because as many features as these were fitted."""
    added = diagonal(ridge, gram)
    used = len(gram) - added * jnp.einsum("aii->", block_inverse(blocks(gram, added)))
    return count / jnp.maximum(count - used, 1.0)


def of_units(values: Float[Array, "episode"], weighing: Weighing) -> Float[Array, "unit"]:
    """Return sums over the episodes of every unit."""
    return jnp.zeros(len(weighing.weights)).at[weighing.unit].add(values)


def _unit_count(weighing: Weighing) -> Int[Array, ""]:
    return (jnp.zeros(len(weighing.weights)).at[weighing.unit].max(weighing.weights) > 0).sum()


def _by_unit(values: Float[Array, "row test"], columns: Columns, weighing: Weighing) -> Float[Array, "unit test"]:
    return jnp.zeros((len(weighing.weights), values.shape[1])).at[weighing.unit[columns.episode]].add(values)


def plain_numbers(observation: PyTree, spec: Spec, key: PRNGKeyArray) -> Float[Array, "row input"]:
    """Return observations as numbers, whatever their kind: codes become random vectors."""
    inputs = []
    for number, part in enumerate(spec.observations):
        values = observation if part.name == "" else observation[part.name]
        if part.kind in ("category", "tokens"):
            size = max(part.count, 1)
            table = jax.random.normal(jax.random.fold_in(key, number), (size, min(size, 8)))
            values = jnp.where((values >= 0)[..., None], table[jnp.clip(values, 0)], 0.0)
        elif part.kind == "image":
            values = values / 128.0 - 1.0
        inputs.append(values.reshape(len(values), -1).astype(jnp.float32))
    return jnp.concatenate(inputs, 1)


def random_waves(numbers: Float[Array, "row input"], count: int, key: PRNGKeyArray) -> Float[Array, "row wave"]:
    """Return random waves of numbers of size one: bounded, slow and fast ones."""
    mix_key, phase_key = jax.random.split(key)
    scale = jnp.asarray([0.5, 1.0, 2.0])[jnp.arange(count) % 3] / jnp.sqrt(float(numbers.shape[1]))
    mix = jax.random.normal(mix_key, (numbers.shape[1], count)) * scale
    return jnp.cos(numbers @ mix + jax.random.uniform(phase_key, (count,), maxval=2 * jnp.pi))
