r"""Which interval may be issued for a policy's value: estimated, certified, or none. One pure function that compiles.

Tier 2: the hull of two intervals that share no weakness but their class, linear fitted Q (delta method) and double
reinforcement learning (cross-fitted), each with Student's t; issued if the log shows what the policy does (one-step
ratios have a mean of about 1), the estimators agree (|z| < 2, doubly robust ones with them where the weights allow),
Bellman's equation and the missing memory are not rejected, and the value of the logging policy comes out right; and if
either weights are worth enough episodes to be heard or the log is long enough for those tests to find a hidden state
(that they reject nothing in a short log says nothing). Else
tier 1: the betting interval, where propensities were logged and ranges are declared. Whatever is wider than half the
range of returns is not issued.

An error computed from what was seen knows nothing of what is rare. Tier 2 therefore asks what one more step at either
end of the declared range of rewards would do to the estimate; where `RARE` of them would matter as much as all that was
seen (a Bernoulli reward that came up less than five times, losses that never came, a range far beyond the data), the
hull of tier 2 with the betting interval is issued instead.

Everything is a mean over units, each of which counts the same, because bets on whole units are about that.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..data.columns import Columns
from .betting import lower_bound
from .bounded_terms import Range, unit_means, value
from .estimator import Candidate, Statistic, Weighing
from .estimators.double_reinforcement import DoubleReinforcement
from .estimators.doubly_robust import DoublyRobust
from .estimators.linear_q import LinearQ
from .estimators.per_decision import PerDecision
from .interval import influence, spread
from .specification_tests import agreement, behaviour_test, bellman_test, memory_test
from .thresholds import DISAGREEMENT, DOUBTFUL, EFFECTIVE_UNITS, EQUAL_RATIOS, FINDABLE, RARE
from .trajectories import paths
from .waves import features

__all__ = ["Issued", "issue"]


class Issued(NamedTuple):
    """tier: 2, 1, or 3 where nothing is issued (bounds are then those that were refused). agreement: largest |z|;
    bellman, memory: p-values; behaviour: z of the logging policy's value; effective: sample size of the weights;
    ratio: mean of the one-step ratios; tested: whether the log is long enough for its tests to mean something; common:
    whether the ends of the declared range of rewards are near or were seen often enough for a normal error.
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


def issue(
    candidate: Candidate,
    columns: Columns,
    weighing: Weighing,
    declared: Range,
    key: PRNGKeyArray,
    level: float = 0.95,
    count: int = 64,
    ridge: float = 1e-4,
) -> Issued:
    """Return the interval that may be issued. The log needs propensities; `count` features of a value function."""
    known: dict[str, Any] = {
        "discount": declared.discount,
        "horizon": declared.horizon,
        "features": count,
        "ridge": ridge,
    }
    weighing = weighing.by_unit()
    term_key, feature_key, *keys = jax.random.split(key, 4)
    robust = DoublyRobust(**known)
    methods: tuple[Statistic, ...] = (
        LinearQ(**known), DoubleReinforcement(**known), robust, PerDecision(known["discount"], self_normalised=True),
    )  # fmt: skip
    found = [influence(one, one.terms(candidate, columns, weighing, term_key), weighing) for one in methods]
    size = found[0][2].astype(jnp.float32)
    values, each = jnp.stack([one[0] for one in found]), jnp.stack([one[1] for one in found])
    laid = paths(candidate, columns, len(weighing.weights), declared.discount)
    weight = jnp.where(weighing.starts > 0, laid.weight[:, -1], 0.0)
    effective = weight.sum() ** 2 / jnp.maximum((weight**2).sum(), 1e-30)
    heard = effective >= EFFECTIVE_UNITS
    apart = jnp.where(heard, agreement(values, each, size), agreement(values[:2], each[:2], size))
    basis = features(candidate.spec, feature_key, count)
    horizon, longest = declared.horizon, candidate.spec.longest
    bellman, memory = jnp.ones(()), jnp.ones(())
    if horizon > 1:  # single decisions leave nothing to test
        bellman = bellman_test(basis, candidate, columns, weighing, horizon, declared.discount, ridge, keys[0])
        memory = memory_test(basis, columns, weighing, keys[1], ridge)
    behaviour = behaviour_test(basis, columns, weighing, longest, horizon, declared.discount, ridge)[2]
    behaviour = jnp.nan_to_num(behaviour)
    # what the policy does must be in the log at all: one-step ratios have a mean of 1
    each_ratio = weighing.starts[:, None] * jnp.where(laid.there, jnp.exp(laid.log_ratio), 0.0)
    ratio = each_ratio.sum() / jnp.maximum((weighing.starts[:, None] * laid.there).sum(), 1.0)
    following = jnp.where(columns.step > 0, weighing.weights[columns.episode], 0.0).sum()
    size_of = basis.logged(jax.tree.map(lambda part: part[:1], columns.observation), columns.action[:1]).shape[-1]
    tested = heard | (following >= FINDABLE * size_of) | (horizon == 1)
    passed = (
        tested
        & (ratio > EQUAL_RATIOS[0])
        & (ratio < EQUAL_RATIOS[1])
        & (apart < DISAGREEMENT)
        & (bellman >= DOUBTFUL)
        & (memory >= DOUBTFUL)
        & (jnp.abs(behaviour) < DISAGREEMENT)
    )

    reach = jax.scipy.special.ndtri(0.5 + level / 2)
    reach = reach * (1 + (reach**2 + 1) / (4 * jnp.maximum(size - 1, 1)))  # Student's t to first order
    errors = jax.vmap(lambda one: spread(one, size))(each)[:2]
    low, high = (values[:2] - reach * errors).min(), (values[:2] + reach * errors).max()
    common = RARE * jnp.square(_one_more(each_ratio, laid.reward, weighing, size, declared)) <= jnp.square(errors).max()

    least = []
    for terms in value(laid, declared):
        means, there = unit_means(terms, weighing.starts, weighing.unit)
        least.append(lower_bound(means, 0.0, (1 - level) / 2, there))
    total = declared.schedule().sum()
    sure_low, sure_high = least[0] + declared.low * total, declared.high * total - least[1]
    half = (declared.high - declared.low) * total / 2
    hull_low, hull_high = jnp.minimum(low, sure_low), jnp.maximum(high, sure_high)
    low, high = jnp.where(common, low, hull_low), jnp.where(common, high, hull_high)
    low, high = jnp.where(passed, low, sure_low), jnp.where(passed, high, sure_high)
    narrow = high - low <= half
    tier = jnp.where(narrow, jnp.where(passed, 2, 1), 3)
    middle = jnp.clip(jnp.where(passed, values[0], values[2]), low, high)
    return Issued(tier, middle, low, high, apart, bellman, memory, behaviour, effective, ratio, tested, passed, common)


def _one_more(
    ratio: Float[Array, "episode time"],
    reward: Float[Array, "episode time"],
    weighing: Weighing,
    units: Float[Array, ""],
    declared: Range,
) -> Float[Array, ""]:
    """Return by how much one more step at an end of the declared range of rewards would change the value.

    ratio: weighed one-step ratios; of their effective number of steps a unit with several episodes counts as one.
    """
    steps = jnp.square(ratio.sum()) / jnp.maximum(jnp.square(ratio).sum(), 1e-30)
    middle = (ratio * reward).sum() / jnp.maximum(ratio.sum(), 1e-30)
    away = jnp.maximum(middle - declared.low, declared.high - middle)
    episodes = (weighing.starts > 0).sum()
    return declared.schedule().sum() * away / (steps + 1) * episodes / jnp.maximum(units, 1)
