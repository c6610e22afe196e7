r"""How much unseen reasons of the logging policy a decision bears: the marginal sensitivity model (Tan 2006).

Suppose the logging policy saw something that the log does not hold. Then the true ratio of a step is rho_t lambda_t
with an unknown lambda_t; the model says 1 / Gamma <= lambda_t <= Gamma. Gamma = 1 is a log that holds everything;
Gamma = 2 lets unseen reasons double or halve the chance of any single decision. Per decision, weights may move by
Gamma^(t + 1). The bounds of the improvement J(pi) - J(logging policy), for the worst lambda:

    normalised  sum_t gamma^t min_lambda ( sum_i rho lambda r / sum_i rho lambda ) - mean logged return, less z errors
                (weights have mean 1 whatever lambda is; the worst one is a threshold on r; Zhao, Small and Bhattacharya
                2019, arXiv:1711.11286, for every step apart, which can only lower the bound)
    betting     betting on sum_t gamma^t [ rho_{0:t} Gamma^-(t + 1) (r - low) + (high - r) ] - (high - low) S, whose
                mean is at most the improvement: finite samples, no normalisation, and so much wider

The answer is the Gamma at which the bound falls to the margin. Without propensities, or with estimated ones, it is
the only thing that says how far the number can be trusted.
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from jaxtyping import Array, Float

from ..core.errors import UserError
from ..core.pytree import require
from ..data.dataset import Dataset
from ..data.declarations import check_ranges, declared_discount
from .betting import lower_bound
from .bounded_terms import Range, improvement, unit_means
from .candidate import NO_DENSITY
from .case import Weighing, case_of, mean
from .interval import spread
from .thresholds import LARGEST_GAMMA
from .trajectories import Paths

__all__ = ["Confounding", "betting_bound", "confounding", "flip", "normalised_bound"]

GAMMAS = (1.0, 1.1, 1.25, 1.5, 2.0, 3.0)  # values of Gamma in the curve
HALVINGS = 30


@dataclasses.dataclass(frozen=True)
class Confounding:
    """How much hidden confounding a decision bears. gamma: the Gamma at which the lower bound of the improvement falls
    to the margin, 1 where it does not exceed it even without confounding, infinite beyond 100. lower: that bound at
    Gamma = 1. curve: the bound at 1, 1.1, 1.25, 1.5, 2 and 3.
    """

    gamma: float
    lower: float
    margin: float
    level: float
    bound: str
    curve: dict[float, float]

    @property
    def sentence(self) -> str:
        """The finding in plain words."""
        if self.gamma <= 1:
            return (
                f"The improvement is not shown to exceed {self.margin:g} even if the log holds everything "
                f"(lower bound {self.lower:.4g})."
            )
        if np.isinf(self.gamma):
            return (
                f"The improvement exceeds {self.margin:g} whatever unseen reasons did, up to a factor of "
                f"{LARGEST_GAMMA:g}."
            )
        return (
            f"The improvement exceeds {self.margin:g} unless unseen reasons changed the odds of single decisions by a "
            f"factor of {self.gamma:.3g} or more."
        )

    def __str__(self) -> str:
        return self.sentence


def confounding(
    policy: Any,
    data: Dataset,
    margin: float = 0.0,
    level: float = 0.95,
    *,
    bound: str = "normalised",
    discount: float | None = None,
    seed: int = 0,
    greedy: bool | None = None,
    starts: Any = None,
) -> Confounding:
    """Return the Gamma at which "better than the logging policy by more than the margin" is no longer shown.

    level: of the one-sided lower bound. bound: `normalised` (asymptotic) or `betting` (finite samples; needs declared
    ranges). Other arguments as `weft.estimate`. Raises UserError for a log without propensities (estimate them with
    `weft.evaluation.propensities` first), a policy without density, an unknown bound, and ranges that are missing.
    """
    if bound not in ("normalised", "betting"):
        raise UserError(f"The bound is 'normalised' or 'betting', not '{bound}'.")
    require(0 < level < 1, f"The level lies between 0 and 1, got {level}.")
    if data.store_log_propensities is None:
        raise UserError(f"{data.origin} has no propensities to doubt; estimate them first (estimate_propensities).")
    if bound == "betting":
        check_ranges(data, "The betting bound")
    discount = declared_discount(data, discount)
    case = case_of(policy, data, starts, greedy, 1, seed)
    if case.candidate.log_prob is None:
        raise UserError(f"The policy cannot be weighed: {NO_DENSITY}.")
    case = case.padded()
    declared = _range(data, discount) if bound == "betting" else None
    bounds, gamma = _searched(case.paths(discount), case.weighing, declared, jnp.float32(level), jnp.float32(margin))
    curve = dict(zip(GAMMAS, np.asarray(bounds, float).tolist(), strict=True))
    return Confounding(float(gamma), curve[1.0], margin, level, bound, curve)


def _range(data: Dataset, discount: float) -> Range:
    """Return the declared range of rewards at a discount; it is not widened, because `check_ranges` has seen it."""
    spec = data.spec
    assert spec.reward_low is not None
    assert spec.reward_high is not None
    assert spec.horizon is not None
    return Range(spec.reward_low[0], spec.reward_high[0], discount, spec.horizon)


@eqx.filter_jit
def _searched(
    paths: Paths, weighing: Weighing, declared: Range | None, level: Array, margin: Array
) -> tuple[Float[Array, "gamma"], Float[Array, ""]]:
    """Return the bound at the values of Gamma in the curve, and the Gamma at which it meets the margin."""

    def least(gamma: Array) -> Array:
        if declared is None:
            return normalised_bound(paths, weighing, gamma, level)
        return betting_bound(paths, weighing, declared, gamma, 1 - level)

    return jax.lax.map(least, jnp.asarray(GAMMAS)), flip(least, margin)


def normalised_bound(
    paths: Paths, weighing: Weighing, gamma: Float[Array, ""] | float, level: Float[Array, ""] | float
) -> Float[Array, ""]:
    """Return the one-sided lower bound of the improvement for the worst ratios, from normalised weights.

    The error is that of the ratios with the worst lambda held (its own change is of second order).
    """
    starts = weighing.starts
    reward = jnp.where(starts[:, None] > 0, paths.discount * paths.reward, 0.0)
    weight = jnp.where(starts[:, None] > 0, paths.weight, 0.0)
    power = jnp.log(jnp.asarray(gamma)) * jnp.arange(1, reward.shape[1] + 1)

    def worst(rewards: Array, weights: Array, power: Array) -> Array:
        """Return lambda of every episode at one step: large for rewards below a threshold, small above."""
        order = jnp.argsort(rewards)
        heavy, ranked = (starts * weights)[order], rewards[order]
        up, down = 1.0, jnp.exp(-2 * power)  # only their ratio matters
        over, below = jnp.cumsum(heavy * ranked), jnp.cumsum(heavy)
        value = (up * over + down * (over[-1] - over)) / jnp.maximum(up * below + down * (below[-1] - below), 1e-30)
        value = jnp.where(below > 0, value, jnp.inf)
        cut = ranked[value.argmin()]
        return jnp.where(rewards <= cut, up, down)

    factor = jax.lax.stop_gradient(jax.vmap(worst, in_axes=(1, 1, 0), out_axes=1)(reward, weight, power))

    def improved(weights: Array) -> Array:
        starts = weighing.reweighted(weights).starts
        ours = mean(weight * factor * reward, starts) / jnp.maximum(mean(weight * factor, starts), 1e-30)
        return ours.sum() - mean(reward.sum(1), starts)

    value, slope = jax.value_and_grad(improved)(weighing.weights)
    each = jnp.zeros(len(slope)).at[weighing.unit].add(slope * weighing.weights)
    count = (jnp.zeros(len(slope)).at[weighing.unit].max(weighing.weights) > 0).sum()
    return value - norm.ppf(level) * spread(each, count)


def betting_bound(
    paths: Paths, weighing: Weighing, declared: Range, gamma: Float[Array, ""] | float, risk: Float[Array, ""] | float
) -> Float[Array, ""]:
    """Return the lower bound of the improvement for the worst ratios, by betting: no sample is too small."""
    assert paths.log_ratio is not None
    worst = jnp.where(paths.there, paths.log_ratio - jnp.log(jnp.asarray(gamma)), 0.0)
    lowered = Paths(worst, paths.reward, paths.discount, paths.there)
    terms = improvement(lowered, None, declared)
    each, there = unit_means(terms, weighing.starts, weighing.unit)
    return lower_bound(each, -declared.bound(), risk, there)


def flip(least: Any, margin: Float[Array, ""] | float) -> Float[Array, ""]:
    """Return the Gamma at which a bound that falls in Gamma meets the margin, by halving on its logarithm."""

    def halve(_: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        above = least(jnp.exp(middle)) > margin
        return jnp.where(above, middle, low), jnp.where(above, high, middle)

    most = jnp.log(jnp.float32(LARGEST_GAMMA))
    meeting = jnp.exp(jax.lax.fori_loop(0, HALVINGS, halve, (jnp.zeros(()), most))[0])
    first, last = least(jnp.ones(())) > margin, least(jnp.exp(most)) > margin
    return jnp.where(last, jnp.inf, jnp.where(first, meeting, 1.0))
