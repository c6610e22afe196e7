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
from .arguments import check_method, check_options
from .options import Options, Turns

__all__ = ["Plan", "evaluations", "listed", "plan_of", "seeds_of", "whole"]


@dataclasses.dataclass(frozen=True)
class Plan:
    """Checked arguments; `log_every` is None where it was left to us."""

    settings: list[Algorithm]
    steps: int
    seeds: list[int]
    keep: list[int]
    log_every: int | None


def plan_of(settings: Sequence[Any], spec: Spec, options: Options, begins: bool = True) -> Plan:
    """Check what is asked of training; raise UserError for the first that is wrong.

    begins: whether the runs begin, and do not go on from others, which have no opening phase.
    """
    _check_methods(settings, spec)
    steps = whole(options.steps, "The number of steps")
    keep = [whole(step, "A step to keep") for step in listed(options.keep)]
    log_every = _whole_or_none(options.log_every, "The distance of metrics in steps")
    batch_size = _whole_or_none(options.batch_size, "The batch size")
    if steps < 1:
        raise UserError(f"The number of steps must be at least 1, got {steps}.")
    seeds = seeds_of(options.seeds)
    check_options(options)
    for step in keep:
        if not 1 <= step <= steps:
            raise UserError(f"The step to keep must be between 1 and {steps}, got {step}.")
    if log_every is not None and log_every < 1:
        raise UserError(f"Metrics are logged every 1 step or more, got {log_every}.")
    for setting in settings if begins else ():
        setting.check_openings(steps)
    if batch_size is not None:
        settings = [pytree.replace(setting, "sampler.batch_size", batch_size) for setting in settings]
    return Plan(list(settings), steps, seeds, sorted(set(keep)), log_every)


def _check_methods(settings: Sequence[Any], spec: Spec) -> None:
    """Raise UserError for settings that are none, not of one method, or that cannot learn from data of this form."""
    if not settings:
        raise UserError("There is no setting to train; give an algorithm or a grid with at least one.")
    for setting in settings:
        check_method(setting)
        setting.check(spec)
    if not pytree.all_equal(type(setting) for setting in settings):
        raise UserError("All settings of one run must be of one algorithm; start one run for each.")


def evaluations(turns: Turns, steps: int) -> Turns:
    """Return turns with the evaluations that a run of so many steps can have; raise UserError for others."""
    every = _whole_or_none(turns.evaluate_every, "The distance of evaluations in steps")
    episodes = whole(turns.evaluate_episodes, "The number of episodes of an evaluation")
    if every is not None and every < 1:
        raise UserError(f"Policies are evaluated after 1 step or more, got {every}.")
    if episodes < 1:
        raise UserError(f"An evaluation needs at least one episode, got {episodes}.")
    every = None if every is None else min(every, whole(steps, "The number of steps"))
    return dataclasses.replace(turns, evaluate_every=every, evaluate_episodes=episodes)


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


def _whole_or_none(value: Any, what: str) -> int | None:
    return None if value is None else whole(value, what)
