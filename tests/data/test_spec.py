"""The spec survives JSON and refuses what it does not know."""

import json

import numpy as np
import pytest

from weft import Dataset, Spec, UserError
from weft.data.spec import ActionSpec, ObservationSpec


def logs():
    return [
        Dataset.from_arrays(np.zeros((3, 2)), np.zeros((3, 2)), np.arange(3), [0, 0, 1], action_bounds=(-1, [1, 2])),
        Dataset.from_arrays([[1], [2, 3], [4]], ["go", "stop", "go"], {"a": [1, 2, 3], "b": [0, 0, 1]}, [1, 1, 1]),
        Dataset.from_arrays(
            {"word": np.array([0, 1, 0]), "x": np.zeros((3, 2))},
            np.zeros((3, 2), int),
            np.arange(3),
            [1, 1, 1],
            kinds={"word": "category"},
            categories={"word": ["no", "yes", "perhaps"]},
            reward_range=(0, 9),
            horizon=5,
            discount=0.9,
        ),
    ]


@pytest.mark.parametrize("data", logs(), ids=["continuous", "tokens", "dictionary"])
def test_json_round_trip(data):
    again = Spec.from_json(data.spec.to_json())
    assert again == data.spec
    assert json.loads(data.spec.to_json())["version"] == 1


def test_kinds_and_counts():
    continuous, tokens, dictionary = (data.spec for data in logs())
    assert (continuous.plain, continuous.discrete, continuous.action.size) == (True, False, 2)
    assert (continuous.action.low, continuous.action.high) == ((-1.0, -1.0), (1.0, 2.0))
    assert (tokens.action.labels, tokens.rewards) == (("go", "stop"), ("a", "b"))
    assert (dictionary.plain, dictionary.action.kind) == (False, "multidiscrete")
    assert dictionary.observation("word").categories == ("no", "yes", "perhaps")
    assert dictionary.observation("word").count == 3


def test_newer_version_is_refused():
    text = logs()[0].spec.to_json().replace('"version": 1', '"version": 2')
    with pytest.raises(UserError) as caught:
        Spec.from_json(text)
    assert str(caught.value) == "The spec has version 2, this weft reads version 1; update weft."


def test_unknown_kinds_are_refused():
    with pytest.raises(UserError, match="unknown kind 'sound'"):
        ObservationSpec((1,), kind="sound")
    with pytest.raises(UserError, match="unknown kind 'discret'"):
        ActionSpec("discret")
