"""Units fitted on a training log: what a transform changes observations, actions and rewards by."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..core.errors import UserError
from .dataset import Dataset
from .memo import once_per_dataset
from .transforms import Affine, Transform, _reach, check_stack

__all__ = ["REWARDS", "action_reach", "check_units", "fit_transform"]

REWARDS = {
    "size": "their root mean square",
    "largest": "their largest size",
    "returns": "a thousandth of the range of returns",
    "unit": "their standard deviation",
    "none": "nothing",
}
"""How rewards can be brought to scale: what they are divided by."""


def action_reach(data: Dataset) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the lowest and the highest action of policies that are trained on a log; None for choices."""
    return _reach(_action_change(data))


@once_per_dataset
def fit_transform(
    data: Dataset, observations: str = "standardise", rewards: str = "none", reward_shift: float = 0.0, stack: int = 1
) -> Transform:
    """Fit the changes of units on a training log.

    observations: `standardise` (mean 0, standard deviation 1, with 1e-3 or a tenth of it, whichever is less, added to
    the deviation; columns that do not vary are divided by their size) or `none`; only numeric vectors are touched.
    rewards: `size` (divided by the root mean square of all rewards; by 1 where all are 0), `largest` (by the largest
    |reward|), `returns` (times 1000 / (best − worst return), Kostrikov et al. 2021), `unit` (standard deviation 1) or
    `none`. The shift is added to what was scaled. stack: how many successive images make an observation. Continuous
    actions are scaled from their bounds (declared, else seen) to [−1, 1].
    Raises UserError for unknown words and for several rewards that were not made one.
    """
    check_units(observations, rewards, reward_shift)
    spec = data.spec
    if len(spec.rewards) > 1:
        names = ", ".join(spec.rewards)
        raise UserError(f"{data.origin} has several rewards ({names}); make one with data.rewarded({{name: weight}}).")
    parts = data.observations
    parts = {"": parts} if spec.plain else parts
    changes = {part.name: _observation_change(parts[part.name], part, observations) for part in spec.observations}
    return Transform(
        observation=changes[""] if spec.plain else changes,
        action=_action_change(data),
        weights=jnp.ones(len(spec.rewards)),
        reward_scale=_reward_scale(data, rewards),
        reward_shift=jnp.asarray(reward_shift, jnp.float32),
        spec=spec,
        stack=check_stack(spec, stack),
    )


def check_units(observations: Any, rewards: Any, reward_shift: Any) -> None:
    """Raise UserError for words that are no change of units, and for a shift that is no number."""
    if observations not in ("standardise", "none"):
        raise UserError(f"Observations can be transformed by 'standardise' or 'none', not by '{observations}'.")
    if rewards not in REWARDS:
        *words, last = (f"'{word}'" for word in REWARDS)
        raise UserError(f"Rewards can be scaled by {', '.join(words)} or {last}, not by '{rewards}'.")
    if not isinstance(reward_shift, int | float | np.number) or not math.isfinite(reward_shift):
        raise UserError(f"The shift of rewards must be a finite number, got {reward_shift!r}.")


def _observation_change(values: Any, part: Any, how: str) -> Affine | None:
    if part.kind != "vector" or how == "none":
        return None
    mean, deviation = np.mean(values, 0, dtype=np.float64), np.std(values, 0, dtype=np.float64)
    # what is told apart by no more than float32's last digit says nothing; it may move when a policy is asked
    size = np.maximum(np.abs(np.max(values, 0).astype(np.float64)), np.abs(np.min(values, 0).astype(np.float64)))
    constant = deviation <= np.maximum(np.finfo(np.float32).eps * size, np.finfo(np.float32).tiny)
    scale = np.where(constant, np.maximum(size, 1.0), deviation + np.minimum(1e-3, 0.1 * deviation))
    return Affine(jnp.asarray(mean, jnp.float32), jnp.asarray(scale, jnp.float32))


def _action_change(data: Dataset) -> Affine | None:
    action = data.spec.action
    if action.kind != "continuous":
        return None
    actions = data.actions
    low = np.asarray(action.low if action.low is not None else actions.min(0), np.float32)
    high = np.asarray(action.high if action.high is not None else actions.max(0), np.float32)
    low, high = (np.where(np.isfinite(low), low, actions.min(0)), np.where(np.isfinite(high), high, actions.max(0)))
    half = np.where(high > low, (high - low) / 2, np.float32(1e-6))
    return Affine(jnp.asarray((high + low) / 2), jnp.asarray(half))


def _reward_scale(data: Dataset, how: str) -> Array:
    """Return what rewards are multiplied by; raise UserError where float32 does not hold it."""
    scale, numbers = _factor(data, how), np.finfo(np.float32)
    if not float(numbers.tiny) <= scale <= float(numbers.max):
        raise UserError(
            f"{data.origin}: the size of its rewards is about {1.0 / scale:.0e}, beyond what float32 can be divided "
            "by; give them in other units."
        )
    return jnp.asarray(scale, jnp.float32)


def _factor(data: Dataset, how: str) -> float:
    if how == "none":
        return 1.0
    if how in ("size", "largest"):
        sizes = np.abs(data.rewards, dtype=np.float64)
        most = float(sizes.max(initial=0.0))
        if most == 0.0 or how == "largest":
            return 1.0 / (most or 1.0)
        return 1.0 / (most * float(np.sqrt(np.mean(np.square(sizes / most)))))  # squares of tiny numbers are 0
    spread = float(np.ptp(data.returns)) / 1000.0 if how == "returns" else float(data.rewards.std())
    if spread == 0.0 or np.ptp(data.returns if how == "returns" else data.rewards) == 0.0:
        what = "returns" if how == "returns" else "rewards"
        raise UserError(f"{data.origin}: all {what} are equal, so rewards cannot be scaled by them; use 'none'.")
    return 1.0 / spread
