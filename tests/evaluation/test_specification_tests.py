"""The distribution of the largest of several t values, which every test of an assumption is compared with."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from weft.evaluation.specification_tests import largest_p


@pytest.mark.parametrize("units", [12, 40, 400])  # fewer than tests, and more: drawn by units, and by covariance
@pytest.mark.parametrize("size", [1.2, 2.5])
def test_the_largest_of_dependent_sums_has_the_p_value_of_multipliers(units, size):
    generator = np.random.default_rng(units)
    each = generator.normal(size=(units, 3)) @ generator.normal(size=(3, 20))  # rank 3: as dependent as they come
    each[:, 4] = 0.0
    error = np.sqrt(np.square(each).sum(0))
    sums = np.zeros(20)
    sums[7] = size * error[7]
    found = largest_p(jnp.asarray(sums, jnp.float32), jnp.asarray(each, jnp.float32), 1.0, jax.random.key(0))
    signs = generator.normal(size=(100_000, units)) @ (each / np.where(error == 0, 1, error))
    np.testing.assert_allclose(found, (np.abs(signs).max(1) >= size).mean(), atol=0.05)


def test_a_difference_that_no_unit_makes_up_is_not_judged():
    assert largest_p(jnp.ones(3), jnp.zeros((50, 3)), 1.0, jax.random.key(0)) == 1.0
