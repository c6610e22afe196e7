"""Betting: closed forms, promises by simulation at the edge of the null, bounds against brute force, predictions."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from weft.evaluation.betting import FRACTIONS, chance, learned_prior, log_wealth, lower_bound, path, power, upper_bound


def improvements(seed: int, count: int, gain: float = 0.15, width: float = 1.2) -> np.ndarray:
    """Return `(w − 1) r` for log-normal weights of mean 1: at least −1, heavy-tailed, mean 0 without a gain."""
    rng = np.random.default_rng(seed)
    normal = rng.normal(size=count)
    weights = np.exp(width * normal - width**2 / 2)
    return ((weights - 1) * (rng.random(count) < 0.5 + gain * np.tanh(normal))).astype(np.float32)


@pytest.mark.parametrize(("term", "count"), [(1.0, 7), (0.0, 3), (1.5, 20), (40.0, 5)])
def test_constant_terms_have_a_closed_form(term, count):
    factors = 1 + FRACTIONS.astype(float) * (term - 1)
    assert float(log_wealth(np.full(count, term))) == pytest.approx(math.log((factors**count).mean()), abs=2e-5)
    assert float(log_wealth(np.full(count, term), np.array([0.5]))) == pytest.approx(
        count * math.log(1 + 0.5 * (term - 1)), abs=2e-5
    )


def test_padding_counts_for_nothing_and_a_negative_term_voids():
    terms = np.array([1.5, 0.2, 3.0])
    padded, mask = np.array([1.5, np.nan, 0.2, 3.0, -8.0]), np.array([True, False, True, True, False])
    assert float(log_wealth(padded, mask=mask)) == pytest.approx(float(log_wealth(terms)), abs=1e-6)
    assert float(path(padded, mask=mask)[-1]) == pytest.approx(float(log_wealth(terms)), abs=1e-6)
    assert float(lower_bound(padded - 1, -1.0, 0.05, mask)) == pytest.approx(
        float(lower_bound(terms - 1, -1.0, 0.05)), abs=1e-6
    )
    assert np.isnan(log_wealth(np.array([1.0, -0.1])))
    assert np.isnan(lower_bound(np.array([1.0, -2.0]), -1.0, 0.05))
    assert np.isfinite(lower_bound(np.array([1.0, -1.000001]), -1.0, 0.05))  # rounding of a sum in float32


def test_no_order_and_a_path_that_ends_at_the_wealth():
    terms = improvements(0, 300) + 1
    wealth = float(log_wealth(terms))
    assert float(log_wealth(np.random.default_rng(1).permutation(terms))) == pytest.approx(wealth, abs=1e-4)
    found = path(terms)
    assert found.shape == (300,)
    assert float(found[-1]) == pytest.approx(wealth, abs=1e-4)
    assert float(found[99]) == pytest.approx(float(log_wealth(terms[:100])), abs=1e-4)


def test_wealth_falls_with_the_margin():
    values = improvements(2, 400)
    wealth = [float(log_wealth((values + 1) / (margin + 1))) for margin in np.linspace(-0.5, 0.8, 40)]
    assert (np.diff(wealth) < 0).all()


@pytest.mark.parametrize(("width", "maker"), [(1.0, "weights"), (2.0, "weights"), (0.0, "two points")])
def test_the_risk_is_kept_at_a_mean_of_exactly_one_at_every_stop(width, maker):
    repeats, count, risk = 2000, 150, 0.05
    rng = np.random.default_rng(3)
    if maker == "weights":
        terms = np.exp(width * rng.normal(size=(repeats, count)) - width**2 / 2)
    else:
        terms = 1.25 * (rng.random((repeats, count)) < 0.8)
    highest = jax.jit(jax.vmap(lambda row: path(row).max()))(terms.astype(np.float32))
    rejected = float((highest >= math.log(1 / risk)).mean())
    assert rejected <= risk + 2 * math.sqrt(risk * (1 - risk) / repeats)
    # the check can fail: half a unit more mean is found nearly always where tails are light
    if width <= 1:
        raised = jax.jit(jax.vmap(lambda row: path(row * 1.5).max()))(terms.astype(np.float32))
        assert float((raised >= math.log(1 / risk)).mean()) > 0.9


def test_the_lower_bound_is_that_of_a_fine_grid():
    values, risk = improvements(4, 500, 0.4), 0.05
    margins = np.linspace(-0.999, 1.0, 4001)
    wealth = jax.lax.map(lambda m: log_wealth((values + 1) / (m + 1)), jnp.asarray(margins, jnp.float32))
    first = margins[np.argmax(np.asarray(wealth) < math.log(1 / risk))]
    found = float(lower_bound(values, -1.0, risk))
    assert found == pytest.approx(first, abs=6e-4)
    assert float(lower_bound(values, -1.0, 0.2)) > found > float(lower_bound(values, -1.0, 0.001))
    assert float(upper_bound(values, -1.0, risk)) == pytest.approx(-found)


def exact_bound(terms: np.ndarray, risk: float, prior: np.ndarray | None = None) -> float:
    """Return the bound of nonnegative terms by 200 halvings in float64."""
    weights = np.ones(len(FRACTIONS)) / len(FRACTIONS) if prior is None else prior / prior.sum()
    low, high = 0.0, float(terms.mean())
    for _ in range(200):
        middle = (low + high) / 2
        gains = np.log1p(FRACTIONS.astype(float) * (terms.astype(float)[:, None] / middle - 1)).sum(0)
        rejected = gains.max() + np.log(weights @ np.exp(gains - gains.max())) >= np.log(1 / risk)
        low, high = (middle, high) if rejected else (low, middle)
    return low


SHAPES = {
    "paired": improvements(4, 500, 0.4) + 1,
    "heavy": np.exp(3 * np.random.default_rng(5).normal(size=800)).astype(np.float32),
    "rare": (np.random.default_rng(6).random(3000) < 0.01).astype(np.float32),
    "one far out": np.r_[np.full(200, 1e-3), 1e6].astype(np.float32),
    "one of many": np.r_[np.zeros(300), 1.0].astype(np.float32),
    "equal": np.full(40, 0.7, np.float32),
    "two": np.array([0.2, 5.0], np.float32),
    "tiny": 1e-6 * np.random.default_rng(7).random(100).astype(np.float32),
}


@pytest.mark.parametrize("risk", [0.3, 0.05, 1e-4])
@pytest.mark.parametrize("shape", list(SHAPES))
def test_the_search_comes_to_the_bound_and_not_above_it(shape, risk):
    terms, generator = SHAPES[shape], np.random.default_rng(8)
    for prior in (None, generator.random(len(FRACTIONS)).astype(np.float32)):
        exact = exact_bound(terms, risk, prior)
        found = float(lower_bound(terms, 0.0, risk, prior=prior))
        assert exact * (1 - 5e-6) <= found <= exact * (1 + 3e-6)
    padded = np.r_[terms, np.full(9, np.nan, np.float32)]
    masked = float(lower_bound(padded, 0.0, risk, np.arange(len(padded)) < len(terms)))
    assert masked == pytest.approx(exact_bound(terms, risk), rel=5e-6)


def test_bounds_of_nothing_are_the_known_ones():
    assert float(lower_bound(np.full(50, -1.0), -1.0, 0.05)) == pytest.approx(-1.0)
    few = float(lower_bound(np.array([0.3]), -1.0, 0.05))  # mean_λ (1 + λ (1.3 / s − 1)) = 20 for s = m + 1
    mean = float(FRACTIONS.mean())
    assert few == pytest.approx(1.3 / (1 + 19 / mean) - 1, abs=1e-5)


def test_the_lower_bound_misses_as_rarely_as_promised():
    truth = np.mean([improvements(seed, 200_000, 0.3).mean() for seed in range(90, 95)])
    values = np.stack([improvements(seed, 100, 0.3) for seed in range(400)])
    found = jax.jit(jax.vmap(lambda row: lower_bound(row, -1.0, 0.05)))(values)
    assert float((found > truth).mean()) <= 0.05
    assert found.shape == (400,)


def test_it_maps_and_compiles_with_traced_bounds():
    values = np.stack([improvements(seed, 80) for seed in range(3)])
    lower = np.array([-1.0, -1.5, -2.0], np.float32)
    found = jax.jit(jax.vmap(lambda row, low: lower_bound(row, low, 0.05)))(values, lower)
    for row, low, bound in zip(values, lower, found, strict=True):
        assert float(bound) == pytest.approx(float(lower_bound(row, float(low), 0.05)), abs=1e-5)


def test_a_learned_prior_helps_and_never_costs_more_than_half():
    rows = np.stack([improvements(seed, 600, 0.3) for seed in range(120)]) + 1
    wealth = jax.jit(jax.vmap(lambda row, prior: log_wealth(row, prior=prior)))
    priors = jax.jit(jax.vmap(learned_prior))(rows[:, :200])
    np.testing.assert_allclose(np.asarray(priors).sum(1), 1, rtol=1e-5)
    informed, plain = wealth(rows[:, 200:], priors), jax.jit(jax.vmap(log_wealth))(rows[:, 200:])
    assert float(jnp.median(informed - plain)) > 0.1
    assert float((informed - plain).min()) >= -math.log(2) - 1e-4


def test_power_predicts_the_units_that_certify_four_times_in_five():
    values = improvements(7, 4000, 0.4)
    found = power(values, -1.0, 0.0, 0.05)
    units = int(found.units)
    assert 50 < units < 3000
    assert float(found.growth) > 0
    assert float(found.fraction) in FRACTIONS
    rng = np.random.default_rng(8)
    drawn = values[rng.integers(len(values), size=(500, units))]
    certified = jax.jit(jax.vmap(lambda row: log_wealth(row + 1)))(drawn) >= math.log(20)
    assert float(certified.mean()) == pytest.approx(0.8, abs=0.1)
    assert float(chance(values, -1.0, 0.0, 0.05, units)) == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("units", [40, 120, 400])
def test_the_chance_to_certify_is_how_often_it_happens(units):
    values = improvements(7, 4000, 0.4)
    drawn = values[np.random.default_rng(9).integers(len(values), size=(1000, units))]
    certified = jax.jit(jax.vmap(lambda row: log_wealth(row + 1)))(drawn) >= math.log(20)
    assert float(chance(values, -1.0, 0.0, 0.05, units)) == pytest.approx(float(certified.mean()), abs=0.1)
    assert float(chance(-values, -1.0, 0.0, 0.05, units)) < 0.01


def test_power_says_infinite_where_no_number_suffices():
    values = improvements(9, 500, 0.1)
    assert np.isinf(power(values - 0.0, -1.0, float(values.mean()) + 0.2, 0.05).units)
    few, many = (power(improvements(9, 2000, gain), -1.0, 0.0, 0.05).units for gain in (0.5, 0.3))
    assert few < many
