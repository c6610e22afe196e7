"""The gate: whether a policy may replace another one, decided once on units that nothing has seen.

Tier 1 (certified): logged propensities, declared reward range and horizon; a betting e-value on per-unit improvements
(`weft.deployment.dose_test`). Tier 2 (estimated): fitted values, after tests of what they assume; never more than a
staged roll-out. Tier 3: abstain, with the reason. What an answer promises, and what it does not, is part of the answer.

What can be known without looking at what the policy would earn (no exploration, propensities that do not fit, one
unit) is answered before the fold is opened and costs nothing.
"""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..agents.policy import Policy
from ..agents.served import acts_greedily
from ..core.compilation import Program
from ..core.errors import UserError
from ..data.dataset import Dataset
from ..data.declarations import check_kept, returns, undeclared, unevenly_discounted
from ..data.units import fit_transform
from ..evaluation.bounded_terms import Range, declared_range
from ..evaluation.candidate import NO_DENSITY
from ..evaluation.diagnostics import Diagnostics, diagnose, ratio_test
from ..evaluation.estimate import effective
from ..evaluation.estimator import Candidate, Weighing, question, tabulate
from ..evaluation.provenance import refuse_touched, repetitions
from ..evaluation.thresholds import BEGINNING_DOSE, EFFECTIVE_UNITS, LARGEST_WAIT, NORMAL_UNITS, TIED, UNSUPPORTED
from . import dose_test as gate
from .decision import Decision, promise
from .improvement import difference
from .ledger import GRANTED, Ledger

__all__ = ["certify", "compared", "missing"]


Question = tuple[Candidate, Any, Weighing]


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

    policy, baseline, greedy: as in `weft.estimate`; without a baseline the policy is compared with the one that made
    the log. margin: in units of the return. risk: of deploying a policy that is no better than the margin. doses:
    shares of the decisions that the policy takes over from the logging one, by default ten from 0.05 to 1, tested from
    small to large (with a margin above 0 by default three, each at an equal share of the risk, because small doses
    cannot pass it); with a baseline only the whole policy is tested.
    show: `report`, or `decision` for "certified" or "not certified" alone, which leaves unspent risk for a further
    test. ledger: the folder that remembers which units were opened; by default `$WEFT_LEDGER`, else one per user. The
    same question on the same log is answered again without cost. diagnostics: also look into everything that can be
    known about the log (`weft.diagnose`), which takes longer than the decision. plan: where the order of doses begins
    and how bets are spread, made by `weft.deployment.dose_test.prospect` on other units of the log for the same doses
    and margin (as `weft.study` does); without one every dose is tested from the smallest up, with even bets.

    Raises UserError for a policy that weft trained on any of the units, a fold that is spent, rewards and episodes
    that do not keep to what is declared, and policies that do not fit the log.
    """
    if not 0 < risk < 1:
        raise UserError(f"The risk lies between 0 and 1, got {risk}.")
    if not (margin >= 0 and np.isfinite(margin)):
        raise UserError(f"The margin is how much better the policy must be, at least 0, got {margin}.")
    if show not in ("report", "decision"):
        raise UserError(f"A certificate shows the whole 'report' or the 'decision' alone, not '{show}'.")
    given = doses
    if given is None:
        given = gate.DOSES if margin == 0 or plan is not None else gate.FEW
    steps = tuple(sorted({float(dose) for dose in given})) if baseline is None else (1.0,)
    if not steps or not (steps[0] > 0 and steps[-1] <= 1):
        raise UserError(f"Doses are shares of the decisions, above 0 and at most 1, got {doses}.")
    if plan is not None and len(plan.prior) != len(steps):
        raise UserError(f"The plan is for {len(plan.prior)} doses, and {len(steps)} are asked for.")
    check_kept(data)
    known = refuse_touched(policy, data)
    known = known if baseline is None else refuse_touched(baseline, data) and known
    about: dict[str, Any] = {"margin": margin, "risk": risk, "units": _units(data)}
    about["baseline"] = "the logging policy" if baseline is None else "the given baseline"
    about["logged_return"] = _logged_return(data)
    about["drawn"] = not acts_greedily(policy, greedy) if isinstance(policy, Policy) else None
    if about["units"] < 2:
        return Decision("ABSTAIN", reason="there is one independent unit, and chance needs at least two", **about)
    candidate, columns, weighing = question(policy, data, None, greedy, 8, seed)
    asked = candidate, columns, weighing.by_unit()  # bets are on whole units, so whatever is said is a mean over units
    other = compared(baseline, data, greedy, seed)
    hopeless = _hopeless(data, asked, other, seed)
    if hopeless:
        return Decision("ABSTAIN", reason=hopeless, **about)
    kept = ledger if isinstance(ledger, Ledger) else Ledger(ledger)
    name = about["question"] = _digest(data, asked, other, margin, risk, steps, None if plan is None else _words(plan))
    _open(kept, data, name, risk, show)
    absent = missing(data, asked[0], other)
    wanted = diagnostics or (absent and about["units"] >= NORMAL_UNITS)
    look = diagnose_both(policy, baseline, data, seed, greedy) if wanted else None
    if absent:
        found = _estimated(data, asked, other, absent, look, seed, about)
    else:
        found = _certified(data, asked, other, steps, plan, about)
    if isinstance(look, tuple):
        found = dataclasses.replace(found, diagnostics=look[0])
    found = found.assuming(tuple(_assumptions(data, known, not absent)))
    if show == "report":
        return found
    if found.certified or found.action == "STAGED":
        _open(kept, data, name, risk, "report")  # more than "not certified" is known now
    return found.bare()


def compared(baseline: Any, data: Dataset, greedy: bool | None, seed: int) -> Candidate | None:
    """Return what a baseline would do at every observation of a log; None for the logging policy itself."""
    if baseline is None:
        return None
    return tabulate(baseline, data, data.device(), fit_transform(data), jax.random.key(seed), greedy)


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
    return ""


def _logged_return(data: Dataset) -> float | None:
    """Return the mean return of a log's units, episodes of a unit averaged; None where there is no such number."""
    if np.ndim(data.rewards) != 1 or unevenly_discounted(data):
        return None
    earned = returns(data)
    if data.spec.unit:
        member = np.unique(data.units(data.spec.unit).astype(str), return_inverse=True)[1]
        earned = np.bincount(member, earned) / np.bincount(member)
    return float(earned.mean())


