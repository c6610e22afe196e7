"""What a randomised roll-out gave, unit by unit."""

import dataclasses
from typing import Any

import numpy as np

from ..core.errors import UserError

__all__ = ["Outcomes"]


@dataclasses.dataclass(frozen=True)
class Outcomes:
    """What a roll-out gave, one entry per independent unit in the order of time.

    arms: 1 for the policy, 0 for the other one. chances: of the policy's arm, fixed before the unit came, one or one
    per unit. returns: discounted, the mean where a unit has several episodes. low, high: the declared lowest and
    highest return of an episode. lost: 1 for units whose outcome has not arrived, whose return is not looked at; None
    where all arrive at once, one after another. Raises UserError for whatever these cannot be.
    """

    arms: Any
    chances: Any
    returns: Any
    low: float
    high: float
    origin: str = "the roll-out"
    lost: Any = None
    late: bool = dataclasses.field(init=False, default=False)

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
        object.__setattr__(self, "late", self.lost is not None)
        lost = _marks(self.lost, len(arms), self.origin)
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
        outside = np.flatnonzero(~lost & ~((returns >= self.low - room) & (returns <= self.high + room)))
        if len(outside):
            raise UserError(
                f"{len(outside)} returns of {self.origin} lie outside the declared [{self.low:g}, {self.high:g}], the "
                f"first is {returns[outside[0]]:g} of unit {outside[0]}; with a wrong range nothing can be promised."
            )
        for name, values in (
            ("arms", arms.astype(bool)),
            ("chances", np.broadcast_to(chances, arms.shape)),
            ("returns", np.where(lost, self.low, returns).clip(self.low, self.high)),
            ("lost", lost),
        ):
            object.__setattr__(self, name, values)

    def arrived(self, after: int = 0) -> "Outcomes":
        """Return the units whose outcome has arrived, from the one on that follows so many of them."""
        there = np.flatnonzero(~self.lost)[after:]
        each = self.arms[there], self.chances[there], self.returns[there]
        return Outcomes(*each, self.low, self.high, self.origin, np.zeros(len(there), bool) if self.late else None)

    def worst(self, policy: bool) -> "Outcomes":
        """Return all units, those that were lost with what is worst for the policy, or for the other one."""
        worst = np.where(self.arms == policy, self.low, self.high)
        return Outcomes(self.arms, self.chances, np.where(self.lost, worst, self.returns), self.low, self.high,
                        self.origin)  # fmt: skip


def _marks(lost: Any, count: int, origin: str) -> np.ndarray:
    """Return which of so many units are lost; None: none is."""
    marks = np.asarray(False if lost is None else lost)
    if marks.shape not in ((), (count,)) or not (marks.dtype.kind in "biuf" and np.isin(marks, (0, 1)).all()):
        raise UserError(f"{origin} says of every unit whether its outcome is lost, by 1 or 0.")
    if marks.all():
        raise UserError(f"No outcome of {origin} has arrived yet.")
    return np.broadcast_to(marks.astype(bool), (count,))
