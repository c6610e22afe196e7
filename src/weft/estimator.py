"""What an off-policy estimate is: a number for the value of a policy, computed from a log of another one.

An estimator sees the policy only through what it would do at every logged observation (`Candidate`), so plain Python
functions and weft policies are judged alike. Its primitive is `value` for given episode weights: an interval that
refits re-computes it for resampled weights. A `Statistic` has per-episode terms that are computed once.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from . import pytree
from .columns import Columns
from .dataset import Dataset
from .distributions import Categorical
from .errors import UserError
from .policy import Policy, Served, check_parameters, check_same
from .pytree import static
from .spec import Spec
from .transform import Transform, fit_transform

__all__ = ["Candidate", "Estimate", "Estimator", "Statistic", "estimator", "estimators", "question", "tabulate"]

PACKAGE = "weft.estimators"
ROWS = 8192  # observations that are answered at once


class Candidate(eqx.Module):
    """What a policy would do at every observation of a log; `None` where that is not defined.

    `probability` of every choice (discrete); `action` drawn actions, one if greedy, in the units of the transformed
    log, beyond [−1, 1] where they leave the log's range and no bounds are declared (continuous); `log_prob` of the
    logged actions, in the user's units, where the policy has a density.
    """

    probability: Float[Array, "observation choice"] | None
    action: Float[Array, "observation sample act"] | None
    log_prob: Float[Array, "row"] | None
    spec: Spec = static()


class Estimator(eqx.Module):
    """A way of estimating a policy's value. One final class per file in `estimators/`.

    Class attributes: `title`, `paper`. Float fields are traced, everything else is static.
    """

    title: ClassVar[str]
    paper: ClassVar[str]

    @abc.abstractmethod
    def value(
        self,
        candidate: Candidate,
        columns: Columns,
        weights: Float[Array, "episode"],
        initial: Float[Array, "episode"],
        key: PRNGKeyArray,
    ) -> Float[Array, ""]:
        """Estimate the mean discounted return in the units of the transformed rewards.

        weights: how often each episode of the store counts (0 outside the view). initial: 1 for episodes whose first
        observation is one that the policy will begin at, 0 for those that only teach.
        """


class Statistic(Estimator):
    """An estimator that is a weighted statistic of per-episode terms: intervals re-weigh, they do not refit."""

    @abc.abstractmethod
    def terms(self, candidate: Candidate, columns: Columns, key: PRNGKeyArray) -> PyTree[Float[Array, "episode ..."]]:
        """Return what each episode contributes."""

    @abc.abstractmethod
    def combine(self, terms: PyTree, weights: Float[Array, "episode"]) -> Float[Array, ""]:
        """Return the estimate for given episode weights."""

    def value(self, candidate, columns, weights, initial, key):
        return self.combine(self.terms(candidate, columns, key), weights * initial)


@dataclasses.dataclass(frozen=True)
class Estimate:
    """An estimated value with its interval. `replicates` are the refits; `deviation` is their standard deviation;
    `unsupported` is the share of the policy's actions that the log never shows (`weft.support`).

    `low` and `high` cover what the interval's docstring says and nothing else; `notes` say what was assumed.
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

    def __str__(self) -> str:
        share = f"{100 * self.level:g} %"
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}] ({share}, {self.estimator}, {self.interval})"


def tabulate(
    policy: Policy | Callable[[Any], Any],
    data: Dataset,
    columns: Columns,
    transform: Transform,
    key: PRNGKeyArray,
    greedy: bool = True,
    samples: int = 8,
) -> Candidate:
    """Ask a policy once at every observation of a log (`columns` as the log has them, in the user's units).

    A function answers a batch of observations with a batch of actions and is deterministic. Raises UserError for a
    policy with memory, whose answer depends on more than the observation, and for answers of a wrong form.
    """
    spec, seen = data.spec, columns.observation
    if not isinstance(policy, Policy):
        answer = np.asarray(policy(jax.tree.map(np.asarray, seen)))
        return _certain(jnp.asarray(answer), spec, transform, len(jax.tree.leaves(seen)[0]))
    if jax.tree.leaves(policy.reset()):
        raise UserError("A policy with a memory cannot be judged at single observations yet; roll it out instead.")
    if isinstance(policy, Served):
        check_same(policy.spec, spec, data.origin)
    check_parameters(policy)
    asked: Policy = policy
    if greedy:
        answer = _each(lambda one: asked.act((), one, None, True)[0], seen)
        return _certain(answer, spec, transform, len(answer))
    if spec.discrete:
        probability = _each(lambda one: _probabilities(asked, one), seen)
        log_prob = jnp.log(probability[columns.position, columns.action])
        return Candidate(probability, None, log_prob, spec)
    keys = jax.random.split(key, samples)
    drawn = [_each(lambda one, k=k: asked.act((), one, k, False)[0], seen) for k in keys]
    at = jax.tree.map(lambda part: part[columns.position], seen)
    log_prob = policy.log_prob((), at, columns.action)
    return Candidate(None, _inward(jnp.stack(drawn, 1), spec, transform), log_prob, spec)


