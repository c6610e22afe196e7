"""Judging a policy from a log: an estimate of its value with an interval."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, overload

import jax
import jax.numpy as jnp
import numpy as np

from ..core import pytree
from ..core.compilation import Program
from ..core.errors import UserError
from ..data.columns import Columns
from ..data.dataset import Dataset
from ..data.declarations import check_ranges, cut_early, declared_discount
from .candidate import NO_DENSITY
from .estimator import (
    EPISODES,
    Candidate,
    Estimate,
    Estimator,
    Statistic,
    Weighing,
    check_density,
    estimator,
    per_unit,
    prepared,
    tabulate,
)
from .estimators.fitted_q import FittedQ
from .estimators.per_decision import PerDecision
from .interval import Bounds, Interval
from .interval import interval as interval_by_name
from .intervals.bootstrap import Bootstrap
from .overlap import comparable, compared, outside, unsupported
from .provenance import doubts, experience, repetitions
from .thresholds import EFFECTIVE_UNITS, FLAT, UNSUPPORTED
from .trajectories import paths, relative

__all__ = ["estimate", "estimate_fitted_q"]

ROOM = 2**26  # numbers that answers of several policies may take at once
SIDE = 8  # policies side by side, for which what they share is computed once


@overload
def estimate(  # pyright: ignore[reportOverlappingOverload]
    policy: list[Any] | tuple[Any, ...], data: Dataset, *given: Any, **settings: Any
) -> list[Estimate]: ...
@overload
def estimate(policy: Any, data: Dataset, *given: Any, **settings: Any) -> Estimate: ...
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
    or to one action each; or an object with `sample(observations, key)` and `log_prob(observations, actions)`. A list
    or tuple of policies is judged in one compiled program that shares the work, and answered by a list in its order.
    method: a name of `weft.evaluation.estimator.estimators()` or an instance, whose fields `settings` set. interval:
    likewise by name or as an instance. discount, horizon: by default what the log declares, else 0.99 and none. greedy:
    judge weft policies by their mode (True) or as they draw (False); by default each as it acts. starts: true for the
    episodes whose first observation is one that the policy will begin at; by default all.

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
    chosen = _made(method, estimator, {"discount": discount, "horizon": horizon}, settings)
    known = {"discount": discount, "horizon": horizon}
    if data.spec.reward_low is not None and data.spec.reward_high is not None:
        known |= {"reward_low": data.spec.reward_low[0], "reward_high": data.spec.reward_high[0]}
    if isinstance(interval, str) and interval == "bootstrap" and isinstance(chosen, Statistic):
        known["replicates"] = 200
    ranged = _made(interval, interval_by_name, known, {})
    _check(chosen, ranged, data, discount, horizon)
    raw, transform, columns, weighing = prepared(data, starts)
    if len(np.unique(np.asarray(weighing.unit)[np.asarray(weighing.starts) > 0])) < 2:
        raise UserError(f"{data.origin} has one independent unit to begin at, and an interval needs at least two.")

    def asked(one: Any) -> Candidate:
        return tabulate(one, data, raw, transform, jax.random.key(seed), greedy, samples)

    if isinstance(policy, list | tuple):
        return _side_by_side(chosen, ranged, data, [*policy], asked, columns, weighing, discount, level, seed)
    speaking = tuple(doubts(policy, data))
    return _judged(chosen, ranged, data, (asked(policy), columns, weighing), discount, level, seed, speaking)


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


def _made(given: Any, find: Any, known: dict[str, Any], settings: dict[str, Any]) -> Any:
    """Return an instance: as given, or by name with the declared facts that it has fields for."""
    if not isinstance(given, str):
        if settings:
            raise UserError(f"Settings ({', '.join(settings)}) go with a method's name; set them on the instance.")
        return given
    kind = find(given)
    names = [field.name for field in dataclasses.fields(kind)]
    for name in settings:
        if name not in names:
            raise UserError(f"The method '{given}' has no setting '{name}'. Known: {', '.join(names)}.")
    return kind(**{name: value for name, value in known.items() if name in names and value is not None} | settings)


def _agreed(word: str, asked: Any, method: Estimator) -> Any:
    """Return the discount or horizon of an instance, which must be the one that was asked for if one was."""
    own = getattr(method, word, asked)
    if asked is not None and own != asked:
        raise UserError(f"The {word} of the method is {own}, the one asked for {asked}; give one of them.")
    return own


def _check(method: Estimator, ranged: Interval, data: Dataset, discount: float, horizon: int | None) -> None:
    """Raise UserError where a method or an interval cannot say anything about the log."""
    name = type(method).title
    if not 0 <= discount <= 1:
        raise UserError(f"The discount must be between 0 and 1, got {discount}.")
    if horizon is not None and horizon < 1:
        raise UserError(f"The horizon must be at least one step, got {horizon}.")
    if method.weighs and data.store_log_propensities is None:
        raise UserError(
            f"{data.origin} has no propensities, and '{name}' weighs by them. Load the log with propensity=COLUMN, "
            "or use 'linear_q', 'double_reinforcement' or 'fitted_q', which assume Markov observations instead."
        )
    if method.single and int(data.lengths.max()) > 1:
        raise UserError(f"'{name}' is for episodes of one decision; {data.origin} has up to {data.lengths.max()}.")
    if method.weighs and horizon is not None and int(data.lengths.max()) > horizon:
        raise UserError(
            f"An episode of {data.origin} has {data.lengths.max()} steps, more than the horizon of {horizon}, and "
            f"'{name}' counts them all; cut the episodes or give the horizon that they keep to."
        )
    unending = getattr(method, "horizon", 1) is None and discount >= 1 and not data.terminals.any()
    if unending:
        raise UserError(
            f"With a discount of 1, no horizon and no episode of {data.origin} that ends, values are infinite; declare "
            "a horizon (data.declare(horizon=...)) or a discount below 1."
        )
    if not method.weighs and not hasattr(method, "horizon") and discount >= 1 and data.timeouts.any():
        raise UserError(
            f"'{name}' looks beyond the end of the log, where with a discount of 1 values are infinite; use 'linear_q' "
            "with a horizon, or a discount below 1."
        )
    if ranged.statistic and not isinstance(method, Statistic):
        raise UserError(f"The {ranged.title} interval needs a method with terms; use 'bootstrap' for '{name}'.")
    if ranged.statistic and not method.smooth:
        raise UserError(f"'{name}' has no derivative in the weights that says how far it may be off; use 'bootstrap'.")
    if ranged.bounded:
        plain = isinstance(method, PerDecision) and not method.self_normalised and not np.isfinite(method.largest)
        if not plain:
            raise UserError(f"The {ranged.title} interval is for the method 'per_decision' as it is, not '{name}'.")
        check_ranges(data, f"The {ranged.title} interval")
        _check_declared(ranged, data, discount)


def _check_declared(ranged: Interval, data: Dataset, discount: float) -> None:
    """Raise UserError unless a bounded interval is about what the log declares and its steps take one unit of time."""
    spec = data.spec
    assert spec.reward_low is not None
    assert spec.reward_high is not None
    declared = (spec.reward_low[0], spec.reward_high[0], discount, spec.horizon)
    own = tuple(getattr(ranged, name) for name in ("reward_low", "reward_high", "discount", "horizon"))
    if own != declared:
        raise UserError(
            f"The {ranged.title} interval is for (reward_low, reward_high, discount, horizon) = {own}, the log and the "
            f"method for {declared}; name the interval instead of making it, and it takes what is declared."
        )
    if discount < 1 and (data.durations != 1).any():
        raise UserError(
            f"The {ranged.title} interval discounts by step, and steps of {data.origin} differ in time; use a discount "
            "of 1."
        )


def _judged(
    method: Estimator, ranged: Interval, data: Dataset, asked: tuple[Candidate, Columns, Weighing], discount: float,
    level: float, seed: int, doubts: tuple[str, ...],
) -> Estimate:  # fmt: skip
    candidate, columns, _ = asked
    _check_density(method, candidate, data)
    found = judged(pytree.as_arrays(method), pytree.as_arrays(ranged), *asked, jax.random.key(seed), level)
    share = unsupported(candidate, columns, data.rows, jax.random.key(seed))
    weighed = candidate.log_prob is not None and columns.log_propensity is not None
    size = float(effective(*asked)) if weighed else None
    return _told(method, ranged, data, found, share, size, discount, level, doubts)


def _side_by_side(
    method: Estimator, ranged: Interval, data: Dataset, policies: list[Any], ask: Callable[[Any], Candidate],
    columns: Columns, weighing: Weighing, discount: float, level: float, seed: int,
) -> list[Estimate]:  # fmt: skip
    """Judge several policies: as many at once as there is room for their answers, in one program."""
    told: list[Estimate] = []
    if not policies:
        return told
    first = ask(policies[0])
    _check_density(method, first, data)
    room = max(1, ROOM // max(1, sum(leaf.size for leaf in jax.tree.leaves(first))))
    room = min(room, len(policies))
    key, twice = jax.random.key(seed), tuple(repetitions(data))  # of the log, whatever the policy
    logged = compared(data.rows, jax.random.split(key)[0]) if comparable(first) else None
    for begin in range(0, len(policies), room):
        some = [ask(one) for one in policies[begin : begin + room]]
        for one in some:
            if jax.tree.structure(one) != jax.tree.structure(first):
                raise UserError(
                    "Policies that are judged together must answer alike, all with probabilities (or densities) or all "
                    "with one action; judge the others by themselves."
                )
        some += some[-1:] * (room - len(some))  # the last ones are filled up, so that one program serves all
        stacked = jax.tree.map(lambda *parts: jnp.stack(parts), *some)
        found, share, size = jax.device_get(
            _judged_all(
                pytree.as_arrays(method), pytree.as_arrays(ranged), stacked, columns, weighing, logged, key, level
            )
        )
        for number in range(len(policies[begin : begin + room])):
            bounds, part, weight = jax.tree.map(lambda leaf, number=number: leaf[number], (found, share, size))
            speaking = (*experience(policies[begin + number], data), *twice)
            told.append(_told(method, ranged, data, bounds, part, weight, discount, level, speaking))
    return told


def _judge_all(
    method: Estimator, ranged: Interval, candidates: Candidate, columns: Columns, weighing: Weighing, logged: Any,
    key: jax.Array, level: float,
) -> tuple[Bounds, Any, Any]:  # fmt: skip
    def one(candidate: Candidate) -> tuple[Bounds, Any, Any]:
        found = ranged(method, candidate, columns, weighing, key, level)
        share = None if logged is None else outside(candidate, columns, logged, jax.random.split(key)[1])
        weighed = candidate.log_prob is not None and columns.log_propensity is not None
        return found, share, effective(candidate, columns, weighing) if weighed else None

    return jax.lax.map(one, candidates, batch_size=SIDE if isinstance(method, Statistic) else None)


_judged_all = Program(_judge_all, "Judging these policies together")


def _check_density(method: Estimator, candidate: Candidate, data: Dataset) -> None:
    if method.weighs and candidate.log_prob is None:
        raise UserError(
            f"'{type(method).title}' cannot judge the policy: {NO_DENSITY}; or use 'linear_q' or 'fitted_q'."
        )
    if method.weighs:
        check_density(np.asarray(candidate.log_prob)[data.rows], "The policy's log-probability")


def _told(
    method: Estimator, ranged: Interval, data: Dataset, found: Bounds, share: Any, size: Any, discount: float,
    level: float, doubts: tuple[str, ...],
) -> Estimate:  # fmt: skip
    """Put figures and what speaks against them into words."""
    if not np.isfinite([float(found.value), float(found.low), float(found.high)]).all():
        raise UserError(
            f"'{type(method).title}' gives no finite number on {data.origin}: the log is too small or too one-sided "
            "for it."
        )
    share, size = (None if part is None else float(part) for part in (share, size))
    warnings = [*doubts, *_warnings(share)]
    low, high = float(found.low), float(found.high)
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
        warnings.append("Some episodes were cut before the horizon; what would have followed counts as nothing.")
    notes = () if data.spec.unit else ("Assumes that episodes are independent of each other.",)
    return Estimate(
        float(found.value),
        low,
        high,
        level,
        float(found.deviation),
        np.asarray(found.replicates, np.float64),
        method.title,
        ranged.title,
        discount,
        data.episodes,
        share,
        (*notes, *warnings),
        size,
        tuple(warnings),
        per_unit(data) if ranged.bounded else EPISODES,
    )


def _judge(
    method: Estimator,
    ranged: Interval,
    candidate: Candidate,
    columns: Columns,
    weighing: Weighing,
    key: jax.Array,
    level: float,
) -> Bounds:
    """Apply an interval to an estimator, compiled."""
    return ranged(method, candidate, columns, weighing, key, level)


judged = Program(_judge, "Judging this policy")


@jax.jit
def effective(candidate: Candidate, columns: Columns, weighing: Weighing) -> jax.Array:
    """Return the effective number of episodes of the weights over whole episodes, `(sum w)^2 / sum w^2`."""
    log_weight = paths(candidate, columns, len(weighing.weights), 1.0).log_weight[:, -1]
    weight = jnp.where(weighing.starts > 0, relative(log_weight, weighing.starts), 0.0)
    return weight.sum() ** 2 / jnp.maximum((weight**2).sum(), 1e-30)


def _warnings(share: float | None) -> tuple[str, ...]:
    if share is None or share <= UNSUPPORTED:
        return ()
    return (
        f"At {100 * share:.0f} % of the logged steps the policy does what the log never shows; neither estimate nor "
        "interval can be trusted there.",
    )
