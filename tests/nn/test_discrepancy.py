"""Z7: the maximum mean discrepancy of Gaussians, and which settings of BEAR see what they are to see (T11)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from weft.nn.discrepancy import discrepancy

DRAWS = 4000


def expected(samples: int, mean: float, width: float = 20.0) -> float:
    kappa = (width / (width + 2.0)) ** 0.5
    apart = 2.0 * kappa * (1.0 - np.exp(-(mean**2) / (2.0 * (width + 2.0))))
    return float(apart + 2.0 / samples * (1.0 - kappa))


def squared(samples: int, mean: float) -> float:
    one_key, two_key = jax.random.split(jax.random.key(samples))
    first = jax.random.normal(one_key, (DRAWS, samples, 1))
    second = mean + jax.random.normal(two_key, (DRAWS, samples, 1))
    return float(jnp.mean(jnp.square(discrepancy(first, second, "gaussian", 20.0)) - 1e-6))


@pytest.mark.parametrize(("samples", "known"), [(5, 0.184), (20, 0.170), (100, 0.167)])
def test_gaussians_two_apart(samples, known):
    assert expected(samples, 2.0) == pytest.approx(known, abs=6e-4)
    assert squared(samples, 2.0) == pytest.approx(known, abs=0.01)


@pytest.mark.parametrize(("samples", "known"), [(5, 0.0186), (20, 0.0047), (100, 0.0009)])
def test_equal_gaussians_keep_the_bias_of_the_diagonals(samples, known):
    assert squared(samples, 0.0) == pytest.approx(known, rel=0.06)


@pytest.mark.parametrize("kernel", ["laplacian", "gaussian"])
def test_equal_sets_are_a_thousandth_apart_with_a_finite_gradient(kernel):
    points = jax.random.normal(jax.random.key(0), (3, 4, 2))
    found = discrepancy(points, points, kernel, 10.0)
    np.testing.assert_allclose(found, 1e-3, atol=3e-4)
    slope = jax.grad(lambda x: discrepancy(points, x, kernel, 10.0).sum())(points)
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("kernel", ["laplacian", "gaussian"])
def test_the_order_of_sets_and_of_points_does_not_matter(kernel):
    one, two = jax.random.normal(jax.random.key(1), (2, 5, 2))
    found = discrepancy(one, two, kernel, 1.0)
    np.testing.assert_allclose(found, discrepancy(two, one, kernel, 1.0), rtol=1e-5)
    np.testing.assert_allclose(found, discrepancy(one[::-1], two, kernel, 1.0), rtol=1e-5)


@pytest.mark.parametrize(
    ("kernel", "width", "ends", "inside"),
    [("gaussian", 20.0, 0.0418, 0.0447), ("laplacian", 10.0, 0.208, 0.115), ("gaussian", 1.0, 0.584, 0.197)],
)
def test_a_wide_gaussian_lets_both_ends_of_the_range_pass(kernel, width, ends, inside):
    """The log is uniform on [−.2, .2]; a policy at ±1 is outside, one at .2 is not. Only the widest kernel is blind."""
    log = jnp.linspace(-0.2, 0.2, 401)[:, None]
    outside = float(discrepancy(log, jnp.array([[-1.0], [1.0]]), kernel, width))
    harmless = float(discrepancy(log, jnp.full((2, 1), 0.2), kernel, width))
    assert outside == pytest.approx(ends, abs=0.005)
    assert harmless == pytest.approx(inside, abs=0.005)
    assert (outside > 0.05) == (kernel == "laplacian" or width == 1.0)
