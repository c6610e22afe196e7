"""Estimates of one value that should agree, with their errors and with how far each two are apart."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..core.compilation import Program
from .case import Case
from .estimator import Statistic
from .estimators.double_reinforcement import DoubleReinforcement
from .estimators.doubly_robust import DoublyRobust
from .estimators.linear_q import LinearQ
from .estimators.per_decision import PerDecision
from .interval import influence
from .linear_q import Fitting
from .specification_tests import pairwise

__all__ = ["SAME_CLASS", "Agreeing", "agree"]

SAME_CLASS = ("linear_q", "double_reinforcement")
"""Those that need no weights. Both rest on the same linear values, so that they agree says nothing."""


class Agreeing(NamedTuple):
    """Estimates of one value with their errors by method, and the z values of their differences `(method, method)`."""

    values: dict[str, tuple[float, float]]
    apart: np.ndarray


def agree(case: Case, key: Any, fitting: Fitting, heard: bool, cut: bool) -> Agreeing:
    """Return estimates that should agree; weighted ones where weights are `heard`.

    Per-decision estimates lack what would have followed a cut, so episodes that were `cut` early leave them out.
    """
    shared: dict[str, Any] = {
        "discount": fitting.discount, "horizon": fitting.horizon, "features": fitting.features, "ridge": fitting.ridge,
    }  # fmt: skip
    methods: dict[str, Statistic] = {
        "linear_q": LinearQ(**shared),
        "double_reinforcement": DoubleReinforcement(**shared),
    }
    if heard:
        methods["doubly_robust"] = DoublyRobust(**shared)
        if not cut:
            methods["per_decision"] = PerDecision(shared["discount"], self_normalised=True)
    values, errors, apart = (np.asarray(part, float) for part in _influences(tuple(methods.values()), case, key))
    return Agreeing(dict(zip(methods, zip(values.tolist(), errors.tolist(), strict=True), strict=True)), apart)


def _estimate_all(methods: tuple[Statistic, ...], case: Case, key: Any) -> tuple[Any, ...]:
    estimates = []
    for method in methods:
        terms = jax.lax.stop_gradient(method.terms(case, key))
        estimates.append(influence(method, terms, case.weighing))
    values, each = jnp.stack([one[0] for one in estimates]), jnp.stack([one[1] for one in estimates])
    size = estimates[0][2].astype(jnp.float32)
    errors = jnp.sqrt(jnp.square(each).sum(1) * size / jnp.maximum(size - 1, 1))
    return values, errors, pairwise(values, each, size)


_influences = Program(_estimate_all, "Estimating in several ways")
