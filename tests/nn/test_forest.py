"""Trees as arrays: what is seen, where it goes, and what comes of it, by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from weft.data.spec import ObservationSpec
from weft.nn.forest import Forest, Trees, features, width

PLAIN = (ObservationSpec((2,)),)


def stump(choice_values, threshold=0.5, feature=0):
    """Return a forest of one tree per choice: `(left, right)` values on either side of a threshold."""
    trees = Trees.blank(1, 1, len(choice_values), 3)
    for choice, (left, right) in enumerate(choice_values):
        trees.feature[0, 0, choice, 0], trees.threshold[0, 0, choice, 0] = feature, threshold
        trees.left[0, 0, choice, 0], trees.right[0, 0, choice, 0] = 1, 2
        trees.value[0, 0, choice] = 9.0, left, right  # what an inner node holds counts for nothing
    arrays = jax.tree.map(jnp.asarray, trees)
    count = len(choice_values)
    return Forest(arrays, jnp.arange(count) * 10.0, jnp.ones(count, bool), jnp.int32(1), jnp.int32(1), PLAIN)


def test_an_example_at_the_threshold_goes_left():
    forest = stump([(1.0, 2.0), (3.0, 4.0)])
    seen = np.array([[0.5, 7.0], [np.nextafter(np.float32(0.5), np.float32(1)), 7.0]], np.float32)
    np.testing.assert_array_equal(forest.predict(seen), [[1.0, 13.0], [2.0, 14.0]])


def test_one_observation_a_batch_and_a_batch_of_batches_have_the_same_predictions():
    forest, seen = stump([(1.0, 2.0), (3.0, 4.0)]), np.random.default_rng(0).uniform(size=(2, 3, 2)).astype(np.float32)
    many = forest.predict(seen)
    assert many.shape == (2, 3, 2)
    np.testing.assert_array_equal(many[1, 2], forest.predict(seen[1, 2]))


def test_rounds_that_do_not_count_add_nothing():
    forest = stump([(1.0, 2.0)])
    none = Forest(forest.trees, forest.base, forest.open, jnp.int32(0), forest.depth, forest.parts)
    np.testing.assert_array_equal(none.predict(np.zeros((1, 2), np.float32)), [[0.0]])


def test_a_choice_that_is_not_open_is_never_the_best():
    forest = stump([(1.0, 2.0), (3.0, 4.0)])
    closed = Forest(forest.trees, forest.base, jnp.array([True, False]), forest.rounds, forest.depth, PLAIN)
    np.testing.assert_array_equal(closed.all(np.zeros(2, np.float32)), [1.0, -np.inf])
    np.testing.assert_array_equal(closed.predict(np.zeros(2, np.float32)), [1.0, 13.0])


def test_codes_are_indicators_and_vectors_are_flattened_in_the_order_of_the_components():
    parts = (
        ObservationSpec((2, 1), name="size"),
        ObservationSpec((), dtype="int32", kind="category", name="colour", count=3),
    )
    seen = {"colour": np.array([2, 0]), "size": np.array([[[1.0], [2.0]], [[3.0], [4.0]]], np.float32)}
    np.testing.assert_array_equal(features(parts, seen), [[1, 2, 0, 0, 1], [3, 4, 1, 0, 0]])
    assert width(parts) == 5
