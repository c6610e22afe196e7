"""Minari folders read with h5py alone: T + 1 observations, ends kept apart, spaces understood."""

import json
import os

import h5py
import numpy as np
import pytest

from weft import UserError
from weft.data.load import load

BOX = {"type": "Box", "dtype": "float32", "shape": [2], "low": [-1.0, -2.0], "high": [1.0, 2.0]}
DISCRETE = {"type": "Discrete", "dtype": "int64", "n": 4, "start": 0}


def write(folder, episodes, action_space=BOX, observation_space=None, **about):
    """Write `{number: {name: array}}` as a Minari dataset."""
    (folder / "data").mkdir(parents=True)
    with h5py.File(folder / "data" / "main_data.hdf5", "w") as file:
        for number, episode in episodes.items():
            file.create_group(f"episode_{number}")
            for name, values in episode.items():
                file[f"episode_{number}/{name}"] = values
    spaces = {"action_space": json.dumps(action_space)}
    if observation_space is not None:
        spaces["observation_space"] = json.dumps(observation_space)
    (folder / "data" / "metadata.json").write_text(json.dumps({**spaces, "data_format": "hdf5", **about}))
    return folder


def episode(length, terminal=True, seed=0, actions=None):
    rng = np.random.default_rng(seed)
    last = np.arange(length) == length - 1
    return {
        "observations": rng.normal(size=(length + 1, 3)),
        "actions": rng.uniform(-1, 1, (length, 2)).astype(np.float32) if actions is None else actions,
        "rewards": rng.normal(size=length),
        "terminations": last & terminal,
        "truncations": last & ~np.array(terminal),
    }


def sentence(log, **options) -> str:
    with pytest.raises(UserError) as caught:
        load(log, **options)
    return str(caught.value)


