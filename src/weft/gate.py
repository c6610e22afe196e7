r"""The statistic behind a decision: evidence that a policy is better than a baseline, by dose, from one sealed fold.

    X   improvement terms of `weft.certificate`, one mean per independent unit, X >= -B_dose
    Y   (X + B_dose) / (margin + B_dose),   E Y <= 1 if the policy is no better than the margin
    e   wealth of the fixed mixture of bets on Y (`weft.betting`); certified where e >= 1 / risk

A *dose* d is the policy that follows the candidate with chance d in every step and the logging policy otherwise. Doses
are tested in a fixed order, from small to large, and testing stops at the first that is not certified, so the chance
that any deployed dose is no better than the margin is at most `risk` without a correction for their number
(Marcus, Peritz and Gabriel 1976). Pure functions that compile and map over candidates and over replications.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .betting import log_wealth, lower_bound, power, predicted_bound
from .certificate import Range, decline, improvement, unit_means, value
from .columns import Columns
from .estimator import Candidate, Weighing
from .paths import Paths, paths

__all__ = ["DOSES", "Evidence", "Terms", "evidence", "needed", "opposite", "randomised", "score", "terms"]

DOSES = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)


class Terms(NamedTuple):
    """Improvement terms: `values[dose, unit]`, none below `-bound[dose]`; `there` are the units that exist."""

    values: Float[Array, "dose unit"]
    bound: Float[Array, "dose"]
    there: Bool[Array, "unit"]


class Evidence(NamedTuple):
    """What a fold says: log-wealth and lower bound of the improvement of every dose, the place (from 1) of the largest
    certified dose and the dose itself (both 0 if none), and the mean improvement of every dose."""

    log_wealth: Float[Array, "dose"]
    low: Float[Array, "dose"]
    certified: Array
    dose: Float[Array, ""]
    mean: Float[Array, "dose"]


def _paths(candidate: Candidate, columns: Columns, weighing: Weighing, declared: Range) -> Paths:
    return paths(candidate, columns, len(weighing.weights), declared.discount)


def terms(
    candidate: Candidate,
    baseline: Candidate | None,
    columns: Columns,
    weighing: Weighing,
    declared: Range,
    doses: Float[Array, "dose"],
) -> Terms:
    """Return the improvement terms of every dose over a baseline (`None`: the policy that made the log)."""
    ours = _paths(candidate, columns, weighing, declared)
    other = None if baseline is None else _paths(baseline, columns, weighing, declared)
    return _by_dose(lambda dosed: improvement(dosed, other, declared), ours, other, weighing, declared, doses)


def opposite(
    candidate: Candidate,
    baseline: Candidate | None,
    columns: Columns,
    weighing: Weighing,
    declared: Range,
    doses: Float[Array, "dose"],
) -> Terms:
    """Return the terms of the baseline's improvement over every dose: a lower bound of it, negated, rejects a dose."""
    ours = _paths(candidate, columns, weighing, declared)
    other = None if baseline is None else _paths(baseline, columns, weighing, declared)

    def gain(dosed: Paths) -> Array:
        return decline(dosed, declared) if other is None else improvement(other, dosed, declared)

    return _by_dose(gain, ours, other, weighing, declared, doses)


def _by_dose(
    gain: Callable[[Paths], Array],
    ours: Paths,
    other: Paths | None,
    weighing: Weighing,
    declared: Range,
    doses: Float[Array, "dose"],
) -> Terms:
    """Return what a policy gains at every dose, per unit."""

    def one(dose: Array) -> tuple[Array, Array, Array]:
        means, there = unit_means(gain(ours.dosed(dose)), weighing.starts, weighing.unit)
        return means, declared.bound(dose if other is None else 1.0), there

    values, bound, there = jax.vmap(one)(doses)
    return Terms(values, bound, there[0])


def evidence(
    found: Terms, doses: Float[Array, "dose"], margin: float | Array, risk: float | Array, ordered: bool = True
) -> Evidence:
    """Test all doses at a risk, in their order, or (`ordered=False`) each at an equal share of the risk.

    The order is for a margin of 0. Above it small doses cannot pass, however good the policy is, and would end the
    sequence. Lower bounds hold at the risk that their dose was tested at, each by itself.
    """
    share = risk if ordered else risk / len(doses)

    def one(values: Array, bound: Array) -> tuple[Array, Array]:
        wealth = log_wealth((values + bound) / (margin + bound), mask=found.there)
        return wealth, lower_bound(values, -bound, share, found.there)

    wealth, low = jax.vmap(one)(found.values, found.bound)
    passed = wealth >= -jnp.log(share)
    place = jnp.arange(1, len(doses) + 1)
    certified = jnp.cumprod(passed).sum() if ordered else jnp.where(passed, place, 0).max()
    dose = jnp.where(certified > 0, doses[jnp.maximum(certified - 1, 0)], 0.0)
    mean = (found.values * found.there).sum(1) / found.there.sum()
    return Evidence(wealth, low, certified, dose, mean)


def score(found: Terms, units: float | Array, risk: float | Array) -> Float[Array, "dose"]:
    """Predict, from a select fold, the improvement that so many further units would certify with a chance of 80 %."""
    return jax.vmap(lambda values, bound: predicted_bound(values, -bound, risk, units, mask=found.there))(
        found.values, found.bound
    )


def needed(found: Terms, margin: float, risk: float) -> Float[Array, "dose"]:
    """Return how many units would certify each dose with a chance of 80 %, infinite where none would."""
    return jax.vmap(lambda values, bound: power(values, -bound, margin, risk, mask=found.there).units)(
        found.values, found.bound
    )


def randomised(
    candidate: Candidate, columns: Columns, weighing: Weighing, declared: Range, margin: float, risk: float
) -> Float[Array, ""]:
    """Return how many fresh units would certify the whole policy with a chance of 80 % in a test that gives half of
    them to it and half to the logging policy, infinite where no number would.

    The terms of such a test are `X = (1 / p)(G - low S)` under the policy and `(1 / p)(high S - G)` under the other,
    less `(high - low) S`, with p = 1/2 and G the return. What the policy's half would look like is read off the log
    by its weights, so it is rough where few effective units are left.
    """
    found = _paths(candidate, columns, weighing, declared)
    still = Paths(jnp.zeros_like(found.log_ratio), found.reward, found.discount, found.there)
    gains, losses = value(still, declared)
    bound = declared.bound()
    gains, there = unit_means(2 * gains - bound, weighing.starts, weighing.unit)
    losses, _ = unit_means(2 * losses - bound, weighing.starts, weighing.unit)
    weight, _ = unit_means(found.weight[:, -1], weighing.starts, weighing.unit)
    shares = jnp.concatenate([weight / jnp.maximum((weight * there).sum(), 1e-30), 1.0 / there.sum() * there])
    shares = shares * jnp.tile(there, 2)
    # `mask` may weigh: what is 0 does not count, and the rest is normalised
    return power(jnp.concatenate([gains, losses]), -bound, margin, risk, mask=shares / 2).units
