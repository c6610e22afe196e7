"""What doubly robust estimators share: weighted errors of a fitted value function, and what it says itself."""

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Array, Float, PRNGKeyArray

from .case import Case
from .linear_q import Fitting, nuisances, tables
from .trajectories import before, relative

__all__ = ["RobustTerms", "robust_terms", "single_terms"]


class RobustTerms(NamedTuple):
    """Per episode and time: the weight, the weighed error of Q, and the same one step earlier with V in its place.

    Weights are known up to a factor where they are `relative`; then their mean divides what they weigh.
    """

    weight: Float[Array, "episode time"]
    error: Float[Array, "episode time"]
    weight_before: Float[Array, "episode time"]
    value: Float[Array, "episode time"]


def robust_terms(case: Case, key: PRNGKeyArray, fitting: Fitting, self_normalised: bool) -> RobustTerms:
    """Return the terms of doubly robust estimation step by step, with Q from other folds."""
    case = case.laid_out()
    q, v, tail = tables(case, nuisances(case, key, fitting))
    paths = case.paths(fitting.discount)
    error = paths.discount * (paths.reward + tail - q)
    weight = relative(paths.log_weight, case.weighing.starts) if self_normalised else paths.weight
    earlier = before(weight)
    return RobustTerms(weight, weight * error, earlier, earlier * paths.discount * v)


def single_terms(
    case: Case, key: PRNGKeyArray, ridge: Float[Array, ""] | float, features: int, folds: int,
    tame: Callable[[Array], Array],
) -> Float[Array, "episode"]:  # fmt: skip
    """Return the doubly robust term of every single decision; `tame` is what becomes of the weights."""
    case = case.laid_out()
    # of one decision: nothing follows, so the discount does not matter
    q, v, _ = tables(case, nuisances(case, key, Fitting(0.0, ridge, 1, features, folds)))
    paths = case.paths(1.0)
    return (tame(paths.weight) * (paths.reward - q) + v)[:, 0]
