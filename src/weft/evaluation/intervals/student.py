r"""Student's t interval with clustered error: the normal one with as many degrees of freedom as units less one.

    value ± t_{U-1} sd,     sd^2 = U/(U-1) sum_units ( sum_{i in unit} w_i dJ/dw_i )^2

What it covers: the luck of which units were logged, when none of them dominates; exact for means of normal terms.
What it does not cover: heavy weights. Importance sampling with an effective sample size below about 20 makes estimate
and error too low together, and the upper bound is missed almost always.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri
from jaxtyping import Array, Int

from ..interval import Interval, linearised

__all__ = ["Student"]


class Student(Interval):
    """Student's t interval with clustered error."""

    title: ClassVar[str] = "Student's t"
    statistic: ClassVar[bool] = True

    def __call__(self, estimator, case, key, level):
        estimate = linearised(estimator, case, key)
        return estimate.bounds(quantile(0.5 + jnp.asarray(level) / 2, jnp.maximum(estimate.units - 1, 1)))


def quantile(chance: jax.Array, freedom: jax.Array) -> jax.Array:
    """Return a quantile above one half of Student's t: halving on the incomplete beta function, which float32 knows
    well for few degrees of freedom; above 50 an expansion around the normal one (Abramowitz and Stegun 26.7.5).
    """

    def below(middle: jax.Array) -> jax.Array:
        rest = freedom / (freedom + middle**2)
        return 1.0 - 0.5 * jax.scipy.special.betainc(freedom / 2, 0.5, rest) < chance

    def halve(_: Int[Array, ""], ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        middle = (low + high) / 2
        up = below(middle)
        return jnp.where(up, middle, low), jnp.where(up, high, middle)

    # the incomplete beta function of float32 loses its digits where the degrees of freedom are many
    exact = jax.lax.fori_loop(0, 50, halve, (jnp.zeros(()), jnp.full((), 2000.0)))[0]
    z = ndtri(chance)
    series = (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
    return jnp.where(freedom > 50, series, exact)
