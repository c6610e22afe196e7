r"""The statistic behind a decision: evidence that a policy is better than a baseline, by dose, from one sealed fold.

    X   improvement terms of `weft.evaluation.bounded_terms`, one mean per independent unit, X >= -B_dose
    Y   (X + B_dose) / (margin + B_dose),   E Y <= 1 if the policy is no better than the margin
    e   wealth of the fixed mixture of bets on Y (`weft.evaluation.betting`); certified where e >= 1 / risk

A *dose* d is the policy that follows the candidate with chance d in every step and the logging policy otherwise. Doses
are tested in a fixed order, from small to large, and testing stops at the first that is not certified, so the chance
that any deployed dose is no better than the margin is at most `risk` without a correction for their number
(Marcus, Peritz and Gabriel 1976). Where the order begins, and how bets are spread, may be learned on other units.
Pure functions that compile and map over candidates and over replications.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..data.columns import Columns
from ..evaluation.betting import chance, learned_prior, log_wealth, lower_bound, power
from ..evaluation.bounded_terms import Centre, Range, decline, improvement, unit_means, value
from ..evaluation.estimator import Candidate, Weighing
from ..evaluation.trajectories import Paths, paths

__all__ = ["DOSES", "FEW", "STRAINS", "USUAL", "Evidence", "Plan", "Terms", "evidence", "needed", "opposite",
           "prospect", "randomised", "terms"]  # fmt: skip

DOSES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 0.87, 1.0)
FEW = (0.3, 0.6, 1.0)
"""Doses that share the risk where their order would not help, above a margin."""
STRAINS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0)
USUAL = Centre(0.5, 2.0)
"""What is taken off rewards where no other units say how much pays best."""


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


class Plan(NamedTuple):
    """What to expect of a candidate, and how to test it, made on other units than those of the test: the best `score`
    of a dose, that `dose`, the place of the dose where the order begins, weights of the bets' fractions, and what is
    taken off rewards."""

    score: Float[Array, ""]
    dose: Float[Array, ""]
    start: Array
    prior: Float[Array, "dose fraction"]
    centre: Centre


def _paths(candidate: Candidate, columns: Columns, weighing: Weighing, declared: Range) -> Paths:
    return paths(candidate, columns, len(weighing.weights), declared.discount)


def terms(
    candidate: Candidate,
    baseline: Candidate | None,
    columns: Columns,
    weighing: Weighing,
    declared: Range,
    doses: Float[Array, "dose"],
    centre: Centre | None = None,
) -> Terms:
    """Return the improvement terms of every dose over a baseline (`None`: the policy that made the log).

    centre: of every dose, over the logging policy alone; fixed before these units were seen.
    """
    ours = _paths(candidate, columns, weighing, declared)
    other = None if baseline is None else _paths(baseline, columns, weighing, declared)

    def gain(dosed: Paths, taken: Array) -> Array:
        return improvement(dosed, other, declared, taken)

    return _by_dose(gain, ours, other, weighing, declared, doses, centre)


def opposite(
    candidate: Candidate,
    baseline: Candidate | None,
    columns: Columns,
    weighing: Weighing,
    declared: Range,
    doses: Float[Array, "dose"],
    centre: Centre | None = None,
) -> Terms:
    """Return the terms of the baseline's improvement over every dose: a lower bound of it, negated, rejects a dose."""
    ours = _paths(candidate, columns, weighing, declared)
    other = None if baseline is None else _paths(baseline, columns, weighing, declared)

    def gain(dosed: Paths, taken: Array) -> Array:
        return decline(dosed, declared, taken) if other is None else improvement(other, dosed, declared)

    turned = None if centre is None else Centre(1 - jnp.asarray(centre.share), centre.strain)
    return _by_dose(gain, ours, other, weighing, declared, doses, turned)


