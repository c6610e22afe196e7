r"""Betting: evidence that a mean exceeds a number, from nonnegative terms, valid for every n and at every stop.

Let Y_i ≥ 0 be one term per independent unit with E Y_i ≤ 1 if the null hypothesis is true. Whoever stakes the fraction
λ of a wealth of 1 on every term has, after n of them, Π (1 + λ (Y_i − 1)), whose mean is at most 1 under the null.
So has the average over a fixed grid of fractions (the *mixture*), and by Ville's inequality

    P(some n has wealth_n ≥ 1/risk) ≤ risk

without a bound on the terms from above. The mixture needs no order of the units (the final wealth is the same in every
order), may be looked at after every unit, and may go on in a staged roll-out. Nothing is fitted on the terms.
Terms may be correlated in one way: given the past, the mean of the next is at most 1.

Sources: Waudby-Smith & Ramdas 2024 (arXiv:2010.09686), Karampatziakis, Mineiro & Ramdas 2021 (arXiv:2102.09540);
mixtures over a grid are universal portfolios (Cover 1991). All functions are pure, compile, and map over leading axes
with `vmap`; wealth is kept as a logarithm in float32.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp, ndtr, ndtri
from jaxtyping import Array, Bool, Float, Int

__all__ = ["FRACTIONS", "Power", "chance", "learned_prior", "log_wealth", "lower_bound", "path", "power",
           "upper_bound"]  # fmt: skip

Number = Float[Array, ""] | float
Mask = Bool[Array | np.ndarray, "unit"] | Float[Array | np.ndarray, "unit"]  # where numbers weigh, units count so much

# Chosen by measurement on seven kinds of terms (paired importance-sampling improvements of 1 to 10 steps, small to full
# dose, log-normal weights): the share that certifies is within .04 of the best of eight grids in all but the case of
# very strong effects (.53 against .69 of even steps); 12 points cost .01 to .03, 60 gain nothing, fractions below
# .02 cost .02 and never paid.
FRACTIONS = np.geomspace(0.02, 0.99, 24).astype(np.float32)
ROUNDING = 1e-5  # how far below its bound a float32 term may lie, relative to the size of the bound
HALVINGS = 48
STEPS = 48  # of the search of a bound, which takes five to nine
CLOSE = 2.0**-22  # share of a bound that may lie between what is rejected and what is not, two digits of float32


class Power(NamedTuple):
    """What is needed to certify: `units` (infinite where no number suffices), the best `fraction`, and its `growth`,
    the mean logarithm of the factor that one unit adds to the wealth."""

    units: Float[Array, ""]
    fraction: Float[Array, ""]
    growth: Float[Array, ""]


def _gains(
    terms: Float[Array | np.ndarray, "unit"],
    fractions: Float[Array | np.ndarray, "fraction"],
    mask: Mask | None,
) -> Float[Array, "unit fraction"]:
    """Return log(1 + λ (Y − 1)) per unit and fraction; 0 for padded units, NaN for a negative term."""
    terms = jnp.asarray(terms, jnp.float32)
    checked = jnp.where(terms < -ROUNDING, jnp.nan, jnp.maximum(terms, 0.0))
    if mask is not None:  # a term of 1 wins nothing; to choose among the logarithms instead takes 15 times as long
        checked = jnp.where(mask, checked, 1.0)
    return jnp.log1p(jnp.asarray(fractions) * (checked[:, None] - 1.0))


def _mixed(
    logs: Float[Array, "*any fraction"], prior: Float[Array | np.ndarray, "fraction"] | None
) -> Float[Array, "*any"]:
    weights = jnp.ones(logs.shape[-1]) if prior is None else jnp.asarray(prior)
    return logsumexp(logs, b=weights / weights.sum(), axis=-1)


@jax.jit
def learned_prior(
    terms: Float[Array | np.ndarray, "unit"],
    fractions: Float[Array | np.ndarray, "fraction"] = FRACTIONS,
    mask: Bool[Array | np.ndarray, "unit"] | None = None,
) -> Float[Array, "fraction"]:
    """Return weights of the fractions learned on other units (the select fold): half equal, half by their wealth there.

    Weights that were fixed before the certify fold was seen keep the promise. With half as many units as there are to
    certify they raise the share that certifies by up to .06 (from .16 to .22), and cost at most log 2 of the
    logarithm of wealth.
    """
    # half stays equal: whatever the select fold said, wealth is at least half of that of the plain mixture
    return 0.5 / len(fractions) + 0.5 * jax.nn.softmax(_gains(terms, fractions, mask).sum(0))


@jax.jit
def log_wealth(
    terms: Float[Array | np.ndarray, "unit"],
    fractions: Float[Array | np.ndarray, "fraction"] = FRACTIONS,
    mask: Bool[Array | np.ndarray, "unit"] | None = None,
    prior: Float[Array | np.ndarray, "fraction"] | None = None,
) -> Float[Array, ""]:
    """Return the logarithm of the mixture's wealth after all units: log mean_λ Π (1 + λ (Y_i − 1)).

    mask: the units that count; padding is False. prior: weights of the fractions (equal by default). Reject E Y ≤ 1 at
    a risk of .05 where the result is ≥ log 20. A negative term makes it NaN, because then nothing is guaranteed.
    """
    return _mixed(_gains(terms, fractions, mask).sum(0), prior)


@jax.jit
def path(
    terms: Float[Array | np.ndarray, "unit"],
    fractions: Float[Array | np.ndarray, "fraction"] = FRACTIONS,
    mask: Bool[Array | np.ndarray, "unit"] | None = None,
    prior: Float[Array | np.ndarray, "fraction"] | None = None,
) -> Float[Array, "unit"]:
    """Return the logarithm of the wealth after each unit, in the given order (of time, of a staged roll-out).

    Its running maximum may be compared with log(1/risk): the promise holds at every stop, chosen by whatever rule.
    """
    return _mixed(jnp.cumsum(_gains(terms, fractions, mask), 0), prior)


class _Search(NamedTuple):
    """Means that values reject (`low`) and do not (`high`), the one to be tested `next`, and how many were."""

    low: Float[Array, ""]
    high: Float[Array, ""]
    next: Float[Array, ""]
    steps: Int[Array, ""]


def _tangent(
    values: Float[Array, "unit"], mean: Array, risk: Number, mask: Mask | None, fractions: Any, prior: Any
) -> tuple[Bool[Array, ""], Float[Array, ""]]:
    """Say whether nonnegative values reject a mean, and return the one at which the tangent of their log-wealth, in the
    logarithm of the mean, meets log(1/risk): never above the bound, because the log-wealth is convex."""
    ratio, fractions = values / mean, jnp.asarray(fractions)
    gains = _gains(ratio, fractions, mask).sum(0)
    # exp(gain) is the factor of the wealth; a padded unit has a ratio of 0
    falls = (fractions * ratio[:, None] / (1 + fractions * (ratio[:, None] - 1))).sum(0)
    start = jnp.zeros(len(fractions)) if prior is None else jnp.log(jnp.asarray(prior))
    above = _mixed(gains, prior) + jnp.log(risk)
    return above >= 0, mean * jnp.exp(above / jnp.maximum(jax.nn.softmax(gains + start) @ falls, 1e-30))


@jax.jit
def lower_bound(
    values: Float[Array | np.ndarray, "unit"],
    lower: Number,
    risk: Number,
    mask: Bool[Array | np.ndarray, "unit"] | None = None,
    fractions: Float[Array | np.ndarray, "fraction"] = FRACTIONS,
    prior: Float[Array | np.ndarray, "fraction"] | None = None,
) -> Float[Array, ""]:
    """Return the smallest mean that the values do not reject: it exceeds their mean with probability ≤ risk.

    values: one per unit, each ≥ `lower`, a number known beforehand (for the improvement X ≥ −B it is −B).
    Every margin m is tested by Y = (X − lower) / (m − lower). The logarithm of the wealth falls in log(m − lower) and
    is convex in it, so that tangents lead to the bound from below. What is returned was itself rejected, and lies
    within 1e-6 of the largest such number; NaN where a value lies below `lower`.
    """
    shifted = jnp.asarray(values, jnp.float32) - lower
    counted = shifted if mask is None else jnp.where(mask, shifted, 0.0)
    below = (counted < -ROUNDING * jnp.maximum(1.0, jnp.abs(lower))).any() | jnp.isnan(counted).any()
    counted = jnp.maximum(counted, 0.0)

    def closer(search: _Search) -> _Search:
        rejected, tangent = _tangent(counted, search.next, risk, mask, fractions, prior)
        low, high = jnp.where(rejected, search.next, search.low), jnp.where(rejected, search.high, search.next)
        following = tangent * jnp.where(rejected, 1 + CLOSE, 1 - CLOSE)  # to the other side, so that both ends close in
        inside = (low < following) & (following < high)
        return _Search(low, high, jnp.where(inside, following, (low + high) / 2), search.steps + 1)

    def apart(search: _Search) -> Bool[Array, ""]:
        return (search.high - search.low > 3 * CLOSE * search.high) & (search.steps < STEPS) & (total > 0)

    total = counted.sum()
    units = len(counted) if mask is None else jnp.maximum(jnp.asarray(mask, jnp.float32).sum(), 1.0)
    # of their own mean no values win anything (log is concave), so nothing above it has to be looked at
    top = jnp.maximum(total / units, jnp.finfo(jnp.float32).tiny)
    bound = jax.lax.while_loop(apart, closer, _Search(jnp.zeros_like(top), top, top, jnp.int32(0))).low
    return jnp.where(below, jnp.nan, bound + lower)


def upper_bound(
    opposite: Float[Array | np.ndarray, "unit"],
    lower: Number,
    risk: Number,
    mask: Bool[Array | np.ndarray, "unit"] | None = None,
    fractions: Float[Array | np.ndarray, "fraction"] = FRACTIONS,
    prior: Float[Array | np.ndarray, "fraction"] | None = None,
) -> Float[Array, ""]:
    """Return a number that the mean exceeds with probability ≤ risk, from values of the *opposite* quantity.

    opposite: one per unit with mean −E X, each ≥ `lower`: for the improvement of π over π₀, that of π₀ over π with
    the two policies swapped in the weights. (−X itself has no lower bound where weights have no upper one.)
    """
    return -lower_bound(opposite, lower, risk, mask, fractions, prior)


def _moments(
    terms: Float[Array | np.ndarray, "unit"],
    fractions: Float[Array | np.ndarray, "fraction"],
    mask: Mask | None,
) -> tuple[Array, Array]:
    """Return mean and variance, over units, of the logarithm of the factor that a unit adds."""
    gains = _gains(terms, fractions, mask)
    weights = jnp.ones(len(gains)) if mask is None else jnp.asarray(mask, jnp.float32)
    share = weights / jnp.maximum(weights.sum(), 1.0)
    mean = share @ gains
    return mean, share @ jnp.square(gains - mean)


def _quantile(
    mean: Array, variance: Array, units: Array, chance: Number, prior: Array | np.ndarray | None
) -> Float[Array, ""]:
    """Return what the log-wealth after some units exceeds with a chance: quantiles of the fractions, mixed."""
    spread = ndtri(chance) * jnp.sqrt(units * variance)
    return _mixed(units * mean - spread, prior)


@jax.jit
def power(
    values: Float[Array | np.ndarray, "unit"],
    lower: Number,
    margin: Number,
    risk: Number,
    chance: Number = 0.8,
    mask: Mask | None = None,
    fractions: Float[Array | np.ndarray, "fraction"] = FRACTIONS,
    prior: Float[Array | np.ndarray, "fraction"] | None = None,
) -> Power:
    """Predict how many units certify a mean above `margin` at a risk, with a chance of 80 %.

    values: those of the select fold, taken for the distribution of what comes. The log-wealth of each fraction after n
    units is about normal with mean n·growth; the number returned is the least n whose mixture of 20 % quantiles
    reaches log(1/risk). It is as uncertain as the values: heavy tails that the select fold has not seen are missing.
    """
    mean, variance = _moments((jnp.asarray(values, jnp.float32) - lower) / (margin - lower), fractions, mask)

    def halve(_: Int[Array, ""], ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        enough = _quantile(mean, variance, jnp.exp(middle), chance, prior) >= -jnp.log(risk)
        return jnp.where(enough, low, middle), jnp.where(enough, middle, high)

    best = mean.argmax()
    most = jnp.log(jnp.float32(1e9))
    _, units = jax.lax.fori_loop(0, HALVINGS, halve, (jnp.float32(0.0), most))
    reachable = _quantile(mean, variance, jnp.exp(most), chance, prior) >= -jnp.log(risk)
    return Power(jnp.where(reachable, jnp.ceil(jnp.exp(units)), jnp.inf), jnp.asarray(fractions)[best], mean[best])


@jax.jit
def chance(
    values: Float[Array | np.ndarray, "unit"],
    lower: Number,
    margin: Number,
    risk: Number,
    units: Number,
    mask: Bool[Array | np.ndarray, "unit"] | None = None,
    fractions: Float[Array | np.ndarray, "fraction"] = FRACTIONS,
    prior: Float[Array | np.ndarray, "fraction"] | None = None,
) -> Float[Array, ""]:
    """Predict the chance that so many further units certify a mean above `margin` at a risk.

    values: those of the select fold; arguments as `power`, of which this is the inverse.
    """
    mean, variance = _moments((jnp.asarray(values, jnp.float32) - lower) / (margin - lower), fractions, mask)
    units = jnp.asarray(units, jnp.float32)

    def halve(_: Int[Array, ""], ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        enough = _quantile(mean, variance, units, ndtr(middle), prior) >= -jnp.log(risk)
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    ends = jax.lax.fori_loop(0, 20, halve, (jnp.float32(-4.0), jnp.float32(4.0)))
    return ndtr((ends[0] + ends[1]) / 2)
