"""The estimated improvement of one policy over another, where nothing can be certified: the second tier's numbers.

Linear fitted Q and double reinforcement learning, each with its clustered error; the hull of their intervals. What
both policies share (the same episodes, the same fit) is taken out of the error of the difference. Bounds reach further
where influences are skewed or the ends of the declared rewards came up too rarely (`weft.evaluation.unseen`).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..core.compilation import Program
from ..data.dataset import Dataset
from ..data.declarations import cut_early, declared_discount
from ..evaluation.case import Case, padded
from ..evaluation.estimators.double_reinforcement import DoubleReinforcement
from ..evaluation.estimators.linear_q import LinearQ
from ..evaluation.interval import influence
from ..evaluation.specification_tests import behaviour_test
from ..evaluation.unseen import Unseen, one_more, wide_bounds
from ..evaluation.waves import feature_count, features

__all__ = ["difference"]


def difference(case: Case, baseline: Case | None, data: Dataset, risk: float, seed: int) -> tuple[float, float, float]:
    """Return the estimated improvement over a baseline (None: the logging policy), in units of the return, and the
    bounds of its interval, each at the given risk.
    """
    shared: dict[str, Any] = {
        "discount": declared_discount(data), "horizon": data.spec.horizon,
        "features": feature_count(data.steps),
    }  # fmt: skip
    cut = cut_early(data, data.spec.horizon)
    methods = LinearQ(**shared), DoubleReinforcement(**shared)
    each = _differences(methods, *padded(case, baseline), cut, jnp.float32(1 - 2 * risk), jax.random.key(seed))
    values, lows, highs = np.asarray(each, float).T
    return float(values[0]), float(lows.min()), float(highs.max())


def _compare(
    methods: tuple[Any, ...], case: Case, baseline: Case | None, cut: bool, level: Array, key: PRNGKeyArray
) -> Float[Array, "method three"]:
    """Return the estimated improvement and its bounds by each method `(method, 3)`.

    Without a baseline the logging policy is worth its mean return; where episodes were cut, what fitted Q says of it,
    because the policy's value goes on behind the cut.
    """
    first, weighing = methods[0], case.weighing

    def logged(weights: Array) -> Array:
        if cut:
            basis = features(case.candidate.spec, key, first.features)
            return behaviour_test(basis, case.reweighted(weights), first.horizon, first.discount, first.ridge)[0]
        return (weights * case.paths(first.discount).returns).sum() / weights.sum()

    def one(method: Any) -> Array:
        value, ours, count = influence(method, method.terms(case, key), weighing)
        if baseline is None:
            base, slope = jax.value_and_grad(logged)(weighing.weights)
            theirs = jnp.zeros_like(ours).at[weighing.unit].add(slope * weighing.weights)
        else:
            base, theirs, _ = influence(method, method.terms(baseline, key), weighing)
        units = count.astype(jnp.float32)
        return jnp.stack([value - base, *wide_bounds(value - base, ours - theirs, units, _unseen(case, units), level)])

    return jnp.stack([one(method) for method in methods])


def _unseen(case: Case, units: Array) -> Unseen:
    """Return what one more step of the log at an end of the declared rewards would change, as if by any policy."""
    if case.declared is None:
        return Unseen(jnp.zeros(()), jnp.zeros(()))
    columns, weighing = case.columns, case.weighing  # by rows: a long log has no room for episodes beside each other
    return one_more(weighing.starts[columns.episode], columns.reward[:, 0], weighing, units, case.declared)


_differences = Program(_compare, "The difference of two policies")