def _units(data: Dataset) -> int:
    return len(np.unique(data.units(data.spec.unit).astype(str))) if data.spec.unit else data.episodes


def _hopeless(data: Dataset, asked: Question, other: Candidate | None, seed: int) -> str:
    """Return why nobody could tell from this log, without looking at what the policy would earn; empty if one might."""
    spec, rewards = data.spec, np.asarray(data.rewards)
    if float(np.ptp(rewards)) == 0 and (rewards[0] == 0 or np.ptp(data.lengths) == 0):
        return f"all rewards are equal ({rewards[0]:g}), so no policy is better than another"
    chance = data.log_propensities
    if chance is None:
        return ""
    if spec.action.kind != "continuous" and not data.propensities_estimated and not (chance < np.log1p(-1e-6)).any():
        return (
            "no exploration: every logged action was certain, so the log cannot tell what others are worth. Let 5 % of "
            "the decisions be taken at random with their chances logged; see `weft advise`"
        )
    for one, whose in ((asked[0], "policy"), (other, "baseline")):
        if one is None or one.log_prob is None:
            continue
        logs = np.asarray(one.log_prob)[data.rows]
        if np.isnan(logs).any() or (logs == np.inf).any():
            raise UserError(
                f"The {whose} gives {data.origin} probabilities or densities that are not finite, the first at step "
                f"{np.flatnonzero(np.isnan(logs) | (logs == np.inf))[0]}."
            )
        found = ratio_test((one, *asked[1:]), jax.random.split(jax.random.key(seed), 6)[0])
        if found.alarm:
            below = found.z is not None and found.z < -3
            what = "no overlap, or wrong propensities" if below else f"the propensities do not fit the {whose}"
            return f"{what}: {found.sentence.rstrip('.')}"
    return ""


def _assumptions(data: Dataset, known: bool, certified: bool) -> Any:
    """Yield what is taken on trust."""
    spec, lengths = data.spec, data.lengths
    yield from data.notes
    yield from repetitions(data)
    if not known:
        yield "It is taken on trust that the policy was not chosen or trained with these units."
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
        yield "Some episodes were cut before the horizon; what would have followed counts as nothing."


# --- the ledger -----------------------------------------------------------------------------------------------------


