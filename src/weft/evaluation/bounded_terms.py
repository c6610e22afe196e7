r"""What may be bet on: per-episode terms with a known lower bound and the right mean, whatever the weights are.

With rewards in [low, high], padding included, and a horizon of H steps (Thomas, Theocharous and Ghavamzadeh 2015):

    value        L = sum_t gamma^t rho_{0:t} (r_t - low) >= 0,       E L = J - low S,     S = sum_{t < H} gamma^t
                 U = sum_t gamma^t rho_{0:t} (high - r_t) >= 0,      E U = high S - J
    improvement  X = sum_t gamma^t [ rho^pi_{0:t} (r_t - low) + rho^0_{0:t} (high - r_t) ] - (high - low) S

E X is J of the policy less J of the baseline, and X >= -B with B = (high - low) S for any baseline; with the logging
policy as baseline rho^0 = 1. A policy that departs from the logging policy with chance `dose` in every step has
rho >= (1 - dose)^(t + 1), so that B_dose = sum_t gamma^t (1 - (1 - dose)^(t + 1)) (high - low) is enough, which is
what lets small doses be certified at all.

If every choice had a chance of at least `floor` in every decision, then rho <= (1 - dose + dose / floor)^(t + 1), too,
and a number c_t may be taken off the rewards before they are weighed, because E rho_{0:t} = 1:

    X = sum_t gamma^t (rho_{0:t} - 1) (r_t - low - c_t (high - low)),
    X >= - (high - low) sum_t gamma^t max((1 - c_t) (1 - (1 - dose)^(t + 1)),
                                          c_t ((1 - dose + dose / floor)^(t + 1) - 1))

with the same mean and a fraction of the variance: what all policies earn alike no longer counts as noise.

After the end of an episode rewards are 0 and ratios stay what they were, so [low, high] must contain 0 where lengths
vary; nothing is read off the data.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..core.pytree import static
from ..data.dataset import Dataset
from ..data.declarations import return_discount
from .trajectories import Paths

__all__ = ["Centre", "Range", "declared_range", "decline", "improvement", "return_range", "unit_means", "value",
           "value_bounds"]  # fmt: skip


class Centre(NamedTuple):
    """What is taken off rewards: a `share` of their range in every step where that makes the step's part of the lower
    bound at most `strain` times as large, elsewhere as much of it as leaves the bound where it was or nearer."""

    share: Float[Array, "*any"] | float
    strain: Float[Array, "*any"] | float


class Range(eqx.Module):
    """What is declared of a log: rewards of a step, discount per step, the most steps that an episode can have, and the
    least chance that any choice had in any decision (`floor`, None if nobody knows)."""

    low: Float[Array, ""] | float
    high: Float[Array, ""] | float
    discount: Float[Array, ""] | float
    horizon: int = static()
    floor: Float[Array, ""] | float | None = None

    def schedule(self) -> Float[Array, "time"]:
        """Return `gamma^t` for all steps up to the horizon."""
        return self.discount ** jnp.arange(self.horizon)

    def possible(self, total: Any) -> tuple[Array, Array]:
        """Return the lowest and the highest return of episodes that may end at any step, by the sum of discounts."""
        return jnp.minimum(self.low, self.low * total), jnp.maximum(self.high, self.high * total)

    def share(self, returns: Float[Array, ""] | float) -> Float[Array, ""]:
        """Return where in the range of returns a return lies, from 0 to 1."""
        total = self.schedule().sum()
        return jnp.clip((returns - self.low * total) / jnp.maximum((self.high - self.low) * total, 1e-30), 0.0, 1.0)

    def _ends(self, dose: Float[Array, ""] | float) -> tuple[Float[Array, "time"], Float[Array, "time"]]:
        """Return by how much the weight of a dose can lie below and above 1."""
        steps = jnp.arange(1, self.horizon + 1)
        below = 1.0 - (1.0 - dose) ** steps
        if self.floor is None:
            return below, jnp.full(self.horizon, jnp.inf)
        return below, (1.0 - dose + dose / self.floor) ** steps - 1.0

    def centring(self, dose: Float[Array, ""] | float, centre: Centre | None) -> Float[Array, "time"]:
        """Return the share `c_t` of the range that is taken off the rewards of every step; 0 without a floor."""
        if centre is None or self.floor is None:
            return jnp.zeros(self.horizon)
        below, above = self._ends(dose)
        # below / (below + above) is the share at which both ends of a step lie equally far from 0
        most = jnp.where(above * centre.share <= centre.strain * below, 1.0, below / (below + above))
        return jnp.where(jnp.isfinite(above), jnp.minimum(most, centre.share), 0.0)

    def bound(self, dose: Float[Array, ""] | float = 1.0, centre: Centre | None = None) -> Float[Array, ""]:
        """Return `B_dose`: no improvement of an episode can be less than minus this. `dose = 1` is any policy."""
        below, above = self._ends(dose)
        taken = self.centring(dose, centre)
        # a step's gain is lowest at one of the corners: the least weight with the highest reward, or the reverse
        each = jnp.maximum((1.0 - taken) * below, jnp.where(taken > 0, taken * above, 0.0))
        return (self.high - self.low) * (self.schedule() * each).sum()


def _weighed(
    weight: Float[Array, "episode time"], gain: Float[Array, "episode time"], rest: Any, declared: Range
) -> Float[Array, "episode"]:
    """Sum `gamma^t weight_t gain_t` over the horizon; `rest` are the gains of steps after the log's longest episode."""
    longest = min(weight.shape[1], declared.horizon)
    schedule = declared.schedule()
    logged = (weight[:, :longest] * gain[:, :longest] * schedule[:longest]).sum(1)
    # rewards behind the log's longest episode count as 0, but their terms do not
    return logged + weight[:, -1] * (rest * schedule)[longest:].sum()


