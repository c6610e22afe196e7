"""Statistics of scores: known answers, the laws they keep, and how often their intervals hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, trim_mean

from weft.core.errors import UserError
from weft.experiments.scores import (
    by_task,
    improvement_probability,
    interquartile_mean,
    mean_score,
    performance_profile,
    stratified_bootstrap,
)

finite = st.floats(-1e3, 1e3, allow_nan=False)
matrices = st.tuples(st.integers(1, 9), st.integers(1, 4)).flatmap(
    lambda shape: st.lists(finite, min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]).map(
        lambda values: np.array(values).reshape(shape)
    )
)


def test_the_middle_half_of_eight_numbers():
    scores = np.array([[1.0, 100.0], [2.0, 3.0], [4.0, 5.0], [6.0, -50.0]])  # middle half: 2, 3, 4, 5
    assert interquartile_mean(scores).value == 3.5
    assert interquartile_mean([scores[:, 0], scores[:, 1]]).value == 3.5
    assert mean_score(scores).value == (3.25 + 14.5) / 2


@given(matrices)
@settings(max_examples=60, deadline=None)
def test_the_interquartile_mean_is_the_trimmed_mean_and_lies_in_its_interval(scores):
    found = interquartile_mean(scores, replicates=200)
    assert found.value == pytest.approx(trim_mean(scores, 0.25, axis=None), rel=1e-9, abs=1e-9)
    assert scores.min() - 1e-9 <= found.value <= scores.max() + 1e-9
    moved = interquartile_mean(3 * scores + 7, replicates=200)
    assert np.allclose(moved, [3 * value + 7 for value in found], rtol=1e-6, atol=1e-6)


@given(finite, st.integers(2, 9), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_constants_have_no_spread(constant, runs, tasks):
    found = interquartile_mean(np.full((runs, tasks), constant), replicates=50)
    assert np.allclose(found, constant)
    assert improvement_probability(np.full((runs, tasks), constant), np.full((runs, tasks), constant)) == (
        0.5,
        0.5,
        0.5,
    )


def test_the_chance_to_be_better_by_hand():
    first, second = [np.array([1.0, 2.0]), np.array([5.0])], [np.array([0.0, 1.0, 3.0]), np.array([4.0])]
    # task 0: 1 beats 0 and ties with 1 (1.5), 2 beats 0 and 1 (2): 3.5 of 6; task 1: 1
    assert improvement_probability(first, second).value == pytest.approx((3.5 / 6 + 1) / 2)
    assert improvement_probability(first, second)[1:] == (0, 1)  # one run of a task: no interval


@given(matrices, st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_the_chances_of_both_sides_add_up_to_one(scores, seed):
    other = scores + np.random.default_rng(seed).integers(-2, 3, scores.shape)
    there, back = (improvement_probability(*pair, replicates=50).value for pair in ((scores, other), (other, scores)))
    assert there + back == pytest.approx(1)
    assert improvement_probability(scores, scores, replicates=50).value == pytest.approx(0.5)
    statistic = np.mean(
        [mannwhitneyu(x, y).statistic / len(x) / len(y) for x, y in zip(scores.T, other.T, strict=True)]
    )
    assert there == pytest.approx(statistic)


def test_a_profile_by_hand_and_its_laws():
    scores = [np.array([0.0, 1.0, 2.0, 3.0]), np.array([2.0, 2.0])]
    found = performance_profile(scores, [-1, 0, 1.5, 2, 3])
    assert found.value.tolist() == [1, 0.875, 0.75, 0.125, 0]
    assert (found.low <= found.value).all()
    assert (found.value <= found.high).all()
    assert (np.diff(found.low) <= 0).all()
    assert found.low[0] == found.high[0] == 1
    alone = performance_profile([np.array([1.0])], [0, 2])
    assert (alone.low.tolist(), alone.high.tolist()) == ([0, 0], [1, 1])


def test_runs_are_drawn_within_their_task():
    scores = np.array([[0.0, 10.0], [0.0, 10.0], [0.0, 10.0]])
    drawn = []

    def look(tasks):
        drawn.append([runs.copy() for runs in tasks])
        return np.mean([runs.mean(-1) for runs in tasks], 0)

    assert stratified_bootstrap(scores, look, replicates=30) == (5, 5, 5)
    assert drawn[0][0].shape == (30, 3)
    assert {*drawn[0][0].ravel()} == {0.0}
    assert {*drawn[0][1].ravel()} == {10.0}


def test_the_same_seed_gives_the_same_interval_and_more_runs_a_narrower_one():
    generator = np.random.default_rng(0)
    few, many = generator.normal(size=(5, 3)), generator.normal(size=(80, 3))
    assert interquartile_mean(few) == interquartile_mean(few)
    assert interquartile_mean(few) != interquartile_mean(few, seed=1)
    widths = [np.subtract(found.high, found.low) for found in map(interquartile_mean, (few, many))]
    assert widths[1] < widths[0] / 2


def test_intervals_cover():
    """Ten runs of three tasks, 300 times: the percentile bootstrap is a little short of its 95 %, not more."""
    generator = np.random.default_rng(3)
    held = np.zeros(3)
    shift = 0.6
    chance = 0.664  # P(N(0.6, 1) > N(0, 1)) = Phi(0.6 / sqrt 2)
    for seed in range(300):
        ours, theirs = generator.normal(shift, 1, (10, 3)), generator.normal(0, 1, (10, 3))
        middle = interquartile_mean(ours, replicates=300, seed=seed)
        better = improvement_probability(ours, theirs, replicates=300, seed=seed)
        share = performance_profile(ours, [shift], replicates=300, seed=seed)
        held += [middle.low <= shift <= middle.high, better.low <= chance <= better.high,
                 share.low[0] <= 0.5 <= share.high[0]]  # fmt: skip
    assert (held / 300 > 0.88).all(), held / 300
    assert (held / 300 < 0.995).all(), held / 300


def test_one_run_of_a_task_has_no_interval():
    assert interquartile_mean(np.array([[1.0, 2.0]])) == (1.5, -np.inf, np.inf)


@pytest.mark.parametrize(
    ("scores", "sentence"),
    [
        ([], "at least one task"),
        (np.zeros(3), "two axes"),
        ([np.zeros(2), np.zeros(0)], "Task 1 needs a list of scores"),
        (np.array([[1.0, np.nan]]), "Task 1 has a score that is not finite"),
    ],
)
def test_what_cannot_be_scores_is_refused(scores, sentence):
    with pytest.raises(UserError, match=sentence):
        by_task(scores)


def test_what_cannot_be_computed_is_refused():
    with pytest.raises(UserError, match="same tasks"):
        improvement_probability(np.zeros((2, 2)), np.zeros((2, 3)))
    with pytest.raises(UserError, match="between 0 and 1"):
        interquartile_mean(np.zeros((2, 2)), level=95)
    with pytest.raises(UserError, match="at least one replicate"):
        performance_profile(np.zeros((2, 2)), [0], replicates=0)
