"""What an off-policy estimate is: a number for the value of a policy, computed from a log of another one.

An estimator sees the policy only through what it would do at every logged observation (`weft.evaluation.case`), so
plain Python functions and weft policies are judged alike. Its primitive is `value` of a `Case`: an interval that refits
re-computes it for resampled weights of the episodes. A `Statistic` has per-episode terms that are computed once, and
`combine` makes the estimate of them for any weights; its derivative in the weights is the estimate's influence
function, so every interval comes for nothing.
"""

import abc
import dataclasses
from typing import ClassVar

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..core import pytree
from ..data.dataset import Dataset
from .case import Case, Weighing, mean

__all__ = ["EPISODES", "Case", "Estimate", "Estimator", "Statistic", "Weighing", "estimator", "estimators", "mean",
           "per_unit"]  # fmt: skip

PACKAGE = "weft.evaluation.estimators"
EPISODES = "mean over episodes"


class Estimator(eqx.Module):
    """A way of estimating a policy's value. One final class per file in `estimators/`.

    Class attributes: `title`, `paper`; `weighs` where it needs propensities and densities, `fits` where it must know
    what the policy does at every observation, not at logged ones alone, `single` where every episode must be one
    decision, `smooth` unless derivatives in the weights say nothing. Float fields are traced, everything else is
    static. An estimator with a field `discount` or `horizon` gets the log's declared one.
    """

    title: ClassVar[str]
    paper: ClassVar[str]
    weighs: ClassVar[bool] = False
    fits: ClassVar[bool] = True
    single: ClassVar[bool] = False
    smooth: ClassVar[bool] = True

    @abc.abstractmethod
    def value(self, case: Case, key: PRNGKeyArray) -> Float[Array, ""]:
        """Estimate the mean discounted return in the units of the transformed rewards."""


class Statistic(Estimator):
    """An estimator that is a weighted statistic of per-episode terms: intervals re-weigh, they do not refit."""

    @abc.abstractmethod
    def terms(self, case: Case, key: PRNGKeyArray) -> PyTree[Float[Array, "episode ..."]]:
        """Return what each episode contributes. What is fitted for it is fitted with the weights of the case."""

    @abc.abstractmethod
    def combine(self, terms: PyTree, weighing: Weighing) -> Float[Array, ""]:
        """Return the estimate for given episode weights."""

    def value(self, case, key):
        return self.combine(self.terms(case, key), case.weighing)


@dataclasses.dataclass(frozen=True)
class Estimate:
    """An estimated value with its interval. `replicates` are the refits; `deviation` is their standard deviation;
    `unsupported` is the share of the policy's actions that the log never shows (`weft.evaluation.overlap`);
    `effective_sample_size` is that of the weights over whole episodes, None where nothing is weighed; `estimand` says
    what the mean is over.

    `low` and `high` cover what the interval's docstring says and nothing else; `notes` say what was assumed,
    `warnings` what speaks against the number. Warnings are part of what is printed.
    """

    value: float
    low: float
    high: float
    level: float
    deviation: float
    replicates: np.ndarray
    estimator: str
    interval: str
    discount: float
    episodes: int
    unsupported: float | None = None
    notes: tuple[str, ...] = ()
    effective_sample_size: float | None = None
    warnings: tuple[str, ...] = ()
    estimand: str = EPISODES

    def __str__(self) -> str:
        about = f"{100 * self.level:g} %, {self.estimator}, {self.interval}, {self.estimand}"
        return "\n".join((f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}] ({about})", *self.warnings))


def per_unit(data: Dataset) -> str:
    """Return in words what `Weighing.by_unit` makes a mean over."""
    return f"mean over values of '{data.spec.unit}'" if data.spec.unit else EPISODES


def estimators() -> dict[str, type[Estimator]]:
    """Return every estimator by file name."""
    return pytree.discover(PACKAGE, lambda thing: pytree.final(Estimator)(thing) and thing is not Statistic)


def estimator(name: str) -> type[Estimator]:
    """Return one estimator by file name; raise UserError that names the nearest one if there is none."""
    return pytree.choose(PACKAGE, name.lower().replace("-", "_"), "estimator", pytree.final(Estimator))
