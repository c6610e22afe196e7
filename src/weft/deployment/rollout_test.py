r"""The e-process of a certificate, carried on into a randomised roll-out.

Every unit is dealt to the policy (Z = 1) with a chance p that is known beforehand, else to the other one, and earns a
return G in [low, high]. With any number c that is known before the unit is,

    X = (Z / p - (1 - Z) / (1 - p)) (G - c),     E X = J of the policy less J of the other one

    X >= -B,     B = max((c - low) / p, (high - c) / (1 - p))

    Y = (X + B) / (margin + B),     E Y <= 1 if the policy is no better than the margin (`weft.evaluation.betting`)

c = (1 - p) low + p high makes B smallest, B = high - low, and X the terms (G - low) / p and (high - G) / (1 - p), less
high - low, that a certificate plans with (`gate.randomised`). A c near the mean return makes X less noisy instead,
which is what counts where returns lie in a small part of their range; the certificate's log has one.

All of this rests on p. If arms come with another chance q, the mean of X is off by (q - p) / (p (1 - p)) times the
distance of returns from c, which can deploy anything. So the arms are bet on, too: with chances tilted by d,

    r = p e^d / (1 - p + p e^d),     e = mean_d prod (r / p)^Z ((1 - r) / (1 - p))^(1 - Z),     E e = 1

over a grid of tilts d of either sign. A roll-out in which e has ever reached `IMPLAUSIBLE` is refused, and one that
loses outcomes of one arm more often (`weft.deployment.safeguards`). Until then other wealth is divided by that of the
arms, where this is above 1: what their shares alone explain says nothing of the policies. That keeps every promise, and
if p is right it costs nearly nothing, because e then stays about or below 1.

*Carried* wealth is the certificate's wealth at this dose times that of a new mixture of bets on the units of the
roll-out. It is no longer one mixture over both: the certificate's is an average over fractions, and only its value, a
scalar, is staked anew. That is an e-process as good: given the past, what multiplies it has a mean of at most 1 under
the null hypothesis, so that the chance that it ever reaches 1 / risk is at most the risk, looked at after every unit.
*Restarted* wealth begins at 1 and needs the roll-out alone; where the world may have drifted since the log was made it
decides, and where the other arm no longer earns what the log earned, the smaller of the two. Once the improvement was
seen to change, the smaller of all wealth and of what was gained since decides: each choice is between processes of
which one alone keeps the promise, and the smaller of them keeps it as well. Pure functions that compile and map over
replications.
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ..core.errors import UserError
from ..evaluation.betting import lower_bound, path, power
from ..evaluation.thresholds import ENOUGH_ARMS, LARGEST_WAIT
from .decision import Decision
from .outcomes import Outcomes
from .safeguards import Checks, examine, explained
from .staged import Lost, Staged, odds

__all__ = ["Bets", "bets", "improvement", "judge"]

Number = Float[Array, ""] | float


class Bets(NamedTuple):
    """Logarithm of the wealth after every unit: `carried` on, `restarted` at 1, and `against` the policy; the terms `X`
    (`values`), their `bound` B, and the same for the other policy's improvement (`opposite`, `opposite_bound`)."""

    carried: Float[Array, "unit"]
    restarted: Float[Array, "unit"]
    against: Float[Array, "unit"]
    values: Float[Array, "unit"]
    bound: Float[Array, ""]
    opposite: Float[Array, "unit"]
    opposite_bound: Float[Array, ""]


def improvement(
    arms: Bool[Array | np.ndarray, "unit"],
    chances: Float[Array | np.ndarray, "unit"],
    returns: Float[Array | np.ndarray, "unit"],
    low: Number,
    high: Number,
    centre: Number | None = None,
) -> tuple[Float[Array, "unit"], Float[Array, ""]]:
    """Return the terms `X` of every unit and their bound `B`; swap arms and chances for the opposite improvement.

    centre: the number c; None is the one that makes the bound smallest, unit by unit.
    """
    arms, chances, returns = (jnp.asarray(part, jnp.float32) for part in (arms, chances, returns))
    middle = (1 - chances) * low + chances * high if centre is None else jnp.float32(centre)
    values = (arms / chances - (1 - arms) / (1 - chances)) * (returns - middle)
    bound = high - low if centre is None else jnp.maximum((centre - low) / chances, (high - centre) / (1 - chances))
    return values, jnp.max(jnp.asarray(bound, jnp.float32))