def value(paths: Paths, declared: Range) -> tuple[Float[Array, "episode"], Float[Array, "episode"]]:
    """Return the terms `L` and `U` of every episode."""
    lower = _weighed(paths.weight, paths.reward - declared.low, -declared.low, declared)
    upper = _weighed(paths.weight, declared.high - paths.reward, declared.high, declared)
    return lower, upper


def improvement(
    paths: Paths, baseline: Paths | None, declared: Range, taken: Float[Array, "time"] | None = None
) -> Float[Array, "episode"]:
    """Return the terms `X` of every episode; `baseline=None` is the logging policy.

    taken: shares of the range that are taken off rewards (`Range.centring`), over the logging policy alone.
    Swap the two policies for the terms of the opposite improvement.
    """
    if baseline is None:  # the sum without its cancellation: (rho - 1) (r - low), to the last digit at small doses
        return _excess(paths, paths.reward - declared.low, -declared.low, declared, taken)
    ours = _weighed(paths.weight, paths.reward - declared.low, -declared.low, declared)
    theirs = _weighed(baseline.weight, declared.high - paths.reward, declared.high, declared)
    return ours + theirs - (declared.high - declared.low) * declared.schedule().sum()


def decline(paths: Paths, declared: Range, taken: Float[Array, "time"] | None = None) -> Float[Array, "episode"]:
    """Return the terms of the logging policy's improvement over the policy, `(rho - 1) (high - r)`: they have the same
    lower bound `-B_dose` as those of the policy over it, and as much may be taken off `high - r`.
    """
    return _excess(paths, declared.high - paths.reward, declared.high, declared, taken)


def _excess(
    paths: Paths, gain: Float[Array, "episode time"], rest: Any, declared: Range, taken: Array | None
) -> Float[Array, "episode"]:
    off = jnp.zeros(declared.horizon) if taken is None else (declared.high - declared.low) * taken
    longest = min(gain.shape[1], declared.horizon)
    gain = gain[:, :longest] - off[:longest]
    return _weighed(jnp.expm1(paths.log_weight), gain, rest - off, declared)


def unit_means(
    terms: Float[Array, "episode"], weights: Float[Array, "episode"], unit: Int[Array, "episode"]
) -> tuple[Float[Array, "unit"], Bool[Array, "unit"]]:
    """Return the mean term of every independent unit, and which units there are: bets are made per unit."""
    size = len(terms)
    count = jnp.zeros(size).at[unit].add(weights)
    total = jnp.zeros(size).at[unit].add(jnp.where(weights > 0, weights * terms, 0.0))
    return total / jnp.where(count > 0, count, 1.0), count > 0


class Terms(NamedTuple):
    """Improvement terms: `values[dose, unit]`, none below `-bound[dose]`; `there` are the units that exist."""

    values: Float[Array, "dose unit"]
    bound: Float[Array, "dose"]
    there: Bool[Array, "unit"]


class Comparison(NamedTuple):
    """What terms of improvements are made of: the paths of a policy and of a baseline (None: the policy that made the
    log), weights and units of the episodes, and what is declared of rewards."""

    ours: Paths
    baseline: Paths | None
    starts: Float[Array, "episode"]
    unit: Int[Array, "episode"]
    declared: Range


