r"""Tests of what an estimate assumes: pure functions of a log and a candidate that compile and map.

    ratios       E[ rho_t | past ] = 1,   E[ 1(a_t = a) rho_t - pi(a | s_t) | past ] = 0        (propensities, codes)
    agreement    (J_a - J_b) / sd(IF_a - IF_b)                       (estimators with different assumptions)
    behaviour    value of the logging policy by linear Q - mean logged return                   (a known answer)
    Bellman      E[ g (r + gamma V(s') - Q(s, a)) ] = 0 for every g of the past                  (Q is right, Markov)
    memory       E[ (y - E[y | s, a]) (g - E[g | s, a]) ] = 0 for every g of the step before     (Markov)

g are random waves of what must not matter. The largest of several t values is compared with its distribution under
random signs of the units (Gaussian multipliers; Chernozhukov, Chetverikov and Kato 2013, arXiv:1212.6906), so tests
that depend on each other cost no more than they must. Errors are clustered by unit everywhere, and sums for a fit
count it as estimated. The memory test is the generalised covariance measure (Shah and Peters 2020, arXiv:1804.07203).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ..core.linear_algebra import cholesky_inverse, positive_inverse
from ..data.columns import Columns
from ..data.spec import Spec
from .case import Case, Weighing, mean
from .interval import spread
from .linear_q import block_inverse, blocks, diagonal, solve
from .moments import continued, discounted, moments, summed
from .thresholds import EFFECTIVE_STEPS, EQUAL_RATIOS, NEGLIGIBLE, PLENTY_STEPS
from .trajectories import Paths
from .waves import Features

__all__ = ["agreement", "alarmed", "behaviour_test", "bellman_test", "effective_sizes", "largest_p",
           "largest_share", "mean_weight_test", "memory_test", "pairwise", "trend_test"]  # fmt: skip

DRAWS = 999  # of the multipliers
WAVES = 16  # functions of what must not matter
ROUNDING = 1e-5  # mean error of ratios in 32 bits: those of the logging policy itself are 1 to the last digit but one
MOST_CHOICES = 32
ROOM = 2**24  # numbers that may be laid out at once


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
        [jnp.ones((len(ratio), 1)), _waves(_numbers(seen, candidate.spec, mix_key), 4, wave_key)], 1
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

        def beyond(episode: Array, there: Array) -> Array:
            at = columns.position[row[episode]]
            seen = jax.tree.map(lambda part: part[at], columns.observation)
            here = basis.logged(seen, columns.action[row[episode]])
            q = (here * solution.at(last[episode], horizon)).sum(1)
            return jnp.where(there, share[episode], 0.0) @ q

        logged = mean(total, starts) + summed(beyond, episodes, every.width)
        value = solution.first @ solution.theta[-1]
        return value - logged, (value, logged)

    slope, (value, logged) = jax.grad(apart, has_aux=True)(weighing.weights)
    each = _units(slope * weighing.weights, weighing)
    count = _unit_count(weighing)
    returns = _units(weighing.starts * (total - mean(total, weighing.starts)), weighing) / weighing.starts.sum()
    error = jnp.sqrt(spread(each, count) ** 2 + (NEGLIGIBLE * spread(returns, count)) ** 2)
    return value, logged, (value - logged) / jnp.maximum(error, 1e-12)


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
    candidate, columns, weighing = case.candidate, case.columns, case.weighing
    spec, episodes = candidate.spec, case.episodes
    every = moments(basis, candidate, columns, episodes, discount, horizon)
    fold = weighing.unit % folds

    def coefficients(weights: Array) -> Array:
        def fit(number: Array) -> Array:
            others = weights if folds == 1 else jnp.where(fold == number, 0.0, weights)
            return solve(every.weighted(others), jnp.zeros(every.width), horizon, ridge).theta

        return jax.vmap(fit)(jnp.arange(folds))

    # the pull-back of Q's coefficients gives, for every wave, what an episode changes of its sum by way of the fit
    theta, back = jax.vjp(coefficients, weighing.weights)
    steps = theta.shape[1]
    left = jnp.zeros_like(columns.step) if horizon is None else jnp.clip(horizon - columns.step, 0, horizon)
    later = left if horizon is None else jnp.clip(left - 1, 0, horizon)
    of = fold[columns.episode]
    seen, after = (
        jax.tree.map(lambda part, at=at: part[at], columns.observation) for at in (columns.position, columns.successor)
    )
    here = basis.logged(seen, columns.action)
    ahead = discounted(columns, jnp.arange(len(columns.terminal)), discount)
    there = ahead[:, None] * basis.expected(candidate, after, columns.successor)
    error = columns.reward[:, 0] + (there * theta[of, later]).sum(1) - (here * theta[of, left]).sum(1)
    counted = weighing.weights[columns.episode]
    waves = _past(columns, spec, counted, key, timed=True)

    def each(wave: Array) -> Array:
        part = (counted * wave)[:, None]
        slope = _sums(part * there, of * steps + later, folds * steps)
        slope = slope - _sums(part * here, of * steps + left, folds * steps)
        indirect = weighing.weights * back(slope.reshape(theta.shape))[0]
        return indirect + jnp.zeros(episodes).at[columns.episode].add(part[:, 0] * error)

    together = here.size * waves.shape[1] <= ROOM
    influences = jax.vmap(each)(waves.T) if together else jax.lax.map(each, waves.T)
    sums = (counted * error) @ waves
    spent = 1.0
    if folds == 1:  # residuals of the steps that Q was fitted on are too small
        spent = _spent(every.weighted(weighing.weights).gram, ridge, counted.sum())
    return largest_p(sums, jax.vmap(lambda one: _units(one, weighing))(influences).T, spent, jax.random.fold_in(key, 1))


def memory_test(
    basis: Features, case: Case, key: PRNGKeyArray, ridge: Any = 1e-4, target: str = "world"
) -> Float[Array, ""]:
    """Return the p-value of "the step before says nothing more", given what is seen and done now.

    target: `world` (of reward, end and next observation, given observation and action) or `behaviour` (of the action,
    given the observation). What is known of the step before: its observation, action and reward. Steps without one
    are left out; with none at all the p-value is 1.
    """
    spec, columns, weighing = basis.spec, case.columns, case.weighing
    counted = jnp.where(columns.step > 0, weighing.weights[columns.episode], 0.0)
    seen, after = (
        jax.tree.map(lambda part, at=at: part[at], columns.observation) for at in (columns.position, columns.successor)
    )
    mix_key, wave_key, past_key, test_key = jax.random.split(key, 4)
    if target == "behaviour":
        present = basis.state(seen) if spec.discrete else basis.logged(seen, 0 * columns.action)
        outcome = _done(columns, spec)
    else:
        present = basis.logged(seen, columns.action)
        following = _waves(_numbers(after, spec, mix_key), 4, wave_key) * ~columns.terminal[:, None]
        outcome = jnp.concatenate([columns.reward, columns.terminal[:, None].astype(jnp.float32), following], 1)
    waves = _past(columns, spec, counted, past_key, acted=target != "behaviour")
    gram = (counted[:, None] * present).T @ present
    added = ridge * (jnp.trace(gram) / len(gram) + 1e-12)
    both = jnp.concatenate([outcome, waves], 1)
    middle = counted @ both / jnp.maximum(counted.sum(), 1.0)
    both = both - middle
    fit = positive_inverse(gram + added * jnp.eye(len(gram))) @ (present.T @ (counted[:, None] * both))
    rest = both - present @ fit  # of outcomes and of the past: without a common cause these are uncorrelated
    deviation = jnp.sqrt(counted @ jnp.square(rest) / jnp.maximum(counted.sum(), 1.0))
    usual = jnp.sqrt(counted @ jnp.square(both) / jnp.maximum(counted.sum(), 1.0))
    rest = jnp.where(deviation > 1e-3 * usual + 1e-6, rest / jnp.maximum(deviation, 1e-12), 0.0)  # of rounding
    first, second = rest[:, : outcome.shape[1]], rest[:, outcome.shape[1] :]
    product = (counted[:, None, None] * first[:, :, None] * second[:, None, :]).reshape(len(first), -1)
    each = _by_unit(product, columns, weighing)
    return largest_p(each.sum(0), each, _spent(gram, ridge, counted.sum()), test_key)


def trend_test(values: Float[Array, "episode"], order: Float[Array, "episode"], weighing: Weighing) -> Float[Array, ""]:
    """Return the z value of a trend of episodes' values over their order in time, clustered by unit."""
    weights = weighing.weights
    apart = order - mean(order, weights)
    slope = mean(apart * (values - mean(values, weights)), weights) / jnp.maximum(mean(apart**2, weights), 1e-12)
    rest = values - mean(values, weights) - slope * apart
    each = _units(jnp.where(weights > 0, weights * apart * rest, 0.0), weighing)
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


