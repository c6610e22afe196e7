"""How far an interval reaches for what was seen too rarely."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from weft.evaluation.bounded_terms import Range
from weft.evaluation.case import Weighing
from weft.evaluation.unseen import Unseen, one_more, wide_bounds

UNITS = 300
NOTHING = Unseen(jnp.zeros(()), jnp.zeros(()))


def mean_bounds(values: jax.Array, unseen: Unseen) -> tuple[jax.Array, jax.Array]:
    """Return the bounds of a plain mean."""
    units = jnp.float32(len(values))
    return wide_bounds(values.mean(), (values - values.mean()) / units, units, unseen, 0.95)


def ends(values: jax.Array) -> Unseen:
    """Return what one more value at the ends of [0, 1] does to the mean of values as rewards of single decisions."""
    count = len(values)
    weighing = Weighing(jnp.ones(count), jnp.ones(count), jnp.arange(count))
    return one_more(jnp.ones((count, 1)), values[:, None], weighing, jnp.float32(count), Range(0.0, 1.0, 1.0, 1))


def test_even_numbers_have_students_bounds():
    values = jnp.asarray(np.random.default_rng(0).permutation(np.linspace(-1, 1, 61)))
    low, high = mean_bounds(values, NOTHING)
    reach = stats.t.ppf(0.975, 60) * np.std(values, ddof=1) / np.sqrt(61)
    np.testing.assert_allclose([low, high], [-reach, reach], rtol=2e-3)


def test_the_long_side_reaches_further_by_halls_correction():
    values = jnp.asarray(np.random.default_rng(1).exponential(size=200))
    low, high = mean_bounds(values, NOTHING)
    plain = np.asarray(values, float)
    error, normal = plain.std(ddof=1) / np.sqrt(200), stats.norm.ppf(0.975)
    longer = stats.skew(plain) * (2 * normal**2 + 1) / (6 * np.sqrt(200)) * error
    reach = stats.t.ppf(0.975, 199) * error
    assert float(plain.mean() - low) == pytest.approx(reach, rel=2e-3)
    assert float(high - plain.mean()) == pytest.approx(reach + longer, rel=5e-3)


def test_one_more_step_changes_a_mean_by_what_it_says():
    values = np.random.default_rng(2).uniform(size=50)
    more = ends(jnp.asarray(values))
    assert float(more.high) == pytest.approx(np.append(values, 1.0).mean() - values.mean(), rel=1e-4)
    assert float(more.low) == pytest.approx(values.mean() - np.append(values, 0.0).mean(), rel=1e-4)


@pytest.mark.parametrize("events", [0, 1, 4])
def test_rare_events_have_nearly_the_interval_of_agresti_and_coull(events):
    values = jnp.zeros(UNITS).at[:events].set(1.0)
    low, high = mean_bounds(values, ends(values))
    square = stats.norm.ppf(0.975) ** 2
    share = (events + square / 2) / (UNITS + square)
    reach = np.sqrt(square * share * (1 - share) / (UNITS + square))
    assert float(low) <= share - reach + 1e-3
    assert float(high) == pytest.approx(share + reach, rel=0.12)


LAWS = {
    "an event of 1 %": lambda random, shape: (random.random(shape) < 0.01).astype(float),
    "a loss of 1 % beside a little noise": lambda random, shape: np.where(
        random.random(shape) < 0.01, 0.0, 0.6 + 0.05 * random.uniform(-1, 1, shape)
    ),
    "nothing or a skewed amount": lambda random, shape: np.where(
        random.random(shape) < 0.1, random.random(shape) ** 4, 0.0
    ),
    "a capped Pareto amount": lambda random, shape: np.minimum(0.01 * random.random(shape) ** (-1 / 1.5), 1.0),
}


@pytest.mark.parametrize("law", LAWS)
def test_means_of_skewed_and_rare_numbers_are_covered(law):
    draws = LAWS[law](np.random.default_rng(3), (2000, UNITS))
    truth = LAWS[law](np.random.default_rng(4), (2000, 1000)).mean()
    low, high = jax.vmap(lambda values: mean_bounds(values, ends(values)))(jnp.asarray(draws, jnp.float32))
    covered = ((np.asarray(low) <= truth) & (truth <= np.asarray(high))).mean()
    reach = stats.t.ppf(0.975, UNITS - 1) * draws.std(1, ddof=1) / np.sqrt(UNITS)
    student = (np.abs(draws.mean(1) - truth) <= reach).mean()
    assert student < 0.93  # what the correction is for
    assert covered > 0.94