def bets(
    arms: Bool[Array | np.ndarray, "unit"],
    chances: Float[Array | np.ndarray, "unit"],
    returns: Float[Array | np.ndarray, "unit"],
    low: Number,
    high: Number,
    margin: Number = 0.0,
    start: Number = 0.0,
    centre: Number | None = None,
) -> Bets:
    """Bet on the units of a roll-out, in their order; `start` is the logarithm of the wealth that is carried on."""
    values, bound = improvement(arms, chances, returns, low, high, centre)
    opposite, other = improvement(~jnp.asarray(arms, bool), 1 - jnp.asarray(chances), returns, low, high, centre)
    restarted = path((values + bound) / (margin + bound))
    against = path((opposite + other) / (other - margin))
    return Bets(start + restarted, restarted, against, values, bound, opposite, other)


def judge(
    decision: Decision, outcomes: Outcomes, dose: float | None = None, centre: float | None = None, drift: bool = False
) -> Staged:
    """Decide on a roll-out of the policy that a decision is about, at one dose, from what it gave.

    Wealth is carried on where the decision has evidence at the dose (the first tier), else it starts at 1; drift: the
    restarted wealth decides. centre: a return known before the roll-out, near the mean; all units then need the same
    chance. By default it is the mean return of the certificate's log, where that can be used. Enough is 1 / risk for
    the first dose of the order that was not certified, else the number of doses / risk, because a dose that was picked
    out of several has to pay for the choice. A dose is rejected whenever the bets against it reach 1 / risk, also after
    it was deployed. Units whose outcome was lost are left out.

    Raises UserError for a dose without evidence where others have some, a margin that no return can reach, a centre
    outside the range of returns, arms that were not dealt with the stated chances, and losses that depend on the arm.
    """
    dose, place = _dose(decision, dose)
    margin, risk = decision.margin, decision.risk
    _check_numbers(outcomes, margin, centre)
    checks = examine(outcomes, None if place is None or drift else decision.logged_bounds)
    arrived = outcomes.arrived()
    centre, centred = (centre, "as given") if centre is not None else _centre(decision, outcomes)
    start = 1.0 if place is None else decision.evidence[place]
    enough = 1 / risk if drift or place is None else _enough(decision, place)
    anew = drift or (checks.moved and start > 1)
    begun = float(np.log(max(start, 1e-37)))
    wealth = _wealth(arrived, margin, begun, centre)
    course = _course(wealth, arrived, checks.since, 0.0 if anew else begun, margin, centre)
    action, passed = _action(course, enough, risk, arrived.late)
    share, latest = float(np.exp(-course.alone[-1])), course.latest
    floor = _floor(latest, margin, share / enough, course.first)
    return Staged(
        action=action,
        dose=dose,
        low=max(floor, margin) if action == "DEPLOY" else floor,
        high=-float(lower_bound(latest.opposite, -latest.opposite_bound, share * risk)),
        mean=float(latest.values.mean()),
        margin=margin,
        risk=risk,
        enough=float(enough),
        start=float(start),
        units=len(arrived.arms),
        to_policy=int(arrived.arms.sum()),
        carried=np.asarray(wealth.carried),
        restarted=np.asarray(wealth.restarted),
        against=np.asarray(wealth.against),
        decides="restarted" if anew else "carried",
        passed=passed,
        more=_more(latest, course.deciding, margin, enough) if action == "CONTINUE" else None,
        reason=_reason(action, passed, course, enough, margin),
        assumptions=tuple(_assumptions(decision, place, dose, drift, checks)),
        explained=course.alone,
        centre=centre,
        centred=centred,
        since=checks.since,
        recent=(float(course.deciding[-1]), float(course.against[-1])),
        checks=checks.sentence(),
        alarms=tuple(checks.alarms(arrived, decision.logged_bounds)),
        lost=_lost(outcomes, margin, 0.0 if anew else begun, centre),
    )


class _Course(NamedTuple):
    """How what decides went: the logarithms of the wealth for the policy and against it after every unit since the last
    change, and of what the arms explain after every unit; what the first was before (`first`), how many units came
    before the change (`since`), and the bets on those that came later (`latest`)."""

    deciding: np.ndarray
    against: np.ndarray
    alone: np.ndarray
    first: float
    since: int
    latest: Bets


