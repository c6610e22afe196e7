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

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..core.pytree import static
from ..data.dataset import Dataset
from .trajectories import Paths

__all__ = ["Centre", "Range", "declared_range", "decline", "improvement", "unit_means", "value"]


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
        found = jnp.where(above * centre.share <= centre.strain * below, 1.0, below / (below + above))
        return jnp.where(jnp.isfinite(above), jnp.minimum(found, centre.share), 0.0)

    def bound(self, dose: Float[Array, ""] | float = 1.0, centre: Centre | None = None) -> Float[Array, ""]:
        """Return `B_dose`: no improvement of an episode can be less than minus this. `dose = 1` is any policy."""
        below, above = self._ends(dose)
        taken = self.centring(dose, centre)
        each = jnp.maximum((1.0 - taken) * below, jnp.where(taken > 0, taken * above, 0.0))
        return (self.high - self.low) * (self.schedule() * each).sum()


def _weighed(
    weight: Float[Array, "episode time"], gain: Float[Array, "episode time"], rest: Any, declared: Range
) -> Float[Array, "episode"]:
    """Sum `gamma^t weight_t gain_t` over the horizon; `rest` are the gains of steps after the log's longest episode."""
    longest = min(weight.shape[1], declared.horizon)
    schedule = declared.schedule()
    found = (weight[:, :longest] * gain[:, :longest] * schedule[:longest]).sum(1)
    return found + weight[:, -1] * (rest * schedule)[longest:].sum()


def value(found: Paths, declared: Range) -> tuple[Float[Array, "episode"], Float[Array, "episode"]]:
    """Return the terms `L` and `U` of every episode."""
    lower = _weighed(found.weight, found.reward - declared.low, -declared.low, declared)
    upper = _weighed(found.weight, declared.high - found.reward, declared.high, declared)
    return lower, upper


def improvement(
    found: Paths, baseline: Paths | None, declared: Range, taken: Float[Array, "time"] | None = None
) -> Float[Array, "episode"]:
    """Return the terms `X` of every episode; `baseline=None` is the logging policy.

    taken: shares of the range that are taken off rewards (`Range.centring`), over the logging policy alone.
    Swap the two policies for the terms of the opposite improvement.
    """
    if baseline is None:  # the sum without its cancellation: (rho - 1) (r - low), to the last digit at small doses
        return _excess(found, found.reward - declared.low, -declared.low, declared, taken)
    ours = _weighed(found.weight, found.reward - declared.low, -declared.low, declared)
    theirs = _weighed(baseline.weight, declared.high - found.reward, declared.high, declared)
    return ours + theirs - (declared.high - declared.low) * declared.schedule().sum()


def decline(found: Paths, declared: Range, taken: Float[Array, "time"] | None = None) -> Float[Array, "episode"]:
    """Return the terms of the logging policy's improvement over the policy, `(rho - 1) (high - r)`: they have the same
    lower bound `-B_dose` as those of the policy over it, and as much may be taken off `high - r`.
    """
    return _excess(found, declared.high - found.reward, declared.high, declared, taken)


def _excess(
    found: Paths, gain: Float[Array, "episode time"], rest: Any, declared: Range, taken: Array | None
) -> Float[Array, "episode"]:
    off = jnp.zeros(declared.horizon) if taken is None else (declared.high - declared.low) * taken
    longest = min(gain.shape[1], declared.horizon)
    gain = gain[:, :longest] - off[:longest]
    return _weighed(jnp.expm1(found.log_weight), gain, rest - off, declared)


def unit_means(
    terms: Float[Array, "episode"], weights: Float[Array, "episode"], unit: Array
) -> tuple[Float[Array, "unit"], Array]:
    """Return the mean term of every independent unit, and which units there are: bets are made per unit."""
    size = len(terms)
    count = jnp.zeros(size).at[unit].add(weights)
    total = jnp.zeros(size).at[unit].add(jnp.where(weights > 0, weights * terms, 0.0))
    return total / jnp.where(count > 0, count, 1.0), count > 0


def declared_range(data: Dataset) -> Range:
    """Return the declared reward range, discount (1 where none is declared) and horizon of a log.

    The range is widened to contain 0 where episodes are shorter than the horizon: what follows an end counts as 0.
    """
    spec = data.spec
    assert spec.reward_low is not None
    assert spec.reward_high is not None
    assert spec.horizon is not None
    low, high = spec.reward_low[0], spec.reward_high[0]
    if int(data.lengths.min()) < spec.horizon:
        low, high = min(low, 0.0), max(high, 0.0)
    return Range(low, high, 1.0 if spec.discount is None else spec.discount, spec.horizon, spec.propensity_low)
