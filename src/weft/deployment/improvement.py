"""The estimated improvement of one policy over another, where nothing can be certified: the second tier's numbers.

Linear fitted Q and double reinforcement learning, each with its clustered error; the hull of their intervals. What
both policies share (the same episodes, the same fit) is taken out of the error of the difference.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from scipy.special import ndtri

from ..core.compilation import Program
from ..data.dataset import Dataset
from ..data.declarations import cut_early, declared_discount
from ..evaluation.case import Case
from ..evaluation.estimators.double_reinforcement import DoubleReinforcement
from ..evaluation.estimators.linear_q import LinearQ
from ..evaluation.interval import influence, spread
from ..evaluation.specification_tests import behaviour_test
from ..evaluation.waves import features

__all__ = ["difference"]


def difference(case: Case, baseline: Case | None, data: Dataset, risk: float, seed: int) -> tuple[float, float, float]:
    """Return the estimated improvement over a baseline (None: the logging policy), in units of the return, and the
    bounds of its interval, each at the given risk.
    """
    shared: dict[str, Any] = {
        "discount": declared_discount(data), "horizon": data.spec.horizon,
        "features": int(np.clip(data.steps // 10, 8, 128)),
    }  # fmt: skip
    cut = cut_early(data, data.spec.horizon)
    methods = LinearQ(**shared), DoubleReinforcement(**shared)
    each = np.asarray(_differences(methods, case, baseline, cut, jax.random.key(seed)), float)
    reach = float(ndtri(1 - risk)) * each[:, 1]
    return float(each[0, 0]), float((each[:, 0] - reach).min()), float((each[:, 0] + reach).max())


def _compare(
    methods: tuple[Any, ...], case: Case, baseline: Case | None, cut: bool, key: PRNGKeyArray
) -> Float[Array, "method two"]:
    """Return the estimated improvement and its clustered error by each method `(method, 2)`.

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
        return jnp.stack([value - base, spread(ours - theirs, count)])

    return jnp.stack([one(method) for method in methods])


_differences = Program(_compare, "The difference of two policies")
