"""Logs after one another: what they must have in common, what grows to the largest, and what is left out."""

import dataclasses

import numpy as np
import pytest
from examples import robot_and_chatbot, small_log

from weft import Dataset, UserError, concatenate
from weft.data.columns import Ragged


def test_logs_are_put_after_one_another():
    data = small_log(columns={"user": np.arange(6)})
    joined = concatenate([data.select(np.array([1])), data], labels=["old", "new"])
    assert (joined.steps, joined.episodes, joined.lengths.tolist()) == (9, 4, [3, 2, 3, 1])
    assert joined.next_observations[2].tolist() == [90, 91]
    np.testing.assert_array_equal(joined.observations[3:], data.observations)
    np.testing.assert_array_equal(joined.next_observations[3:], data.next_observations)
    assert joined.store_sources is not None
    assert joined.store_sources.tolist() == ["old"] * 3 + ["new"] * 6
    assert joined.columns["user"].tolist() == [2, 3, 4, 0, 1, 2, 3, 4, 5]


def test_ragged_rows_are_joined():
    _, chatbot = robot_and_chatbot()
    joined = concatenate([chatbot, chatbot])
    assert isinstance(joined.store_observations, Ragged)
    assert joined.store_observations[40].tolist() == chatbot.store_observations[0].tolist()


def test_other_forms_are_refused():
    first, second = small_log(origin="a"), coded(origin="b")
    with pytest.raises(UserError, match=r"^a and b differ in their observations: "):
        concatenate([first, second])
    with pytest.raises(UserError, match=r"^concatenate needs at least one log\.$"):
        concatenate([])


def coded(categories=("east", "west"), **options) -> Dataset:
    """Two steps whose observation is the second of two categories, and a number of tokens."""
    parts = {"actions": [0, 1], "tokens": [[1], [2, 3]], **options}
    return Dataset.from_arrays(
        {"side": np.array([0, 1]), "text": parts.pop("tokens")},
        parts.pop("actions"),
        [0.0, 1.0],
        [True, True],
        kinds={"side": "category"},
        categories={"side": categories},
        **parts,
    )


CONTINUOUS = {"actions": [[0.5], [-0.5]]}


@pytest.mark.parametrize(
    ("here", "there", "sentence"),
    [
        (
            {},
            {"categories": ("north", "west")},
            "a and b differ in their categories: {'side': ('east', 'west'), 'text': ()} and "
            "{'side': ('north', 'west'), 'text': ()}.",
        ),
        (
            {"action_labels": ["no", "yes"]},
            {"action_labels": ["yes", "no"]},
            "a and b differ in their action labels: ('no', 'yes') and ('yes', 'no').",
        ),
        (
            {**CONTINUOUS, "action_bounds": (-1, 1)},
            {**CONTINUOUS, "action_bounds": (-2, 1)},
            "a and b differ in their action bounds: ((-1.0,), (1.0,)) and ((-2.0,), (1.0,)).",
        ),
        (
            {"reward_range": (0, 1)},
            {"reward_range": (0, 5)},
            "a and b differ in their declared reward ranges: ((0.0,), (1.0,)) and ((0.0,), (5.0,)).",
        ),
    ],
)
def test_what_means_something_else_is_refused(here, there, sentence):
    with pytest.raises(UserError) as caught:
        concatenate([coded(**here, origin="a"), coded(**there, origin="b")])
    assert str(caught.value) == sentence


def test_counts_and_lengths_are_the_largest():
    small, large = coded((), tokens=[[1], [2, 0]]), coded((), tokens=[[9], [1, 2, 3]], actions=[0, 6])
    large = large.declare(
        observations=tuple(dataclasses.replace(p, count=p.count + 1) for p in large.spec.observations)
    )
    joined = concatenate([small, large])
    assert (joined.spec.observation("side").count, joined.spec.observation("text").count) == (3, 11)
    assert joined.spec.observation("text").shape == (3,)
    assert joined.spec.action.counts == (7,)
    low, high = (Dataset.from_arrays([[float(x)], [x + 1.0]], [0, 1], [0, 1], [1, 1]) for x in (0, 5))
    spec = concatenate([high, low]).spec.observation()
    assert (spec.low, spec.high) == ((0.0,), (6.0,))


def test_durations_are_completed_and_what_is_left_out_is_said():
    timed = small_log(
        durations=np.full(6, 2.0), propensities=np.full(6, 0.5), sources=["s"] * 6, columns={"user": np.arange(6)},
        unit="user", horizon=3, origin="timed",
    )  # fmt: skip
    joined = concatenate([timed, small_log(origin="plain")])
    assert joined.durations.tolist() == [2] * 6 + [1] * 6
    assert joined.log_propensities is joined.sources is joined.spec.unit is None
    assert joined.notes == (
        "The logs differ in their horizon (3, None); the first counts.",
        "The logs differ in their unit (user, None); the first counts.",
        "The propensities are left out: not given in plain.",
        "The sources are left out: not given in plain.",
        "Columns that not every log has are left out: user.",
        "The unit 'user' is left out: it is no column of the whole.",
    )
    assert concatenate([timed, timed]).notes == ()
    assert concatenate([timed, timed], ["a", "b"]).notes == ("The labels replace the sources.",)


def test_labels_are_one_a_log():
    with pytest.raises(UserError, match=r"^concatenate got 1 labels for 2 logs; give one a log\.$"):
        concatenate([small_log(), small_log()], labels=["old"])
