"""Judging a policy from a log: an estimate of its value with an interval."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, overload

import jax
import jax.numpy as jnp
import numpy as np

from ..core import pytree
from ..core.compilation import Program
from ..core.errors import UserError
from ..data.dataset import Dataset
from ..data.declarations import CUT, check_ranges, cut_early, declared_discount
from .bounded_terms import declared_range
from .candidate import NO_DENSITY, Candidate, check_density, check_fitting
from .case import Case, effective, prepare
from .estimator import EPISODES, Estimate, Estimator, Statistic, estimator, per_unit
from .estimators.fitted_q import FittedQ
from .estimators.per_decision import PerDecision
from .interval import Bounds, Interval
from .interval import interval as interval_by_name
from .intervals.bootstrap import Bootstrap
from .overlap import comparable, compared, outside, unsupported
from .provenance import doubts, experience, repetitions
from .subject import subject
from .thresholds import EFFECTIVE_UNITS, FLAT, UNSUPPORTED

__all__ = ["estimate", "estimate_fitted_q"]

ROOM = 2**26  # numbers that answers of several policies may take at once
SIDE = 8  # policies side by side, for which what they share is computed once


@overload
def estimate(  # pyright: ignore[reportOverlappingOverload]
    policy: list[Any] | tuple[Any, ...], data: Dataset, *rest: Any, **settings: Any
) -> list[Estimate]: ...
@overload
def estimate(policy: Any, data: Dataset, *rest: Any, **settings: Any) -> Estimate: ...
def estimate(
    policy: Any,
    data: Dataset,
    method: str | Estimator = "doubly_robust",
    interval: str | Interval = "bootstrap",
    level: float = 0.95,
    *,
    discount: float | None = None,
    horizon: int | None = None,
    seed: int = 0,
    greedy: bool | None = None,
    samples: int = 8,
    starts: Any = None,
    **settings: Any,
) -> Estimate | list[Estimate]:
    """Estimate the mean discounted return of a policy on a log, with an interval.

    policy: a trained run's policy; a function from observations `(n, ...)` to probabilities of choices `(n, actions)`
    or to one action each; or another source of `weft.external_policy`, such as an ONNX model, a classifier or a table
    of probabilities. A list or tuple of policies is judged in one compiled program that shares the work, and answered
    by a list in its order. method: a name of `weft.evaluation.estimator.estimators()` or an instance, whose fields
    `settings` set. interval: likewise by name or as an instance. discount, horizon: by default what the log declares,
    else 0.99 and none. greedy: judge weft policies by their mode (True) or as they draw (False); by default each as it
    acts. starts: true for the episodes whose first observation is one that the policy will begin at; by default all.

    The interval covers what its docstring says and nothing else. Raises UserError for a log without propensities
    where the method weighs, a policy without density, ranges that are not declared where the interval needs them, a
    log of a single unit, unknown names and settings that make no sense.
    """
    if not 0 < level < 1:
        raise UserError(f"The level of an interval lies between 0 and 1, got {level}.")
    if not isinstance(method, str):
        discount, horizon = _agreed("discount", discount, method), _agreed("horizon", horizon, method)
    discount = declared_discount(data, discount)
    horizon = data.spec.horizon if horizon is None else horizon
    judge = _judge_of(method, interval, settings, data, discount, horizon, level)
    _check(judge, data, horizon)
    policies = [subject(one) for one in (policy if isinstance(policy, list | tuple) else [policy])]
    log = prepare(data, starts)
    if len(np.unique(np.asarray(log.weighing.unit)[np.asarray(log.weighing.starts) > 0])) < 2:
        raise UserError(f"{data.origin} has one independent unit to begin at, and an interval needs at least two.")

    def ask(one: Any) -> Case:
        return log.case(one, greedy, samples, seed).padded()

    if isinstance(policy, list | tuple):
        return _side_by_side(judge, data, policies, ask, seed)
    return _alone(judge, data, ask(policies[0]), seed, tuple(doubts(policies[0], data)))


def estimate_fitted_q(
    policy: Any,
    data: Dataset,
    steps: int = 1500,
    discount: float | None = None,
    replicates: int = 20,
    level: float = 0.95,
    seed: int = 0,
    hidden: Sequence[int] = (64, 64),
    batch_size: int = 128,
    learning_rate: float = 2e-3,
    target_rate: float = 0.05,
    greedy: bool | None = None,
    samples: int = 8,
    starts: Any = None,
) -> Estimate:
    """Estimate the mean discounted return of a policy by fitted Q evaluation, with an episode bootstrap that refits.

    policy: a served policy, or a function from a batch of observations to a batch of actions. discount: by default
    the log's declared one, else 0.99. greedy: judge the policy that takes the mode, or the one that draws
    (`samples` draws per observation stand for it where actions are continuous); by default as it acts. starts: true
    for the episodes of `data` whose first observation is one that the policy will begin at; by default all.

    Episodes are drawn one by one; where the log declares its unit (a user, a device), all episodes of a drawn unit
    come together. The interval covers the luck of which ones were logged and the chance in fitting. It does not
    cover what all refits share: a network that cannot hold the truth, observations that hide what matters, actions
    that the log never shows, too few steps. Then it is narrow around a wrong number. Use a log that the policy was
    not trained on, or the estimate is too high. It is no ground for a decision by itself.

    Raises UserError for a policy with memory, forms or labels that differ from the log's, a log of a single unit, and
    settings that make no sense.
    """
    discount = declared_discount(data, discount)
    method = FittedQ(discount, learning_rate, target_rate, steps, batch_size, tuple(hidden))
    return estimate(
        policy, data, method, Bootstrap(replicates), level, discount=discount, seed=seed, greedy=greedy,
        samples=samples, starts=starts,
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Judge:
    """What judges a policy: an estimator with an interval at a level, for returns at a discount."""

    method: Estimator
    interval: Interval
    level: float
    discount: float

    def arrays(self) -> tuple[Estimator, Interval]:
        """Return estimator and interval with arrays for numbers, so that no number is part of a program."""
        return pytree.as_arrays(self.method), pytree.as_arrays(self.interval)


def _judge_of(
    method: str | Estimator, interval: str | Interval, settings: dict[str, Any], data: Dataset, discount: float,
    horizon: int | None, level: float,
) -> Judge:  # fmt: skip
    """Return estimator and interval, made of their names with what the log declares where only these are there."""
    declared = {"discount": discount, "horizon": horizon}
    judging: Estimator = _instance(method, estimator, declared, settings)
    if data.spec.reward_low is not None and data.spec.reward_high is not None:
        declared |= {"reward_low": data.spec.reward_low[0], "reward_high": data.spec.reward_high[0]}
    if isinstance(interval, str) and interval == "bootstrap" and isinstance(judging, Statistic):
        declared["replicates"] = 200
    return Judge(judging, _instance(interval, interval_by_name, declared, {}), level, discount)


def _instance(what: Any, find: Callable[[str], type], declared: dict[str, Any], settings: dict[str, Any]) -> Any:
    """Return an instance as it is, or make one of its name with the declared facts that it has fields for."""
    if not isinstance(what, str):
        if settings:
            raise UserError(f"Settings ({', '.join(settings)}) go with a method's name; set them on the instance.")
        return what
    kind = find(what)
    names = [field.name for field in dataclasses.fields(kind)]
    for name in settings:
        if name not in names:
            raise UserError(f"The method '{what}' has no setting '{name}'. Known: {', '.join(names)}.")
    facts = {name: fact for name, fact in declared.items() if name in names and fact is not None}
    return kind(**facts | settings)


def _agreed(word: str, wanted: Any, method: Estimator) -> Any:
    """Return the discount or horizon of an instance, which must be the one that was asked for if one was."""
    own = getattr(method, word, wanted)
    if wanted is not None and own != wanted:
        raise UserError(f"The {word} of the method is {own}, the one asked for {wanted}; give one of them.")
    return own


def _check(judge: Judge, data: Dataset, horizon: int | None) -> None:
    """Raise UserError where a method or an interval cannot say anything about the log."""
    if not 0 <= judge.discount <= 1:
        raise UserError(f"The discount must be between 0 and 1, got {judge.discount}.")
    if horizon is not None and horizon < 1:
        raise UserError(f"The horizon must be at least one step, got {horizon}.")
    _check_log(judge.method, data, horizon)
    _check_infinite(judge.method, data, judge.discount)
    _check_interval(judge, data)


def _check_log(method: Estimator, data: Dataset, horizon: int | None) -> None:
    """Raise UserError where a log lacks what a method needs, or has longer episodes than it is for."""
    name, longest = type(method).title, int(data.lengths.max())
    if method.weighs and data.store_log_propensities is None:
        raise UserError(
            f"{data.origin} has no propensities, and '{name}' weighs by them. Load the log with propensity=COLUMN, "
            "or use 'linear_q', 'double_reinforcement' or 'fitted_q', which assume Markov observations instead."
        )
    if method.single and longest > 1:
        raise UserError(f"'{name}' is for episodes of one decision; {data.origin} has up to {longest}.")
    if method.weighs and horizon is not None and longest > horizon:
        raise UserError(
            f"An episode of {data.origin} has {longest} steps, more than the horizon of {horizon}, and "
            f"'{name}' counts them all; cut the episodes or give the horizon that they keep to."
        )


def _check_infinite(method: Estimator, data: Dataset, discount: float) -> None:
    """Raise UserError where values would be infinite: a discount of 1, and nothing that ends."""
    if discount < 1:
        return
    if getattr(method, "horizon", 1) is None and not data.terminals.any():
        raise UserError(
            f"With a discount of 1, no horizon and no episode of {data.origin} that ends, values are infinite; declare "
            "a horizon (data.declare(horizon=...)) or a discount below 1."
        )
    if not method.weighs and not hasattr(method, "horizon") and data.timeouts.any():
        raise UserError(
            f"'{type(method).title}' looks beyond the end of the log, where with a discount of 1 values are infinite; "
            "use 'linear_q' with a horizon, or a discount below 1."
        )


def _check_interval(judge: Judge, data: Dataset) -> None:
    """Raise UserError where an interval is not for a method, or not for a log."""
    method, interval = judge.method, judge.interval
    name = type(method).title
    if interval.statistic and not isinstance(method, Statistic):
        raise UserError(f"The {interval.title} interval needs a method with terms; use 'bootstrap' for '{name}'.")
    if interval.statistic and not method.smooth:
        raise UserError(f"'{name}' has no derivative in the weights that says how far it may be off; use 'bootstrap'.")
    if not interval.bounded:
        return
    if not isinstance(method, PerDecision) or method.self_normalised or np.isfinite(method.largest):
        raise UserError(f"The {interval.title} interval is for the method 'per_decision' as it is, not '{name}'.")
    check_ranges(data, f"The {interval.title} interval")
    _check_declared(interval, data, judge.discount)


def _check_declared(interval: Interval, data: Dataset, discount: float) -> None:
    """Raise UserError unless a bounded interval is about what the log declares and its steps take one unit of time."""
    spec = data.spec
    assert spec.reward_low is not None
    assert spec.reward_high is not None
    declared = (spec.reward_low[0], spec.reward_high[0], discount, spec.horizon)
    own = tuple(getattr(interval, name) for name in ("reward_low", "reward_high", "discount", "horizon"))
    if own != declared:
        raise UserError(
            f"The {interval.title} interval is for (reward_low, reward_high, discount, horizon) = {own}, the log and "
            f"the method for {declared}; name the interval instead of making it, and it takes what is declared."
        )
    if discount < 1 and (data.durations != 1).any():
        raise UserError(
            f"The {interval.title} interval discounts by step, and steps of {data.origin} differ in time; use a "
            "discount of 1."
        )


class Figures(NamedTuple):
    """What a program says of a policy: the bounds of its value, the share of its actions that the log never shows, and
    the effective number of episodes; the last two are None where there is no such number."""

    bounds: Bounds
    unsupported: Any
    effective: Any


def _alone(judge: Judge, data: Dataset, case: Case, seed: int, doubts: tuple[str, ...]) -> Estimate:
    """Judge one policy."""
    _check_density(judge.method, case.candidate, data)
    bounds = judged(*judge.arrays(), case, jax.random.key(seed), judge.level)
    share = unsupported(case.candidate, case.columns, data.rows, jax.random.key(seed))
    return _in_words(judge, data, Figures(bounds, share, effective(case) if case.weighs else None), doubts)


def _side_by_side(
    judge: Judge, data: Dataset, policies: list[Any], ask: Callable[[Any], Case], seed: int
) -> list[Estimate]:
    """Judge several policies: as many at once as there is room for their answers, in one program."""
    if not policies:
        return []
    first = ask(policies[0])
    _check_density(judge.method, first.candidate, data)
    room = max(1, ROOM // max(1, sum(leaf.size for leaf in jax.tree.leaves(first.candidate))))
    room = min(room, len(policies))
    key, twice = jax.random.key(seed), tuple(repetitions(data))  # of the log, whatever the policy
    logged = compared(data.rows, jax.random.split(key)[0], first.candidate) if comparable(first.candidate) else None
    estimates: list[Estimate] = []
    answers = (case.candidate for case in itertools.chain([first], map(ask, policies[1:])))
    for begin in range(0, len(policies), room):
        candidates = _stacked(list(itertools.islice(answers, room)), first.candidate, room)
        figures = jax.device_get(_judged_all(*judge.arrays(), first, candidates, logged, key, judge.level))
        for number, policy in enumerate(policies[begin : begin + room]):
            one = jax.tree.map(lambda leaf, number=number: leaf[number], figures)
            estimates.append(_in_words(judge, data, one, (*experience(policy, data), *twice)))
    return estimates


def _stacked(candidates: list[Candidate], first: Candidate, room: int) -> Candidate:
    """Stack candidates, filled up with the last one, so that one program serves all batches of them."""
    for candidate in candidates:
        if jax.tree.structure(candidate) != jax.tree.structure(first):
            raise UserError(
                "Policies that are judged together must answer alike, all with probabilities (or densities) or all "
                "with one action; judge the others by themselves."
            )
    candidates = candidates + candidates[-1:] * (room - len(candidates))
    return jax.tree.map(lambda *parts: jnp.stack(parts), *candidates)


def _judge_all(
    method: Estimator, interval: Interval, case: Case, candidates: Candidate, logged: Any, key: jax.Array, level: float
) -> Figures:
    """Apply an interval to an estimator for many candidates on the log of a case, compiled."""

    def one(candidate: Candidate) -> Figures:
        theirs = case.about(candidate)
        bounds = interval(method, theirs, key, level)
        share = None if logged is None else outside(candidate, case.columns, logged, jax.random.split(key)[1])
        return Figures(bounds, share, effective(theirs) if theirs.weighs else None)

    return jax.lax.map(one, candidates, batch_size=SIDE if isinstance(method, Statistic) else None)


_judged_all = Program(_judge_all, "Judging these policies together")


def _check_density(method: Estimator, candidate: Candidate, data: Dataset) -> None:
    if method.fits:
        check_fitting(candidate, f"'{type(method).title}'")
    if method.weighs and candidate.log_prob is None:
        raise UserError(
            f"'{type(method).title}' cannot judge the policy: {NO_DENSITY}; or use 'linear_q' or 'fitted_q'."
        )
    if method.weighs:
        check_density(np.asarray(candidate.log_prob)[data.rows], "The policy's log-probability")


def _in_words(judge: Judge, data: Dataset, figures: Figures, doubts: tuple[str, ...]) -> Estimate:
    """Put figures and what speaks against them into words."""
    method, bounds = judge.method, figures.bounds
    value, low, high = float(bounds.value), float(bounds.low), float(bounds.high)
    if not np.isfinite([value, low, high]).all():
        raise UserError(
            f"'{type(method).title}' gives no finite number on {data.origin}: the log is too small or too one-sided "
            "for it."
        )
    _check_possible(judge, value, data)
    share, size = (None if part is None else float(part) for part in (figures.unsupported, figures.effective))
    warnings = [*doubts, *_warnings(share)]
    if high - low <= FLAT * max(abs(low), abs(high)):
        warnings.append(
            "The interval has no width, because every unit gives the same number; how far it may be off cannot be told "
            f"from {data.origin}."
        )
        low, high = -np.inf, np.inf
    if size is not None and size < EFFECTIVE_UNITS and method.weighs:
        warnings.append(
            f"The weights are worth {size:.1f} episodes; below about {EFFECTIVE_UNITS:g} estimate and interval are too "
            "low together and do not hold (betting intervals do)."
        )
    counts_to_the_end = method.weighs and not method.single and not hasattr(method, "horizon")
    if counts_to_the_end and cut_early(data, data.spec.horizon):
        warnings.append(CUT)
    notes = () if data.spec.unit else ("Assumes that episodes are independent of each other.",)
    return Estimate(
        value,
        low,
        high,
        judge.level,
        float(bounds.deviation),
        np.asarray(bounds.replicates, np.float64),
        method.title,
        judge.interval.title,
        judge.discount,
        data.episodes,
        share,
        (*notes, *warnings),
        size,
        tuple(warnings),
        per_unit(data) if judge.interval.bounded else EPISODES,
    )


def _check_possible(judge: Judge, value: float, data: Dataset) -> None:
    """Raise UserError for a value farther beyond the returns that are declared to be possible than these reach."""
    declared = declared_range(data)
    steps = data.spec.horizon if judge.method.weighs else getattr(judge.method, "horizon", None)
    if declared is None or (steps is None and judge.discount >= 1):
        return
    ahead = 1 / (1 - judge.discount) if steps is None else sum(judge.discount**step for step in range(steps))
    low, high = map(float, declared.possible(max(ahead, float(declared.schedule().sum()))))
    if not low - (high - low) <= value <= high + (high - low):
        raise UserError(
            f"'{type(judge.method).title}' diverges on {data.origin}, which is too small for it: it says {value:.3g}, "
            f"where returns lie between {low:.4g} and {high:.4g} by what is declared."
        )


def _judge(method: Estimator, interval: Interval, case: Case, key: jax.Array, level: float) -> Bounds:
    """Apply an interval to an estimator, compiled."""
    return interval(method, case, key, level)


judged = Program(_judge, "Judging this policy")


def _warnings(share: float | None) -> tuple[str, ...]:
    if share is None or share <= UNSUPPORTED:
        return ()
    return (
        f"At {100 * share:.0f} % of the logged steps the policy does what the log never shows; neither estimate nor "
        "interval can be trusted there.",
    )
