"""Judging a policy from a log: an estimate of its value with an interval."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from .dataset import Dataset
from .errors import UserError
from .estimator import Estimate, Estimator, question
from .estimators.fitted_q import FittedQ
from .interval import Interval
from .intervals.bootstrap import Bootstrap
from .policy import Policy
from .support import unsupported

__all__ = ["estimate_fitted_q"]

ALARM = 0.2  # share of unsupported actions that is worth a sentence


def estimate_fitted_q(
    policy: Policy | Callable[[Any], Any],
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
    if discount is None:
        discount = 0.99 if data.spec.discount is None else data.spec.discount
    method = FittedQ(discount, learning_rate, target_rate, steps, batch_size, tuple(hidden))
    return judge(policy, data, method, Bootstrap(replicates), discount, level, seed, greedy, samples, starts)


def judge(
    policy: Any,
    data: Dataset,
    method: Estimator,
    interval: Interval,
    discount: float,
    level: float,
    seed: int,
    greedy: bool,
    samples: int,
    starts: Any,
) -> Estimate:
    """Estimate a policy's value with any estimator and any interval; arguments as `estimate_fitted_q`."""
    if not 0 < level < 1:
        raise UserError(f"The level of an interval lies between 0 and 1, got {level}.")
    candidate, columns, weights, initial = question(policy, data, starts, greedy, samples, seed)
    found = interval(method, candidate, columns, weights, initial, jax.random.key(seed), level, _units(data))
    outside = unsupported(candidate, columns, data.rows, jax.random.key(seed))
    return Estimate(
        found.value,
        found.low,
        found.high,
        level,
        found.deviation,
        found.replicates,
        method.title,
        interval.title,
        discount,
        data.episodes,
        outside,
        _notes(data, outside),
    )


def _units(data: Dataset) -> Int[Array, "episode"] | None:
    """Number the declared units of a log's episodes, or return None where none are declared."""
    if not data.spec.unit:
        return None
    found = data.units(data.spec.unit)
    known, number = np.unique(found.astype(str) if found.dtype == object else found, return_inverse=True)
    if len(known) < 2:
        raise UserError(
            f"{data.origin} holds one value of its unit '{data.spec.unit}', and an interval needs at least two to draw."
        )
    units = np.zeros(len(data.starts) - 1, np.int32)  # those outside the view have no weight
    units[data.chosen] = number
    return jnp.asarray(units)


def _notes(data: Dataset, outside: float | None) -> tuple[str, ...]:
    notes = [] if data.spec.unit else ["Assumes that episodes are independent of each other."]
    if outside is not None and outside > ALARM:
        notes.append(
            f"At {100 * outside:.0f} % of the logged steps the policy does what the log never shows; "
            "neither estimate nor interval can be trusted there."
        )
    return tuple(notes)
