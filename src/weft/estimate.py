"""Judging a policy from a log: an estimate of its value with an interval."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from . import pytree
from .columns import Columns
from .dataset import Dataset
from .errors import UserError
from .estimator import Candidate, Estimate, Estimator, Statistic, Weighing, estimator, question
from .estimators.fitted_q import FittedQ
from .estimators.per_decision import PerDecision
from .interval import Bounds, Interval
from .interval import interval as interval_by_name
from .intervals.bootstrap import Bootstrap
from .paths import paths, relative
from .support import unsupported

__all__ = ["estimate", "estimate_fitted_q"]

ALARM = 0.2  # share of unsupported actions that is worth a sentence
FEW = 20  # effective episodes below which intervals of weights do not hold


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
    greedy: bool = True,
    samples: int = 8,
    starts: Any = None,
    **settings: Any,
) -> Estimate:
    """Estimate the mean discounted return of a policy on a log, with an interval.

    policy: a trained run's policy; a function from observations `(n, ...)` to probabilities of choices `(n, actions)`
    or to one action each; or an object with `sample(observations, key)` and `log_prob(observations, actions)`.
    method: a name of `weft.estimator.estimators()` or an instance, whose fields `settings` set. interval: likewise by
    name or as an instance. discount, horizon: by default what the log declares, else 0.99 and none. greedy: judge
    weft policies by their mode. starts: true for the episodes whose first observation is one that the policy will
    begin at; by default all.

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
    asked = question(policy, data, starts, greedy, samples, seed)
    if len(np.unique(np.asarray(asked[2].unit)[np.asarray(asked[2].starts) > 0])) < 2:
        raise UserError(f"{data.origin} has one independent unit to begin at, and an interval needs at least two.")
    return _judged(chosen, ranged, data, asked, discount, level, seed)


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
    greedy: bool = True,
    samples: int = 8,
    starts: Any = None,
) -> Estimate:
    """Estimate the mean discounted return of a policy by fitted Q evaluation, with an episode bootstrap that refits.

    policy: a served policy, or a function from a batch of observations to a batch of actions. discount: by default
    the log's declared one, else 0.99. greedy: judge the policy that takes the mode; otherwise the one that draws
    (`samples` draws per observation stand for it where actions are continuous). starts: true for the episodes of
    `data` whose first observation is one that the policy will begin at; by default all.

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


def declared_discount(data: Dataset, given: float | None = None) -> float:
    """Return the discount that was given, else the log's declared one, else 0.99."""
    if given is not None:
        return given
    return 0.99 if data.spec.discount is None else data.spec.discount


def cut_early(data: Dataset, horizon: int | None) -> bool:
    """Say whether episodes were cut before the horizon, so that what would have followed is not in the log."""
    step = np.concatenate([np.arange(1, length + 1) for length in data.lengths])
    return bool((data.timeouts & (step < (horizon or np.inf))).any())


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


def check_ranges(data: Dataset, who: str) -> None:
    """Raise UserError unless reward range and horizon are declared and every reward and episode keeps to them."""
    spec = data.spec
    missing = [
        word
        for word, value in (
            ("reward_low", spec.reward_low),
            ("reward_high", spec.reward_high),
            ("horizon", spec.horizon),
        )
        if value is None
    ]
    if missing:
        raise UserError(
            f"{who} needs what {data.origin} does not declare: {', '.join(missing)}. Declare it from what you know of "
            "the system, not from the data: data.declare(reward_low=(0.0,), reward_high=(1.0,), horizon=10)."
        )
    check_kept(data)
    assert spec.reward_low is not None
    assert spec.reward_high is not None
    assert spec.horizon is not None
    low, high = spec.reward_low[0], spec.reward_high[0]
    if int(data.lengths.min()) < spec.horizon and not low <= 0 <= high:
        raise UserError(
            f"Episodes of {data.origin} differ in length, so steps after an end count as reward 0, which the declared "
            f"[{low:g}, {high:g}] does not contain; declare a range that does, or shift the rewards."
        )


