"""Every interval against an independent formula: NumPy, SciPy and by hand, on logs whose answer is known."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from weft.core.pytree import as_arrays
from weft.data.dataset import Dataset
from weft.evaluation.betting import lower_bound
from weft.evaluation.case import case_of
from weft.evaluation.estimator import Statistic
from weft.evaluation.estimators.importance_sampling import ImportanceSampling
from weft.evaluation.estimators.per_decision import PerDecision
from weft.evaluation.intervals.bca import Accelerated
from weft.evaluation.intervals.bernstein import Bernstein
from weft.evaluation.intervals.betting import Betting
from weft.evaluation.intervals.bootstrap import Bootstrap
from weft.evaluation.intervals.normal import Normal
from weft.evaluation.intervals.student import Student, quantile

EPISODES, LONGEST, DISCOUNT = 60, 3, 0.9
PLAIN = ImportanceSampling(discount=DISCOUNT)
RATIO = ImportanceSampling(discount=DISCOUNT, self_normalised=True)
STEPS = PerDecision(discount=DISCOUNT)


@functools.cache
def log(units=EPISODES):
    """Return a log of episodes of 1 to 3 steps with `units` users, and its ratios and rewards `(episode, time)`."""
    random = np.random.default_rng(4)
    length = random.integers(1, LONGEST + 1, EPISODES)
    there = np.arange(LONGEST) < length[:, None]
    action, propensity = random.integers(0, 2, there.shape), random.uniform(0.3, 0.8, there.shape)
    reward = random.uniform(size=there.shape) ** 2
    user = np.repeat(np.arange(units), EPISODES // units)[:, None] + np.zeros_like(action)
    ends = np.arange(LONGEST) == length[:, None] - 1
    data = Dataset.from_arrays(
        np.ones((there.sum(), 1)), action[there], reward[there], ends[there], propensities=propensity[there],
        action_count=2, columns={"user": user[there]},
    )  # fmt: skip
    asked = case_of(lambda seen: np.full((len(seen), 2), 0.5), data.declare(unit="user"), None, True, 1, 0)
    ratio, gain = np.where(there, 0.5 / propensity, 1.0), np.where(there, reward, 0.0)
    return asked, ratio, gain * DISCOUNT ** np.arange(LONGEST), user[:, 0]


@eqx.filter_jit
def program(ranged, method, asked, level):
    return ranged(method, asked, jax.random.key(0), level)


def bounds(ranged, method, level=0.95, units=EPISODES, asked=None):
    found = program(as_arrays(ranged), as_arrays(method), log(units)[0] if asked is None else asked, level)
    return float(found.value), float(found.low), float(found.high), float(found.deviation)


def parts():
    """Return weight and weighed return of every episode."""
    _, ratio, gain, _ = log()
    weight = ratio.prod(1)
    return weight, weight * gain.sum(1)


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_normal_interval_of_a_mean(level):
    _, term = parts()
    error = term.std(ddof=1) / np.sqrt(EPISODES)
    reach = scipy.stats.norm.ppf(0.5 + level / 2) * error
    expected = term.mean(), term.mean() - reach, term.mean() + reach, error
    np.testing.assert_allclose(bounds(Normal(), PLAIN, level), expected, rtol=1e-4)


def test_the_normal_interval_of_a_ratio_is_the_delta_method():
    weight, term = parts()
    value = term.sum() / weight.sum()
    residual = (term - value * weight) / weight.mean()
    error = np.sqrt((residual**2).sum() / (EPISODES - 1) / EPISODES)
    found = bounds(Normal(), RATIO)
    np.testing.assert_allclose(found[::3], (value, error), rtol=1e-4)
    fixed = (term / weight.mean()).std(ddof=1) / np.sqrt(EPISODES)  # the normaliser taken for known
    assert abs(found[3] - fixed) > 0.1 * fixed


@pytest.mark.parametrize("units", [5, 60])
@pytest.mark.parametrize("level", [0.9, 0.99])
def test_students_interval_is_scipys(units, level):
    _, term = parts()
    means = term.reshape(units, -1).mean(1)
    expected = scipy.stats.t.interval(level, units - 1, means.mean(), scipy.stats.sem(means))
    np.testing.assert_allclose(bounds(Student(), PLAIN, level, units)[1:3], expected, rtol=2e-4)


@pytest.mark.parametrize("freedom", [1, 2, 7, 50, 51, 3000, 1e6])
@pytest.mark.parametrize("chance", [0.6, 0.95, 0.975, 0.999])
def test_the_quantiles_of_students_t(freedom, chance):
    found = float(quantile(jnp.asarray(chance), jnp.asarray(float(freedom))))
    assert found == pytest.approx(scipy.stats.t.ppf(chance, freedom), rel=3e-4)


def test_the_clustered_error_sums_influence_by_unit():
    weight, term = parts()
    value, user = term.sum() / weight.sum(), log(12)[3]
    sums = np.bincount(user, (term - value * weight) / weight.sum())
    error = np.sqrt((sums**2).sum() * 12 / 11)
    assert bounds(Normal(), RATIO, units=12)[3] == pytest.approx(error, rel=1e-4)


def test_only_units_that_begin_where_the_policy_will_are_counted():
    _, term = parts()
    begins = (jnp.arange(EPISODES) < 6).astype(jnp.float32)
    case = eqx.tree_at(lambda case: case.weighing.initial, log()[0], begins)
    expected = scipy.stats.t.interval(0.95, 5, term[:6].mean(), scipy.stats.sem(term[:6]))
    found = bounds(Student(), PLAIN, asked=case)
    np.testing.assert_allclose(found[1:3], expected, rtol=2e-4)


@pytest.mark.parametrize("method", [PLAIN, RATIO])
def test_the_accelerated_bootstrap_is_scipys(method):
    weight, term = parts()

    def statistic(weight, term, axis):
        return term.mean(axis) / weight.mean(axis) if method is RATIO else term.mean(axis)

    theirs = scipy.stats.bootstrap(
        (weight, term), statistic, paired=True, method="BCa", n_resamples=20000, rng=np.random.default_rng(0)
    )
    value, low, high, error = bounds(Accelerated(4000), method)
    assert value == pytest.approx(float(statistic(weight, term, 0)), rel=1e-4)
    assert error == pytest.approx(theirs.standard_error, rel=0.03)
    assert (low, high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.06 * (high - low))
    percentile = np.quantile(theirs.bootstrap_distribution, [0.025, 0.975])
    assert abs(high - percentile[1]) < abs(theirs.confidence_interval.high - percentile[1]) + 0.06 * (high - low)


def test_the_bootstrap_of_a_ratio():
    weight, term = parts()
    random = np.random.default_rng(1)
    drawn = random.integers(0, EPISODES, (4000, EPISODES))
    error = (term[drawn].mean(1) / weight[drawn].mean(1)).std()
    value, low, high, deviation = bounds(Bootstrap(2000), RATIO)
    assert deviation == pytest.approx(error, rel=0.06)
    assert (high - value, value - low) == pytest.approx([1.961 * deviation] * 2, rel=2e-3)


def certified():
    """Return the terms L and U of every episode by loops: rewards in [-1, 2], horizon 5, 0 after the end."""
    _, ratio, gain, _ = log()
    reward = gain / DISCOUNT ** np.arange(LONGEST)
    below, above = np.zeros((2, EPISODES))
    for i in range(EPISODES):
        weight = 1.0
        for t in range(5):
            weight *= ratio[i, t] if t < LONGEST else 1.0
            got = reward[i, t] if t < LONGEST else 0.0
            below[i] += DISCOUNT**t * weight * (got + 1.0)
            above[i] += DISCOUNT**t * weight * (2.0 - got)
    return below, above, (DISCOUNT ** np.arange(5)).sum()


DECLARED = {"reward_low": -1.0, "reward_high": 2.0, "discount": DISCOUNT, "horizon": 5}


@pytest.mark.parametrize(("units", "largest"), [(60, 10.0), (60, 0.2), (12, 1.0)])
def test_the_empirical_bernstein_interval(units, largest):
    ends = []
    below, above, total = certified()
    for term in (below, above):
        clipped = np.minimum(term.reshape(units, -1).mean(1), largest * 3 * total)
        slack = np.sqrt(2 * clipped.var(ddof=1) * np.log(2 / 0.025) / units)
        slack += 7 * np.log(2 / 0.025) * largest * 3 * total / (3 * (units - 1))
        ends.append(max(clipped.mean() - slack, 0.0))
    found = bounds(Bernstein(**DECLARED, largest=largest), STEPS, units=units)
    np.testing.assert_allclose(found[1:3], (ends[0] - total, 2 * total - ends[1]), rtol=1e-4)


@pytest.mark.parametrize("units", [60, 12])
def test_the_betting_interval_is_that_of_its_terms(units):
    below, above, total = certified()
    low, high = (float(lower_bound(term.reshape(units, -1).mean(1), 0.0, 0.025)) for term in (below, above))
    value, *found, deviation = bounds(Betting(**DECLARED), STEPS, units=units)
    np.testing.assert_allclose(found, (low - total, 2 * total - high), rtol=1e-3)
    assert found[0] < value < found[1]
    assert np.isnan(deviation)


class Shift(Statistic):
    """A mean that does not depend on the log."""

    title = "constant"

    def terms(self, case, key):
        return jnp.ones(case.episodes)

    def combine(self, terms, weighing):
        return (weighing.weights * terms).sum() / weighing.weights.sum()


@pytest.mark.parametrize("ranged", [Normal(), Student(), Accelerated(40), Bootstrap(20)])
def test_what_never_varies_has_no_width(ranged):
    value, low, high, deviation = bounds(ranged, Shift())
    assert (value, low, high, deviation) == pytest.approx((1.0, 1.0, 1.0, 0.0), abs=1e-5)