def _digest(data: Dataset, asked: Question, other: Candidate | None, *settings: Any) -> str:
    """Return a name for a question: the log, what is declared of it, what the policies would do, what is asked."""
    spec = data.spec
    declared = (
        spec.reward_low, spec.reward_high, spec.horizon, spec.discount, spec.unit, spec.propensity_low,
        data.propensities_estimated,
    )  # fmt: skip
    found = hashlib.sha256(repr((data.fingerprint, declared, settings)).encode())
    for leaf in jax.tree.leaves((asked[0], other, asked[2])):
        found.update(np.ascontiguousarray(np.asarray(leaf)).tobytes())
    return found.hexdigest()[:16]


def _words(plan: gate.Plan) -> tuple[int, list[list[list[float]]]]:
    return int(plan.start), [np.asarray(part, float).round(4).tolist() for part in (plan.prior, *plan.centre)]


def _open(ledger: Ledger, data: Dataset, name: str, risk: float, show: str) -> None:
    """Write down that the fold is opened; nothing is spent where the very same question was answered before."""
    before = [entry for entry in ledger.entries() if entry.policy == name]
    if not before:
        ledger.spend(data, name, risk, show, granted=max(risk, GRANTED))
    elif show == "report" and all(entry.shown != "report" for entry in before):
        ledger.spend(data, name, 0.0, "report")
    else:
        ledger.settle()


# --- the first tier -------------------------------------------------------------------------------------------------


def _weigh(
    candidate: Candidate, other: Candidate | None, columns: Any, weighing: Weighing, declared: Range, doses: Any,
    margin: Any, risk: Any, plan: gate.Plan | None, ordered: bool,
) -> tuple[Any, ...]:  # fmt: skip
    usual = jax.tree.map(lambda part: part * jnp.ones(len(doses)), gate.USUAL)
    centre = usual if plan is None else plan.centre
    found = gate.terms(candidate, other, columns, weighing, declared, doses, centre)
    ends, outer = jax.tree.map(lambda part: jnp.stack([part[0], part[-1]]), (doses, centre))
    opposite = gate.opposite(candidate, other, columns, weighing, declared, ends, outer)
    against = gate.evidence(opposite, ends, 1e-3, risk / 2)
    return (
        found,
        gate.evidence(found, doses, margin, risk, ordered, plan),
        gate.needed(found, margin, risk if ordered else risk / len(doses)),
        -against.low,
        gate.randomised(candidate, columns, weighing, declared, margin, risk),
        effective(candidate, columns, weighing),
    )


_weighed = Program(_weigh, "The certificate of this policy")


