"""Inverses and systems: against NumPy, mapped, and differentiated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from weft.core.linear_algebra import cholesky_inverse, positive_inverse, solve_linear


def positive(size, seed=0):
    found = np.random.default_rng(seed).normal(size=(3 * size, size)).astype(np.float32)
    return found.T @ found / size + 0.1 * np.eye(size, dtype=np.float32)


@pytest.mark.parametrize("size", [1, 7, 32, 33, 100])
def test_the_inverse_is_numpys(size):
    matrix = positive(size)
    np.testing.assert_allclose(positive_inverse(jnp.asarray(matrix)), np.linalg.inv(matrix), rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("size", [1, 32, 77])
def test_the_factor_is_triangular_and_whitens(size):
    matrix = positive(size)
    found = np.asarray(cholesky_inverse(jnp.asarray(matrix)))
    np.testing.assert_allclose(found, np.tril(found))
    np.testing.assert_allclose(found @ matrix @ found.T, np.eye(size), atol=1e-3)


@pytest.mark.parametrize("size", [20, 64, 256])
def test_features_that_nearly_depend_on_each_other(size):
    basis = np.linalg.qr(np.random.default_rng(1).normal(size=(size, size)))[0]
    matrix = (basis * np.geomspace(1e-3, 500, size)) @ basis.T
    expected = np.linalg.inv(matrix)
    found = np.asarray(positive_inverse(jnp.asarray(matrix, jnp.float32)))
    assert np.linalg.norm(found - expected) < 0.02 * np.linalg.norm(expected)


def test_a_system_needs_pivots_and_gets_them():
    matrix = jnp.asarray([[0.0, 2.0, 1.0], [1.0, 0.0, 0.0], [3.0, 1.0, 0.0]])
    right = jnp.asarray([3.0, 1.0, 5.0])
    np.testing.assert_allclose(solve_linear(matrix, right), np.linalg.solve(matrix, right), rtol=1e-5)


def test_many_at_once():
    matrices = jnp.stack([jnp.asarray(positive(9, seed)) for seed in range(20)])
    found = jax.jit(lambda m: jax.lax.map(positive_inverse, m, batch_size=7))(matrices)
    np.testing.assert_allclose(found @ matrices, jnp.broadcast_to(jnp.eye(9), (20, 9, 9)), atol=1e-3)


def test_derivatives_are_those_of_the_formula():
    matrix, right = jnp.asarray(positive(5)), jnp.arange(5.0)
    found = jax.grad(lambda m: (positive_inverse(m) @ right).sum())(matrix)
    inverse = np.linalg.inv(matrix)
    np.testing.assert_allclose(found, -np.outer(inverse.sum(0), inverse @ right), rtol=1e-3, atol=1e-4)
    skew = matrix.at[0, 3].add(2.0)
    slope = jax.grad(lambda m: solve_linear(m, right).sum())(skew)
    np.testing.assert_allclose(
        slope, -np.outer(np.linalg.inv(skew).sum(0), np.linalg.solve(skew, right)), rtol=1e-3, atol=1e-4
    )