def _sums(values: Float[Array, "row feature"], group: Array, groups: int) -> Float[Array, "group feature"]:
    """Return sums by group: as a product where it fits, because a CPU scatters slowly."""
    if len(group) * groups > ROOM:
        return jax.ops.segment_sum(values, group, groups)
    return jax.nn.one_hot(group, groups).T @ values


def _spent(gram: Array, ridge: Any, count: Array) -> Array:
    """Return by how much squared residuals are too small, because as many features as these were fitted."""
    added = diagonal(ridge, gram)
    used = len(gram) - added * jnp.einsum("aii->", block_inverse(blocks(gram, added)))
    return count / jnp.maximum(count - used, 1.0)


def _units(values: Float[Array, "episode"], weighing: Weighing) -> Float[Array, "unit"]:
    return jnp.zeros(len(weighing.weights)).at[weighing.unit].add(values)


def _unit_count(weighing: Weighing) -> Int[Array, ""]:
    return (jnp.zeros(len(weighing.weights)).at[weighing.unit].max(weighing.weights) > 0).sum()


def _by_unit(values: Float[Array, "row test"], columns: Columns, weighing: Weighing) -> Float[Array, "unit test"]:
    return jnp.zeros((len(weighing.weights), values.shape[1])).at[weighing.unit[columns.episode]].add(values)


