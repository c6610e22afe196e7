"""Boosted regression trees, fitted on the host by LightGBM (Ke et al. 2017) and taken over as plain arrays.

LightGBM is an extra (`weft[trees]`) and is imported when trees are fitted; who saves, loads or serves them needs none
of it. On one thread, by rows and in double precision the same numbers give the same trees.
"""

import dataclasses
from typing import Any

import numpy as np

from ...core.errors import UserError
from ...nn.forest import Trees

__all__ = ["Boosted", "Boosting", "boosted", "library"]

ZERO = float(np.float32(1e-35))  # kZeroThreshold of LightGBM


@dataclasses.dataclass(frozen=True)
class Boosting:
    """How trees are boosted: at most so many rounds of trees with so many leaves, of `least_rows` rows each; it ends
    where held-out rows have not come off better for `patience` rounds. `penalty` is of squared leaf values, in rows;
    `share` is what the trees count where they are laid out.
    """

    rounds: int
    leaves: int
    least_rows: int
    patience: int
    learning_rate: float
    penalty: float
    share: float = 1.0


@dataclasses.dataclass(frozen=True)
class Boosted:
    """A boosted ensemble: LightGBM's own, of which the first `rounds` trees count; None of none."""

    booster: Any
    rounds: int
    share: float = 1.0

    def predict(self, table: np.ndarray) -> np.ndarray:
        """Return the sum of the trees for each row of numbers `(n, feature)`, in double precision."""
        if not self.rounds:
            return np.zeros(len(table))
        return self.booster.predict(table, num_iteration=self.rounds, num_threads=1)

    def trees(self, rounds: int, nodes: int) -> tuple[Trees, int]:
        """Return the trees, times their share, as arrays `(rounds, nodes)`; and the longest way from root to leaf."""
        trees, depth = Trees.blank(rounds, nodes), 0
        dump = self.booster.dump_model(num_iteration=self.rounds)["tree_info"] if self.rounds else []
        for number, tree in enumerate(dump):
            depth = max(depth, _laid_out(tree["tree_structure"], Trees(*(part[number] for part in trees))))
        return trees._replace(value=np.float32(self.share) * trees.value), depth


def library() -> Any:
    """Return LightGBM. Raises UserError where it is not installed, or cannot be loaded."""
    try:
        import lightgbm
    except ImportError:
        raise UserError("Boosted trees need LightGBM; run: pip install 'weft[trees]'.") from None
    except OSError as problem:  # it is there, and OpenMP is not
        raise UserError(
            f"LightGBM cannot be loaded ({problem}); install the OpenMP library (libgomp1 on Debian and Ubuntu)."
        ) from None
    return lightgbm


def boosted(
    table: np.ndarray, target: np.ndarray, weight: np.ndarray, fits: np.ndarray, stops: np.ndarray, how: Boosting,
    start: float,
) -> Boosted:  # fmt: skip
    """Return trees that add to `start` what rows `(n, feature)` say of the target `(n,)`.

    fits: the rows that are fitted; stops: those that say when to end. There is no tree where the first round does not
    help these, where there are too few rows to split, or none to stop by.
    """
    if fits.sum() < 2 * how.least_rows or not stops.any():
        return Boosted(None, 0)
    trees = library()
    options = {
        "objective": "regression", "metric": "l2", "verbosity": -1, "num_threads": 1, "deterministic": True,
        "force_row_wise": True, "boost_from_average": False, "use_missing": False, "min_data_in_bin": 1,
        "num_leaves": how.leaves, "min_data_in_leaf": how.least_rows, "lambda_l2": how.penalty,
        "learning_rate": how.learning_rate,
    }  # fmt: skip
    learning, watching = (
        trees.Dataset(table[rows], target[rows], weight=weight[rows], init_score=np.full(rows.sum(), start))
        for rows in (fits, stops)
    )
    errors: dict[str, Any] = {}
    watch = [trees.early_stopping(how.patience, verbose=False), trees.record_evaluation(errors)]
    watching.reference = learning
    booster = trees.train(options, learning, how.rounds, [watching], ["held"], callbacks=watch)
    losses = errors.get("held", {}).get("l2", [])
    before = float(np.average(np.square(target[stops] - start), weights=weight[stops]))
    best = int(np.argmin(losses)) if losses else 0
    return Boosted(booster, best + 1 if losses and losses[best] < before else 0, how.share)


def _laid_out(root: dict[str, Any], tree: Trees) -> int:
    """Write a tree of LightGBM's into arrays `(node,)`; return the longest way from its root to a leaf."""
    waiting, count, longest = [(root, 0, 0)], 1, 0
    while waiting:
        node, place, depth = waiting.pop()
        longest = max(longest, depth)
        if "leaf_value" in node:
            tree.value[place] = node["leaf_value"]
            continue
        tree.feature[place] = node["split_feature"]
        tree.threshold[place] = _single(float(node["threshold"]))
        tree.left[place], tree.right[place] = count, count + 1
        waiting += [(node["left_child"], count, depth + 1), (node["right_child"], count + 1, depth + 1)]
        count += 2
    return longest


def _single(threshold: float) -> np.float32:
    """Return the largest float32 that is not above a threshold, so that the same float32 numbers lie on either side.

    LightGBM takes numbers of at most `ZERO` in size for 0.
    """
    single = np.float32(threshold)
    beyond = float(single) > threshold or threshold == -ZERO
    return np.nextafter(single, np.float32(-np.inf)) if beyond else single
