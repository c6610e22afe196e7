"""The gate: whether a policy may replace another one, decided once on units that nothing has seen.

Tier 1 (certified): logged propensities, declared reward range and horizon; a betting e-value on per-unit improvements
(`weft.deployment.dose_test`). Tier 2 (estimated): fitted values, after tests of what they assume; never more than a
staged roll-out. Tier 3: abstain, with the reason. What an answer promises, and what it does not, is part of the answer.

What can be known without looking at what the policy would earn (no exploration, propensities that do not fit, one
unit) is answered before the fold is opened and costs nothing.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ..agents.external import External
from ..agents.policy import Policy
from ..agents.served import Served, acts_greedily
from ..core.errors import UserError
from ..data.dataset import Dataset
from ..data.declarations import CUT, check_kept, mean_return, return_discount, undeclared, unevenly_discounted
from ..data.units import fit_transform
from ..evaluation.candidate import NO_DENSITY, Candidate, tabulate
from ..evaluation.case import Case, prepare
from ..evaluation.diagnostics import examine, ratio_test
from ..evaluation.estimator import per_unit
from ..evaluation.propensities import coarse
from ..evaluation.provenance import experience, repetitions
from ..evaluation.subject import subject
from ..evaluation.thresholds import NORMAL_UNITS
from . import dose_test as gate
from ._tiers import Findings, Question, certified, estimated
from .decision import Decision
from .ledger import Ledger
from .remainder import Remainder, remainder

__all__ = ["certify", "compared", "missing"]


def certify(
    policy: Any,
    data: Dataset,
    baseline: Any = None,
    margin: float = 0.0,
    risk: float = 0.05,
    *,
    doses: tuple[float, ...] | None = None,
    greedy: bool | None = None,
    seed: int = 0,
    show: str = "report",
    ledger: Ledger | str | Path | None = None,
    diagnostics: bool = False,
    plan: gate.Plan | None = None,
) -> Decision:
    """Decide whether a policy is better than a baseline by more than a margin, from a log that nothing has seen.

    policy, baseline, greedy: as in `weft.estimate`, so they may be external ones; without a baseline the policy is
    compared with the one that made the log. margin: in units of the return. risk: of deploying a policy that is no
    better than the margin. doses: shares of the decisions that the policy takes over from the logging one, by default
    ten from 0.05 to 1, tested from small to large (with a margin above 0 by default three, each at an equal share of
    the risk, because small doses cannot pass it); with a baseline only the whole policy is tested. show: `report`, or
    `decision` for "certified" or "not certified" alone, which leaves unspent risk for a further test. ledger: the
    folder that remembers which units were opened; by default `$WEFT_LEDGER`, else one per user. The same question on
    the same log is answered again without cost. diagnostics: also look into everything that can be known about the log
    (`weft.diagnose`), which takes longer than the decision. plan: where the order of doses begins and how bets are
    spread, made by `weft.deployment.dose_test.prospect` on other units of the log for the same doses and margin (as
    `weft.study` does); without one every dose is tested from the smallest up, with even bets.

    A log may hold what was seen before, as an export of today holds yesterday's rows: what the policies were trained on
    or chosen by, and what a test has opened, is left out with all else of the same units, and `Decision.novelty` says
    so (`weft.deployment.remainder`). The k-th test of a log that grows has 1 / (k (k - 1)) of the risk, so that all of
    them together err with a chance of at most twice the risk, however many there are.

    Raises UserError for a policy that weft trained on all of the units, a fold that is spent, rewards and episodes
    that do not keep to what is declared, and policies that do not fit the log.
    """
    _check_request(margin, risk, show)
    steps = _steps(doses, baseline is None, margin, plan)
    check_kept(data)
    policy, baseline = _subjects(policy, baseline)
    book = ledger if isinstance(ledger, Ledger) else Ledger(ledger)
    # both are looked at, so that what the baseline was trained on is left out as well
    part = remainder(data, (policy, *([] if baseline is None else [baseline])), book, risk)

    def ask(data: Dataset, risk: float) -> Question:
        case, other = _cases(policy, baseline, data, greedy, seed)
        return Question(data, case.by_unit(), None if other is None else other.by_unit(), steps, margin, risk, plan)

    blank = replace(_blank(policy, part.data, baseline is None, margin, part.risk, greedy), novelty=part.sentence)
    if blank.units < 2:
        return replace(blank, reason="there is one independent unit, and chance needs at least two")
    question = _again(book, data, part, risk, ask) or ask(part.data, part.risk)
    if question.data is not part.data:  # it was answered before, from what was new then
        again = _blank(policy, question.data, baseline is None, margin, question.risk, greedy)
        blank = replace(again, novelty=_before(data, question))
    hopeless = _hopeless(question, seed)
    if hopeless:
        return replace(blank, reason=hopeless)
    name = question.name()
    book = Ledger(book.folder, book.request, book.subject or _called(policy))
    book.open(question.data, name, question.risk, show, part.granted, part.after)
    absent = missing(question.data, *question.candidates)
    wanted = diagnostics or (absent and blank.units >= NORMAL_UNITS)
    findings = _diagnosed(question.case, question.baseline, question.data, seed) if wanted else None
    assumed = [
        *_assumptions(question.data, all(part.origins), not absent, policy, baseline),
        *part.trust,
        *_beginning(book, name),
    ]
    blank = replace(
        blank, question=name, assumptions=tuple(assumed),
        diagnostics=findings[0] if isinstance(findings, tuple) else None,
    )  # fmt: skip
    decision = estimated(question, blank, absent, findings, seed) if absent else certified(question, blank)
    answer = decision if show == "report" else _alone(decision, question, book)
    book.files.answered(name, answer.action, answer.dose)
    return answer


def _alone(decision: Decision, question: Question, book: Ledger) -> Decision:
    """Return the decision alone, and write down where that says more than that nothing is certified."""
    if decision.certified or decision.action == "STAGED":
        book.open(question.data, decision.question, question.risk, "report")
    return decision.bare()


def _subjects(policy: Any, baseline: Any) -> tuple[Any, Any]:
    """Return what the sources of a policy and of a baseline mean; no baseline is the logging policy."""
    return subject(policy), None if baseline is None else subject(baseline)


def _again(
    book: Ledger, data: Dataset, part: Remainder, risk: float, ask: Callable[[Dataset, float], Question]
) -> Question | None:
    """Return the question about a part of this very log that was answered before, where it is asked again; None where
    there is none, or something else is to be tested."""
    if part.new:
        return None
    for view, entry in book.tested(data):
        if view.episodes < data.episodes and min(risk, entry.granted) == entry.spent:
            question = ask(view, entry.spent)
            if question.name() == entry.policy:
                return question
    return None


def _before(data: Dataset, question: Question) -> str:
    return (
        f"This was answered before, from {question.data.steps:,} of {data.steps:,} decisions, which were new then; "
        "nothing is new since."
    )


def _called(policy: Any) -> str:
    """Return the policy in words."""
    if isinstance(policy, External):
        return policy.name
    if isinstance(policy, Served):
        return f"a policy of type {type(policy.inner).__name__}"
    return f"a policy of type {type(policy).__name__}"


def _beginning(book: Ledger, name: str) -> Iterator[str]:
    """Yield that nothing is known of tests that were not written down here, where this was the first one that was."""
    if book.entries()[0].policy == name:
        yield (
            "The ledger begins with this test: what was opened elsewhere (on another machine, with another ledger) it "
            "cannot know."
        )


def _blank(policy: Any, data: Dataset, alone: bool, margin: float, risk: float, greedy: bool | None) -> Decision:
    """Return what every answer says, whatever it is; `alone`: without a baseline."""
    return Decision(
        "ABSTAIN", margin=margin, risk=risk, units=data.unit_count, logged_return=mean_return(data),
        baseline="the logging policy" if alone else "the given baseline",
        drawn=not acts_greedily(policy, greedy) if isinstance(policy, Policy) else None,
        horizon=data.spec.horizon, discount=return_discount(data),
        estimand=per_unit(data),
    )  # fmt: skip


def _cases(policy: Any, baseline: Any, data: Dataset, greedy: bool | None, seed: int) -> tuple[Case, Case | None]:
    """Return the case of a policy on a log, and that of a baseline if there is one."""
    log = prepare(data)
    case = log.case(policy, greedy, seed=seed)
    return case, None if baseline is None else case.about(log.candidate(baseline, greedy, seed=seed))


def _check_request(margin: float, risk: float, show: str) -> None:
    if not 0 < risk < 1:
        raise UserError(f"The risk lies between 0 and 1, got {risk}.")
    if not (margin >= 0 and np.isfinite(margin)):
        raise UserError(f"The margin is how much better the policy must be, at least 0, got {margin}.")
    if show not in ("report", "decision"):
        raise UserError(f"A certificate shows the whole 'report' or the 'decision' alone, not '{show}'.")


def _steps(doses: tuple[float, ...] | None, alone: bool, margin: float, plan: gate.Plan | None) -> tuple[float, ...]:
    """Return the doses to test, from small to large; `alone`: without a baseline."""
    usual = gate.DOSES if margin == 0 or plan is not None else gate.FEW
    steps = tuple(sorted({float(dose) for dose in (usual if doses is None else doses)})) if alone else (1.0,)
    if not steps or not (steps[0] > 0 and steps[-1] <= 1):
        raise UserError(f"Doses are shares of the decisions, above 0 and at most 1, got {doses}.")
    if plan is not None and len(plan.prior) != len(steps):
        raise UserError(f"The plan is for {len(plan.prior)} doses, and {len(steps)} are asked for.")
    return steps


def compared(baseline: Any, data: Dataset, greedy: bool | None, seed: int) -> Candidate | None:
    """Return what a baseline would do at every observation of a log; None for the logging policy itself."""
    if baseline is None:
        return None
    return tabulate(subject(baseline), data, data.device(), fit_transform(data), jax.random.key(seed), greedy)


def missing(data: Dataset, *candidates: Candidate | None) -> str:
    """Return why there can be no certificate about these candidates (without any: on this log), empty if there can."""
    if data.store_log_propensities is None:
        return "the log has no propensities"
    if data.propensities_estimated:
        return "the propensities were estimated, not logged"
    if any(one is not None and one.log_prob is None for one in candidates):
        return NO_DENSITY
    absent = undeclared(data)
    if absent:
        return f"the log does not declare {', '.join(absent)} (from what is known of the system, not from the data)"
    if unevenly_discounted(data):
        return "steps last differently long, so the sum of discounts is not known beforehand"
    return coarse(data)


def _hopeless(question: Question, seed: int) -> str:
    """Return why nobody could tell from this log, without looking at what the policy would earn; empty if one might."""
    data = question.data
    spec, rewards, chance = data.spec, np.asarray(data.rewards), data.log_propensities
    if float(np.ptp(rewards)) == 0 and (rewards[0] == 0 or np.ptp(data.lengths) == 0):
        return f"all rewards are equal ({rewards[0]:g}), so no policy is better than another"
    if chance is None:
        return ""
    if spec.action.kind != "continuous" and not data.propensities_estimated and not (chance < np.log1p(-1e-6)).any():
        return (
            "no exploration: every logged action was certain, so the log cannot tell what others are worth. Let 5 % of "
            "the decisions be taken at random with their chances logged; see `weft advise`"
        )
    for case, whose in ((question.case, "policy"), (question.baseline, "baseline")):
        reason = "" if case is None else _unlike(case, whose, data, seed)
        if reason:
            return reason
    return ""


def _unlike(case: Case, whose: str, data: Dataset, seed: int) -> str:
    """Return why ratios of a policy cannot be right, empty where they may be. Raises UserError for a log-probability
    that is not finite.
    """
    if case.candidate.log_prob is None:
        return ""
    logs = np.asarray(case.candidate.log_prob)[data.rows]
    wrong = np.flatnonzero(np.isnan(logs) | (logs == np.inf))
    if len(wrong):
        raise UserError(
            f"The {whose} gives {data.origin} probabilities or densities that are not finite, the first at step "
            f"{wrong[0]}."
        )
    test = ratio_test(case.padded(), jax.random.split(jax.random.key(seed), 6)[0])
    if not test.alarm:
        return ""
    below = test.z is not None and test.z < -3
    what = "no overlap, or wrong propensities" if below else f"the propensities do not fit the {whose}"
    return f"{what}: {test.sentence.rstrip('.')}"


def _diagnosed(case: Case, baseline: Case | None, data: Dataset, seed: int) -> Findings:
    """Return the diagnostics of the policy, and of the baseline if there is one, or why there can be none."""
    try:
        return tuple(examine(one, data, seed=seed) for one in (case, baseline) if one is not None)
    except UserError as problem:
        return problem


def _assumptions(data: Dataset, new: bool, certified: bool, *policies: Any) -> Iterator[str]:
    """Yield what is taken on trust about a log and policies (None: the logging one)."""
    spec, lengths = data.spec, data.lengths
    yield from data.notes
    yield from repetitions(data)
    if not new:
        yield "It is taken on trust that the policy was not chosen or trained with these units."
    for policy in policies:
        yield from experience(policy, data)
    if not spec.unit:
        yield "No unit is declared: episodes are taken to be independent of each other."
    elif len(set(np.unique(data.units(spec.unit).astype(str), return_counts=True)[1])) > 1:
        yield f"Values of '{spec.unit}' have different numbers of episodes; each counts the same."
    if not certified:
        return
    assert spec.reward_low is not None
    assert spec.reward_high is not None
    if spec.discount is None:
        yield "No discount is declared: returns are plain sums of rewards."
    if not spec.reward_low[0] <= 0 <= spec.reward_high[0] and int(lengths.min()) == spec.horizon:
        yield f"Every episode is taken to last {spec.horizon} steps, as all logged ones do."
    if spec.propensity_low is not None:
        yield (
            f"Every choice is taken to have had a chance of at least {spec.propensity_low:g} in every decision, those "
            "that were never made too."
        )
    ends = np.cumsum(lengths) - 1
    if (data.timeouts[ends] & (lengths < (spec.horizon or 0))).any():
        yield CUT
