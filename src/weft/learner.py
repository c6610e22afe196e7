"""The whole training toolkit: a model with its optimiser's moments, one gradient step, one Polyak step."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import equinox as eqx
import jax
import optax
from jaxtyping import Array, Float, PyTree

__all__ = ["Learner", "descend", "learner", "polyak"]

Model = TypeVar("Model")


class Learner(eqx.Module, Generic[Model]):
    """A model and the moments of its optimiser. The optimiser itself is rebuilt wherever it is used."""

    model: Model
    moments: PyTree


def learner(model: Model, optimiser: optax.GradientTransformation) -> Learner[Model]:
    """Return a learner with fresh moments."""
    return Learner(model, optimiser.init(model))  # type: ignore[arg-type]


def descend(
    current: Learner[Model],
    optimiser: optax.GradientTransformation,
    loss: Callable[[Model], Any],
    auxiliary: bool = False,
) -> tuple[Learner[Model], PyTree]:
    """Take one gradient step on `loss(model)`; return the learner and the loss (with its extras if `auxiliary`)."""
    value, gradient = jax.value_and_grad(loss, has_aux=auxiliary)(current.model)
    updates, moments = optimiser.update(gradient, current.moments, current.model)  # type: ignore[arg-type]
    return Learner(optax.apply_updates(current.model, updates), moments), value  # type: ignore[arg-type]


def polyak(target: Model, online: Model, rate: Float[Array, ""] | float) -> Model:
    """Move the target a fraction `rate` of the way to the online model."""
    return jax.tree.map(lambda slow, fast: slow + rate * (fast - slow), target, online)
