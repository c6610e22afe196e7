"""The estimated improvement of one policy over another, where nothing can be certified: the second tier's numbers.

Linear fitted Q and double reinforcement learning, each with its clustered error; the hull of their intervals. What
both policies share (the same episodes, the same fit) is taken out of the error of the difference.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtri

from ..core.compilation import Program
from ..data.dataset import Dataset
from ..data.declarations import cut_early, declared_discount
from ..evaluation.estimator import Candidate, Weighing
from ..evaluation.estimators.double_reinforcement import DoubleReinforcement
from ..evaluation.estimators.linear_q import LinearQ
from ..evaluation.interval import influence, spread
from ..evaluation.specification_tests import behaviour_test
from ..evaluation.trajectories import paths
from ..evaluation.waves import features

__all__ = ["difference"]


def difference(
    data: Dataset, asked: tuple[Candidate, Any, Weighing], other: Candidate | None, risk: float, seed: int
) -> tuple[float, float, float]:
    """Return the estimated improvement over another policy (None: the logging policy), in units of the return, and the
    bounds of its interval, each at the given risk.
    """
    shared: dict[str, Any] = {
        "discount": declared_discount(data), "horizon": data.spec.horizon,
        "features": int(np.clip(data.steps // 10, 8, 128)),
    }  # fmt: skip
    cut = cut_early(data, data.spec.horizon)
    methods = LinearQ(**shared), DoubleReinforcement(**shared)
    found = np.asarray(_differences(methods, asked[0], other, *asked[1:], cut, jax.random.key(seed)), float)
    reach = float(ndtri(1 - risk)) * found[:, 1]
    return float(found[0, 0]), float((found[:, 0] - reach).min()), float((found[:, 0] + reach).max())


def _compare(
    methods: tuple[Any, ...], candidate: Candidate, other: Candidate | None, columns: Any, weighing: Weighing,
    cut: bool, key: Any,
) -> Any:  # fmt: skip
    """Return the estimated improvement and its clustered error by each method `(method, 2)`.

    Without a baseline the logging policy is worth its mean return; where episodes were cut, what fitted Q says of it,
    because the policy's value goes on behind the cut.
    """
    first, spec = methods[0], candidate.spec
    size = len(weighing.weights)

    def logged(weights: Any) -> Any:
        again = weighing.reweighted(weights)
        if cut:
            known = features(spec, key, first.features)
            return behaviour_test(known, columns, again, spec.longest, first.horizon, first.discount, first.ridge)[0]
        found = paths(candidate, columns, size, first.discount, reference=False)
        return (weights * (found.discount * found.reward).sum(1)).sum() / weights.sum()

    def each(method: Any) -> Any:
        value, part, count = influence(method, method.terms(candidate, columns, weighing, key), weighing)
        if other is None:
            base, slope = jax.value_and_grad(logged)(weighing.weights)
            theirs = jnp.zeros_like(part).at[weighing.unit].add(slope * weighing.weights)
        else:
            base, theirs, _ = influence(method, method.terms(other, columns, weighing, key), weighing)
        return jnp.stack([value - base, spread(part - theirs, count)])

    return jnp.stack([each(method) for method in methods])


_differences = Program(_compare, "The difference of two policies")