def _course(wealth: Bets, arrived: Outcomes, since: int, first: float, margin: float, centre: float | None) -> _Course:
    """Return how the wealth that decides went; `first`: its logarithm before the roll-out."""
    alone = explained(arrived)  # what the shares of the arms alone explain says nothing of the policies
    deciding, against = (np.asarray(part) - alone for part in (wealth.restarted + first, wealth.against))
    if not since:
        return _Course(deciding, against, alone, first, since, wealth)
    # what was gained before the change says nothing of what comes; the smaller of two keeps the promise of either
    latest = _wealth(arrived.arrived(since), margin, 0.0, centre)
    deciding = np.minimum(deciding[since:], np.asarray(latest.restarted) - alone[since:])
    against = np.minimum(against[since:], np.asarray(latest.against) - alone[since:])
    return _Course(deciding, against, alone, 0.0, since, latest)


def _lost(outcomes: Outcomes, margin: float, first: float, centre: float | None) -> Lost | None:
    """Return what was lost, and the odds if all of it were as bad as can be for the policy, or for the other one."""
    if not outcomes.lost.any():
        return None
    deploying = _wealth(outcomes.worst(policy=True), margin, first, centre).carried[-1]
    rejecting = _wealth(outcomes.worst(policy=False), margin, 0.0, centre).against[-1]
    lost = outcomes.lost
    return Lost(int(lost.sum()), int((lost & outcomes.arms).sum()), float(deploying), float(rejecting))


def _check_numbers(outcomes: Outcomes, margin: float, centre: float | None) -> None:
    """Raise UserError for a margin that no return can reach, and for a centre that cannot be one."""
    low, high = float(outcomes.low), float(outcomes.high)
    if margin >= high - low:
        raise UserError(f"No improvement of returns in [{low:g}, {high:g}] can reach the margin of {margin:g}.")
    if centre is None:
        return
    if not low <= centre <= high:
        raise UserError(f"The centre is a return, from {low:g} to {high:g}, got {centre:g}.")
    if np.ptp(outcomes.chances) > 0:
        raise UserError("With a centre all units need the same chance of the policy's arm; leave it out.")


def _wealth(outcomes: Outcomes, margin: float, begun: float, centre: float | None) -> Bets:
    """Bet on a roll-out, from the logarithm of the wealth that is carried on."""
    low, high = float(outcomes.low), float(outcomes.high)
    wealth = jax.tree.map(
        lambda part: np.asarray(part, float),
        _bets(outcomes.arms, outcomes.chances, outcomes.returns, low, high, margin, begun, centre, centre is None),
    )
    if np.isnan(wealth.restarted).any():
        raise UserError(f"Chances of {outcomes.origin} are too small for numbers of 32 bits.")
    return wealth


def _action(course: _Course, enough: float, risk: float, late: bool) -> tuple[str, int | None]:
    """Return the action, and after how many units enough was reached (None: not yet).

    The bets against the policy reject whenever they succeed, also after a deployment. late: outcomes may arrive in
    another order than units. Only the wealth of all that have arrived is then that of a test in the order of arrival;
    the wealth after fewer units, in their order, is another one at every look.
    """
    path = np.concatenate([[course.first], course.deciding])
    counts = np.array([0, len(path) - 1]) if late else np.arange(len(path))
    crossed = np.flatnonzero(path[counts] >= np.log(enough))
    passed = course.since + int(counts[crossed[0]]) if len(crossed) else None
    if (course.against[-1:] if late else course.against).max() >= -np.log(risk):
        return "REJECT", passed
    return ("CONTINUE" if passed is None else "DEPLOY"), passed


def _more(wealth: Bets, deciding: np.ndarray, margin: float, enough: float) -> int | None:
    """Return how many further units are expected to be needed; None where too few say so, or no number would do."""
    if len(deciding) < ENOUGH_ARMS:
        return None
    left = np.exp(min(float(deciding[-1]) - np.log(enough), -1e-6))
    units = float(power(wealth.values, -wealth.bound, margin, left).units)
    return int(units) if units < LARGEST_WAIT else None


