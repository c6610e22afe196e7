r"""What a roll-out takes for granted, tested after every unit: arms, lost outcomes, the world, drift.

Every test is a wealth that starts at 1 and whose mean never rises if what it tests holds. So the chance that it ever
reaches `IMPLAUSIBLE` is at most 1 / `IMPLAUSIBLE`, however often somebody looks (Ville 1939).

*Arms* come with the stated chances: bets on the odds of the policy's arm, tilted either way (`assignment`).

*Lost outcomes* do not depend on the arm: then the arms of the units that were lost come with the stated chances, too,
and the same bets are made on these units alone. Losses that depend on the arm make what arrived an unfair sample. What
is lost today may arrive tomorrow, so this one is a test of each look by itself.

*The certificate's world*: the other arm runs the policy that made the certificate's log, so its mean return lies within
the bounds that this log gave (Maurer and Pontil 2009). Bets are that it lies above them, and that it lies below.

*No drift*: in each arm every order of the returns is as likely as any other. Ranks among the earlier returns of the arm
are then even numbers between 0 and 1, one independent of the next, and bets are that the policy's rise while the
other arm's fall, or the reverse (the simple jumper on conformal ranks: Vovk, Gammerman and Shafer 2022, chapter 8). The
stake on a unit falls with the chance of its arm, so that a change of both arms which moves the ranks of either as far
loses on one what it gains on the other: it says nothing of which is better.
"""

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..core.errors import UserError
from ..data.dataset import Dataset
from ..data.declarations import unit_returns
from ..evaluation.betting import path
from ..evaluation.bounded_terms import declared_range, return_range
from ..evaluation.intervals.bernstein import slack
from ..evaluation.thresholds import IMPLAUSIBLE
from .outcomes import Outcomes

__all__ = ["Checks", "assignment", "changes", "elsewhere", "evens", "examine", "explained", "logged_bounds", "ranks"]

TILTS = np.geomspace(0.005, 4.0, 20)
"""Of the logarithm of the odds: what 20 to 1,000,000 units can tell apart, in steps of two fifths."""
SLOPES = (-1.0, -0.5, 0.0, 0.5, 1.0)
"""Of the bets on ranks."""
JUMP = 0.01
"""Share of the wealth that changes its slope after every unit."""
TIES = 0x7465A1
"""Key of the numbers that break ties, the same at every look."""
WINDOW = 1024
"""Units that are looked at together for a first change; doubled until there is one."""


@dataclasses.dataclass(frozen=True)
class Checks:
    """What the tests said: logarithms of the wealth for lost outcomes and of the largest for another world and drift
    (NaN where there was nothing to test), whether the world is another one, and the unit after which the last change
    was noticed."""

    lost: float
    world: float
    drift: float
    moved: bool
    since: int

    def sentence(self) -> str:
        """Say how far each test went, in words."""
        names = {"lost outcomes": self.lost, "the certificate's world": self.world, "change in time": self.drift}
        odds = [f"{name} {np.exp(min(value, 80.0)):.3g} to 1" for name, value in names.items() if not np.isnan(value)]
        return f"{', '.join(odds)}; {IMPLAUSIBLE:,.0f} would be an alarm"

    def alarms(self, arrived: Outcomes, bounds: tuple[float, float] | None) -> Iterator[str]:
        """Yield what the alarms mean."""
        if self.moved and bounds is not None:
            mean = arrived.returns[~arrived.arms].mean()
            yield (
                f"The other arm earns {mean:.4g} on average, where the certificate's log says {bounds[0]:.4g} to "
                f"{bounds[1]:.4g} for the same policy: the world is another one, so nothing is carried on."
            )
        if self.since:
            yield (
                f"The returns of one arm changed otherwise than those of the other; this was noticed after "
                f"{self.since:,} units, {IMPLAUSIBLE:,.0f} to 1 against chance. Only later units count."
            )


def examine(outcomes: Outcomes, logged: tuple[float, float] | None) -> Checks:
    """Test all that can be tested of a roll-out; `logged`: bounds of the mean return of the other arm's policy, None
    where they are not known or nothing is carried on.

    Raises UserError where arms were not dealt with the stated chances or losses depend on them.
    """
    lost, arrived, nothing = check_arms(outcomes), outcomes.arrived(), float("nan")
    comparable = logged is not None and not arrived.arms.all()
    path_of = elsewhere(arrived, logged) if logged is not None and comparable else np.array([nothing])
    world = float(path_of[-1] if arrived.late else path_of.max())
    noticed, drift = changes(arrived)
    # one unit at least is left to count; what it shows is bounded by all wealth as well
    since = min(noticed[-1], len(arrived.arms) - 1) if noticed else 0
    return Checks(lost, world, drift, world >= float(np.log(IMPLAUSIBLE)), since)