@pytest.fixture
def minari_root(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return tmp_path


def test_uri_folder_and_file_are_the_same(minari_root):
    folder = write(minari_root / "toy" / "test-v0", {0: episode(3)})
    prints = [load(log).fingerprint for log in ("minari:toy/test-v0", folder, folder / "data" / "main_data.hdf5")]
    assert len(set(prints)) == 1


def test_contents_come_back_in_order_of_episodes(tmp_path):
    parts = {number: episode(number + 1, terminal=number % 2 == 0, seed=number) for number in (0, 1, 2, 10)}
    data = load(write(tmp_path / "log", parts, env_spec=json.dumps({"id": "Toy-v0", "max_episode_steps": 11})))
    assert data.lengths.tolist() == [1, 2, 3, 11]
    for index, (number, part) in enumerate(parts.items()):
        found = data.episode(index)
        np.testing.assert_array_equal(found.observations, part["observations"].astype(np.float32))
        np.testing.assert_array_equal(found.actions, part["actions"])
        np.testing.assert_array_equal(found.rewards, part["rewards"].astype(np.float32))
        assert (found.terminal, found.timeout) == (number % 2 == 0, number % 2 == 1)
    assert (data.spec.action.low, data.spec.action.high) == ((-1.0, -2.0), (1.0, 2.0))
    assert data.columns["episode"].tolist() == [0, 1, 1, 2, 2, 2] + [10] * 11
    assert data.notes == ("Recorded from Toy-v0, at most 11 steps an episode.",)


def test_episode_that_just_stops_is_timed_out(tmp_path):
    part = episode(3)
    part["terminations"][:] = False
    data = load(write(tmp_path / "log", {0: part, 1: episode(2)}))
    assert data.timeouts.tolist() == [False, False, True, False, False]
    assert data.lengths.tolist() == [3, 2]


def test_dictionary_observations_and_discrete_spaces(tmp_path):
    part = episode(3, actions=np.array([0, 2, 1]))
    del part["observations"]
    part["observations/image"] = np.zeros((4, 8, 8, 3), np.uint8)
    part["observations/inner/x"] = np.arange(4.0)[:, None]
    part["observations/room"] = np.array([0, 1, 1, 0])
    space = {"type": "Dict", "subspaces": {"image": {"type": "Box"}, "inner": {"type": "Dict"}, "room": DISCRETE}}
    data = load(write(tmp_path / "log", {0: part}, DISCRETE, space))
    assert set(data.observations) == {"image", "inner/x", "room"}
    assert data.spec.observation("image").kind == "image"
    assert (data.spec.observation("room").kind, data.spec.observation("room").count) == ("category", 4)
    assert (data.spec.action.kind, data.spec.action.counts) == ("discrete", (4,))
    assert data.episode(0).observations["inner/x"].ravel().tolist() == [0, 1, 2, 3]


def test_discrete_actions_that_start_elsewhere(tmp_path):
    part = episode(3, actions=np.array([5, 6, 5]))
    data = load(write(tmp_path / "log", {0: part}, {**DISCRETE, "n": 2, "start": 5}))
    assert (data.actions.tolist(), data.spec.action.counts) == ([0, 1, 0], (2,))


def test_no_such_dataset_names_the_nearest(minari_root):
    write(minari_root / "toy" / "test-v0", {0: episode(3)})
    assert sentence("minari:toy/test-v1") == (
        f"minari:toy/test-v1: there is no such dataset in {minari_root}. Did you mean 'toy/test-v0'? "
        "Known: toy/test-v0; set MINARI_DATASETS_PATH if yours are elsewhere."
    )


def test_folder_without_data(minari_root):
    folder = minari_root / "toy" / "test-v0"
    folder.mkdir(parents=True)
    said = f"{folder}: the folder holds no data: there is no data/main_data.hdf5 in it."
    assert sentence("minari:toy/test-v0") == said
    (folder / "data").mkdir()
    (folder / "data" / "metadata.json").write_text("{}")
    assert sentence(folder) == said
    (folder / "data" / "metadata.json").write_text(json.dumps({"data_format": "arrow"}))
    assert sentence(folder) == f"{folder}: the dataset is stored as Arrow; create it with data_format='hdf5'."
    (folder / "data" / "metadata.json").write_text("{")
    assert sentence(folder).startswith(f"{folder}/data/metadata.json: the file is no JSON (")


def test_bad_episodes(tmp_path):
    def said(name, part, **options):
        folder = write(tmp_path / name, {0: episode(2), 1: part}, **options)
        found = sentence(folder)
        place = f"{folder}/data/main_data.hdf5: "
        return found.removeprefix(place).removeprefix(f"{folder}: ")

    empty = {name: values[:0] for name, values in episode(2).items()}
    assert said("empty", empty) == "/episode_1 is an episode of zero length; drop it."
    short = episode(3)
    short["observations"] = short["observations"][:-1]
    assert said("short", short) == "/episode_1/observations has 3 rows, 3 actions need 4."
    assert (
        said("rewards", {**episode(3), "rewards": np.zeros(2)}) == "/episode_1/rewards has 2 rows, the actions have 3."
    )
    wide = {**episode(3), "observations": np.zeros((4, 5))}
    assert said("wide", wide).startswith("the observations of episode_1 are float64 of shape (5,) a step, those of ")
    nested = episode(3)
    nested["actions/arm"] = nested.pop("actions")
    assert said("nested", nested) == "the actions of /episode_1 are a dictionary or tuple; weft takes one array."
    inside = episode(3)
    inside["terminations"][0] = True
    assert said("inside", inside).startswith("column 'terminations' is true inside an episode (row 2); ")
    outside = episode(3)
    outside["actions"][1] = 9
    assert said("outside", outside) == "column 'actions' is outside its bounds [[-1.0, -2.0], [1.0, 2.0]] (row 3)."
    missing = episode(3)
    del missing["truncations"]
    assert said("missing", missing) == (
        "there is no dataset 'truncations' in /episode_1. Did you mean 'terminations'? Known: actions, observations, "
        "rewards, terminations."
    )
    assert sentence(write(tmp_path / "none", {})).endswith("there are no episodes in it.")


def test_shared_hopper_log(shared_data, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(shared_data / "minari"))
    data = load("minari:hopper/medium-v0")
    assert (data.steps, data.episodes) == (60_087, 209)
    assert data.returns.mean() == pytest.approx(970, abs=5)
    assert (data.spec.action.low, data.spec.action.high) == ((-1.0,) * 3, (1.0,) * 3)
    assert len(data.store_observations) == 60_087 + 209


def spaced(folder, space, seen, name="", action_space=None, actions=None):
    part = episode(3, actions=np.array([0, 1, 1]) if actions is None else actions)
    part[f"observations/{name}" if name else "observations"] = seen
    if name:
        del part["observations"]
    return load(write(folder, {0: part}, action_space or {**DISCRETE, "n": 2}, space))


SPACES = {
    "tuple": ({"type": "Tuple", "subspaces": [DISCRETE]}, "_index_0", 4),
    "nested": ({"type": "Dict", "subspaces": {"a": {"type": "Dict", "subspaces": {"b": DISCRETE}}}}, "a/b", 4),
    "both": ({"type": "Dict", "subspaces": {"a": {"type": "Tuple", "subspaces": [DISCRETE]}}}, "a/_index_0", 4),
    "start": ({**DISCRETE, "start": 5}, "", 9),
}


@pytest.mark.parametrize(("space", "name", "count"), SPACES.values(), ids=SPACES)
def test_choices_inside_spaces_are_categories_with_the_numbers_that_a_world_shows(tmp_path, space, name, count):
    first = count - 4
    data = spaced(tmp_path / "log", space, np.array([1, 0, 2, 3]) + first, name)
    assert (data.spec.observation(name).kind, data.spec.observation(name).count) == ("category", count)
    seen = data.observations[name] if name else data.observations
    assert (data.observations[name] if isinstance(data.observations, dict) else seen).tolist() == [
        first + 1,
        first,
        first + 2,
    ]


def test_spaces_that_are_taken_for_numbers_are_noted(tmp_path):
    several = spaced(tmp_path / "a", {"type": "MultiDiscrete", "nvec": [3, 3]}, np.ones((4, 2), int))
    assert several.notes == ("The observations of a MultiDiscrete space are taken for numbers.",)
    below = spaced(tmp_path / "b", {**DISCRETE, "start": -2}, np.array([-2, -1, 0, 1]))
    assert (below.spec.observation().kind, len(below.notes)) == ("vector", 1)
    part = {**episode(3, actions=np.array([0, 1, 1])), "observations": np.array([0, 1, 7, 1])}
    folder = write(tmp_path / "c", {0: part}, {**DISCRETE, "n": 2}, DISCRETE)
    assert "has codes outside the 4 declared categories (row 2)" in sentence(folder)


ACTIONS = {
    "multidiscrete": ({"type": "MultiDiscrete", "nvec": [3, 4], "start": [0, 0]}, [[0, 1], [1, 0], [2, 1]], (3, 4), 0),
    "from 1": ({"type": "MultiDiscrete", "nvec": [3, 2], "start": [1, 1]}, [[1, 1], [2, 2], [3, 1]], (3, 2), 1),
    "multibinary": ({"type": "MultiBinary", "n": 2}, [[0, 0], [1, 0], [0, 0]], (2, 2), 0),
    "bits of a shape": ({"type": "MultiBinary", "n": [1, 2]}, [[[0, 0]], [[1, 0]], [[0, 0]]], (2, 2), 0),
}


@pytest.mark.parametrize(("space", "actions", "counts", "start"), ACTIONS.values(), ids=ACTIONS)
def test_several_choices_a_step(tmp_path, space, actions, counts, start):
    data = spaced(tmp_path / "log", BOX, np.zeros((4, 2)), "", space, np.array(actions, np.int8))
    assert (data.spec.action.kind, data.spec.action.counts) == ("multidiscrete", counts)
    assert data.actions.tolist() == (np.array(actions).reshape(3, -1) - start).tolist()


def test_whole_numbers_of_a_box_are_continuous(tmp_path):
    data = spaced(tmp_path / "log", BOX, np.zeros((4, 2)), "", {**BOX, "dtype": "int8"}, np.ones((3, 2), np.int8))
    assert (data.spec.action.kind, data.spec.action.low) == ("continuous", (-1.0, -2.0))


def test_pipes_in_the_folder_are_refused(tmp_path):
    folder = write(tmp_path / "log", {0: episode(3)})
    for name in ("main_data.hdf5", "metadata.json"):
        path = folder / "data" / name
        content = path.read_bytes()
        path.unlink()
        os.mkfifo(path)
        assert sentence(folder).startswith(f"{path}: this is a named pipe")
        path.unlink()
        path.write_bytes(content)
    assert load(folder).steps == 3


def test_episodes_that_are_no_groups_of_arrays(tmp_path):
    path = write(tmp_path / "log", {0: episode(3)}) / "data" / "main_data.hdf5"
    with h5py.File(path, "a") as file:
        file["episode_1"] = np.zeros(3)
    assert sentence(path) == f"{path}: 'episode_1' is no group of arrays; an episode is one."
    with h5py.File(path, "a") as file:
        del file["episode_1"], file["episode_0/rewards"]
        file["episode_0/rewards"] = 3.0
    assert sentence(path) == f"{path}: /episode_0/rewards is one value; give one a step."


def test_groups_with_many_names_do_not_multiply(tmp_path):
    path = write(tmp_path / "log", {0: episode(3)}) / "data" / "main_data.hdf5"
    with h5py.File(path, "a") as file:
        del file["episode_0/observations"]
        group = file.create_group("episode_0/observations")
        for _ in range(40):
            inner = group.create_group("a")
            group["b"] = inner
            group = inner
        group["x"] = np.zeros((4, 1))
    assert "observations/a/a/" in sentence(path)
    assert sentence(path).endswith(" is a second name of the same group; leave it out.")


def test_episodes_of_unlike_components(tmp_path):
    first, second = episode(3), episode(3)
    del first["observations"], second["observations"]
    first["observations/a"] = second["observations/b"] = np.zeros((4, 1))
    folder = write(tmp_path / "log", {0: first, 1: second})
    assert sentence(folder).endswith("the observations of episode_1 have other components than those of episode_0.")


def test_names_of_episodes_with_odd_digits(tmp_path):
    path = write(tmp_path / "log", {0: episode(3)}) / "data" / "main_data.hdf5"
    with h5py.File(path, "a") as file:
        file["episode_²"] = file["episode_" + "9" * 5000] = file["episode_0"]
    assert load(path).episodes == 3


def test_a_space_that_does_not_fit_the_actions_names_its_file(tmp_path):
    folder = write(tmp_path / "log", {0: episode(3)}, DISCRETE)
    about = folder / "data" / "metadata.json"
    assert sentence(folder) == (
        f"{about}: the action_space (Discrete) does not fit the data: it declares 1 numbers a step, and there are 2."
    )