def _dose(decision: Decision, dose: float | None) -> tuple[float, int | None]:
    """Return the dose of the roll-out, and where its evidence stands; None where nothing is carried on."""
    if dose is None and decision.action not in ("DEPLOY", "STAGED"):
        raise UserError(f"The decision is {decision.action} and names no dose; say which one is rolled out.")
    dose = decision.dose if dose is None else float(dose)
    if not 0 < dose <= 1:
        raise UserError(f"A dose is a share of the decisions, above 0 and at most 1, got {dose:g}.")
    if not decision.evidence:
        return dose, None
    near = [place for place, tested in enumerate(decision.doses) if abs(tested - dose) < 1e-6]
    if not near:
        doses = ", ".join(f"{one:g}" for one in decision.doses)
        raise UserError(f"The certificate has no evidence about a dose of {dose:g}; it has some about {doses}.")
    return dose, near[0]


def _centre(decision: Decision, outcomes: Outcomes) -> tuple[float | None, str]:
    """Return the mean return of the certificate's log where it can be the centre, and why it is or is not."""
    mean = decision.logged_return
    if mean is None:
        return None, "that of the smallest bound; the decision does not say what its log earned"
    if np.ptp(outcomes.chances) > 0:
        return None, "that of the smallest bound, because units have different chances"
    if not outcomes.low <= mean <= outcomes.high:
        return None, f"that of the smallest bound, because the log's mean return of {mean:.4g} is outside the range"
    return mean, "the mean return of the certificate's log"


def _enough(decision: Decision, place: int) -> float:
    """Return the odds that deploy: the fixed order of doses costs nothing, a choice among them does."""
    first = decision.first
    begun = first is not None and decision.doses[place] >= first
    earlier = zip(decision.doses[:place], decision.evidence[:place], strict=True)
    passed = begun and all(one >= 1 / decision.risk for dose, one in earlier if first is None or dose >= first)
    return (1 if passed else len(decision.doses)) / decision.risk


_bets = jax.jit(
    lambda arms, chances, returns, low, high, margin, start, centre, plain: bets(
        arms, chances, returns, low, high, margin, start, None if plain else centre
    ),
    static_argnums=8,
)


def _floor(wealth: Bets, margin: float, risk: float, start: float) -> float:
    """Return the lower bound of the improvement.

    Below the margin what was carried on counts, because the certificate's wealth against a smaller improvement is at
    least that against the margin; above it only the roll-out does. Every number has one process that was named before.
    """
    carried = float(lower_bound(wealth.values, -wealth.bound, min(risk * float(np.exp(start)), 1.0)))
    if carried < margin:
        return carried
    return max(margin, float(lower_bound(wealth.values, -wealth.bound, risk)))


def _reason(action: str, passed: int | None, course: _Course, enough: float, margin: float) -> str:
    later = f" in the {len(course.deciding):,} units since the change" if course.since else ""
    if action == "REJECT":
        when = f"the evidence for less than the margin of {margin:g} reached {odds(course.against.max())} to 1{later}"
        return when if passed is None else f"{when}, although {enough:.4g} to 1 for it was reached before"
    if action == "DEPLOY":
        when = "before the roll-out" if passed == 0 else f"after {passed:,} units"
        return f"the evidence for more than the margin of {margin:g} reached {enough:.4g} to 1{later} {when}"
    return f"the evidence is {odds(course.deciding[-1])} to 1{later}, short of {enough:.4g}"


def _assumptions(decision: Decision, place: int | None, dose: float, drift: bool, checks: Checks) -> Iterator[str]:
    """Yield what is taken on trust."""
    yield f"The policy's arm follows the policy of the decision at dose {dose:g}, the other arm {decision.baseline}."
    yield "A unit is counted when all its episodes are there; chances were fixed before the unit came."
    if not np.isnan(checks.lost):
        yield "Units whose outcome was lost are like those of the same arm whose outcome arrived."
    if place is None:
        yield "The decision carries no evidence at this dose: the wealth starts at 1."
    elif not (drift or checks.moved):
        yield "The world is the one that the certificate's log came from; where it may drift, restart the wealth."
        if np.isnan(checks.world):
            yield "This could not be tested: the decision does not say within what bounds its log's mean return lies."
        yield "The certificate's wealth at this dose is carried into this roll-out only, not into a second one."
