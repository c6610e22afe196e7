"""Single decisions on the host, dealt to folds by whole units, and the forest that ensembles of every action make."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from ...core.memory import require_memory
from ...core.pytree import require
from ...data.columns import Columns
from ...data.spec import Spec
from ...nn.forest import Forest, Trees, features, width
from .boosting import Boosted

__all__ = ["Decisions", "blank", "constant", "forest_of"]

LEAST = 1e-30  # of a propensity, so that its inverse is a number


class Decisions(NamedTuple):
    """Logged decisions `(row, …)`; weight: one over the propensity, None where no propensities are known."""

    table: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    weight: np.ndarray | None
    fold: np.ndarray

    @classmethod
    def of(cls, key: PRNGKeyArray, columns: Columns, spec: Spec, folds: int, largest_weight: float) -> "Decisions":
        """Return the rows that may be sampled, units (else episodes) dealt to folds by chance.

        Raises UserError where there is no memory for the table, or no unit for each fold.
        """
        rows = columns.rows[: int(columns.count)]
        room = 16 * len(rows) * width(spec.observations)  # the table, and the parts of it that are fitted
        require_memory(room, "A table for trees", "leave out codes that take many values, or some rows")
        seen = jax.tree.map(lambda part: part[columns.position[rows]], columns.observation)
        names, unit = np.unique(
            np.asarray((columns.episode if columns.unit is None else columns.unit)[rows]), return_inverse=True
        )
        require(len(names) >= folds, f"Units are dealt to {folds} folds, and the log has {len(names)} of them.")
        weight = None
        if columns.log_propensity is not None:
            chance = np.exp(np.asarray(columns.log_propensity[rows], np.float64))
            weight = np.minimum(1.0 / np.maximum(chance, LEAST), float(largest_weight))
        return cls(
            np.asarray(features(spec.observations, seen)),
            np.asarray(columns.action[rows]),
            np.asarray(columns.reward[rows, 0], np.float64),
            weight,
            (np.asarray(jax.random.permutation(key, len(names))) % folds)[unit],
        )

    def where(self, rows: np.ndarray) -> "Decisions":
        """Return some of the rows."""
        parts: Any = [None if part is None else part[rows] for part in self]
        return Decisions(*parts)


def constant(target: np.ndarray, weight: np.ndarray, penalty: float, centre: float = 0.0) -> float:
    """Return the weighted mean of a target, drawn towards a centre by as much as `penalty` rows of weight 1."""
    return centre + float((weight * (target - centre)).sum() / max(weight.sum() + penalty, LEAST))


def forest_of(
    log: Decisions, spec: Spec, ensembles: Sequence[tuple[float, Sequence[Boosted]]], shape: tuple[int, int, int]
) -> Forest:
    """Return the forest of one ensemble per choice: constants and trees of its members, each added up.

    shape: room for rounds, members and nodes. Actions that were never taken are not open.
    """
    rounds, members, nodes = shape
    each, depth = [], 0
    for _, ensemble in ensembles:
        laid = [part.trees(rounds, nodes) for part in ensemble]
        depth = max([depth, *(longest for _, longest in laid)])
        filled = [*(trees for trees, _ in laid), *[Trees.blank(rounds, nodes)] * (members - len(laid))]
        each.append(Trees(*(np.stack(arrays, 1) for arrays in zip(*filled, strict=True))))
    trees = Trees(*(np.stack(arrays, 2) for arrays in zip(*each, strict=True)))
    live = np.flatnonzero((trees.left[..., 0] > 0).any((1, 2)))
    last = live.max(initial=-1) + 1
    taken = np.isin(np.arange(spec.action.size), log.action)
    base = np.array([start for start, _ in ensembles], np.float32)
    numbers: Any = jax.tree.map(jnp.asarray, (trees, base, taken, np.int32(last), np.int32(depth)))
    return Forest(*numbers, parts=spec.observations)


def blank(spec: Spec, shape: tuple[int, int, int]) -> Forest:
    """Return a forest without trees, as `forest_of` would lay it out."""
    rounds, members, nodes = shape
    choices, nothing = spec.action.size, jnp.zeros((), jnp.int32)
    trees = Trees.blank(rounds, members, choices, nodes)
    forest = Forest(trees, jnp.zeros(choices), jnp.ones(choices, bool), nothing, nothing, spec.observations)
    return jax.tree.map(jnp.asarray, forest)