# --- arms and losses --------------------------------------------------------------------------------------------------


def assignment(
    arms: Bool[np.ndarray, "unit"] | Int[np.ndarray, "unit"], chances: Float[np.ndarray, "unit"]
) -> tuple[Float[np.ndarray, "unit"], Float[np.ndarray, "unit"]]:
    """Return the logarithm of two wealths after every unit: bets that the policy's arm comes more often than stated,
    and that it comes less often. If it comes as stated, each has a mean of 1, and so has their mean."""
    dealt, stated = np.asarray(arms, float), np.asarray(chances, float)
    sides = []
    for tilts in (TILTS, -TILTS):
        total = np.full(len(dealt), -np.inf)
        for tilt in tilts:
            total = np.logaddexp(total, np.cumsum(tilt * dealt - np.log1p(stated * np.expm1(tilt))))
        sides.append(total - np.log(len(tilts)))
    return sides[0], sides[1]


def explained(outcomes: Outcomes) -> Float[np.ndarray, "unit"]:
    """Return the logarithm of what the shares of the arms explain after every unit, at least 0."""
    return np.maximum(0.0, np.maximum(*assignment(outcomes.arms, outcomes.chances)))


def check_arms(outcomes: Outcomes) -> float:
    """Return the logarithm of the wealth for losses that depend on the arm, NaN where nothing was lost.

    Raises UserError where arms were not dealt with the stated chances, and where outcomes of one arm are lost more
    often than chance allows.
    """
    where, arms, chances, lost = outcomes.origin, outcomes.arms, outcomes.chances, outcomes.lost
    wealth = _both(arms, chances)
    if (wealth >= np.log(IMPLAUSIBLE)).any():
        first = int((wealth >= np.log(IMPLAUSIBLE)).argmax()) + 1
        whole = "" if first == len(arms) else f" ({arms.mean():.1%} of all {len(arms):,})"
        raise UserError(
            f"Arms of {where} were not dealt with the stated chances: {arms[:first].mean():.1%} of the first "
            f"{first:,} units{whole} are the policy's, where {chances[:first].mean():.1%} was stated, "
            f"{IMPLAUSIBLE:,.0f} to 1 against chance. Mend what deals the arms, state the chance that was really set, "
            "or give all units in the order of time (by_time); until then nothing can be promised."
        )
    if not lost.any():
        return float("nan")
    wealth = float(_both(arms[lost], chances[lost])[-1])
    if wealth >= np.log(IMPLAUSIBLE):
        raise UserError(
            f"Outcomes of {where} are lost more often in one arm: {arms[lost].sum():,} of the {lost.sum():,} lost "
            f"ones are the policy's, where {chances[lost].mean():.1%} would be, {IMPLAUSIBLE:,.0f} to 1. "
            "What arrived is no fair sample; wait for the rest, or count what is lost as the return that it stands for."
        )
    return wealth


def _both(arms: np.ndarray, chances: np.ndarray) -> np.ndarray:
    more, less = assignment(arms, chances)
    return np.logaddexp(more, less) - np.log(2)


# --- the certificate's world ------------------------------------------------------------------------------------------


def logged_bounds(data: Dataset) -> tuple[float, float] | None:
    """Return bounds of the mean return of the policy that made a log, both of which hold with a chance of all but
    1 / `IMPLAUSIBLE` (Maurer and Pontil 2009, theorem 4, at half of it on either side); None where units or the range
    of returns are not known."""
    values, declared = unit_returns(data), declared_range(data)
    if values is None or declared is None or len(values) < 2:
        return None
    (low, high), mean = return_range(declared), float(values.mean())
    reach = float(slack(values.var(ddof=1), len(values), high - low, 0.5 / IMPLAUSIBLE))
    return max(low, mean - reach), min(high, mean + reach)


