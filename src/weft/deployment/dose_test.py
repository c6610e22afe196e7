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
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..evaluation.betting import chance, learned_prior, log_wealth, lower_bound, power
from ..evaluation.bounded_terms import Centre, Comparison, Terms, declines, improvements, randomised_terms
from ..evaluation.case import Case

__all__ = ["DOSES", "FEW", "STRAINS", "USUAL", "Certificate", "Evidence", "Plan", "Terms", "certificate", "evidence",
           "needed", "opposite", "prospect", "randomised", "terms"]  # fmt: skip

DOSES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 0.87, 1.0)
FEW = (0.3, 0.6, 1.0)
"""Doses that share the risk where their order would not help, above a margin."""
STRAINS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0)
USUAL = Centre(0.5, 2.0)
"""What is taken off rewards where no other units say how much pays best."""


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
    of a dose, that `dose`, the place of the dose where the order begins, weights of the bets' fractions, what is taken
    off rewards, and the `chance` that the first dose is certified."""

    score: Float[Array, ""]
    dose: Float[Array, ""]
    start: Array
    prior: Float[Array, "dose fraction"]
    centre: Centre
    chance: Float[Array, ""]


class Certificate(NamedTuple):
    """All figures of the first tier, by dose: the terms and their `evidence`, how many units would certify (`needed`),
    and upper bounds of the improvement at the smallest and at the largest dose; `randomised` is how many fresh units a
    test with arms would take, `effective` the effective number of episodes of the weights."""

    terms: Terms
    evidence: Evidence
    needed: Float[Array, "dose"]
    highs: Float[Array, "two"]
    randomised: Float[Array, ""]
    effective: Float[Array, ""]


def certificate(
    case: Case, baseline: Case | None, doses: Float[Array, "dose"], margin: Any, risk: Any, plan: Plan | None,
    ordered: bool,
) -> Certificate:  # fmt: skip
    """Return all figures of the first tier; arguments as of `evidence`."""
    comparison = _comparison(case, baseline)
    usual = jax.tree.map(lambda part: part * jnp.ones(len(doses)), USUAL)
    centre = usual if plan is None else plan.centre
    ours = improvements(comparison, doses, centre)
    ends, outer = jax.tree.map(lambda part: jnp.stack([part[0], part[-1]]), (doses, centre))
    # of this only `low` is read, which no margin changes
    against = evidence(declines(comparison, ends, outer), ends, 1e-3, risk / 2)
    return Certificate(
        ours,
        evidence(ours, doses, margin, risk, ordered, plan),
        needed(ours, margin, risk if ordered else risk / len(doses)),
        -against.low,
        _randomised(comparison, margin, risk),
        comparison.ours.effective(comparison.starts),
    )


def terms(case: Case, baseline: Case | None, doses: Float[Array, "dose"], centre: Centre | None = None) -> Terms:
    """Return the improvement terms of every dose over a baseline (`None`: the policy that made the log).

    centre: of every dose, over the logging policy alone; fixed before these units were seen.
    """
    return improvements(_comparison(case, baseline), doses, centre)


def opposite(case: Case, baseline: Case | None, doses: Float[Array, "dose"], centre: Centre | None = None) -> Terms:
    """Return the terms of the baseline's improvement over every dose: a lower bound of it, negated, rejects a dose."""
    return declines(_comparison(case, baseline), doses, centre)


def _comparison(case: Case, baseline: Case | None) -> Comparison:
    declared, weighing = case.range, case.weighing
    ours = case.trajectories.paths(declared.discount)
    theirs = None if baseline is None else baseline.trajectories.paths(declared.discount)
    return Comparison(ours, theirs, weighing.starts, weighing.unit, declared)


def evidence(
    terms: Terms,
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

    def one(of: tuple[Array, Array, Array | None]) -> tuple[Array, Array]:
        values, bound, prior = of
        wealth = log_wealth((values + bound) / (margin + bound), mask=terms.there, prior=prior)
        return wealth, lower_bound(values, -bound, share, terms.there, prior=prior)

    # dose after dose: side by side they would take as many times the memory, which grows with the log
    wealth, low = jax.lax.map(one, (terms.values, terms.bound, None if plan is None else plan.prior))
    passed = wealth >= -jnp.log(share)
    place = jnp.arange(1, len(doses) + 1)
    reached = jnp.cumprod(passed | (place <= start)).sum()  # what lies before the start is passed over
    certified = jnp.where(reached > start, reached, 0) if ordered else jnp.where(passed, place, 0).max()
    dose = jnp.where(certified > 0, doses[jnp.maximum(certified - 1, 0)], 0.0)
    mean = (terms.values * terms.there).sum(1) / terms.there.sum()
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
        terms = terms_of(Centre(share * every, strain * every))

        def one(values: Array, bound: Array) -> tuple[Array, Array]:
            chances = chance(values, -bound, margin, risk, units, mask=terms.there)
            return chances, learned_prior((values + bound) / (margin + bound), mask=terms.there)

        return jax.vmap(one)(terms.values, terms.bound)

    chances, priors = jax.lax.map(strained, jnp.asarray(strains))
    likeliest, place = chances.argmax(0), jnp.arange(len(doses))
    chances, prior = chances.max(0), priors[likeliest, place]
    gains = doses * gain - margin
    scores = jnp.where(gains > 0, chances * gains, gains)
    best = scores.argmax()
    start = jnp.where(place <= best, chances, -1.0).argmax()
    return Plan(
        scores[best], doses[best], start, prior, Centre(share * every, jnp.asarray(strains)[likeliest]), chances[start]
    )


def needed(terms: Terms, margin: float | Array, risk: float | Array) -> Float[Array, "dose"]:
    """Return how many units would certify each dose with a chance of 80 %, infinite where none would."""
    return jax.lax.map(
        lambda of: power(of[0], -of[1], margin, risk, mask=terms.there).units, (terms.values, terms.bound)
    )


def randomised(case: Case, margin: float | Array, risk: float | Array) -> Float[Array, ""]:
    """Return how many fresh units would certify the whole policy with a chance of 80 % in a test that gives half of
    them to it and half to the logging policy, infinite where no number would.
    """
    return _randomised(_comparison(case, None), margin, risk)


def _randomised(comparison: Comparison, margin: float | Array, risk: float | Array) -> Float[Array, ""]:
    values, bound, shares = randomised_terms(comparison)
    # `mask` may weigh: what is 0 does not count, and the rest is normalised
    return power(values, -bound, margin, risk, mask=shares / 2).units
