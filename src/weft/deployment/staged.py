"""What a staged roll-out answers: an action, the evidence for it and against it, what was tested, what it promises."""

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..core.tables import text_table
from ..evaluation.thresholds import ENOUGH_ARMS
from .decision import plain

__all__ = ["Lost", "Staged", "odds"]

PROMISE = (
    "If arms were drawn with the stated chances, units are independent of each other, what was lost is like what "
    "arrived, returns keep to their declared range and the better of the two policies does not change, a policy that "
    "is no better than the margin is ever deployed with at most the stated risk, one that is better than it is ever "
    "rejected with at most the same risk, whenever somebody looks and stops. Not promised: that single episodes go "
    "well, or what happens at another dose."
)


class Lost(NamedTuple):
    """Units whose outcome was lost, how many of them were the policy's, and the logarithms of the odds for the policy
    if all of these were as bad for it as they can be, and against it if they were as good."""

    units: int
    to_policy: int
    deploying: float
    rejecting: float

    def __str__(self) -> str:
        """Say so in words."""
        return (
            f"{self.units:,} outcomes ({self.to_policy:,} of the policy's) are left out; as bad for the policy as they "
            f"can be, they would make {odds(self.deploying)} to 1 for it, as good as they can be, "
            f"{odds(self.rejecting)} to 1 against it"
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Staged:
    """What a roll-out says so far.

    action: DEPLOY (at `dose`), CONTINUE, or REJECT. low, high: bounds of the improvement over the other arm at that
    dose, in units of the return, each at the risk by itself. enough: the odds that deploy; start: those that were
    carried on (1 where nothing was). units: those whose outcome arrived. carried, restarted, against: logarithms of the
    wealth after every unit, for the policy with and without what was carried, and against it; decides: which of the
    first two may deploy. since: units before the last change of the improvement that was noticed (0: none); figures of
    the improvement are then of later units, and `recent` holds what decides, for and against. passed: units after which
    enough was reached (0: already before the first). more: about how many further units are expected to be needed
    (None: unknown, or no number). explained: logarithm of the odds that the shares of the arms alone explain, by which
    wealth is divided before it decides. centre: the return c that was used (None: one per unit, of the smallest bound),
    `centred` says why. checks: how far tests of what is taken for granted went; alarms: what they found. lost: outcomes
    that did not arrive.
    """

    action: str
    dose: float
    low: float
    high: float
    mean: float
    margin: float
    risk: float
    enough: float
    start: float
    units: int
    to_policy: int
    carried: np.ndarray
    restarted: np.ndarray
    against: np.ndarray
    decides: str
    passed: int | None
    more: int | None
    reason: str
    promise: str = PROMISE
    assumptions: tuple[str, ...] = ()
    explained: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(1))
    centre: float | None = None
    centred: str = ""
    since: int = 0
    recent: tuple[float, float] = (float("nan"), float("nan"))
    checks: str = ""
    alarms: tuple[str, ...] = ()
    lost: Lost | None = None

    def assuming(self, sentences: tuple[str, ...]) -> "Staged":
        """Return the same with further assumptions."""
        return dataclasses.replace(self, assumptions=(*self.assumptions, *sentences))

    def record(self) -> dict[str, Any]:
        """Return all figures as plain JSON; what is infinite or not a number is null."""
        figures = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for name in ("carried", "restarted", "against", "explained"):
            figures[name] = np.asarray(figures[name], float).tolist()
        figures["lost"] = None if self.lost is None else self.lost._asdict()
        return plain(figures)

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield `(what, text)` in plain words."""
        yield "decision", self.action + (f" (dose {self.dose:g})" if self.action != "REJECT" else "")
        yield "reason", self.reason
        for sentence in self.alarms:
            yield "alarm", sentence
        arms = f"{self.units:,} units, {self.to_policy:,} of them with the policy at dose {self.dose:g}"
        yield "roll-out", f"{arms}; margin {self.margin:g}, risk {self.risk:g}"
        if self.lost is not None:
            yield "lost", str(self.lost)
        later = f", in the {self.units - self.since:,} units since the change" if self.since else ""
        yield "improvement", f"at least {self.low:.4g}, at most {self.high:.4g}, mean {self.mean:.4g}{later}"
        yield "carried", f"{odds(self.carried[-1])} to 1 (began at {self.start:.3g}), {self._role('carried')}"
        yield "restarted", f"{odds(self.restarted[-1])} to 1 (began at 1), {self._role('restarted')}"
        if self.since:
            yield "since the change", f"{odds(self.recent[0])} to 1, which decides at {self.enough:.4g}"
        yield "against", f"{odds(self.against[-1])} to 1; {1 / self.risk:.4g} would reject the policy"
        if self.explained[-1] > 0:
            yield (
                "arms",
                f"their shares alone explain {odds(self.explained[-1])} to 1, by which the others are divided",
            )
        if self.checks:
            yield "checks", self.checks
        yield "centre", self.centred if self.centre is None else f"{self.centre:.4g}, {self.centred}"
        if self.action == "CONTINUE":
            why = "unknown" if self.units < ENOUGH_ARMS else "no number would do if it goes on like this"
            yield "needed", why if self.more is None else f"about {self.more:,} further units"
        yield "promise", self.promise
        for sentence in self.assumptions:
            yield "assumes", sentence

    def _role(self, name: str) -> str:
        return f"which decides at {self.enough:.4g}" if self.decides == name and not self.since else "shown beside it"

    def __str__(self) -> str:
        """The answer as a table of two columns."""
        return text_table(self.lines())


def odds(logarithm: float) -> str:
    """Write odds down of which the logarithm is known."""
    return f"{np.exp(min(float(logarithm), 80.0)):.3g}"
