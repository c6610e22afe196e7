"""What a `metadata.json` may hold: anything, and nothing in it is believed before it fits."""

import json
import os
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.core.errors import UserError
from weft.data.formats import _spaces as module
from weft.data.formats._spaces import Spaces

CHOICES, ROWS = np.array([0, 3, 1]), np.zeros((3, 2), np.int64)


def described(tmp_path, **about):
    path = tmp_path / "metadata.json"
    path.write_text(json.dumps(about))
    return Spaces.of(path)


def refused(tmp_path, space, given=CHOICES, name="action_space") -> str:
    with pytest.raises(UserError) as caught:  # noqa: PT012
        spaces = described(tmp_path, **{name: space if isinstance(space, str) else json.dumps(space)})
        spaces.actions(given) if name == "action_space" else spaces.observations({"": given})
    assert str(caught.value).isprintable()
    return str(caught.value).removeprefix(f"{tmp_path / 'metadata.json'}: ")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "the file is no JSON (Expecting property name"),
        (b"\xff\xfe{}", "the file is no JSON ('utf-8' codec can't decode"),
        (b"[1, 2]", "the file describes no data set; it must hold a JSON object."),
        (b"[" * 10**6, "the file is nested too deeply to be read."),
        (b'{"total_steps": ' + b"9" * 5000 + b"}", "the file is no JSON (Exceeds the limit"),
        (b"", "the file is no JSON (Expecting value"),
    ],
)
def test_a_file_that_is_no_description(content, said, tmp_path):
    path = tmp_path / "metadata.json"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        Spaces.of(path)
    assert str(caught.value).startswith(f"{path}: {said}")


def test_a_description_is_a_small_regular_file(tmp_path, monkeypatch):
    path = tmp_path / "metadata.json"
    assert Spaces.of(path).about == {}
    path.write_text("{}" + " " * 100)
    monkeypatch.setattr(module, "LARGEST", 100)
    with pytest.raises(UserError, match="a description has 0 at most"):
        Spaces.of(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError, match="this is a named pipe"):
        Spaces.of(path)


@pytest.mark.parametrize(
    ("space", "given", "said"),
    [
        ("{", CHOICES, "the action_space is no JSON (Expecting property name"),
        ("[" * 10**5, CHOICES, "the action_space is nested too deeply to be read."),
        ([3], CHOICES, "the action_space is [3], and should be a JSON object."),
        ({"type": "Discrete"}, CHOICES, "the action_space gives no n, and a space of its type needs numbers there."),
        ({"type": "Discrete", "n": None}, CHOICES, "the action_space gives n=None, and"),
        ({"type": "Discrete", "n": "4"}, CHOICES, "the action_space gives n='4', and"),
        ({"type": "Discrete", "n": {"a": 1}}, CHOICES, "the action_space gives n={'a': 1}, and"),
        ({"type": "Discrete", "n": True}, CHOICES, "the action_space gives n=True, and"),
        ({"type": "Discrete", "n": 4.5}, CHOICES, "the action_space gives n=4.5, and a space of its type needs whole"),
        ({"type": "Discrete", "n": float("nan")}, CHOICES, "the action_space gives n=nan, and"),
        (
            {"type": "Discrete", "n": [4, 4]},
            CHOICES,
            "the action_space gives n=[4, 4], and a space of its type needs one",
        ),
        (
            {"type": "Discrete", "n": 10**12},
            CHOICES,
            "the action_space declares 1,000,000,000,000 choices; there may be",
        ),
        ({"type": "Discrete", "n": 10**400}, CHOICES, "the action_space gives n=1000"),
        ({"type": "Discrete", "n": 0}, CHOICES, "the action_space declares 0 choices"),
        ({"type": "Discrete", "n": 4, "start": "a"}, CHOICES, "the action_space gives start='a', and"),
        (
            {"type": "Discrete", "n": 4},
            ROWS,
            "the action_space (Discrete) does not fit the data: it declares 1 numbers a ",
        ),
        (
            {"type": "Discrete", "n": 4},
            np.array(["a", "b"]),
            "the action_space (Discrete) does not fit the data: the act",
        ),
        ({"type": "MultiDiscrete", "nvec": []}, ROWS, "the action_space gives nvec=[], and"),
        ({"type": "MultiDiscrete", "nvec": [[2], [2, 3]]}, ROWS, "the action_space gives nvec=[[2], [2, 3]], and"),
        (
            {"type": "MultiDiscrete", "nvec": [2, 2, 2]},
            ROWS,
            "the action_space (MultiDiscrete) does not fit the data: it",
        ),
        ({"type": "MultiDiscrete", "nvec": [2, -2]}, ROWS, "the action_space declares -2 choices"),
        ({"type": "MultiDiscrete", "nvec": [2, 2], "start": [0, 0, 0]}, ROWS, "the action_space (start of the Multi"),
        (
            {"type": "MultiBinary", "n": 10**12},
            ROWS,
            "the action_space (MultiBinary) does not fit the data: it declares ",
        ),
        (
            {"type": "MultiBinary", "n": [10**6, 10**6]},
            ROWS,
            "the action_space (MultiBinary) does not fit the data: it",
        ),
        (
            {"type": "Box", "low": [0, 0, 0], "high": 1},
            ROWS,
            "the action_space (Box) does not fit the data: it declares 3",
        ),
        ({"type": "Box", "low": "low", "high": 1}, ROWS, "the action_space gives low='low', and"),
        ({"type": "Box", "low": None, "high": 1}, ROWS, "the action_space gives low=None, and"),
    ],
)
def test_spaces_of_actions_that_are_none_or_do_not_fit(space, given, said, tmp_path):
    assert refused(tmp_path, space, given).startswith(said)


