"""Held-out fits with known answers: a column that matters, one that does not, and luck shared within episodes."""

import numpy as np
import pytest

from weft.experiments.advice.prediction import compare

ROWS = 1200
GENERATOR = np.random.default_rng(0)
SEEN = GENERATOR.normal(size=(ROWS, 2))
OTHER = GENERATOR.normal(size=(ROWS, 1))
CLUSTER = np.repeat(np.arange(ROWS // 10), 10)
HELD = CLUSTER % 2 == 0


def test_a_further_column_is_worth_the_variance_that_it_explains():
    target = SEEN[:, :1] + 0.5 * OTHER + 0.5 * np.random.default_rng(1).normal(size=(ROWS, 1))
    found = compare(SEEN, OTHER, target, HELD, CLUSTER)
    assert found.clear
    assert found.share == pytest.approx(0.25 / 1.5, abs=0.03)
    assert found.gain == pytest.approx(0.5 * np.log(2), abs=0.05)
    assert found.deviation[0] == pytest.approx(np.sqrt(0.5), abs=0.04)
    assert compare(SEEN, None, target, HELD, CLUSTER).base == pytest.approx(found.base)


def test_a_column_that_says_nothing_is_not_clear_even_if_luck_is_shared_within_episodes():
    for seed in range(4):
        generator = np.random.default_rng(seed)
        shared = generator.normal(size=(ROWS // 10, 1))[CLUSTER]
        walk = generator.normal(size=(ROWS // 10, 1))[CLUSTER] + 0.1 * OTHER  # further columns name the episode
        assert not compare(SEEN, walk, shared, HELD, CLUSTER).clear


def test_choices_have_the_entropy_that_they_were_drawn_with():
    generator = np.random.default_rng(2)
    chance = 1 / (1 + np.exp(-2 * SEEN[:, 0]))
    choice = (generator.random(ROWS) < chance).astype(int)
    entropy = -(chance * np.log(chance) + (1 - chance) * np.log(1 - chance)).mean()
    found = compare(SEEN, OTHER, choice, HELD, CLUSTER, 2)
    assert found.base == pytest.approx(entropy, abs=0.05)
    assert not found.clear
    assert compare(OTHER, SEEN, choice, HELD, CLUSTER, 2).clear
