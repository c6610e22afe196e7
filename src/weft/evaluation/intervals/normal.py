r"""Normal interval with clustered error, for means and for ratios by the delta method.

    value ± z sd,     sd^2 = U/(U-1) sum_units ( sum_{i in unit} w_i dJ/dw_i )^2

The derivative of the estimate in the weights of the episodes is its influence function (Efron 1982), so a
self-normalised estimate counts its normaliser as random, and a closed-form fit counts its refit.

What it covers: the luck of which units were logged, when there are many and none dominates.
What it does not cover: heavy weights (then estimate and error are too low together), bias of what was fitted, and
whatever all episodes share. With few units use Student's t.
"""

from typing import ClassVar

import jax.numpy as jnp
from jax.scipy.special import ndtri

from ..interval import Interval, linearised

__all__ = ["Normal"]


class Normal(Interval):
    """Normal interval with clustered error."""

    title: ClassVar[str] = "normal"
    statistic: ClassVar[bool] = True

    def __call__(self, estimator, case, key, level):
        return linearised(estimator, case, key).bounds(ndtri(0.5 + jnp.asarray(level) / 2))