def improvements(comparison: Comparison, doses: Float[Array, "dose"], centre: Centre | None = None) -> Terms:
    """Return the improvement terms of every dose over the baseline.

    centre: of every dose, over the logging policy alone; fixed before these units were seen.
    """

    def gain(dosed: Paths, taken: Array) -> Array:
        return improvement(dosed, comparison.baseline, comparison.declared, taken)

    return _by_dose(gain, comparison, doses, centre)


def declines(comparison: Comparison, doses: Float[Array, "dose"], centre: Centre | None = None) -> Terms:
    """Return the terms of the baseline's improvement over every dose: a lower bound of it, negated, rejects a dose."""

    def gain(dosed: Paths, taken: Array) -> Array:
        if comparison.baseline is None:
            return decline(dosed, comparison.declared, taken)
        return improvement(comparison.baseline, dosed, comparison.declared)

    # what is taken off `high - r` is the rest of what is taken off `r - low`
    turned = None if centre is None else Centre(1 - jnp.asarray(centre.share), centre.strain)
    return _by_dose(gain, comparison, doses, turned)


def _by_dose(
    gain: Callable[[Paths, Array], Array], comparison: Comparison, doses: Float[Array, "dose"], centre: Centre | None
) -> Terms:
    """Return what a policy gains at every dose, per unit."""
    alone, declared = comparison.baseline is None, comparison.declared

    def one(dose: Array, centre: Centre | None) -> tuple[Array, Array, Array]:
        gained = gain(comparison.ours.dosed(dose), declared.centring(dose, centre))
        means, there = unit_means(gained, comparison.starts, comparison.unit)
        # a baseline may do anything, so that its part of the terms has the bound of a whole policy
        return means, declared.bound(dose if alone else 1.0, centre), there

    values, bound, there = jax.vmap(one)(doses, centre if alone else None)
    return Terms(values, bound, there[0])


def randomised_terms(comparison: Comparison) -> tuple[Float[Array, "term"], Float[Array, ""], Float[Array, "term"]]:
    """Return the terms that a test would have that gives half of its units to the policy and half to the logging one,
    their bound, and the weight of each, 0 where there is no unit.

    The terms are `X = (1 / p)(G - low S)` under the policy and `(1 / p)(high S - G)` under the other, less
    `(high - low) S`, with p = 1/2 and G the return. What the policy's half would look like is read off the log by its
    weights, so it is rough where few effective units are left.
    """
    ours = comparison.ours
    assert ours.log_ratio is not None
    still = Paths(jnp.zeros_like(ours.log_ratio), ours.reward, ours.discount, ours.there)
    gains, losses = value(still, comparison.declared)
    bound = comparison.declared.bound()
    gains, there = unit_means(2 * gains - bound, comparison.starts, comparison.unit)
    losses, _ = unit_means(2 * losses - bound, comparison.starts, comparison.unit)
    weight, _ = unit_means(ours.weight[:, -1], comparison.starts, comparison.unit)
    shares = jnp.concatenate([weight / jnp.maximum((weight * there).sum(), 1e-30), 1.0 / there.sum() * there])
    return jnp.concatenate([gains, losses]), bound, shares * jnp.tile(there, 2)


def value_bounds(
    paths: Paths,
    starts: Float[Array, "episode"],
    unit: Int[Array, "episode"],
    declared: Range,
    least: Callable[[Array, Array], Array],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Return a lower and an upper bound of the value.

    least: a lower bound of the mean of `L` or `U`, from one term per unit and which units there are.
    """
    lower, upper = (least(*unit_means(terms, starts, unit)) for terms in value(paths, declared))
    total = declared.schedule().sum()
    return lower + declared.low * total, declared.high * total - upper


def return_range(declared: Range) -> tuple[float, float]:
    """Return the lowest and the highest return of an episode that goes on to the horizon, in 64 bits."""
    total = float(np.asarray(declared.schedule(), float).sum())
    return float(declared.low) * total, float(declared.high) * total


def declared_range(data: Dataset) -> Range | None:
    """Return the declared reward range, discount (1 where none is declared) and horizon of a log; None where range or
    horizon are not declared.

    The range is widened to contain 0 where episodes are shorter than the horizon: what follows an end counts as 0.
    """
    spec = data.spec
    if spec.reward_low is None or spec.reward_high is None or spec.horizon is None:
        return None
    low, high = spec.reward_low[0], spec.reward_high[0]
    if int(data.lengths.min()) < spec.horizon:
        low, high = min(low, 0.0), max(high, 0.0)
    return Range(low, high, return_discount(data), spec.horizon, spec.propensity_low)
