"""The door to a staged roll-out: a decision, and the log of units that were dealt to the policy or to the other one.

What a certificate found is carried on (`weft.deployment.rollout_test`); the range of returns, the horizon and the
discount are what the log of the roll-out declares. The ledger remembers which roll-out a certificate's wealth was
carried into: staging spends no risk of its own, because the same e-process goes on, but it goes on only once.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..agents import external
from ..agents.policy import Policy
from ..agents.served import acts_greedily
from ..core import storage
from ..core.errors import UserError, nearest
from ..data.dataset import Dataset
from ..data.declarations import check_kept, return_discount, returns, undeclared, unevenly_discounted
from ..data.folds import ordered_in_time
from ..evaluation.bounded_terms import declared_range, return_range
from ..evaluation.estimator import EPISODES, per_unit
from ..evaluation.provenance import experience, refuse_touched
from ..evaluation.subject import subject
from ..evaluation.thresholds import OTHERWISE, ROUNDED
from ..training.run import load_policy
from .certify import compared
from .decision import ACTS, Decision, recalled
from .ledger import Ledger
from .outcomes import Outcomes
from .rollout_test import judge
from .staged import Staged

__all__ = ["EXTERNAL", "POLICY", "outcomes", "stage"]

STUDY, POLICY, EXTERNAL = "study.json", "policy.safetensors", "policy.json"


def stage(
    decision: Decision | Mapping[str, Any] | str | Path,
    found: Dataset | Outcomes,
    arm: str = "arm",
    chance: float | str = 0.5,
    *,
    dose: float | None = None,
    drift: bool = False,
    centre: float | None = None,
    by_time: str | None = None,
    lost: str | None = None,
    policy: Any = None,
    greedy: bool | None = None,
    seed: int = 0,
    ledger: Ledger | str | Path | None = None,
) -> Staged:
    """Say what a randomised roll-out of a policy has shown so far: DEPLOY, CONTINUE or REJECT. Ask as often as wanted.

    decision: what `weft.certify` or `weft.study` answered, its record, a file with it, or the folder of a study. found:
    all of the roll-out from its beginning, as a log whose units (the declared ones, else episodes) stand in the order
    of time, or as `Outcomes`. arm: the column with 1 for units of the policy and 0 for the others; chance: of the
    policy's arm, a number or a column; both are fixed per unit, and its episodes are averaged. dose: what the policy's
    arm runs, by default that of the decision. drift: the world may have changed since the certificate's log, so the
    wealth that is restarted at 1 decides. centre: a return near the mean, known before the roll-out, by default the
    mean return of the certificate's log where all units have the same chance; it makes the evidence stronger where
    returns lie in a small part of their range. by_time: a column that orders the units. lost: the column with 1 for
    units whose outcome has not arrived, whose rewards are not looked at; they are left out, and losses that depend on
    the arm are refused. Name it whenever outcomes may arrive late, also when none is missing: what decides is then the
    evidence of all that have arrived, and no longer whether it was ever enough. policy, greedy, seed: the
    policy (as in `weft.estimate`), and whether it takes its mode, by default as it acts (a study's folder knows both);
    it must not have been trained on these units, and logged propensities must be its own. ledger: where the certificate
    was written down; it refuses units that the certificate has counted, and a second roll-out.

    Whatever else is taken for granted and can be tested is tested after every unit (`weft.deployment.safeguards`): that
    the other arm earns what the certificate's log says, and that the improvement does not change. After an alarm only
    what still counts decides.

    Raises UserError for arms, chances and returns that cannot be, arms that were not dealt with the stated chances, a
    log that does not declare what returns can be, and whatever contradicts the decision.
    """
    certified, policy = _decision(decision, None if policy is None else subject(policy))
    if isinstance(found, Outcomes):
        return judge(certified, found, dose, centre, drift).assuming(
            ("The roll-out is given without a log: that its units are new, and its policy the one that was judged, is "
             "taken on trust.",)
        )  # fmt: skip
    units = outcomes(found, arm, chance, by_time, lost)
    _check_same_return(certified, found)
    asked, dose = dose, certified.dose if dose is None else dose
    followed = False
    if policy is not None:
        refuse_touched(policy, found)
        _check_way(policy, certified, greedy)
        followed = _check_followed(policy, found, arm, dose, greedy, seed)
    answer = judge(certified, units, asked, centre, drift)
    carried = bool(certified.evidence) and not drift
    book = ledger if isinstance(ledger, Ledger) else Ledger(ledger)
    remembered = carried and bool(certified.question) and book.carry(certified.question, dose, found)
    trust = (*_assumptions(found, by_time, followed, carried and not remembered), *experience(policy, found))
    return answer.assuming(trust)


def outcomes(
    data: Dataset, arm: str = "arm", chance: float | str = 0.5, by_time: str | None = None, lost: str | None = None
) -> Outcomes:
    """Return what a log says of a roll-out, one entry per unit; arguments as `stage`.

    Raises UserError where reward range or horizon are not declared, a column is missing, and where the arm or its
    chance changes within a unit. A unit is lost if one of its episodes is.
    """
    check_kept(data)
    spec = data.spec
    absent = undeclared(data)
    if absent:
        raise UserError(
            f"{data.origin} does not declare {', '.join(absent)}, so nobody knows what a return can be; declare them "
            "(--reward-range, --horizon) from what is known of the system, not from the data."
        )
    if unevenly_discounted(data):
        raise UserError(f"Steps of {data.origin} last differently long, so the range of returns is not known.")
    declared = declared_range(data)
    assert declared is not None
    earned = returns(data)
    labels = data.units(spec.unit).astype(str) if spec.unit else np.arange(data.episodes)
    arms = _numbers(data, arm, "arm")
    chances = _numbers(data, chance, "chance") if isinstance(chance, str) else np.full(data.episodes, float(chance))
    place = np.arange(data.episodes) if by_time is None else ordered_in_time(data, by_time)
    first, member, count = np.unique(labels[place], return_index=True, return_inverse=True, return_counts=True)[1:]
    for what, values in (("arm", arms), ("chance", chances)):
        changed = np.flatnonzero(values[place] != values[place][first[member]])
        if len(changed):
            raise UserError(
                f"The {what} of '{spec.unit}' {labels[place][changed[0]]} of {data.origin} changes from episode to "
                "episode; arms are dealt to whole units, so declare as the unit what they were dealt to."
            )
    means = np.bincount(member, earned[place]) / count
    away = _lost(data, lost)[place]
    order = np.argsort(first)  # units in the order in which they first come
    low, high = return_range(declared)
    return Outcomes(
        arms[place][first][order], chances[place][first][order], means[order], low, high, data.origin,
        None if lost is None else (np.bincount(member, away) > 0)[order],
    )  # fmt: skip


def _decision(source: Any, policy: Any) -> tuple[Decision, Any]:
    """Return the decision, and the policy (of a study where there is none), which acts as it was judged."""
    if isinstance(source, Decision):
        return source, policy
    if isinstance(source, Mapping):
        return recalled(source), policy
    place = Path(source)
    if not place.is_dir():
        record = storage.read_record(place)
        return recalled(record.get("decision", record)), policy
    if not (place / STUDY).exists():
        raise UserError(f"{place} is no study: it has no {STUDY}; `weft study` writes one, or give a decision's file.")
    record = storage.read_record(place / STUDY)
    try:
        chosen, drawn = recalled(record["decision"]), record["table"][0]["drawn"]
    except (KeyError, TypeError, IndexError):
        raise UserError(f"{place / STUDY} is damaged, or another version of weft wrote it.") from None
    if policy is None and drawn is None:
        policy = external.recalled(storage.read_record(place / EXTERNAL))
    elif policy is None:
        policy = load_policy(place / POLICY).drawing(bool(drawn))  # files of older studies do not say how they act
    return dataclasses.replace(chosen, drawn=drawn), policy


def _numbers(data: Dataset, name: str, what: str) -> np.ndarray:
    """Return a column of numbers, one per episode, which must be the same in all its steps."""
    if name not in data.columns:
        raise UserError(
            f"{data.origin} has no column '{name}' for the {what}.{nearest(name, data.columns)} "
            f"Known: {', '.join(data.columns) or 'none'}."
        )
    column = np.asarray(data.columns[name])
    try:
        steps = column.astype(float)[data.rows]
    except ValueError:
        raise UserError(
            f"{data.origin}: '{name}' holds words where the {what} is a number (arms are 1 and 0)."
        ) from None
    ends = np.cumsum(data.lengths)
    each = steps[ends - data.lengths]
    changed = np.flatnonzero(steps != np.repeat(each, data.lengths))
    if len(changed):
        raise UserError(
            f"{data.origin}: '{name}' is {steps[changed[0]]:g} at step {changed[0]} but another number before in the "
            f"same episode; the {what} is fixed when a unit comes."
        )
    return each


def _lost(data: Dataset, name: str | None) -> np.ndarray:
    """Return which episodes' outcomes have not arrived."""
    if name is None:
        return np.zeros(data.episodes, bool)
    marks = _numbers(data, name, "loss")
    wrong = marks[~np.isin(marks, (0, 1))]
    if len(wrong):
        raise UserError(f"{data.origin}: '{name}' is 1 where an outcome has not arrived, else 0; it has {wrong[0]:g}.")
    return marks == 1


def _check_same_return(decision: Decision, data: Dataset) -> None:
    """Raise UserError where a roll-out counts its returns otherwise than the certificate that is carried on."""
    pairs = ("horizon", decision.horizon, data.spec.horizon), ("discount", decision.discount, return_discount(data))
    for what, then, now in pairs:
        if then is not None and now != then and decision.evidence:
            raise UserError(
                f"The certificate is about returns with a {what} of {then:g}, and {data.origin} declares {now:g}; "
                f"declare the {what} of the certificate (--{what} {then:g}), or certify with the new one."
            )
    then, now, single = decision.estimand, per_unit(data), data.spec.unit is not None and _single(data)
    if then and (then == EPISODES) != (now == EPISODES) and not single and decision.evidence:
        raise UserError(
            f"The certificate's return is a {then}, and that of {data.origin} a {now}; declare the same unit (--unit) "
            "for both, because units with many episodes count otherwise."
        )


def _single(data: Dataset) -> bool:
    """Say whether every unit has one episode, so that a mean over units is one over episodes."""
    return len(np.unique(data.units(data.spec.unit or "").astype(str))) == data.episodes


def _check_way(policy: Any, decision: Decision, greedy: bool | None) -> None:
    """Raise UserError where a decision is about a policy that draws and this one takes its mode, or the reverse."""
    if isinstance(policy, Policy) and decision.drawn is not None and acts_greedily(policy, greedy) == decision.drawn:
        raise UserError(
            f"The decision is about the policy {ACTS[decision.drawn]}, and here it acts otherwise; stage "
            f"policy.drawing({'' if decision.drawn else False})."
        )


def _check_followed(policy: Any, data: Dataset, arm: str, dose: float, greedy: bool | None, seed: int) -> bool:
    """Say whether logged propensities of the policy's arm tell that it is this policy; raise UserError where they are
    not what the policy at this dose would give.

    The policy at a dose d takes an action with at least d times the policy's own chance, at d = 1 with exactly that.
    """
    candidate = compared(policy, data, greedy, seed)
    logged = data.log_propensities
    if logged is None or candidate is None or candidate.log_prob is None or data.propensities_estimated:
        return False
    here = np.repeat(_numbers(data, arm, "arm"), data.lengths) == 1
    ours, theirs = np.exp(np.asarray(candidate.log_prob, float)[data.rows]), np.exp(np.asarray(logged, float))
    room = ROUNDED * np.maximum(1.0, ours)
    wrong = here & ((theirs < dose * ours - room) | ((dose == 1) & (theirs > ours + room)))
    if wrong.sum() > OTHERWISE * here.sum():
        first = np.flatnonzero(wrong)[0]
        raise UserError(
            f"{wrong.sum() / here.sum():.0%} of the decisions of the policy's arm of {data.origin} were not taken by "
            f"this policy at dose {dose:g}: the first is step {first}, logged with {theirs[first]:.3g} where the "
            f"policy has {ours[first]:.3g}; stage the policy and the dose that the decision is about."
        )
    return True


def _assumptions(data: Dataset, by_time: str | None, followed: bool, trusted: bool) -> Iterator[str]:
    """Yield what is taken on trust about the log."""
    if not data.spec.unit:
        yield "No unit is declared: episodes are taken to be independent of each other."
    if by_time is None:
        yield "Units are taken to stand in the order of time."
    if not followed:
        yield "That the policy's arm ran the policy of the decision is taken on trust."
    if trusted:
        yield "The ledger does not know this certificate: that the roll-out's units are new is taken on trust."