def _probabilities(policy: Policy, seen: PyTree) -> Array:
    found = policy.distribution((), seen)
    if not isinstance(found, Categorical):
        raise UserError("The log's actions are discrete, the policy's are not.")
    return found.probabilities()


def _each(function: Callable[[PyTree], Array], seen: PyTree) -> Array:
    """Apply a function of a batch to all observations, `ROWS` at a time; the last batch is filled up."""
    count = len(jax.tree.leaves(seen)[0])
    found = []
    for begin in range(0, count, ROWS):
        rows = jnp.minimum(jnp.arange(begin, begin + ROWS), count - 1)
        found.append(function(jax.tree.map(lambda part, rows=rows: part[rows], seen))[: count - begin])
    return jnp.concatenate(found)


def _certain(answer: Array, spec: Spec, transform: Transform, count: int) -> Candidate:
    """Return the candidate that always does the same at an observation."""
    if spec.discrete:
        if answer.shape != (count,) or not jnp.issubdtype(answer.dtype, jnp.integer):
            raise UserError(f"The policy must answer {count} observations with one choice each, got {answer.shape}.")
        return Candidate(jax.nn.one_hot(answer, spec.action.size), None, None, spec)
    if answer.shape != (count, *spec.action.shape):
        raise UserError(f"The policy must answer with actions {(count, *spec.action.shape)}, got {answer.shape}.")
    return Candidate(None, _inward(answer, spec, transform)[:, None], None, spec)


def _inward(action: Array, spec: Spec, transform: Transform) -> Array:
    """Bring a policy's actions into the units of the transformed log, clipped only where bounds are declared.

    A world clips to its bounds; the range that a log happens to show is none, and a policy that leaves it is judged
    as the one that it is.
    """
    if transform.action is None or spec.action.low is None or spec.action.high is None:
        return action if transform.action is None else transform.action(action)
    bounded = np.isfinite(spec.action.low) & np.isfinite(spec.action.high)
    return jnp.where(bounded, transform.unenact(action), transform.action(action))


def question(
    policy: Any, data: Dataset, starts: Any, greedy: bool, samples: int, seed: int
) -> tuple[Candidate, Columns, Float[Array, "episode"], Float[Array, "episode"]]:
    """Return what an estimator needs to judge a policy on a log: candidate, transformed columns, weights, initial.

    `starts` is a mask over the episodes of the view, or None for all. Raises UserError for a mask of another length,
    or one that chooses no episode.
    """
    chosen = np.ones(data.episodes, bool) if starts is None else np.asarray(starts)
    if chosen.shape != (data.episodes,) or chosen.dtype != bool:
        raise UserError(f"starts must be true or false for each of the {data.episodes} episodes, got {chosen.shape}.")
    if not chosen.any():
        raise UserError("starts chooses no episode, so there is nothing to begin at.")
    transform = fit_transform(data)
    columns = data.device()
    candidate = tabulate(policy, data, columns, transform, jax.random.key(seed), greedy, samples)
    weights, initial = np.zeros((2, len(data.starts) - 1), np.float32)
    weights[data.chosen], initial[data.chosen] = 1.0, chosen
    return candidate, transform(columns), jnp.asarray(weights), jnp.asarray(initial)


def estimators() -> dict[str, type[Estimator]]:
    """Return every estimator by file name."""
    return pytree.discover(PACKAGE, lambda thing: pytree.final(Estimator)(thing) and thing is not Statistic)


def estimator(name: str) -> type[Estimator]:
    """Return one estimator by file name; raise UserError that names the nearest one if there is none."""
    return pytree.choose(PACKAGE, name.lower().replace("-", "_"), "estimator", pytree.final(Estimator))
