r"""Which interval may be issued for a policy's value: estimated, certified, or none. One pure function that compiles.

Tier 2: the hull of two intervals that share no weakness but their class, linear fitted Q (delta method) and double
reinforcement learning (cross-fitted), each with Student's t. Where weights are worth enough episodes to be heard, the
doubly robust interval belongs to the hull: fitted values are drawn to what is seen often, and where few steps come on a
choice they miss what a policy gains by it, in all tests unseen. Single decisions leave nothing to test values by, so
weights must be heard, and the interval of weights alone belongs to the hull, too. It is issued if the log shows what
the policy does (one-step ratios have a mean of about 1), the estimators agree (|z| < 2, doubly robust ones with them
where the weights allow), Bellman's equation and the missing memory are not rejected, and the value of the logging
policy comes out right; and if either weights are worth enough episodes to be heard or the log is long enough for those
tests to find a hidden state (that they reject nothing in a short log says nothing). Else tier 1: the betting interval,
where propensities were logged and ranges are declared. Whatever is wider than half the range of returns is not issued.

An error computed from what was seen knows nothing of what is rare. Tier 2 therefore goes as far as a few more steps at
either end of the declared range of rewards would move it, and as far as the skewness of the units' influences asks for
(`weft.evaluation.unseen`).

Everything is a mean over units, each of which counts the same, because bets on whole units are about that.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from .betting import lower_bound
from .bounded_terms import Range, value_bounds
from .case import Case
from .estimator import Statistic
from .estimators.double_reinforcement import DoubleReinforcement
from .estimators.doubly_robust import DoublyRobust
from .estimators.linear_q import LinearQ
from .estimators.per_decision import PerDecision
from .interval import influence, spread
from .linear_q import Fitting
from .markov_tests import bellman_test, memory_test
from .specification_tests import agreement, behaviour_test
from .thresholds import DISAGREEMENT, DOUBTFUL, EFFECTIVE_UNITS, EQUAL_RATIOS, FINDABLE, RARE
from .trajectories import Paths
from .unseen import Unseen, one_more, wide_bounds
from .waves import Features, features

__all__ = ["Issued", "issue"]


class Issued(NamedTuple):
    """tier: 2, 1, or 3 where nothing is issued (bounds are then those that were refused). agreement: largest |z|;
    bellman, memory: p-values; behaviour: z of the logging policy's value; effective: sample size of the weights;
    ratio: mean of the one-step ratios; tested: whether the log is long enough for its tests to mean something; common:
    whether what was not seen at the ends of the declared range of rewards matters little beside the normal error.
    """

    tier: Array
    value: Float[Array, ""]
    low: Float[Array, ""]
    high: Float[Array, ""]
    agreement: Float[Array, ""]
    bellman: Float[Array, ""]
    memory: Float[Array, ""]
    behaviour: Float[Array, ""]
    effective: Float[Array, ""]
    ratio: Float[Array, ""]
    tested: Bool[Array, ""]
    passed: Bool[Array, ""]
    common: Bool[Array, ""]


class Estimates(NamedTuple):
    """Estimates of one value by linear fitted Q, double reinforcement learning, doubly robust estimation and weighted
    per-decision importance sampling, the influence of every unit on each, and the number of units."""

    values: Float[Array, "method"]
    influences: Float[Array, "method unit"]
    units: Float[Array, ""]

    def agreement(self, weights_are_heard: Bool[Array, ""], least: Float[Array, ""]) -> Float[Array, ""]:
        """Return the largest |z| of a difference, whose error is at least `least`; of the first two alone where weights
        say nothing.
        """
        alone = agreement(self.values[:2], self.influences[:2], self.units, least)
        return jnp.where(weights_are_heard, agreement(self.values, self.influences, self.units, least), alone)


class Ratios(NamedTuple):
    """One-step ratios of the steps that count, weighed, their mean, and the effective number of episodes of whole
    weights."""

    each: Float[Array, "episode time"]
    mean: Float[Array, ""]
    effective: Float[Array, ""]


def issue(case: Case, key: PRNGKeyArray, level: Any = 0.95, count: int = 64, ridge: float = 1e-4) -> Issued:
    """Return the interval that may be issued. The log needs propensities and declares range and horizon; `count`
    features of a value function.
    """
    case, declared = case.by_unit().laid_out(), case.range
    term_key, feature_key, bellman_key, memory_key = jax.random.split(key, 4)
    paths = case.paths(declared.discount)
    estimates = _estimates(case, term_key, Fitting(declared.discount, ridge, declared.horizon, count, 5))
    ratios = _ratios(case, paths)
    unseen = one_more(ratios.each, paths.reward, case.weighing, estimates.units, declared)
    heard = ratios.effective >= EFFECTIVE_UNITS
    apart = estimates.agreement(heard, unseen.error)

    basis, horizon = features(case.candidate.spec, feature_key, count), declared.horizon
    bellman, memory = jnp.ones(()), jnp.ones(())
    if horizon > 1:  # single decisions leave nothing to test
        bellman = bellman_test(basis, case, horizon, declared.discount, ridge, bellman_key)
        memory = memory_test(basis, case, memory_key, ridge)
    behaviour = jnp.nan_to_num(behaviour_test(basis, case, horizon, declared.discount, ridge)[2])
    tested = heard | _long_enough(case, basis)
    passed = (
        tested
        & (ratios.mean > EQUAL_RATIOS[0])
        & (ratios.mean < EQUAL_RATIOS[1])
        & (apart < DISAGREEMENT)
        & (bellman >= DOUBTFUL)
        & (memory >= DOUBTFUL)
        & (jnp.abs(behaviour) < DISAGREEMENT)
    )

    low, high = _estimated_bounds(estimates, heard, unseen, declared, level)
    sure_low, sure_high = value_bounds(
        paths, case.weighing.starts, case.weighing.unit, declared,
        lambda terms, there: lower_bound(terms, 0.0, (1 - level) / 2, there),
    )  # fmt: skip
    low, high = jnp.where(passed, low, sure_low), jnp.where(passed, high, sure_high)
    narrow = high - low <= (declared.high - declared.low) * declared.schedule().sum() / 2
    tier = jnp.where(narrow, jnp.where(passed, 2, 1), 3)
    values = estimates.values
    middle = jnp.clip(jnp.where(passed & (horizon > 1), values[0], values[2]), low, high)
    return Issued(
        tier, middle, low, high, apart, bellman, memory, behaviour, ratios.effective, ratios.mean, tested, passed,
        RARE * jnp.square(unseen.error) <= jnp.square(spread(estimates.influences[0], estimates.units)),
    )  # fmt: skip


def _estimates(case: Case, key: PRNGKeyArray, fitting: Fitting) -> Estimates:
    """Return the four estimates that should agree."""
    shared: dict[str, Any] = {
        "discount": fitting.discount, "horizon": fitting.horizon, "features": fitting.features, "ridge": fitting.ridge,
    }  # fmt: skip
    methods: tuple[Statistic, ...] = (
        LinearQ(**shared), DoubleReinforcement(**shared), DoublyRobust(**shared),
        PerDecision(shared["discount"], self_normalised=True),
    )  # fmt: skip
    each = [influence(method, method.terms(case, key), case.weighing) for method in methods]
    values, influences = jnp.stack([one[0] for one in each]), jnp.stack([one[1] for one in each])
    return Estimates(values, influences, each[0][2].astype(jnp.float32))


def _ratios(case: Case, paths: Paths) -> Ratios:
    """Return what ratios say of the overlap: what the policy does must be in the log at all."""
    starts = case.weighing.starts
    weight = jnp.where(starts > 0, paths.weight[:, -1], 0.0)
    effective = weight.sum() ** 2 / jnp.maximum((weight**2).sum(), 1e-30)
    assert paths.log_ratio is not None
    each = starts[:, None] * jnp.where(paths.there, jnp.exp(paths.log_ratio), 0.0)
    return Ratios(each, each.sum() / jnp.maximum((starts[:, None] * paths.there).sum(), 1.0), effective)


def _long_enough(case: Case, basis: Features) -> Bool[Array, ""]:
    """Say whether the log has enough steps with a step before for its tests to find a hidden state."""
    columns = case.columns
    following = jnp.where(columns.step > 0, case.weighing.weights[columns.episode], 0.0).sum()
    first = jax.tree.map(lambda part: part[:1], columns.observation)
    return following >= FINDABLE * basis.logged(first, columns.action[:1]).shape[-1]


def _estimated_bounds(
    estimates: Estimates, heard: Bool[Array, ""], unseen: Unseen, declared: Range, level: Any
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Return the hull of the intervals that count, within what returns there can be: an episode may end at any step."""
    lows, highs = jax.vmap(lambda value, each: wide_bounds(value, each, estimates.units, unseen, level))(
        estimates.values, estimates.influences
    )
    counts = jnp.stack([jnp.array(True), jnp.array(True), heard, heard & (declared.horizon == 1)])
    least, most = declared.possible(declared.schedule().sum())
    return (
        jnp.maximum(jnp.where(counts, lows, jnp.inf).min(), least),
        jnp.minimum(jnp.where(counts, highs, -jnp.inf).max(), most),
    )
