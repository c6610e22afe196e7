"""How a question about a fold is decided: by evidence, in the first tier, or by an estimate, in the second."""

import dataclasses
import hashlib
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from ..core.compilation import Program
from ..core.errors import UserError
from ..data.dataset import Dataset
from ..evaluation.candidate import Candidate
from ..evaluation.case import Case, padded
from ..evaluation.diagnostics import Diagnostics
from ..evaluation.thresholds import (
    BEGINNING_DOSE,
    EFFECTIVE_UNITS,
    FORESEEN_UNITS,
    LARGEST_WAIT,
    NORMAL_UNITS,
    STAGED_ERROR,
    TIED,
)
from . import dose_test as gate
from .decision import PROMISES, Decision
from .improvement import difference
from .safeguards import logged_bounds

__all__ = ["Findings", "Question", "certified", "estimated"]

Findings = tuple[Diagnostics, ...] | UserError
"""Diagnostics of the policy, and of the baseline if there is one, or why there are none."""


@dataclasses.dataclass(frozen=True)
class Question:
    """What is asked of a fold: whether the policy of a case is better than a baseline (None: the logging policy) by a
    margin, at any of some doses, at a risk. Bets are on whole units, so whatever is said is a mean over units.
    """

    data: Dataset
    case: Case
    baseline: Case | None
    doses: tuple[float, ...]
    margin: float
    risk: float
    plan: gate.Plan | None

    @property
    def candidates(self) -> tuple[Candidate, Candidate | None]:
        """What the policy would do, and what the baseline would."""
        return self.case.candidate, None if self.baseline is None else self.baseline.candidate

    @property
    def ordered(self) -> bool:
        """Whether doses are tested in their order, which costs nothing, or share the risk."""
        return self.margin == 0 or self.plan is not None

    @property
    def first(self) -> float | None:
        """Where the order of the doses begins; None where there is none."""
        if not self.ordered:
            return None
        return 0.0 if self.plan is None else self.doses[int(self.plan.start)]

    def name(self) -> str:
        """Return a name: the log, what is declared of it, what the policies would do, what is asked."""
        data, spec, plan = self.data, self.data.spec, self.plan
        declared = (
            spec.reward_low, spec.reward_high, spec.horizon, spec.discount, spec.unit, spec.propensity_low,
            data.propensities_estimated,
        )  # fmt: skip
        settings = (self.margin, self.risk, self.doses, None if plan is None else _words(plan))
        digest = hashlib.sha256(repr((data.fingerprint, declared, settings)).encode())
        for leaf in jax.tree.leaves((*self.candidates, self.case.weighing)):
            digest.update(np.ascontiguousarray(np.asarray(leaf)).tobytes())
        return digest.hexdigest()[:16]


def _words(plan: gate.Plan) -> tuple[int, list[list[list[float]]]]:
    return int(plan.start), [np.asarray(part, float).round(4).tolist() for part in (plan.prior, *plan.centre)]


# --- the first tier -------------------------------------------------------------------------------------------------


_weighed = Program(gate.certificate, "The certificate of this policy")


def certified(question: Question, blank: Decision) -> Decision:
    """Decide in the first tier."""
    doses, plan, ordered = question.doses, question.plan, question.ordered
    numbers = jnp.asarray(doses, jnp.float32), jnp.float32(question.margin), jnp.float32(question.risk)
    figures = jax.tree.map(np.asarray, _weighed(*padded(question.case, question.baseline), *numbers, plan, ordered))
    proof = figures.evidence
    if not np.isfinite(figures.terms.values).all() or np.isnan(proof.log_wealth).any():
        raise UserError(
            f"Weights of {question.data.origin} are too large for numbers of 32 bits; propensities this small are a "
            "mistake, or the horizon is too long for weights."
        )
    needs = figures.needed.astype(float).tolist()
    open_ = replace(
        blank, tier=1, promise=PROMISES[1], doses=doses, first=question.first, high=float(figures.highs[-1]),
        evidence=tuple(float(np.exp(np.minimum(wealth, 80.0))) for wealth in proof.log_wealth),
        lows=tuple(map(float, proof.low)), means=tuple(map(float, proof.mean)),
        needed=dict(zip(doses, needs, strict=True)), effective_sample_size=float(figures.effective),
        logged_bounds=None if question.baseline is not None else logged_bounds(question.data),
    )  # fmt: skip
    return (
        _deployed(open_, int(proof.certified) - 1)
        or _rejected(open_, figures.highs, question.baseline is None)
        or _staged(open_, figures.terms.bound, ordered)
        or _collected(open_, float(figures.randomised))
        or _hardly(open_)
    )


def _deployed(decision: Decision, place: int) -> Decision | None:
    """Deploy the largest certified dose, if there is one (its place is then at least 0)."""
    if place < 0:
        return None
    odds = decision.evidence[place]
    reason = f"{decision.units:,} units give {odds:.3g} to 1 against no more than the margin at this dose"
    return replace(
        decision, action="DEPLOY", dose=decision.doses[place], low=decision.lows[place], reason=reason,
        error_rate=decision.risk,
    )  # fmt: skip