def elsewhere(outcomes: Outcomes, bounds: tuple[float, float]) -> Float[np.ndarray, "other"]:
    """Return the logarithm of the wealth after every unit of the other arm: bets that its mean return lies above the
    bounds, and that it lies below them."""
    returns, low, high = outcomes.returns[~outcomes.arms], outcomes.low, outcomes.high
    room, there = 1e-6 * (high - low), _padded(np.ones(len(returns), bool), False)
    above = path(_padded((returns - low) / max(bounds[1] - low, room)), mask=there)
    below = path(_padded((high - returns) / max(high - bounds[0], room)), mask=there)
    return (np.logaddexp(np.asarray(above, float), np.asarray(below, float)) - np.log(2))[: len(returns)]


# --- drift ------------------------------------------------------------------------------------------------------------


def ranks(values: Float[np.ndarray, "unit"], ties: Float[np.ndarray, "unit"]) -> Float[np.ndarray, "unit"]:
    """Return the share of earlier values, itself included, that are smaller; a tie counts by the share in `ties`.

    Even numbers of [0, 1] and independent, if any order of the values is as likely as any other and `ties` are such.
    """
    count = len(values)
    order = np.unique(values, return_inverse=True)[1].astype(np.int64)
    smaller, equal = np.zeros(count), np.ones(count)
    span, block, here = int(order.max(initial=0)) + 1, 1, np.arange(count)
    while block < count:  # the right half of every block against its sorted left half
        pair = here // (2 * block)
        left = (here // block) % 2 == 0
        keys = pair * span + order
        sorted_left, right = np.sort(keys[left]), np.flatnonzero(~left)
        begin = np.searchsorted(sorted_left, pair[right] * span)
        lower = np.searchsorted(sorted_left, keys[right])
        smaller[right] += lower - begin
        equal[right] += np.searchsorted(sorted_left, keys[right], side="right") - lower
        block *= 2
    return (smaller + ties * equal) / (here + 1)


def evens(count: int) -> Float[np.ndarray, "unit"]:
    """Return even numbers between 0 and 1 that know nothing of a roll-out, not even of one simulated from seed 0."""
    return np.random.Generator(np.random.Philox(key=TIES)).random(count)


def changes(outcomes: Outcomes) -> tuple[list[int], float]:
    """Return after how many units a change of the improvement was noticed, each time from the last one on, and the
    logarithm of the largest wealth since the last."""
    arms, returns, largest = outcomes.arms, outcomes.returns, np.maximum(outcomes.chances, 1 - outcomes.chances)
    stakes = np.where(arms, 1 - outcomes.chances, outcomes.chances) / largest
    ties = evens(len(arms))
    noticed: list[int] = []
    begin, width = 0, WINDOW
    while True:
        wealth = _drifting(*(part[begin : begin + width] for part in (arms, returns, ties, stakes)))
        reached = np.flatnonzero(wealth >= np.log(IMPLAUSIBLE))
        if len(reached):
            begin, width = begin + int(reached[0]) + 1, WINDOW
            noticed.append(begin)
        elif begin + width >= len(arms):
            return noticed, float(wealth.max(initial=0.0))
        else:
            width *= 2


def _drifting(arms: np.ndarray, returns: np.ndarray, ties: np.ndarray, stakes: np.ndarray) -> np.ndarray:
    """Return the logarithm of the wealth after every unit; `stakes`: how much of a slope is bet on it, known before."""
    share = np.empty(len(arms))
    for arm, sign in ((arms, 1), (~arms, -1)):
        share[arm] = ranks(sign * returns[arm], ties[arm])
    return np.asarray(_jumped(_padded(0.5 + stakes * (share - 0.5), 0.5)), float)[: len(share)]


def _padded(values: np.ndarray, fill: float | bool = 1.0) -> np.ndarray:
    """Return values filled up to a power of two, so that lengths share programs."""
    width = (0, (1 << max(len(values) - 1, 0).bit_length()) - len(values))
    padded = np.pad(values, width, constant_values=fill)
    return padded if padded.dtype == bool else padded.astype(np.float32)


@jax.jit
def _jumped(shares: Float[Array, "unit"]) -> Float[Array, "unit"]:
    """Return the logarithm of the simple jumper's wealth after every number between 0 and 1."""
    slopes = jnp.asarray(SLOPES)

    def step(state: tuple[Array, Array], share: Array) -> tuple[tuple[Array, Array], Array]:
        part, total = state
        part = ((1 - JUMP) * part + JUMP / len(SLOPES)) * (1 + slopes * (share - 0.5))
        grown = part.sum()
        total = total + jnp.log(grown)
        return (part / grown, total), total

    return jax.lax.scan(step, (jnp.full(len(SLOPES), 1 / len(SLOPES)), jnp.zeros(())), shares)[1]
