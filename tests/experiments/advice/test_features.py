"""Observations and actions become few plain numbers that keep what is alike alike."""

import numpy as np
import pytest
from examples import robot_and_chatbot

from weft import Dataset
from weft.experiments.advice.features import WIDTH, encoded, seen_at, unlike


def test_parts_of_all_kinds_become_at_most_the_width():
    robot, chatbot = robot_and_chatbot()
    for data in (robot, chatbot):
        found = seen_at(data, data.position[:7])
        assert found.shape[0] == 7
        assert found.shape[1] <= WIDTH
        assert found.dtype == np.float32
        np.testing.assert_allclose(found[3:5], seen_at(data, data.position[3:5]), rtol=1e-3, atol=1e-3)


def test_mixing_keeps_distances_on_average():
    seen = np.random.default_rng(0).normal(size=(200, 500))
    data = Dataset.from_arrays(seen, np.zeros(200, int), np.zeros(200), np.ones(200, bool))
    found = seen_at(data, data.position)
    before = np.linalg.norm(seen[:100] - seen[100:], axis=1).mean() / np.sqrt(500)
    assert np.linalg.norm(found[:100] - found[100:], axis=1).mean() / np.sqrt(WIDTH) == pytest.approx(before, rel=0.1)


def test_actions_are_corners_or_in_units_of_their_deviation():
    choices = Dataset.from_arrays(np.zeros((3, 1)), np.array([0, 2, 1]), np.zeros(3), np.ones(3, bool))
    np.testing.assert_array_equal(encoded(choices, choices.actions), np.eye(3)[[0, 2, 1]])
    assert unlike(choices, np.array([[0]]), np.array([[0, 1]])).tolist() == [[0, 1]]
    smooth = Dataset.from_arrays(np.zeros((4, 1)), np.array([[-2.0], [2], [-2], [2]]), np.zeros(4), np.ones(4, bool))
    assert encoded(smooth, smooth.actions)[:, 0].tolist() == [-1, 1, -1, 1]
