"""LightGBM's trees and the same as arrays predict alike; what is cut off by held-out rows."""

import builtins

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from weft.agents.parts.boosting import Boosting, boosted, library
from weft.core.errors import UserError
from weft.data.spec import ObservationSpec
from weft.nn.forest import Forest

lightgbm = pytest.importorskip("lightgbm")
HOW = Boosting(rounds=60, leaves=8, least_rows=10, patience=10, learning_rate=0.2, penalty=1.0)


def problem(count=2000, signal=1.0, seed=0):
    random = np.random.default_rng(seed)
    table = random.normal(size=(count, 5)).astype(np.float32)
    table[:, 3] = np.round(table[:, 3])  # few values, thresholds between them
    table[:, 4] = random.integers(0, 2, count)  # an indicator
    target = signal * (np.sin(2 * table[:, 0]) + table[:, 3] * table[:, 4]) + random.normal(size=count)
    stops = np.arange(count) % 4 == 0
    return table, target, np.ones(count), ~stops, stops


def walked(part, table, choices=1):
    trees, depth = part.trees(HOW.rounds, 2 * HOW.leaves - 1)
    laid = jax.tree.map(lambda array: jnp.asarray(array)[:, None, None], trees)
    size = (ObservationSpec((table.shape[1],)),)
    forest = Forest(laid, jnp.zeros(1), jnp.ones(1, bool), jnp.int32(HOW.rounds), jnp.int32(depth), size)
    return np.asarray(forest.predict(table))[:, 0]


def test_arrays_predict_what_the_library_predicts():
    table, *rest = problem()
    part = boosted(table, *rest, HOW, 0.1)
    assert part.rounds > 10
    np.testing.assert_allclose(walked(part, table), part.predict(table), atol=1e-5)


def test_numbers_at_a_threshold_go_where_the_library_sends_them():
    table, *rest = problem()
    part = boosted(table, *rest, HOW, 0.1)
    nodes = [part.booster.dump_model(num_iteration=part.rounds)["tree_info"]]
    edges = []
    while nodes:
        node = nodes.pop()
        nodes += node if isinstance(node, list) else []
        if isinstance(node, dict):
            nodes += [node[name] for name in ("tree_structure", "left_child", "right_child") if name in node]
            edges += [(node["split_feature"], node["threshold"])] if "threshold" in node else []
    rows = []
    for column, threshold in edges:
        for side in (-np.inf, 0, np.inf):
            row, edge = table[0].copy(), np.float32(threshold)
            row[column] = edge if side == 0 else np.nextafter(edge, np.float32(side))
            rows.append(row)
    at_edges = np.array(rows)
    np.testing.assert_allclose(walked(part, at_edges), part.predict(at_edges), atol=1e-5)


def test_the_share_of_trees_is_what_they_count():
    table, *rest = problem()
    whole, half = boosted(table, *rest, HOW, 0.0), boosted(table, *rest, Boosting(60, 8, 10, 10, 0.2, 1.0, 0.5), 0.0)
    np.testing.assert_allclose(2 * walked(half, table), walked(whole, table), atol=1e-5)


def test_the_same_numbers_give_the_same_trees():
    one, two = (boosted(*problem(), HOW, 0.0).trees(60, 15)[0] for _ in range(2))
    assert all(np.array_equal(left, right) for left, right in zip(one, two, strict=True))


def test_noise_gives_next_to_no_trees_and_few_rows_none():
    rounds = [boosted(*problem(signal=0.0, seed=seed), HOW, 0.0).rounds for seed in range(5)]
    assert np.mean(rounds) < 5
    table, target, weight, fits, stops = problem(30)
    assert boosted(table, target, weight, fits & (np.arange(30) < 20), stops, HOW, 0.0).rounds == 0
    assert boosted(table, target, weight, ~np.zeros(30, bool), np.zeros(30, bool), HOW, 0.0).rounds == 0
    assert (boosted(table, target, weight, fits, stops & False, HOW, 0.0).predict(table) == 0).all()


def test_a_leaf_holds_the_weighted_mean_of_its_rows():
    table = np.repeat(np.array([[0.0], [1.0]], np.float32), 400, 0)
    target = np.tile([0.0, 1.0], 400) * table[:, 0]  # 0 on the left; on the right 0 or 1, weighed 1 to 3
    fits = np.arange(800) % 4 < 2
    exact = Boosting(100, 2, 10, 100, 0.5, 0.0)
    for weight, mean in ((1.0, 0.5), (3.0, 0.75)):
        part = boosted(table, target, np.where(target > 0, weight, 1.0), fits, ~fits, exact, 0.0)
        np.testing.assert_allclose(part.predict(np.array([[0.0], [1.0]])), [0.0, mean], atol=1e-3)


@pytest.mark.parametrize(
    ("problem_of_it", "words"),
    [
        (ImportError("none"), r"need LightGBM; run: pip install 'weft\[trees\]'"),
        (OSError("libgomp.so.1: no such file"), "LightGBM cannot be loaded .*libgomp1"),
    ],
)
def test_an_absent_library_is_named_in_a_sentence(monkeypatch, problem_of_it, words):
    real = builtins.__import__

    def absent(name, *rest, **options):
        if name == "lightgbm":
            raise problem_of_it
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(UserError, match=words):
        library()
