"""What the gate answers: an action, its dose, its bounds, the reason, and what it promises."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

from ..core.errors import UserError
from ..core.tables import html_table, text_table

__all__ = ["ACTIONS", "PROMISES", "Decision", "plain", "recalled"]

ACTIONS = ("DEPLOY", "STAGED", "COLLECT", "REJECT", "ABSTAIN")
TIERS = {
    1: "evidence that holds for any number of units (logged propensities, declared ranges)",
    2: "an estimate that rests on assumptions",
    3: "no ground for an answer",
}
PROMISES = {
    1: (
        "If these units are independent draws of the units that come, propensities are those that were used, and "
        "rewards keep to their declared range, a policy that is no better than the margin is deployed with at most "
        "the stated risk, for any number of units and any kind of policy. Not promised: that the world stays as it "
        "was, that single episodes go well, that a retrained policy is as good, or the chance that this very "
        "decision is wrong, which depends on how many of the policies brought here are good."
    ),
    2: (
        "An estimate that rests on Markov observations, a value class that holds the truth, and everything the logging "
        "policy saw being in the log. Tests of this found nothing; they cannot prove it. Good enough to begin a "
        "randomised test with a small share, not to deploy."
    ),
}
"""What an answer of a tier promises and what it does not, in words."""
ERRS = {
    1: "a policy that is no better than the margin at this dose gets this far with a chance of at most {:.2g}",
    2: "if what the estimate assumes is true, a policy that is no better gets this far with a chance of about {:.2g}",
}
"""How often an answer that names a dose is wrong, by tier."""
ACTS = {True: "as it draws its actions", False: "as it takes its most likely actions (the mode)"}
OPEN = (
    "margin",
    "risk",
    "units",
    "baseline",
    "drawn",
    "assumptions",
    "question",
    "logged_return",
    "logged_bounds",
    "horizon",
    "discount",
    "estimand",
    "novelty",
)  # whatever is shown
NOTHING_ELSE = "not certified; nothing else is shown, so that what is left of the risk can be spent on another policy"


@dataclasses.dataclass(frozen=True)
class Decision:
    """An answer of `weft.certify`.

    action: DEPLOY, STAGED, COLLECT, REJECT or ABSTAIN. dose: share of the decisions that the policy may take over from
    the logging policy. low: lower bound of the improvement over the baseline at that dose (else at the first), in units
    of the return; high: upper bound of that of the whole policy, at half the risk. Each bound holds by itself; NaN
    where there is none. tier: what the answer rests on, 1 evidence that can certify, 2 an estimate, 3 nothing.
    `evidence` (odds), `lows`, `means`, `needed` (units for a certificate) belong to `doses`; collect: the fewest units.
    first: where the order of the doses began; None where each was tested at an equal share of the risk. question: the
    name under which the ledger remembers what was asked. logged_return: the mean return of the log's units, which says
    nothing of the policy (None: not known), and `logged_bounds` of it for any log of the same policy (None: the
    baseline is another one, or nothing is certified). horizon, discount: declared for the return;
    estimand: what its mean is over. error_rate: the
    chance, at most, that a policy no better than the margin gets this answer (None where it names no dose). novelty:
    what of the log was seen before and left out, empty where all is new. drawn: whether it is about a policy of weft as
    it draws its actions, or (False) as it takes its most likely ones; None for other policies.
    """

    action: str
    dose: float = 0.0
    low: float = float("nan")
    tier: int = 3
    reason: str = ""
    promise: str = ""
    high: float = float("nan")
    margin: float = 0.0
    risk: float = 0.05
    units: int = 0
    baseline: str = "the logging policy"
    doses: tuple[float, ...] = ()
    first: float | None = 0.0
    evidence: tuple[float, ...] = ()
    lows: tuple[float, ...] = ()
    means: tuple[float, ...] = ()
    needed: Mapping[float, float] = dataclasses.field(default_factory=dict)
    collect: int | None = None
    effective_sample_size: float | None = None
    assumptions: tuple[str, ...] = ()
    diagnostics: Any = None
    question: str = ""
    logged_return: float | None = None
    drawn: bool | None = None
    novelty: str = ""
    error_rate: float | None = None
    logged_bounds: tuple[float, float] | None = None
    horizon: int | None = None
    discount: float | None = None
    estimand: str = ""

    def assuming(self, sentences: tuple[str, ...]) -> "Decision":
        """Return the same with further assumptions."""
        return dataclasses.replace(self, assumptions=(*self.assumptions, *sentences))

    @property
    def certified(self) -> bool:
        """Whether the policy may be deployed with the promise of the first tier."""
        return self.action == "DEPLOY" and self.tier == 1

    def bare(self) -> "Decision":
        """Return whether it is certified (or estimated to be better) and the dose, so that no more is known."""
        open_ = {name: getattr(self, name) for name in OPEN}
        if self.action not in ("DEPLOY", "STAGED") or (self.action, self.tier) == ("STAGED", 1):
            return Decision("ABSTAIN", reason=NOTHING_ELSE, **open_)
        reason = "only the decision was asked for"
        return Decision(
            self.action, self.dose, tier=self.tier, promise=self.promise, reason=reason, error_rate=self.error_rate,
            **open_,
        )  # fmt: skip

    def record(self) -> dict[str, Any]:
        """Return all figures as plain JSON; what is infinite or not a number is null."""
        figures = dataclasses.asdict(dataclasses.replace(self, diagnostics=None))
        figures["needed"] = {f"{dose:g}": units for dose, units in self.needed.items()}
        figures["diagnostics"] = None if self.diagnostics is None else [list(line) for line in self.diagnostics.lines()]
        return plain(figures)

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield `(what, text)` in plain words."""
        dose = f" (dose {self.dose:g})" if self.action in ("DEPLOY", "STAGED") else ""
        count = f" ({self.collect:,} units)" if self.collect else ""
        yield "decision", f"{self.action}{dose}{count}"
        yield "tier", f"{self.tier}, {TIERS[self.tier]}"
        yield "reason", self.reason
        yield "compared with", f"{self.baseline}, margin {self.margin:g}, risk {self.risk:g}, {self.units:,} units"
        if self.error_rate is not None:
            yield "error rate", ERRS[self.tier].format(self.error_rate)
        if self.novelty:
            yield "log", self.novelty
        whole = f"the whole policy at most {self.high:.4g}" if self.high == self.high else ""
        if self.drawn is not None:
            yield "policy", ACTS[self.drawn]
        if self.low == self.low:
            yield "improvement", ", ".join(part for part in (f"at least {self.low:.4g}", whole) if part)
        if self.evidence:
            rows = zip(self.doses, self.evidence, self.lows, self.means, strict=True)
            if self.first:
                yield "doses", f"tested from {self.first:g} up, which was chosen on other units"
            yield "by dose", "; ".join(f"{d:g}: {e:.3g} to 1, mean {m:.3g}, low {w:.3g}" for d, e, w, m in rows)
        if self.promise:
            yield "promise", self.promise
        for sentence in self.assumptions:
            yield "assumes", sentence

    def __str__(self) -> str:
        """The answer as a table of two columns."""
        return text_table(self.lines())

    def _repr_html_(self) -> str:
        """The answer as a table for notebooks, with the verdict on top."""
        (_, verdict), *rows = self.lines()
        return html_table(rows, verdict)


