"""What a randomised roll-out gave, unit by unit, and whether its arms were dealt as it says."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from ..core.errors import UserError
from ..evaluation.thresholds import IMPLAUSIBLE

__all__ = ["Outcomes", "assignment", "explained"]

TILTS = np.geomspace(0.005, 4.0, 20)
"""Of the logarithm of the odds: what 20 to 1,000,000 units can tell apart, in steps of two fifths."""


@dataclasses.dataclass(frozen=True)
class Outcomes:
    """What a roll-out gave, one entry per independent unit in the order of time.

    arms: 1 for the policy, 0 for the other one. chances: of the policy's arm, fixed before the unit came, one or one
    per unit. returns: discounted, the mean where a unit has several episodes. low, high: the declared lowest and
    highest return of an episode. Raises UserError for whatever these cannot be.
    """

    arms: Any
    chances: Any
    returns: Any
    low: float
    high: float
    origin: str = "the roll-out"

    def __post_init__(self) -> None:
        arms, returns = np.asarray(self.arms), np.asarray(self.returns, float)
        if arms.ndim != 1 or len(arms) == 0 or returns.shape != arms.shape:
            raise UserError(
                f"{self.origin} needs one arm and one return per unit, got the shapes {arms.shape} and {returns.shape}."
            )
        valid = np.isin(arms, (0, 1)) if arms.dtype.kind in "biuf" else np.zeros(len(arms), bool)
        if not valid.all():
            raise UserError(
                f"Arms of {self.origin} are 1 (the policy) or 0 (the other one), the first that is neither is "
                f"'{arms[~valid][0]}' of unit {np.flatnonzero(~valid)[0]}."
            )
        chances = np.asarray(self.chances, float)
        if chances.shape not in ((), arms.shape):
            raise UserError(f"{self.origin} has {len(arms)} units, but chances of the shape {chances.shape}.")
        wrong = ~((chances > 0) & (chances < 1))
        if wrong.any():
            raise UserError(
                f"The chance of the policy's arm lies between 0 and 1, both excluded; {self.origin} has "
                f"{np.atleast_1d(chances)[np.atleast_1d(wrong)][0]:g}."
            )
        if not self.low < self.high:
            raise UserError(f"Returns of {self.origin} are declared from {self.low:g} to {self.high:g}, the wrong way.")
        room = 1e-6 * max(1.0, abs(self.low), abs(self.high))
        outside = np.flatnonzero(~((returns >= self.low - room) & (returns <= self.high + room)))
        if len(outside):
            raise UserError(
                f"{len(outside)} returns of {self.origin} lie outside the declared [{self.low:g}, {self.high:g}], the "
                f"first is {returns[outside[0]]:g} of unit {outside[0]}; with a wrong range nothing can be promised."
            )
        for name, values in (
            ("arms", arms.astype(bool)),
            ("chances", np.broadcast_to(chances, arms.shape)),
            ("returns", returns.clip(self.low, self.high)),
        ):
            object.__setattr__(self, name, values)


def assignment(
    arms: Bool[np.ndarray, "unit"] | Int[np.ndarray, "unit"], chances: Float[np.ndarray, "unit"]
) -> tuple[Float[np.ndarray, "unit"], Float[np.ndarray, "unit"]]:
    """Return the logarithm of two wealths after every unit: bets that the policy's arm comes more often than stated,
    and that it comes less often. If it comes as stated, each has a mean of 1; their mean is the e of the module."""
    dealt, stated = np.asarray(arms, float), np.asarray(chances, float)
    sides = []
    for tilts in (TILTS, -TILTS):
        total = np.full(len(dealt), -np.inf)
        for tilt in tilts:
            total = np.logaddexp(total, np.cumsum(tilt * dealt - np.log1p(stated * np.expm1(tilt))))
        sides.append(total - np.log(len(tilts)))
    return sides[0], sides[1]


def explained(outcomes: Outcomes) -> np.ndarray:
    """Return the logarithm of what the arms' shares explain after every unit, at least 0. Raises UserError where the
    arms were not dealt with the stated chances."""
    more, less = assignment(outcomes.arms, outcomes.chances)
    reached = np.logaddexp(more, less) - np.log(2) >= np.log(IMPLAUSIBLE)
    if reached.any():
        arms, first = outcomes.arms, int(reached.argmax()) + 1
        whole = "" if first == len(arms) else f" ({arms.mean():.1%} of all {len(arms):,})"
        raise UserError(
            f"Arms of {outcomes.origin} were not dealt with the stated chances: {arms[:first].mean():.1%} of the "
            f"first {first:,} units{whole} are the policy's, where {outcomes.chances[:first].mean():.1%} was stated, "
            f"{IMPLAUSIBLE:,.0f} to 1 against chance. Mend what deals the arms, state the chance that was really set, "
            "or give all units in the order of time (by_time); until then nothing can be promised."
        )
    return np.maximum(0.0, np.maximum(more, less))
