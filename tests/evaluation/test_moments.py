"""Sums made in pieces against one product of matrices, with their derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from weft.evaluation.moments import CACHED, FEW, grouped, mapped, summed

COUNT, WIDTH = 1003, CACHED // 100  # pieces of a hundred and more, the last one not full
ROWS = np.random.default_rng(0).normal(size=(COUNT, 3)).astype(np.float32)
WEIGHTS = np.random.default_rng(1).random(COUNT).astype(np.float32)


def squares(row, weight):
    """Return a weighted sum of products of what lies in some rows."""
    here = jnp.asarray(ROWS)[row]
    return (weight[:, None] * here).T @ here


def test_a_sum_in_pieces_and_its_derivative_are_those_of_one_product():
    total = jax.jit(lambda weights: summed(squares, weights, WIDTH))(WEIGHTS)
    np.testing.assert_allclose(total, (WEIGHTS[:, None] * ROWS).T @ ROWS, rtol=1e-4)
    slope = jax.jit(jax.grad(lambda weights: summed(squares, weights, WIDTH).sum()))(WEIGHTS)
    np.testing.assert_allclose(slope, ROWS.sum(1) ** 2, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("groups", [5, FEW + 1])
def test_sums_by_group_are_the_same_by_product_and_by_scattering(groups):
    group = np.random.default_rng(2).integers(groups, size=COUNT)

    def part(row, weight):
        return jnp.asarray(group)[row], weight[:, None] * jnp.asarray(ROWS)[row]

    expected = np.zeros((groups, 3))
    np.add.at(expected, group, WEIGHTS[:, None] * ROWS)
    found = jax.jit(lambda weights: grouped(part, weights, WIDTH, groups))(WEIGHTS)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_what_is_mapped_in_pieces_keeps_its_order():
    found = mapped(lambda row: jnp.asarray(ROWS)[row] * 2, COUNT, WIDTH)
    np.testing.assert_array_equal(found, ROWS * 2)