def _by_dose(
    gain: Callable[[Paths, Array], Array],
    ours: Paths,
    other: Paths | None,
    weighing: Weighing,
    declared: Range,
    doses: Float[Array, "dose"],
    centre: Centre | None,
) -> Terms:
    """Return what a policy gains at every dose, per unit."""
    centre = centre if other is None else None

    def one(dose: Array, centre: Centre | None) -> tuple[Array, Array, Array]:
        gained = gain(ours.dosed(dose), declared.centring(dose, centre))
        means, there = unit_means(gained, weighing.starts, weighing.unit)
        return means, declared.bound(dose if other is None else 1.0, centre), there

    values, bound, there = jax.vmap(one)(doses, centre)
    return Terms(values, bound, there[0])


def evidence(
    found: Terms,
    doses: Float[Array, "dose"],
    margin: float | Array,
    risk: float | Array,
    ordered: bool = True,
    plan: Plan | None = None,
) -> Evidence:
    """Test all doses at a risk, in their order, or (`ordered=False`) each at an equal share of the risk.

    The order is for a margin of 0. Above it small doses cannot pass, however good the policy is, and would end the
    sequence. A plan made on other units says where the order begins, whatever the margin is, and how bets are spread;
    smaller doses than that are not tested. Lower bounds hold at the risk of their dose, each by itself.
    """
    ordered = ordered or plan is not None
    share = risk if ordered else risk / len(doses)
    start = 0 if plan is None else plan.start

    def one(values: Array, bound: Array, prior: Array | None) -> tuple[Array, Array]:
        wealth = log_wealth((values + bound) / (margin + bound), mask=found.there, prior=prior)
        return wealth, lower_bound(values, -bound, share, found.there, prior=prior)

    priors = None if plan is None else plan.prior
    wealth, low = jax.vmap(one, in_axes=(0, 0, None if priors is None else 0))(found.values, found.bound, priors)
    passed = wealth >= -jnp.log(share)
    place = jnp.arange(1, len(doses) + 1)
    reached = jnp.cumprod(passed | (place <= start)).sum()  # what lies before the start is passed over
    certified = jnp.where(reached > start, reached, 0) if ordered else jnp.where(passed, place, 0).max()
    dose = jnp.where(certified > 0, doses[jnp.maximum(certified - 1, 0)], 0.0)
    mean = (found.values * found.there).sum(1) / found.there.sum()
    return Evidence(wealth, low, certified, dose, mean)


def prospect(
    terms_of: Callable[[Centre], Terms],
    doses: Float[Array, "dose"],
    share: float | Array,
    gain: float | Array,
    units: float | Array,
    margin: float | Array,
    risk: float | Array,
    strains: tuple[float, ...] = STRAINS,
) -> Plan:
    """Say, from a select fold, what a candidate can be expected to be certified for by so many further units.

    terms_of: the select fold's terms for a centre of every dose. share: what is taken off rewards, as `Range.share` of
    the mean return. gain: cautious estimate of the improvement of the whole policy (the lower bound of a fitted value,
    which errs less than the weighted returns of a fold); that of a dose is taken to be its share. A dose's score is
    what it gains above the margin times the chance that it is certified, with the strain that makes this most likely.
    The order of doses begins at the one most likely to pass, up to the one with the best score.
    """
    every = jnp.ones(len(doses))

    def strained(strain: Array) -> tuple[Array, Array]:
        found = terms_of(Centre(share * every, strain * every))

        def one(values: Array, bound: Array) -> tuple[Array, Array]:
            chances = chance(values, -bound, margin, risk, units, mask=found.there)
            return chances, learned_prior((values + bound) / (margin + bound), mask=found.there)

        return jax.vmap(one)(found.values, found.bound)

    chances, priors = jax.lax.map(strained, jnp.asarray(strains))
    likeliest, place = chances.argmax(0), jnp.arange(len(doses))
    chances, prior = chances.max(0), priors[likeliest, place]
    gains = doses * gain - margin
    scores = jnp.where(gains > 0, chances * gains, gains)
    best = scores.argmax()
    start = jnp.where(place <= best, chances, -1.0).argmax()
    return Plan(scores[best], doses[best], start, prior, Centre(share * every, jnp.asarray(strains)[likeliest]))


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
