r"""Betting interval: finite samples, heavy weights, any stop (Waudby-Smith and Ramdas 2024, arXiv:2010.09686).

    low:  the smallest value that the terms L of `weft.evaluation.bounded_terms` do not reject, at half the risk
    high: the same with U, from above

A fixed mixture of bets (`weft.evaluation.betting`) on nonnegative per-unit terms; no bound on the weights is needed.

What it covers: everything, for every n and at every stop, if units are independent (or come in order of time with a
constant mean given the past), propensities are right, and the declared range of rewards and horizon are true.
What it does not cover: propensities that were estimated or changed, drift after the log. Missing overlap makes it wide,
not wrong.
"""

from typing import ClassVar

import jax.numpy as jnp

from ...core.pytree import require, static
from ..betting import lower_bound
from ..bounded_terms import Range
from ..interval import Interval, certain

__all__ = ["Betting"]


class Betting(Interval):
    """Betting interval."""

    title: ClassVar[str] = "betting"
    bounded: ClassVar[bool] = True

    reward_low: float = 0.0
    reward_high: float = 1.0
    discount: float = 1.0
    horizon: int = static(default=1)

    def __check_init__(self):
        require(self.reward_low < self.reward_high, "The declared range of rewards must have a width.")

    def __call__(self, estimator, case, key, level):
        declared = Range(self.reward_low, self.reward_high, self.discount, self.horizon)
        risk = (1 - jnp.asarray(level)) / 2
        return certain(estimator, case, key, declared, lambda terms, there: lower_bound(terms, 0.0, risk, there))