def _certified(
    data: Dataset, asked: Question, other: Candidate | None, steps: tuple[float, ...], plan: gate.Plan | None,
    about: dict[str, Any],
) -> Decision:  # fmt: skip
    """Decide in the first tier."""
    declared, margin, risk, units = declared_range(data), about["margin"], about["risk"], about["units"]
    ordered = margin == 0 or plan is not None
    first = None if not ordered else 0.0 if plan is None else steps[int(plan.start)]
    numbers = jax.tree.map(jnp.float32, declared), jnp.asarray(steps, jnp.float32), jnp.float32(margin)
    found, proof, needed, highs, randomised, size = jax.tree.map(
        np.asarray, _weighed(asked[0], other, *asked[1:], *numbers, jnp.float32(risk), plan, ordered)
    )
    needs = needed.astype(float)
    if not np.isfinite(found.values).all() or np.isnan(proof.log_wealth).any():
        raise UserError(
            f"Weights of {data.origin} are too large for numbers of 32 bits; propensities this small are a mistake, or "
            "the horizon is too long for weights."
        )
    odds = tuple(float(np.exp(np.minimum(wealth, 80.0))) for wealth in proof.log_wealth)
    lows, means = (tuple(map(float, part)) for part in (proof.low, proof.mean))
    about = about | {
        "tier": 1, "effective_sample_size": float(size), "doses": steps, "evidence": odds, "lows": lows, "first": first,
        "means": means, "high": float(highs[-1]), "needed": dict(zip(steps, needs.tolist(), strict=True)),
        "promise": promise(1),
    }  # fmt: skip
    place = int(proof.certified) - 1
    if place >= 0:
        reason = f"{units:,} units give {odds[place]:.3g} to 1 against no more than the margin at this dose"
        return Decision("DEPLOY", steps[place], lows[place], reason=reason, **about)
    if highs[-1] < margin or (other is None and highs[0] < 0):
        whole = bool(highs[-1] < margin)
        what = "the policy" if whole else f"a dose of {steps[0]:g} of the policy"
        high = float(highs[-1] if whole else highs[0])
        reason = f"the improvement of {what} is at most {high:.4g}, less than the margin of {margin:g}"
        return Decision("REJECT", 0.0, lows[-1], reason=reason, **about)
    best = int(np.argmin(needs))
    enough = needs[best] < LARGEST_WAIT
    collect = int(needs[best]) if enough else None
    better = (np.array(odds) >= 1) & (np.array(means) > margin + TIED * found.bound) & (np.array(steps) >= (first or 0))
    begin = int(better.argmax()) if better.any() else None
    if begin is not None:
        enough_odds = (1 if ordered else len(steps)) / risk
        reason = (
            f"the evidence is {odds[begin]:.3g} to 1, short of {enough_odds:.3g}; begin with a dose of "
            f"{steps[begin]:g} in a randomised test and carry the evidence on"
        )
        return Decision("STAGED", steps[begin], lows[begin], reason=reason, collect=collect, **about)
    if enough:
        reason = (
            f"about {needs[best]:,.0f} units, logged as these were, would certify a dose of {steps[best]:g} with a "
            f"chance of 80 %, if the improvement is what it looks like; there are {units:,}"
        )
        if float(size) >= EFFECTIVE_UNITS and randomised < LARGEST_WAIT:
            reason += f"; or {float(randomised):,.0f} in a test that gives half of them to the policy"
        return Decision("COLLECT", 0.0, lows[0], reason=reason, collect=collect, **about)
    reason = "no dose looks better than the margin on this log"
    if float(size) < EFFECTIVE_UNITS:
        reason += f", and the weights of the whole policy are worth {float(size):.1f} episodes: hardly any overlap"
    return Decision("ABSTAIN", 0.0, lows[0], reason=reason, **about | {"tier": 3, "promise": ""})


# --- the second tier ------------------------------------------------------------------------------------------------


def diagnose_both(
    policy: Any, baseline: Any, data: Dataset, seed: int, greedy: bool | None
) -> tuple[Diagnostics, ...] | UserError:
    """Return the diagnostics of the policy, and of the baseline if there is one, or why there can be none."""
    try:
        both = [policy] if baseline is None else [policy, baseline]
        return tuple(diagnose(one, data, seed=seed, greedy=greedy) for one in both)
    except UserError as problem:
        return problem


def _estimated(
    data: Dataset,
    asked: Question,
    other: Candidate | None,
    absent: str,
    look: tuple[Diagnostics, ...] | UserError | None,
    seed: int,
    about: dict[str, Any],
) -> Decision:
    """Decide in the second tier, or abstain."""
    margin, risk, units = about["margin"], about["risk"], about["units"]
    without = f"no certificate, because {absent}"
    if units < NORMAL_UNITS:
        return Decision("ABSTAIN", reason=f"{without}; and {units} units are too few for an estimate", **about)
    if not isinstance(look, tuple):
        return Decision("ABSTAIN", reason=f"{without}; no estimate: {look}".rstrip("."), **about)
    broken = [test.sentence for checks in look for test in checks.tests if test.alarm]
    for checks in look:
        if checks.unsupported is not None and checks.unsupported > UNSUPPORTED:
            broken.append(f"{checks.unsupported:.0%} of the policy's actions are unlike any logged one.")
    if broken:
        reason = f"{without}; no estimate can be believed: {' '.join(broken)}"
        return Decision("ABSTAIN", reason=reason.rstrip("."), **about)
    mean, low, high = difference(data, asked, other, risk, seed)
    if not np.isfinite([mean, low, high]).all():
        return Decision("ABSTAIN", reason=f"{without}; fitted values are not finite", **about)
    told = f"estimated improvement {mean:.4g} [{low:.4g}, {high:.4g}]; {without}"
    about = about | {"tier": 2, "high": high, "promise": promise(2)}
    if low > margin:
        return Decision("STAGED", BEGINNING_DOSE, low, reason=told, **about)
    if high < margin:
        return Decision("REJECT", 0.0, low, reason=told, **about)
    about |= {"tier": 3, "promise": ""}
    return Decision("ABSTAIN", 0.0, low, reason=f"{told}; which of the two is better is open", **about)