def plain(figures: Any) -> Any:
    """Return nested figures as JSON has them: lists, and null for what is infinite or not a number."""
    if isinstance(figures, Mapping):
        return {str(key): plain(value) for key, value in figures.items()}
    if isinstance(figures, list | tuple):
        return [plain(value) for value in figures]
    return None if isinstance(figures, float) and not math.isfinite(figures) else figures


def recalled(record: Any) -> Decision:
    """Return the decision that `Decision.record` recorded, without diagnostics. Raises UserError for anything else."""
    names = {field.name for field in dataclasses.fields(Decision)} - {"diagnostics"}
    try:
        fields = {name: value for name, value in record.items() if name in names}
        if fields["action"] not in ACTIONS:
            raise ValueError
        for name in ("low", "high"):
            fields[name] = math.nan if fields[name] is None else float(fields[name])
        if fields.get("logged_return") is not None:
            fields["logged_return"] = float(fields["logged_return"])
        for name in ("doses", "evidence", "lows", "means", "assumptions"):
            fields[name] = tuple(fields[name])
        if fields.get("logged_bounds") is not None:
            fields["logged_bounds"] = tuple(map(float, fields["logged_bounds"]))
        needs = fields["needed"].items()
        fields["needed"] = {float(dose): math.inf if units is None else float(units) for dose, units in needs}
        return Decision(**fields)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UserError("This is no record of a decision; `weft certify --out` and `weft study` write them.") from None