def _done(columns: Columns, spec: Spec) -> Float[Array, "row act"]:
    if spec.discrete:
        return jax.nn.one_hot(columns.action, spec.action.size)
    return columns.action.reshape(len(columns.action), -1).astype(jnp.float32)


def _numbers(observation: PyTree, spec: Spec, key: PRNGKeyArray) -> Float[Array, "row input"]:
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


def _waves(numbers: Float[Array, "row input"], count: int, key: PRNGKeyArray) -> Float[Array, "row wave"]:
    """Return random waves of numbers of size one: bounded, slow and fast ones."""
    mix_key, phase_key = jax.random.split(key)
    scale = jnp.asarray([0.5, 1.0, 2.0])[jnp.arange(count) % 3] / jnp.sqrt(float(numbers.shape[1]))
    mix = jax.random.normal(mix_key, (numbers.shape[1], count)) * scale
    return jnp.cos(numbers @ mix + jax.random.uniform(phase_key, (count,), maxval=2 * jnp.pi))


def _past(
    columns: Columns, spec: Spec, counted: Array, key: PRNGKeyArray, timed: bool = False, acted: bool = True
) -> Float[Array, "row wave"]:
    """Return waves of the step before alone and with the step itself (its action only if `acted`); `timed` adds those
    of its time and of itself.
    """
    number_key, before_key, both_key, now_key = jax.random.split(key, 4)
    seen = jax.tree.map(lambda part: part[columns.position], columns.observation)
    now = jnp.concatenate([_numbers(seen, spec, number_key), _done(columns, spec)], 1)
    share = counted / jnp.maximum(counted.sum(), 1.0)
    reward = columns.reward[:, 0]
    reward = (reward - share @ reward) / jnp.sqrt(share @ jnp.square(reward - share @ reward) + 1e-12)
    row = jnp.maximum(jnp.arange(len(now)) - 1, 0)
    there = (columns.step > 0).astype(jnp.float32)[:, None]
    before = jnp.concatenate([now, reward[:, None]], 1)[row] * there
    now = now if acted else now[:, : now.shape[1] - _done(columns, spec).shape[1]]
    time = (columns.step / max(1, spec.longest - 1) * 3.0)[:, None]
    alone = _waves(before, WAVES // 2, before_key)
    both = _waves(jnp.concatenate([now, before], 1), WAVES // 2, both_key)
    if not timed:
        return jnp.concatenate([alone, both], 1)
    return jnp.concatenate(
        [alone, both, _waves(time, 3, now_key), _waves(jnp.concatenate([now, time], 1), 5, now_key)], 1
    )
