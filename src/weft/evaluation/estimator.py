"""What an off-policy estimate is: a number for the value of a policy, computed from a log of another one.

An estimator sees the policy only through what it would do at every logged observation (`Candidate`), so plain Python
functions and weft policies are judged alike. Its primitive is `value` for a `Weighing` of the episodes: an interval
that refits re-computes it for resampled weights. A `Statistic` has per-episode terms that are computed once, and
`combine` makes the estimate of them for any weights; its derivative in the weights is the estimate's influence
function, so every interval comes for nothing.
"""

import abc
import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ..core import pytree
from ..core.compilation import keep_compiled_programs
from ..core.errors import UserError
from ..data.columns import Columns
from ..data.dataset import Dataset
from ..data.transforms import Transform
from ..data.units import fit_transform
from .candidate import Candidate, check_density, tabulate

__all__ = [
    "Candidate",
    "Estimate",
    "Estimator",
    "Statistic",
    "Weighing",
    "check_density",
    "estimator",
    "estimators",
    "mean",
    "per_unit",
    "prepared",
    "question",
    "tabulate",
    "weighing",
]

PACKAGE = "weft.evaluation.estimators"
EPISODES = "mean over episodes"


class Weighing(eqx.Module):
    """How much each episode of the store counts.

    weights: how often an episode occurs (0 outside the view). initial: 1 for episodes whose first observation is one
    that the policy will begin at, 0 for those that only teach. unit: episodes with the same number depend on each
    other.
    """

    weights: Float[Array, "episode"]
    initial: Float[Array, "episode"]
    unit: Int[Array, "episode"]

    @property
    def starts(self) -> Float[Array, "episode"]:
        """Weights of the episodes that the estimated value is a mean over."""
        return self.weights * self.initial

    def reweighted(self, weights: Float[Array, "episode"]) -> "Weighing":
        """Return the same with other weights."""
        return Weighing(weights, self.initial, self.unit)

    def by_unit(self) -> "Weighing":
        """Return the weighing that counts every unit the same, however many episodes it has.

        The mean over episodes then is the mean over units, which is what bets on whole units are about. Units that only
        teach are evened out as well; the sum of the weights stays.
        """
        blank = jnp.zeros_like(self.weights)
        begun, all_ = (blank.at[self.unit].add(part)[self.unit] for part in (self.starts, self.weights))
        share = self.weights / jnp.where(begun > 0, begun, jnp.maximum(all_, 1e-9))
        return self.reweighted(share * self.weights.sum() / jnp.maximum(share.sum(), 1e-9))


class Estimator(eqx.Module):
    """A way of estimating a policy's value. One final class per file in `estimators/`.

    Class attributes: `title`, `paper`; `weighs` where it needs propensities and densities, `single` where every
    episode must be one decision, `smooth` unless derivatives in the weights say nothing. Float fields are traced,
    everything else is static. An estimator with a field `discount` or `horizon` gets the log's declared one.
    """

    title: ClassVar[str]
    paper: ClassVar[str]
    weighs: ClassVar[bool] = False
    single: ClassVar[bool] = False
    smooth: ClassVar[bool] = True

    @abc.abstractmethod
    def value(self, candidate: Candidate, columns: Columns, weighing: Weighing, key: PRNGKeyArray) -> Float[Array, ""]:
        """Estimate the mean discounted return in the units of the transformed rewards."""


class Statistic(Estimator):
    """An estimator that is a weighted statistic of per-episode terms: intervals re-weigh, they do not refit."""

    @abc.abstractmethod
    def terms(
        self, candidate: Candidate, columns: Columns, weighing: Weighing, key: PRNGKeyArray
    ) -> PyTree[Float[Array, "episode ..."]]:
        """Return what each episode contributes. What is fitted for it is fitted with the weights given here."""

    @abc.abstractmethod
    def combine(self, terms: PyTree, weighing: Weighing) -> Float[Array, ""]:
        """Return the estimate for given episode weights."""

    def value(self, candidate, columns, weighing, key):
        return self.combine(self.terms(candidate, columns, weighing, key), weighing)


def mean(values: Float[Array, "episode ..."], weights: Float[Array, "episode"]) -> Float[Array, "..."]:
    """Return a weighted mean over episodes; those without weight may hold anything."""
    counted = jnp.where(weights.reshape(-1, *(1,) * (values.ndim - 1)) != 0, values, 0.0)
    return jnp.tensordot(weights, counted, 1) / jnp.maximum(weights.sum(), 1e-9)


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


def question(
    policy: Any, data: Dataset, starts: Any, greedy: bool | None, samples: int, seed: int
) -> tuple[Candidate, Columns, Weighing]:
    """Return what an estimator needs to judge a policy on a log: candidate, transformed columns, weighing.

    `starts` is a mask over the episodes of the view, or None for all. Raises UserError for a mask of another length,
    one that chooses no episode, and a declared unit of which the log holds one value.
    """
    raw, transform, columns, counted = prepared(data, starts)
    candidate = tabulate(policy, data, raw, transform, jax.random.key(seed), greedy, samples)
    return candidate, columns, counted


def prepared(data: Dataset, starts: Any) -> tuple[Columns, Transform, Columns, Weighing]:
    """Return the part of a `question` that no policy changes: columns as logged, transform, transformed, weighing."""
    chosen = np.ones(data.episodes, bool) if starts is None else np.asarray(starts)
    if chosen.shape != (data.episodes,) or chosen.dtype != bool:
        raise UserError(f"starts must be true or false for each of the {data.episodes} episodes, got {chosen.shape}.")
    if not chosen.any():
        raise UserError("starts chooses no episode, so there is nothing to begin at.")
    keep_compiled_programs()
    transform = fit_transform(data)
    columns = data.device()
    return columns, transform, transform(columns), weighing(data, chosen)


def per_unit(data: Dataset) -> str:
    """Return in words what `Weighing.by_unit` makes a mean over."""
    return f"mean over values of '{data.spec.unit}'" if data.spec.unit else EPISODES


def weighing(data: Dataset, starts: np.ndarray | None = None) -> Weighing:
    """Return the weighing of a view: every episode once, numbered by its unit where the log declares one."""
    episodes = len(data.starts) - 1
    weights, initial = np.zeros((2, episodes), np.float32)
    weights[data.chosen] = 1.0
    initial[data.chosen] = 1.0 if starts is None else starts
    unit = np.arange(episodes, dtype=np.int32)
    if data.spec.unit:
        found = data.units(data.spec.unit)
        known, number = np.unique(found.astype(str) if found.dtype == object else found, return_inverse=True)
        if len(known) < 2:
            raise UserError(
                f"{data.origin} holds one value of its unit '{data.spec.unit}', and an interval needs at least two."
            )
        unit = np.zeros(episodes, np.int32)  # those outside the view have no weight
        unit[data.chosen] = number
    return Weighing(jnp.asarray(weights), jnp.asarray(initial), jnp.asarray(unit))


def estimators() -> dict[str, type[Estimator]]:
    """Return every estimator by file name."""
    return pytree.discover(PACKAGE, lambda thing: pytree.final(Estimator)(thing) and thing is not Statistic)


def estimator(name: str) -> type[Estimator]:
    """Return one estimator by file name; raise UserError that names the nearest one if there is none."""
    return pytree.choose(PACKAGE, name.lower().replace("-", "_"), "estimator", pytree.final(Estimator))