def test_deep_spaces_of_observations(tmp_path):
    space = {"type": "Discrete", "n": 3}
    for _ in range(200):
        space = {"type": "Dict", "subspaces": {"a": space}}
    assert refused(tmp_path, space, name="observation_space") == (
        "the observation_space has spaces inside spaces, deeper than 32."
    )
    space = {"type": "Tuple", "subspaces": [{"type": "Box"}, 7]}
    assert refused(tmp_path, space, name="observation_space") == (
        "the observation_space '_index_1' is 7, which is no space."
    )
    assert refused(tmp_path, {"type": "Discrete"}, name="observation_space").startswith(
        "the observation_space gives no n, and"
    )


def test_a_huge_count_of_an_observation_makes_nothing_large(tmp_path):
    tracemalloc.start()
    part = {"type": "Discrete", "n": 10**12}
    facts = described(tmp_path, observation_space=json.dumps(part)).observations({"": CHOICES})
    parts = {str(key): {"type": "Discrete", "n": 2**19} for key in range(64)}
    space = {"type": "Dict", "subspaces": parts}
    many = described(tmp_path, observation_space=space).observations(dict.fromkeys(parts, CHOICES))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert facts["categories"] == {}
    assert facts["notes"] == ["The observations of a Discrete space are taken for numbers."]
    assert len(many["categories"]) == 2
    assert most < 200e6


def test_what_is_recorded_of_the_world(tmp_path):
    notes = described(tmp_path, env_spec={"id": "World-v0", "max_episode_steps": 9}).observations({})["notes"]
    assert notes == ["Recorded from World-v0, at most 9 steps an episode."]
    for spec in ({"id": ["x"]}, {"id": None}, {}, None):
        assert described(tmp_path, env_spec=spec).observations({})["notes"] == []
    assert described(tmp_path, env_spec={"id": "x" * 10**6}).observations({})["notes"][0].endswith("x.")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(
    kind=st.sampled_from(["Discrete", "MultiDiscrete", "MultiBinary", "Box", "Dict", 3]),
    entries=st.dictionaries(st.sampled_from(["n", "nvec", "start", "low", "high", "subspaces", "shape"]), VALUES),
    wide=st.booleans(),
)
def test_any_space_is_understood_or_one_sentence(kind, entries, wide, tmp_path_factory):
    space = {"type": kind, **entries}
    file = tmp_path_factory.getbasetemp() / "metadata.json"
    spaces = Spaces(file, {"action_space": space, "observation_space": space})
    for read in (spaces.actions, lambda given: spaces.observations({"": given})):
        try:
            read(ROWS if wide else CHOICES)
        except UserError as problem:
            assert str(problem).startswith(f"{file}: ")  # noqa: PT017
