"""One policy on one log: all that an estimator, an interval or a test of either sees.

A policy is asked once at every observation of a log (`weft.evaluation.candidate`). What it answers, the log in the
units of its transform, how much each episode counts, and what is declared of rewards and length make a `Case`;
everything that judges takes one of them.
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..core.compilation import keep_compiled_programs
from ..core.errors import UserError
from ..data.columns import Columns, roomy
from ..data.dataset import Dataset
from ..data.transforms import Transform
from ..data.units import fit_transform
from .bounded_terms import Range, declared_range
from .candidate import Candidate, tabulate
from .trajectories import Paths, Trajectories, lay_out

COPIED = 2**28  # bytes of observations up to which a log is copied to give it room

__all__ = ["Case", "PreparedLog", "Weighing", "case_of", "effective", "mean", "padded", "prepare", "weigh"]


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


class Case(eqx.Module):
    """A policy on a log: its candidate, the transformed columns, the weighing of episodes, the declared range of
    rewards (None where it, or the horizon, is not declared), and the log laid out by episodes.

    `laid` is filled by `laid_out`, at the head of a program that needs it more than once; `trajectories` lays the log
    out where it is not. Long logs with one very long episode have no room for it, and not every estimator needs it.
    """

    candidate: Candidate
    columns: Columns
    weighing: Weighing
    declared: Range | None = None
    laid: Trajectories | None = None

    @property
    def episodes(self) -> int:
        """Number of episodes of the store, those without weight included."""
        return len(self.weighing.weights)

    @property
    def weighs(self) -> bool:
        """Whether there are ratios: logged propensities and a density of the policy."""
        return self.candidate.log_prob is not None and self.columns.log_propensity is not None

    @property
    def range(self) -> Range:
        """The declared range of rewards, of a log that declares it."""
        assert self.declared is not None
        return self.declared

    @property
    def trajectories(self) -> Trajectories:
        """The log episode by episode."""
        return lay_out(self.candidate, self.columns, self.episodes) if self.laid is None else self.laid

    def laid_out(self) -> "Case":
        """Return the case with its trajectories laid out, so that whatever follows shares them."""
        return dataclasses.replace(self, laid=self.trajectories)

    def padded(self) -> "Case":
        """Return the case with room for more: rows, episodes and observations up to sizes that similar logs share.

        A compiled program depends on sizes, and every day's log has another. What is added has no weight, and its
        ratios are 1. Logs whose observations take more than `COPIED` bytes stay as they are. Not for a case that is
        laid out.
        """
        assert self.laid is None
        seen = sum(leaf.nbytes for leaf in jax.tree.leaves(self.columns.observation))
        if seen > COPIED:
            return self
        steps, episodes = len(self.columns.terminal), roomy(self.episodes + 1)
        sizes = roomy(steps + 1), episodes, roomy(_count(self.columns.observation) + 1)
        unit = np.arange(episodes, dtype=np.int32)
        unit[: self.episodes] = self.weighing.unit
        weights, initial = (_filled(part, episodes, 0.0) for part in (self.weighing.weights, self.weighing.initial))
        return Case(
            _padded_answers(self.candidate, sizes), _padded_columns(self.columns, sizes),
            Weighing(weights, initial, jnp.asarray(unit)), self.declared,
        )  # fmt: skip

    def paths(self, discount: Float[Array, ""] | float) -> Paths:
        """Return ratios, rewards and discounts by episode and time."""
        return self.trajectories.paths(discount)

    def about(self, candidate: Candidate) -> "Case":
        """Return the case of another policy on the same log."""
        return dataclasses.replace(self, candidate=candidate, laid=None)

    def reweighted(self, weights: Float[Array, "episode"]) -> "Case":
        """Return the case with other weights of the episodes."""
        return dataclasses.replace(self, weighing=self.weighing.reweighted(weights))

    def by_unit(self) -> "Case":
        """Return the case that counts every unit the same (`Weighing.by_unit`)."""
        return dataclasses.replace(self, weighing=self.weighing.by_unit())


def padded(case: Case, baseline: Case | None) -> tuple[Case, Case | None]:
    """Return the cases of a policy and of its baseline, if there is one, with room for more (`Case.padded`)."""
    return case.padded(), None if baseline is None else baseline.padded()


def _count(observation: Any) -> int:
    """Return the number of observations."""
    return len(jax.tree.leaves(observation)[0])


def _filled(values: Any, size: int, filling: float | None = None) -> Any:
    """Return an array with more entries along its first axis: a number, or the last entry again (None).

    Done without JAX, which would compile a program for every size.
    """
    values = np.asarray(values)
    more = values[-1:] if filling is None else np.full((1, *values.shape[1:]), filling, values.dtype)
    return jnp.asarray(np.concatenate([values, np.repeat(more, size - len(values), 0)]))


def _padded_columns(columns: Columns, sizes: tuple[int, int, int]) -> Columns:
    """Return columns of so many rows, episodes and observations; added rows belong to the last episode."""
    steps, episodes, seen = sizes
    special = {"episode": episodes - 1, "episode_start": len(columns.terminal), "reward": 0.0, "log_propensity": 0.0}
    fields = {
        field.name: getattr(columns, field.name)
        for field in dataclasses.fields(columns) if field.name not in ("observation", "count", "written")
    }  # fmt: skip
    rows = {
        name: _filled(part, steps, special.get(name)) for name, part in fields.items() if isinstance(part, jax.Array)
    }
    rows["observation"] = jax.tree.map(lambda leaf: _filled(leaf, seen), columns.observation)
    return dataclasses.replace(columns, **rows)


def _padded_answers(candidate: Candidate, sizes: tuple[int, int, int]) -> Candidate:
    """Return the answers for so many rows and observations; added rows have the log-probability that was logged."""
    steps, _, seen = sizes
    parts = {
        "probability": (candidate.probability, seen, None), "action": (candidate.action, seen, None),
        "log_prob": (candidate.log_prob, steps, 0.0),
    }  # fmt: skip
    filled = {name: _filled(part, size, by) for name, (part, size, by) in parts.items() if part is not None}
    return dataclasses.replace(candidate, **filled)


@jax.jit
def effective(case: Case) -> Float[Array, ""]:
    """Return the effective number of episodes of a case's weights over whole episodes."""
    return case.paths(1.0).effective(case.weighing.starts)