def _rejected(decision: Decision, highs: np.ndarray, alone: bool) -> Decision | None:
    """Reject where upper bounds say that the policy, or over the logging policy its smallest dose, is no better."""
    margin, whole = decision.margin, bool(highs[-1] < decision.margin)
    if not (whole or (alone and highs[0] < 0)):
        return None
    what = "the policy" if whole else f"a dose of {decision.doses[0]:g} of the policy"
    high = float(highs[-1] if whole else highs[0])
    reason = f"the improvement of {what} is at most {high:.4g}, less than the margin of {margin:g}"
    return replace(decision, action="REJECT", low=decision.lows[-1], reason=reason)


def _staged(decision: Decision, bound: np.ndarray, ordered: bool) -> Decision | None:
    """Begin a randomised test with a dose whose bets a policy that is no better seldom wins so far: the first one of
    the order, or, where doses share the risk, the smallest."""
    enough = (1 if ordered else len(decision.doses)) / STAGED_ERROR
    # a mean above the margin by what 32 bits leave of a tie is none
    gain = np.array(decision.means) > decision.margin + TIED * bound
    better = (np.array(decision.evidence) >= enough) & gain
    begin = decision.doses.index(decision.first or decision.doses[0]) if ordered else int(better.argmax())
    if not better[begin]:
        return None
    dose, certain = decision.doses[begin], (1 if ordered else len(decision.doses)) / decision.risk
    reason = (
        f"the evidence is {decision.evidence[begin]:.3g} to 1, more than {enough:.3g} and short of {certain:.3g}; "
        f"begin with a dose of {dose:g} in a randomised test and carry the evidence on"
    )
    return replace(
        decision, action="STAGED", dose=dose, low=decision.lows[begin], reason=reason, collect=_collect(decision)[1],
        error_rate=STAGED_ERROR,
    )  # fmt: skip


def _collect(decision: Decision) -> tuple[float, int | None]:
    """Return the dose that the fewest units would certify, and their number; None where nobody waits for so many."""
    dose = min(decision.doses, key=lambda one: decision.needed[one])
    units = decision.needed[dose]
    return dose, int(units) if units < LARGEST_WAIT else None


def _collected(decision: Decision, randomised: float) -> Decision | None:
    """Ask for more units, where some number of them would do, and enough weights are there to say which."""
    size = decision.effective_sample_size
    if size is not None and size < FORESEEN_UNITS:
        return None
    dose, collect = _collect(decision)
    if collect is None:
        return None
    reason = (
        f"about {decision.needed[dose]:,.0f} units, logged as these were, would certify a dose of {dose:g} with a "
        f"chance of 80 %, if the improvement is what it looks like; there are {decision.units:,}"
    )
    if size is not None and size >= EFFECTIVE_UNITS and randomised < LARGEST_WAIT:
        reason += f"; or {randomised:,.0f} in a test that gives half of them to the policy"
    return replace(decision, action="COLLECT", low=decision.lows[0], reason=reason, collect=collect)


def _hardly(decision: Decision) -> Decision:
    """Abstain, because no dose looks better, or too little is left of the weights to say so."""
    reason, size = "no dose looks better than the margin on this log", decision.effective_sample_size
    worth = "" if size is None else f"the weights of the whole policy are worth {size:.1f} episodes: hardly any overlap"
    if size is not None and size < FORESEEN_UNITS:
        reason = f"{worth}, so neither an improvement nor how many units would show one can be told"
    elif size is not None and size < EFFECTIVE_UNITS:
        reason += f", and {worth}"
    return replace(decision, low=decision.lows[0], tier=3, promise="", reason=reason)


# --- the second tier ------------------------------------------------------------------------------------------------


def estimated(question: Question, blank: Decision, absent: str, findings: Findings | None, seed: int) -> Decision:
    """Decide in the second tier, or abstain."""
    margin, without = question.margin, f"no certificate, because {absent}"
    if blank.units < NORMAL_UNITS:
        return replace(blank, reason=f"{without}; and {blank.units} units are too few for an estimate")
    if not isinstance(findings, tuple):
        return replace(blank, reason=f"{without}; no estimate: {findings}".rstrip("."))
    broken = [sentence for checks in findings for sentence in checks.objections()]
    if broken:
        return replace(blank, reason=f"{without}; no estimate can be believed: {' '.join(broken)}".rstrip("."))
    mean, low, high = difference(question.case, question.baseline, question.data, question.risk, seed)
    if not np.isfinite([mean, low, high]).all():
        return replace(blank, reason=f"{without}; fitted values are not finite")
    reason = f"estimated improvement {mean:.4g} [{low:.4g}, {high:.4g}]; {without}"
    decision = replace(blank, tier=2, low=low, high=high, promise=PROMISES[2], reason=reason)
    if low > margin:
        return replace(decision, action="STAGED", dose=BEGINNING_DOSE, error_rate=question.risk)
    if high < margin:
        return replace(decision, action="REJECT")
    return replace(decision, tier=3, promise="", reason=f"{reason}; which of the two is better is open")