def check_kept(data: Dataset) -> None:
    """Raise UserError where rewards or episodes do not keep to what is declared of them."""
    spec, rewards, longest = data.spec, np.asarray(data.rewards), int(data.lengths.max())
    low = -np.inf if spec.reward_low is None else spec.reward_low[0]
    high = np.inf if spec.reward_high is None else spec.reward_high[0]
    if low > high:
        raise UserError(f"{data.origin} declares rewards from {low:g} to {high:g}, the wrong way round.")
    room = 1e-6 * max(1.0, abs(low) if np.isfinite(low) else 1.0, abs(high) if np.isfinite(high) else 1.0)
    outside = np.flatnonzero((rewards < low - room) | (rewards > high + room)) if rewards.ndim == 1 else []
    if len(outside):
        raise UserError(
            f"{len(outside)} rewards of {data.origin} lie outside the declared [{low:g}, {high:g}], the first is "
            f"{rewards[outside[0]]:g} at step {outside[0]}; with a wrong range nothing can be promised."
        )
    least, logged = spec.propensity_low, data.log_propensities
    if least is not None and spec.action.kind == "continuous":
        raise UserError(f"{data.origin} declares a least propensity of {least:g}, and its actions are continuous.")
    if least is not None and least * spec.action.size > 1 + 1e-6 and spec.discrete:
        raise UserError(
            f"{data.origin} declares a least propensity of {least:g}; {spec.action.size} choices cannot all have it."
        )
    if least is not None and logged is not None:
        below = np.flatnonzero(np.asarray(logged) < np.log(least) - 1e-5)
        if len(below):
            raise UserError(
                f"{len(below)} propensities of {data.origin} are below the declared least of {least:g}, the first is "
                f"{np.exp(logged[below[0]]):g} at step {below[0]}; with a wrong one nothing can be promised."
            )
    if spec.horizon is not None and longest > spec.horizon:
        raise UserError(
            f"An episode of {data.origin} has {longest} steps, more than the declared horizon of {spec.horizon}."
        )


def _judged(
    method: Estimator,
    ranged: Interval,
    data: Dataset,
    asked: tuple[Candidate, Columns, Weighing],
    discount: float,
    level: float,
    seed: int,
) -> Estimate:
    candidate, columns, _ = asked
    if method.weighs and candidate.log_prob is None:
        raise UserError(
            f"The policy is deterministic and actions are continuous, so it has no density to weigh with and "
            f"'{type(method).title}' cannot judge it; use greedy=False, or 'linear_q' or 'fitted_q'."
        )
    found = judged(pytree.as_arrays(method), pytree.as_arrays(ranged), *asked, jax.random.key(seed), level)
    if not np.isfinite([float(found.value), float(found.low), float(found.high)]).all():
        raise UserError(
            f"'{type(method).title}' gives no finite number on {data.origin}: the log is too small or too one-sided "
            "for it."
        )
    outside = unsupported(candidate, columns, data.rows, jax.random.key(seed))
    size, warnings = None, list(_warnings(outside))
    if candidate.log_prob is not None and columns.log_propensity is not None:
        size = float(effective(*asked))
        if size < FEW and method.weighs:
            warnings.append(
                f"The weights are worth {size:.1f} episodes; below about {FEW} estimate and interval are too low "
                "together and do not hold (betting intervals do)."
            )
    counts_to_the_end = method.weighs and not method.single and not hasattr(method, "horizon")
    if counts_to_the_end and cut_early(data, data.spec.horizon):
        warnings.append("Some episodes were cut before the horizon; what would have followed counts as nothing.")
    notes = () if data.spec.unit else ("Assumes that episodes are independent of each other.",)
    return Estimate(
        float(found.value),
        float(found.low),
        float(found.high),
        level,
        float(found.deviation),
        np.asarray(found.replicates, np.float64),
        method.title,
        ranged.title,
        discount,
        data.episodes,
        outside,
        (*notes, *warnings),
        size,
        tuple(warnings),
    )


@eqx.filter_jit
def judged(
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


@jax.jit
def effective(candidate: Candidate, columns: Columns, weighing: Weighing) -> jax.Array:
    """Return the effective number of episodes of the weights over whole episodes, `(sum w)^2 / sum w^2`."""
    log_weight = paths(candidate, columns, len(weighing.weights), 1.0).log_weight[:, -1]
    weight = jnp.where(weighing.starts > 0, relative(log_weight, weighing.starts), 0.0)
    return weight.sum() ** 2 / jnp.maximum((weight**2).sum(), 1e-30)


def _warnings(outside: float | None) -> tuple[str, ...]:
    if outside is None or outside <= ALARM:
        return ()
    return (
        f"At {100 * outside:.0f} % of the logged steps the policy does what the log never shows; neither estimate nor "
        "interval can be trusted there.",
    )
