"""What a log declares of its system, and whether its rows keep to it."""

import numpy as np

from ..core.errors import UserError
from .dataset import Dataset

__all__ = [
    "CUT",
    "check_kept",
    "check_ranges",
    "cut_early",
    "declared_discount",
    "mean_return",
    "return_discount",
    "returns",
    "undeclared",
    "unevenly_discounted",
    "unit_returns",
]


def declared_discount(data: Dataset, discount: float | None = None) -> float:
    """Return the discount that was given, else the log's declared one, else 0.99."""
    if discount is not None:
        return discount
    return 0.99 if data.spec.discount is None else data.spec.discount


CUT = "Some episodes were cut before the horizon; what would have followed counts as nothing."
"""What a judge by weights says of a log of which `cut_early` is true."""


def cut_early(data: Dataset, horizon: int | None) -> bool:
    """Say whether episodes were cut before the horizon, so that what would have followed is not in the log."""
    step = np.concatenate([np.arange(1, length + 1) for length in data.lengths])
    return bool((data.timeouts & (step < (horizon or np.inf))).any())


def undeclared(data: Dataset) -> list[str]:
    """Return which of reward range and horizon are not declared, without which nobody knows what a return can be."""
    return [word for word in ("reward_low", "reward_high", "horizon") if getattr(data.spec, word) is None]


def unevenly_discounted(data: Dataset) -> bool:
    """Say whether steps last differently long under a discount, so that its sums are not known beforehand."""
    return data.spec.discount not in (None, 1, 1.0) and bool((data.durations != 1).any())


def returns(data: Dataset) -> np.ndarray:
    """Return the sum of rewards of every episode, discounted as is declared (not at all where nothing is)."""
    lengths = data.lengths
    begins = np.cumsum(lengths) - lengths
    step = np.arange(data.steps) - np.repeat(begins, lengths)
    return np.add.reduceat(np.asarray(data.rewards, float) * return_discount(data) ** step, begins)


def return_discount(data: Dataset) -> float:
    """Return the discount of a log's returns: the declared one, 1 where nothing is declared."""
    return 1.0 if data.spec.discount is None else float(data.spec.discount)


def unit_returns(data: Dataset) -> np.ndarray | None:
    """Return the return of every unit `(unit,)`, its episodes averaged; None where there is no such number."""
    if np.ndim(data.rewards) != 1 or unevenly_discounted(data):
        return None
    each = returns(data)
    if data.spec.unit:
        member = np.unique(data.units(data.spec.unit).astype(str), return_inverse=True)[1]
        each = np.bincount(member, each) / np.bincount(member)
    return each


def mean_return(data: Dataset) -> float | None:
    """Return the mean return of a log's units, episodes of a unit averaged; None where there is no such number."""
    each = unit_returns(data)
    return None if each is None else float(each.mean())


def check_ranges(data: Dataset, who: str) -> None:
    """Raise UserError unless reward range and horizon are declared and every reward and episode keeps to them."""
    spec = data.spec
    missing = undeclared(data)
    if missing:
        raise UserError(
            f"{who} needs what {data.origin} does not declare: {', '.join(missing)}. Declare it from what you know of "
            "the system, not from the data: data.declare(reward_low=(0.0,), reward_high=(1.0,), horizon=10)."
        )
    check_kept(data)
    assert spec.reward_low is not None
    assert spec.reward_high is not None
    assert spec.horizon is not None
    low, high = spec.reward_low[0], spec.reward_high[0]
    if int(data.lengths.min()) < spec.horizon and not low <= 0 <= high:
        raise UserError(
            f"Episodes of {data.origin} differ in length, so steps after an end count as reward 0, which the declared "
            f"[{low:g}, {high:g}] does not contain; declare a range that does, or shift the rewards."
        )


def check_kept(data: Dataset) -> None:
    """Raise UserError where rewards or episodes do not keep to what is declared of them."""
    _check_rewards(data)
    if data.spec.propensity_low is not None:
        _check_propensities(data, data.spec.propensity_low)
    horizon, longest = data.spec.horizon, int(data.lengths.max())
    if horizon is not None and longest > horizon:
        raise UserError(
            f"An episode of {data.origin} has {longest} steps, more than the declared horizon of {horizon}."
        )


def _check_rewards(data: Dataset) -> None:
    spec, rewards = data.spec, np.asarray(data.rewards)
    low = -np.inf if spec.reward_low is None else spec.reward_low[0]
    high = np.inf if spec.reward_high is None else spec.reward_high[0]
    if low > high:
        raise UserError(f"{data.origin} declares rewards from {low:g} to {high:g}, the wrong way round.")
    if rewards.ndim > 1:
        return
    # rewards are float32: a bound that 32 bits cannot hold may be missed by the last digit
    room = 1e-6 * max([1.0, *(abs(bound) for bound in (low, high) if np.isfinite(bound))])
    outside = np.flatnonzero((rewards < low - room) | (rewards > high + room))
    if len(outside):
        raise UserError(
            f"{len(outside)} rewards of {data.origin} lie outside the declared [{low:g}, {high:g}], the first is "
            f"{rewards[outside[0]]:g} at step {outside[0]}; with a wrong range nothing can be promised."
        )


def _check_propensities(data: Dataset, least: float) -> None:
    spec, logged = data.spec, data.log_propensities
    if spec.action.kind == "continuous":
        raise UserError(f"{data.origin} declares a least propensity of {least:g}, and its actions are continuous.")
    if spec.discrete and least * spec.action.size > 1 + 1e-6:
        raise UserError(
            f"{data.origin} declares a least propensity of {least:g}; {spec.action.size} choices cannot all have it."
        )
    if logged is None:
        return
    below = np.flatnonzero(logged < np.log(least) - 1e-5)
    if len(below):
        raise UserError(
            f"{len(below)} propensities of {data.origin} are below the declared least of {least:g}, the first is "
            f"{np.exp(logged[below[0]]):g} at step {below[0]}; with a wrong one nothing can be promised."
        )
