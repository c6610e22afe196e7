r"""What may be bet on: per-episode terms with a known lower bound and the right mean, whatever the weights are.

With rewards in [low, high], padding included, and a horizon of H steps (Thomas, Theocharous and Ghavamzadeh 2015):

    value        L = sum_t gamma^t rho_{0:t} (r_t - low) >= 0,       E L = J - low S,     S = sum_{t < H} gamma^t
                 U = sum_t gamma^t rho_{0:t} (high - r_t) >= 0,      E U = high S - J
    improvement  X = sum_t gamma^t [ rho^pi_{0:t} (r_t - low) + rho^0_{0:t} (high - r_t) ] - (high - low) S

E X is J of the policy less J of the baseline, and X >= -B with B = (high - low) S for any baseline; with the logging
policy as baseline rho^0 = 1. A policy that departs from the logging policy with chance `dose` in every step has
rho >= (1 - dose)^(t + 1), so that B_dose = sum_t gamma^t (1 - (1 - dose)^(t + 1)) (high - low) is enough, which is
what lets small doses be certified at all. After the end of an episode rewards are 0 and ratios stay what they were,
so [low, high] must contain 0 where lengths vary; nothing is read off the data.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .paths import Paths
from .pytree import static

__all__ = ["Range", "decline", "improvement", "unit_means", "value"]


class Range(eqx.Module):
    """What is declared of a log: rewards of a step, discount per step, and the most steps that an episode can have."""

    low: Float[Array, ""] | float
    high: Float[Array, ""] | float
    discount: Float[Array, ""] | float
    horizon: int = static()

    def schedule(self) -> Float[Array, "time"]:
        """Return `gamma^t` for all steps up to the horizon."""
        return self.discount ** jnp.arange(self.horizon)

    def bound(self, dose: Float[Array, ""] | float = 1.0) -> Float[Array, ""]:
        """Return `B_dose`: no improvement of an episode can be less than minus this. `dose = 1` is any policy."""
        steps = jnp.arange(1, self.horizon + 1)
        return (self.high - self.low) * (self.schedule() * (1.0 - (1.0 - dose) ** steps)).sum()


def _weighed(
    weight: Float[Array, "episode time"], gain: Float[Array, "episode time"], rest: Array, declared: Range
) -> Float[Array, "episode"]:
    """Sum `gamma^t weight_t gain_t` over the horizon; `rest` is the gain of a step after the log's longest episode."""
    longest = min(weight.shape[1], declared.horizon)
    schedule = declared.schedule()
    found = (weight[:, :longest] * gain[:, :longest] * schedule[:longest]).sum(1)
    return found + weight[:, -1] * rest * schedule[longest:].sum()


def value(found: Paths, declared: Range) -> tuple[Float[Array, "episode"], Float[Array, "episode"]]:
    """Return the terms `L` and `U` of every episode."""
    lower = _weighed(found.weight, found.reward - declared.low, jnp.asarray(-declared.low), declared)
    upper = _weighed(found.weight, declared.high - found.reward, jnp.asarray(declared.high), declared)
    return lower, upper


def improvement(found: Paths, baseline: Paths | None, declared: Range) -> Float[Array, "episode"]:
    """Return the terms `X` of every episode; `baseline=None` is the logging policy.

    Swap the two policies for the terms of the opposite improvement.
    """
    if baseline is None:  # the sum without its cancellation: (rho - 1) (r - low), to the last digit at small doses
        excess = jnp.expm1(found.log_weight)
        return _weighed(excess, found.reward - declared.low, jnp.asarray(-declared.low), declared)
    ours = _weighed(found.weight, found.reward - declared.low, jnp.asarray(-declared.low), declared)
    theirs = _weighed(baseline.weight, declared.high - found.reward, jnp.asarray(declared.high), declared)
    return ours + theirs - (declared.high - declared.low) * declared.schedule().sum()


def decline(found: Paths, declared: Range) -> Float[Array, "episode"]:
    """Return the terms of the logging policy's improvement over the policy, `(rho - 1) (high - r)`: they have the same
    lower bound `-B_dose` as those of the policy over it.
    """
    return _weighed(jnp.expm1(found.log_weight), declared.high - found.reward, jnp.asarray(declared.high), declared)


def unit_means(
    terms: Float[Array, "episode"], weights: Float[Array, "episode"], unit: Array
) -> tuple[Float[Array, "unit"], Array]:
    """Return the mean term of every independent unit, and which units there are: bets are made per unit."""
    size = len(terms)
    count = jnp.zeros(size).at[unit].add(weights)
    total = jnp.zeros(size).at[unit].add(jnp.where(weights > 0, weights * terms, 0.0))
    return total / jnp.where(count > 0, count, 1.0), count > 0
