"""What a training run is asked for: arguments that were checked before anything is computed or written."""

import dataclasses
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..agents.algorithm import Algorithm
from ..core import pytree
from ..core.errors import UserError
from ..data.spec import Spec

__all__ = ["Plan", "listed", "plan_of", "seeds_of", "whole"]


@dataclasses.dataclass(frozen=True)
class Plan:
    """Checked arguments; `log_every` is None where it was left to us."""

    settings: list[Algorithm]
    steps: int
    seeds: list[int]
    keep: list[int]
    log_every: int | None


def plan_of(
    settings: list[Any], spec: Spec, steps: int, seeds: int | Sequence[int], batch_size: int | None,
    keep: Sequence[int], log_every: int | None, begins: bool = True,
) -> Plan:  # fmt: skip
    """Check the arguments of training; raise UserError for the first that is wrong.

    begins: whether the runs begin, and do not go on from others, which have no opening phase.
    """
    if not settings:
        raise UserError("There is no setting to train; give an algorithm or a grid with at least one.")
    for setting in settings:
        if not isinstance(setting, Algorithm):
            raise UserError(f"fit needs an algorithm such as weft.IQL(), got {type(setting).__name__}.")
        setting.check(spec)
    if not pytree.all_equal(type(setting) for setting in settings):
        raise UserError("All settings of one run must be of one algorithm; start one run for each.")
    steps = whole(steps, "The number of steps")
    keep = [whole(step, "A step to keep") for step in listed(keep)]
    log_every = None if log_every is None else whole(log_every, "The distance of metrics in steps")
    batch_size = None if batch_size is None else whole(batch_size, "The batch size")
    if steps < 1:
        raise UserError(f"The number of steps must be at least 1, got {steps}.")
    numbers = seeds_of(seeds)
    for step in keep:
        if not 1 <= step <= steps:
            raise UserError(f"The step to keep must be between 1 and {steps}, got {step}.")
    if log_every is not None and log_every < 1:
        raise UserError(f"Metrics are logged every 1 step or more, got {log_every}.")
    for setting in settings if begins else ():
        setting.check_openings(steps)
    if batch_size is not None:
        settings = [pytree.replace(setting, "sampler.batch_size", batch_size) for setting in settings]
    return Plan(settings, steps, numbers, sorted(set(keep)), log_every)


def seeds_of(seeds: int | Sequence[int]) -> list[int]:
    """Return the seeds that a number of seeds or a list of them means; raise UserError for none and for bad ones."""
    if np.ndim(seeds) == 0:
        numbers = list(range(whole(seeds, "The number of seeds")))
    else:
        numbers = [whole(seed, "A seed") for seed in np.asarray(seeds)]
    if not numbers:
        raise UserError(f"The number of seeds must be at least 1, got {seeds}.")
    if len(set(numbers)) < len(numbers) or min(numbers) < 0 or max(numbers) >= 2**32:
        raise UserError(f"Seeds must be different whole numbers from 0 to {2**32 - 1}, got {numbers}.")
    return numbers


def listed(keep: Any) -> list[Any]:
    """Return the steps to keep as a list; raise UserError for what is none."""
    try:
        return list(keep)
    except TypeError:
        raise UserError(f"The steps to keep are a list such as [500, 1000], got {keep!r}.") from None


def whole(value: Any, what: str) -> int:
    """Return a whole number, NumPy's included; 1e5 is none. Raises UserError for anything else."""
    try:
        return operator.index(value)
    except TypeError:
        raise UserError(f"{what} must be a whole number, got {value!r}.") from None
