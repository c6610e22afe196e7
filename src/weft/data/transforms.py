"""Changes of units fitted on the training log: standardised observations, scaled rewards, actions in [−1, 1].

A `Transform` is a PyTree kept with the run and with the policy. It is applied to the whole log once, before
training, and undone by the policy, so methods never see the user's units and the user never sees theirs.
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree, Shaped

from ..core.errors import UserError
from ..core.pytree import static
from .columns import Columns
from .spec import Spec

__all__ = ["Transform"]

EDGE = 1e-6  # data actions stay this far inside [−1, 1], so that atanh and squashed densities are finite


class Affine(eqx.Module):
    """`(x − shift) / scale`, leaf by leaf."""

    shift: Float[Array, "..."]
    scale: Float[Array, "..."]

    def __call__(self, values: Shaped[Array, "..."]) -> Float[Array, "..."]:
        return (values.astype(jnp.float32) - self.shift) / self.scale

    def undo(self, values: Float[Array, "..."]) -> Float[Array, "..."]:
        return values * self.scale + self.shift


class Transform(eqx.Module):
    """Observation, action and reward changes of one run; `None` leaves a part as it is.

    `observation` has one `Affine` per numeric component (others are untouched). `reward` weights make one number
    of the objectives before it is scaled: `reward = (components @ weights) * reward_scale + reward_shift`.
    """

    observation: PyTree[Affine | None]
    action: Affine | None
    weights: Float[Array, "objective"]
    reward_scale: Float[Array, ""]
    reward_shift: Float[Array, ""]
    spec: Spec = static()
    stack: int = static(default=1)

    @property
    def inner(self) -> Spec:
        """The log's spec as the method sees it: with `stack` images to an observation, as further channels."""
        if self.stack == 1:
            return self.spec
        parts = (dataclasses.replace(part, shape=(*part.shape, self.stack)) for part in self.spec.observations)
        return dataclasses.replace(self.spec, observations=tuple(parts))

    @property
    def reach(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The lowest and the highest action that `enact` can return, in float64; None for choices."""
        return _reach(self.action)

    def observe(self, observation: PyTree) -> PyTree:
        """Bring an observation of the user into the units of the method."""
        if self.spec.plain:
            return _apply(self.observation, observation)
        return {key: _apply(self.observation[key], observation[key]) for key in self.observation}

    def unobserve(self, observation: PyTree) -> PyTree:
        """Bring observations (host arrays) back into the user's units."""
        if self.spec.plain:
            return _undone(self.observation, observation)
        return {key: _undone(self.observation[key], observation[key]) for key in self.observation}

    def enact(self, action: Array) -> Array:
        """Bring an action of the method into the user's units."""
        return action if self.action is None else self.action.undo(jnp.clip(action, -1.0, 1.0))

    def unenact(self, action: Array) -> Array:
        """Bring an action of the user into [−1, 1], kept `EDGE` away from the ends."""
        return action if self.action is None else jnp.clip(self.action(action), EDGE - 1.0, 1.0 - EDGE)

    def volume(self) -> Float[Array, ""]:
        """Logarithm of the change of volume of an action: densities in the user's units are this much smaller."""
        return jnp.zeros(()) if self.action is None else jnp.log(self.action.scale).sum()

    def reward(self, components: Float[Array, "... objective"]) -> Float[Array, "..."]:
        """Return the one reward that a method maximises."""
        return components @ self.weights * self.reward_scale + self.reward_shift

    @property
    def reward_unit(self) -> float:
        """How much of the user's reward is 1 for the method; sums of rewards are brought back by it."""
        return 1.0 / float(self.reward_scale)

    def parts(self) -> dict[str, bool | int]:
        """Say which parts are changed, so that `skeleton` can rebuild the structure."""
        changes = {"": self.observation} if self.spec.plain else self.observation
        observed = {"observation " + name: change is not None for name, change in changes.items()}
        return {"action": self.action is not None, **observed, **({"stack": self.stack} if self.stack > 1 else {})}

    def __call__(self, columns: Columns) -> Columns:
        """Bring a whole log into the units of the method (one reward column)."""
        return eqx.tree_at(
            lambda c: (c.observation, c.action, c.reward),
            dataclasses.replace(columns, stack=self.stack),
            (self.observe(columns.observation), self.unenact(columns.action), self.reward(columns.reward)[:, None]),
        )


def _reach(change: Affine | None) -> tuple[np.ndarray, np.ndarray] | None:
    if change is None:
        return None
    middle, half = np.asarray(change.shift, np.float64), np.asarray(change.scale, np.float64)
    return np.reshape(middle - half, -1), np.reshape(middle + half, -1)


def _apply(change: Affine | None, values: Array | np.ndarray) -> Array | np.ndarray:
    return values if change is None else change(jnp.asarray(values, jnp.float32))  # host arrays, too


def _undone(change: Affine | None, values: np.ndarray) -> np.ndarray:
    if change is None:
        return values
    wide = values.astype(np.float64) * np.asarray(change.scale, np.float64) + np.asarray(change.shift, np.float64)
    return wide.astype(np.float32)


def check_stack(spec: Spec, stack: int) -> int:
    """Return the number of images in an observation; raise UserError where observations are not images alone."""
    if not isinstance(stack, int | np.integer):
        raise UserError(f"The number of stacked images must be a whole number, got {stack!r}.")
    if stack != 1 and (stack < 1 or any(part.kind != "image" or len(part.shape) != 2 for part in spec.observations)):
        raise UserError(f"Only observations of grey images (height, width) can be stacked, 1 or more; got {stack}.")
    return stack


def skeleton(spec: Spec, parts: dict[str, Any]) -> Transform:
    """Return a transform of the structure that `Transform.parts` described, to be filled with saved arrays."""
    blank = Affine(jnp.zeros(()), jnp.ones(()))
    changes = {part.name: blank if parts["observation " + part.name] else None for part in spec.observations}
    return Transform(
        changes[""] if spec.plain else changes,
        blank if parts["action"] else None,
        jnp.ones(1),
        jnp.ones(()),
        jnp.zeros(()),
        spec,
        int(parts.get("stack", 1)),
    )


def identity(spec: Spec) -> Transform:
    """Return the transform that changes nothing, for one reward."""
    return skeleton(spec, {"action": False, **{"observation " + part.name: False for part in spec.observations}})


def declared_units(spec: Spec, stack: int = 1) -> Transform:
    """Return the transform of an environment without a log: actions from their bounds to [−1, 1], rewards divided by
    the largest size that is declared of them (by 1 where nothing is), observations as they are.

    Raises UserError for continuous actions without finite bounds.
    """
    largest = max(map(abs, (*(spec.reward_low or ()), *(spec.reward_high or ()))), default=0.0)
    scale = jnp.float32(1.0 / largest if 0.0 < largest < np.inf else 1.0)
    blank = dataclasses.replace(identity(spec), stack=check_stack(spec, stack), reward_scale=scale)
    if spec.action.kind != "continuous":
        return blank
    low, high = (
        np.asarray(end if end is not None else np.inf, np.float64) for end in (spec.action.low, spec.action.high)
    )
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise UserError("The environment's actions have no finite bounds; wrap it so that they have.")
    change = Affine(jnp.asarray((high + low) / 2, jnp.float32), jnp.asarray((high - low) / 2, jnp.float32))
    return dataclasses.replace(blank, action=change)
