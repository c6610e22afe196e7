"""Ensembles of regression trees as plain arrays, walked inside compiled programs.

A tree is an array of nodes, the root first. At an inner node an example goes to `left` if its number `feature` is at
most `threshold`, else to `right`; a leaf leads to itself. Several members of an ensemble grow side by side, one tree
each per round, for each choice.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from ..core.pytree import static
from ..data.spec import ObservationSpec

__all__ = ["Forest", "Trees", "features", "width"]


class Trees(NamedTuple):
    """Trees of at most as many nodes as there is room for; where there is none, its root is a leaf of value 0."""

    feature: Int[Array | np.ndarray, "... node"]
    threshold: Float[Array | np.ndarray, "... node"]
    left: Int[Array | np.ndarray, "... node"]
    right: Int[Array | np.ndarray, "... node"]
    value: Float[Array | np.ndarray, "... node"]

    @classmethod
    def blank(cls, *shape: int) -> "Trees":
        """Return trees that say 0, as NumPy; the last axis of the shape is the room for nodes."""
        here = np.broadcast_to(np.arange(shape[-1], dtype=np.int32), shape).copy()
        zeros = np.zeros(shape, np.float32)
        return cls(np.zeros(shape, np.int32), zeros, here, here.copy(), zeros.copy())


class Forest(eqx.Module):
    """What every choice is worth, `Q(s, ·)`: a constant and the sum of its trees.

    `rounds` says how many rounds count; `depth` is the longest way to a leaf. A choice that is not `open` was never
    logged: it is worth minus infinity to who chooses.
    """

    trees: Trees  # (round, member, choice, node)
    base: Float[Array, "choice"]
    open: Bool[Array, "choice"]
    rounds: Int[Array, ""]
    depth: Int[Array, ""]
    parts: tuple[ObservationSpec, ...] = static()

    def all(self, observation: PyTree) -> Float[Array, "... choice"]:
        """Return the value of every choice, minus infinity for those that are not open."""
        return self.held(self.predict(observation))

    def held(self, values: Float[Array, "... choice"]) -> Float[Array, "... choice"]:
        """Return values of every choice, minus infinity for those that are not open."""
        return jnp.where(self.open, values, -jnp.inf)

    def predict(self, observation: PyTree) -> Float[Array, "... choice"]:
        """Return the prediction for every choice."""
        table = features(self.parts, observation)
        every = jax.tree.map(jnp.asarray, self.trees)
        members, choices = every.value.shape[1:3]
        place = jnp.arange(members)[:, None], jnp.arange(choices)
        root = jnp.zeros((*table.shape[:-1], members, choices), jnp.int32)

        def add(number: Array, total: Array) -> Array:
            trees = jax.tree.map(lambda part: part[number], every)

            def descend(_: Array, node: Array) -> Array:
                column = trees.feature[*place, node]
                seen = jnp.take_along_axis(table, column.reshape(*table.shape[:-1], -1), -1).reshape(node.shape)
                goes = seen <= trees.threshold[*place, node]
                return jnp.where(goes, trees.left[*place, node], trees.right[*place, node])

            leaf = jax.lax.fori_loop(0, self.depth, descend, root)
            return total + trees.value[*place, leaf].sum(-2)

        start = jnp.broadcast_to(self.base, (*table.shape[:-1], choices))
        return jax.lax.fori_loop(0, self.rounds, add, start)


def width(parts: tuple[ObservationSpec, ...]) -> int:
    """Return how many numbers `features` makes of an observation."""
    return sum(int(np.prod(part.shape)) * (part.count if part.kind == "category" else 1) for part in parts)


def features(parts: tuple[ObservationSpec, ...], observation: PyTree) -> Float[Array, "... feature"]:
    """Return an observation as one row of numbers: vectors flattened, each code as 0s and a 1 at its place."""
    rows = []
    for part in parts:
        values: Array = observation[part.name] if part.name else observation
        lead = values.shape[: values.ndim - len(part.shape)]
        if part.kind == "category":
            values = jax.nn.one_hot(values, part.count)
        rows.append(values.reshape(*lead, -1).astype(jnp.float32))
    return jnp.concatenate(rows, axis=-1)
