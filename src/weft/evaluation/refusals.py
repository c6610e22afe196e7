"""What speaks against an estimate, by what the estimate rests on: weights, or fitted values."""

from typing import Any

import jax

from ..core.errors import UserError
from ..data.dataset import Dataset
from .case import case_of
from .diagnostics import examine, ratio_test
from .estimator import Estimator

__all__ = ["refusals"]


def refusals(
    policy: Any,
    data: Dataset,
    method: type[Estimator],
    *,
    discount: float | None = None,
    seed: int = 0,
    greedy: bool | None = None,
) -> tuple[str, ...]:
    """Return why an estimate of a policy's value by this method is not to be believed, nothing where no test says so.

    Estimates that weigh rest on the propensities, and one-step ratios with a wrong mean speak against them. All others
    rest on fitted values: every test of `weft.diagnose` counts, and actions unlike any logged one. policy, greedy,
    discount, seed: as for `weft.estimate`.
    """
    case = case_of(policy, data, None, greedy, 8, seed)
    if method.weighs:
        test = ratio_test(case.padded(), jax.random.split(jax.random.key(seed), 6)[0]) if case.weighs else None
        return (test.sentence,) if test is not None and test.alarm else ()
    try:
        return examine(case, data, discount, seed=seed).objections()
    except UserError as problem:
        return (str(problem),)