def mean(values: Float[Array, "episode ..."], weights: Float[Array, "episode"]) -> Float[Array, "..."]:
    """Return a weighted mean over episodes; those without weight may hold anything."""
    counted = jnp.where(weights.reshape(-1, *(1,) * (values.ndim - 1)) != 0, values, 0.0)
    return jnp.tensordot(weights, counted, 1) / jnp.maximum(weights.sum(), 1e-9)


@dataclasses.dataclass(frozen=True)
class PreparedLog:
    """The part of a case that no policy changes: the columns as logged and transformed, the transform, the weighing of
    the episodes, and the declared range of rewards if there is one.
    """

    data: Dataset
    logged: Columns
    transform: Transform
    columns: Columns
    weighing: Weighing
    declared: Range | None

    def candidate(self, policy: Any, greedy: bool | None = None, samples: int = 8, seed: int = 0) -> Candidate:
        """Ask a policy at every observation (`weft.evaluation.candidate.tabulate`)."""
        return tabulate(policy, self.data, self.logged, self.transform, jax.random.key(seed), greedy, samples)

    def case(self, policy: Any, greedy: bool | None = None, samples: int = 8, seed: int = 0) -> Case:
        """Ask a policy at every observation, and return its case."""
        return Case(self.candidate(policy, greedy, samples, seed), self.columns, self.weighing, self.declared)


def prepare(data: Dataset, starts: Any = None) -> PreparedLog:
    """Prepare a log for policies to be judged on.

    starts: true for the episodes of the view whose first observation is one that the policy will begin at, None for
    all. Raises UserError for a mask of another length, one that chooses no episode, and a declared unit of which the
    log holds one value.
    """
    begins = np.ones(data.episodes, bool) if starts is None else np.asarray(starts)
    if begins.shape != (data.episodes,) or begins.dtype != bool:
        raise UserError(f"starts must be true or false for each of the {data.episodes} episodes, got {begins.shape}.")
    if not begins.any():
        raise UserError("starts chooses no episode, so there is nothing to begin at.")
    keep_compiled_programs()
    transform, columns = fit_transform(data), data.device()
    declared = jax.tree.map(jnp.float32, declared_range(data))  # inputs of a program, as Python numbers are not
    return PreparedLog(data, columns, transform, transform(columns), weigh(data, begins), declared)


def case_of(
    policy: Any, data: Dataset, starts: Any = None, greedy: bool | None = None, samples: int = 8, seed: int = 0
) -> Case:
    """Return the case of a policy on a log; arguments as of `weft.estimate`. Raises UserError as `prepare` and
    `weft.evaluation.candidate.tabulate` do.
    """
    return prepare(data, starts).case(policy, greedy, samples, seed)


def weigh(data: Dataset, starts: np.ndarray | None = None) -> Weighing:
    """Return the weighing of a view: every episode once, numbered by its unit where the log declares one."""
    episodes = len(data.starts) - 1
    weights, initial = np.zeros((2, episodes), np.float32)
    weights[data.chosen] = 1.0
    initial[data.chosen] = 1.0 if starts is None else starts
    unit = np.arange(episodes, dtype=np.int32)
    if data.spec.unit:
        labels = data.units(data.spec.unit)
        names, number = np.unique(labels.astype(str) if labels.dtype == object else labels, return_inverse=True)
        if len(names) < 2:
            raise UserError(
                f"{data.origin} holds one value of its unit '{data.spec.unit}', and an interval needs at least two."
            )
        unit = np.zeros(episodes, np.int32)  # those outside the view have no weight
        unit[data.chosen] = number
    return Weighing(jnp.asarray(weights), jnp.asarray(initial), jnp.asarray(unit))
