"""Logs: episodes and their last observations, splits, rewards, concatenation, identity, and the two first examples."""

import dataclasses

import numpy as np
import pytest
from examples import robot_and_chatbot, small_log

import weft
from weft import Dataset, UserError, concatenate
from weft.data.columns import Ragged


def test_sizes_and_boundaries():
    data = small_log()
    assert (data.steps, data.episodes, data.lengths.tolist()) == (6, 3, [2, 3, 1])
    assert data.returns.tolist() == [3, 12, 6]
    assert data.terminals.tolist() == [False, True, False, False, False, True]
    assert data.timeouts.tolist() == [False, False, False, False, True, False]


def test_last_observation_is_kept():
    data = small_log()
    assert data.next_observations[4].tolist() == [90, 91]
    second = data.episode(1)
    assert second.observations.tolist() == [[4, 5], [6, 7], [8, 9], [90, 91]]
    assert (len(second), second.terminal, second.timeout) == (3, False, True)
    assert data.episode(0).observations[-1].tolist() == [4, 5]
    assert data.first_observations.tolist() == [[0, 1], [4, 5], [10, 11]]


def test_terminal_and_timeout_are_never_merged():
    data = small_log()
    columns = data.device()
    assert not (np.asarray(columns.terminal) & np.asarray(columns.timeout)).any()
    both = Dataset.from_arrays(np.zeros((2, 1), np.float32), [0, 1], [0, 1], [False, True], [False, True])
    assert both.terminals.tolist() == [False, True]
    assert both.timeouts.tolist() == [False, False]
    assert any("both terminal and timed out" in note for note in both.notes)


def test_device_columns_agree_with_the_host():
    data = small_log().select(np.array([1, 2]))
    columns = data.device()
    rows = np.asarray(columns.rows)[: int(columns.count)]
    assert rows.tolist() == [2, 3, 4, 5]
    np.testing.assert_array_equal(
        np.asarray(columns.observation)[np.asarray(columns.position)[rows]], data.observations
    )
    following = np.asarray(columns.observation)[np.asarray(columns.successor)[rows]]
    np.testing.assert_array_equal(following, data.next_observations)
    assert np.asarray(columns.step)[rows].tolist() == [0, 1, 2, 0]
    assert np.asarray(columns.episode)[rows].tolist() == [1, 1, 1, 2]


@pytest.mark.parametrize("seed", range(5))
def test_split_by_episode_shares_none(seed):
    count = 50
    data = Dataset.from_arrays(
        np.arange(count)[:, None] * 1.0, np.zeros(count, int), np.arange(count), np.ones(count, bool)
    )
    parts = data.split((0.6, 0.2, 0.2), seed=seed)
    assert [part.episodes for part in parts] == [30, 10, 10]
    found = np.concatenate([part.chosen for part in parts])
    assert sorted(found.tolist()) == list(range(count))
    assert parts[0].store_observations is data.store_observations


@pytest.mark.parametrize("seed", range(5))
def test_split_by_unit_shares_none(seed):
    rng = np.random.default_rng(seed)
    users = np.array([f"user{number}" for number in rng.integers(0, 9, 60)])
    data = Dataset.from_arrays(
        np.zeros((60, 1)) + rng.normal(size=(60, 1)),
        np.zeros(60, int),
        np.zeros(60),
        np.ones(60, bool),
        columns={"user": users},
    )
    first, second = data.split((0.5, 0.5), seed=seed, by="user")
    assert not set(first.units("user")) & set(second.units("user"))
    assert first.episodes + second.episodes == 60
    assert first.chosen.tolist() == data.split((0.5, 0.5), seed=seed, by="user")[0].chosen.tolist()


def test_declared_unit_is_split_by_default():
    _, chatbot = robot_and_chatbot()
    first, second = chatbot.split((0.6, 0.4))
    assert not set(first.units("user")) & set(second.units("user"))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"fractions": (0.5, 0.6)}, "Split fractions must be positive and sum to at most 1, got (0.5, 0.6)."),
        ({"fractions": (-0.5, 0.6)}, "Split fractions must be positive and sum to at most 1, got (-0.5, 0.6)."),
        ({"fractions": 0.8}, "A split takes one fraction for each part, such as (0.8, 0.2), got 0.8."),
        ({"fractions": ()}, "Split fractions must be positive and sum to at most 1, got ()."),
        ({"fractions": (0.99, 0.01)}, "A split of 3 episodes into (0.99, 0.01) leaves a part empty."),
        ({"by": "usr"}, "shop.csv has no column 'usr' of units. Did you mean 'user'? Known: user."),
    ],
)
def test_bad_splits(arguments, sentence):
    data = small_log(columns={"user": np.arange(6)}, origin="shop.csv")
    with pytest.raises(UserError) as caught:
        data.split(**arguments)
    assert str(caught.value) == sentence


def scored() -> Dataset:
    return Dataset.from_arrays(
        np.arange(3.0)[:, None],
        [0, 1, 1],
        {"speed": [1.0, 2, 3], "energy": [10.0, 20, 30]},
        [True, True, True],
        reward_range=((0, 0), (5, 50)),
        origin="scores",
    )


def test_rewarded_by_weights_and_function():
    data = scored()
    assert data.rewards.shape == (3, 2)
    assert data.rewarded({"speed": 2.0}).rewards.tolist() == [2, 4, 6]
    assert data.rewarded([1.0, -0.1]).rewards.tolist() == pytest.approx([0, 0, 0], abs=1e-6)
    made = data.rewarded(lambda speed, energy: np.maximum(speed, energy / 20))
    assert made.rewards.tolist() == [1, 2, 3]
    assert (made.spec.rewards, made.spec.reward_low) == (("reward",), None)


def test_rewarded_carries_the_declared_range():
    spec = scored().rewarded({"speed": 1.0, "energy": -1.0}).spec
    assert (spec.reward_low, spec.reward_high) == ((-50.0,), (5.0,))


@pytest.mark.parametrize(
    ("by", "sentence"),
    [
        ({"sped": 1.0}, "scores has no reward 'sped'. Did you mean 'speed'?"),
        ([1.0], "scores has 2 rewards (speed, energy), got 1 weights."),
        (
            lambda speed, energy: speed / (energy - 10),
            "The reward made of speed, energy must be one finite number per step of scores.",
        ),
    ],
)
def test_bad_rewards(by, sentence):
    with pytest.raises(UserError) as caught, np.errstate(divide="ignore"):
        scored().rewarded(by)
    assert str(caught.value) == sentence


def test_sources_are_sliced_and_split_by():
    joined = concatenate([small_log(), small_log(), small_log()], labels=["a", "b", "c"])
    parts = joined.split((0.34, 0.66), by="source")
    assert [part.episodes for part in parts] == [3, 6]
    assert parts[0].sources is not None
    assert len(set(parts[0].sources)) == 1
    assert not {*parts[0].units("source")} & {*parts[1].units("source")}
    assert small_log().sources is None
    with pytest.raises(UserError, match=r"^arrays has no column 'source' of units\. Known: none\.$"):
        small_log().units("source")


@pytest.mark.parametrize(
    ("episodes", "sentence"),
    [
        ([0, 2, 2], "Episode 2 of log.npz is selected more than once."),
        ([3], "log.npz has 3 episodes, counted from 0; there is no episode 3."),
        ([0, -1], "log.npz has 3 episodes, counted from 0; there is no episode -1."),
        ([], "No episode of log.npz is selected; select at least one."),
        ([False] * 3, "No episode of log.npz is selected; select at least one."),
        ([True, False], "log.npz has 3 episodes, the mask has the shape (2,)."),
        ([0.0, 1.0], "Episodes of log.npz are selected by whole numbers or by a mask, in one dimension."),
    ],
)
def test_bad_selections(episodes, sentence):
    with pytest.raises(UserError) as caught:
        small_log(origin="log.npz").select(np.array(episodes))
    assert str(caught.value) == sentence


def test_a_view_is_whole_by_its_episodes_and_not_by_their_number():
    data = small_log()
    repeated = dataclasses.replace(data, chosen=np.array([0, 0, 2]))
    assert data.select(np.array([2, 0, 1])).whole
    assert not repeated.whole
    assert repeated.rewards.tolist() == [1, 2, 1, 2, 6]


def test_fingerprint_follows_the_content():
    data = small_log()
    assert data.fingerprint == small_log(origin="elsewhere").fingerprint
    assert data.fingerprint != data.select(np.array([0, 1])).fingerprint
    assert data.fingerprint != data.rewarded([2.0]).fingerprint
    changed = data.store_observations.copy()
    changed[0, 0] += 1e-3
    assert data.fingerprint != Dataset(**{**vars(data), "store_observations": changed}).fingerprint
    assert data.fingerprint != small_log(propensities=np.full(6, 0.5)).fingerprint


def test_towel_robot():
    robot, _ = robot_and_chatbot()
    assert (robot.steps, robot.episodes, robot.spec.longest, robot.spec.horizon) == (600, 3, 200, 200)
    assert robot.spec.observation("camera").kind == "image"
    assert robot.spec.observation("camera").shape == (12, 16, 3)
    assert robot.observations["camera"].dtype == np.uint8
    assert robot.durations.sum() == pytest.approx(30)
    assert robot.returns.tolist() == [1, 0, 1]
    assert robot.episode(1).timeout
    assert robot.episode(1).observations["joints"].shape == (201, 7)
    assert robot.spec.action.low == (-1.0,) * 7


def test_chatbot():
    _, chatbot = robot_and_chatbot()
    spec = chatbot.spec.observation()
    assert (spec.kind, spec.count, chatbot.spec.action.kind) == ("tokens", 50, "discrete")
    assert isinstance(chatbot.store_observations, Ragged)
    padded = np.asarray(chatbot.device().observation)
    assert padded.shape == (40, spec.shape[0])
    first = chatbot.store_observations[0]
    assert padded[0, : len(first)].tolist() == first.tolist()
    assert (padded[0, len(first) :] == -1).all()
    assert set(chatbot.rewards.tolist()) == {1.0, -10.0, 0.0}
    assert chatbot.returns.tolist() == [-9.0] * 10


def test_public_names():
    assert weft.Dataset is Dataset
    assert repr(small_log(origin="log.npz")) == "Dataset(log.npz: 6 steps, 3 episodes, discrete actions)"


def test_notes_are_shown_where_a_log_is_printed():
    data = small_log(origin="log.npz", notes=("Read with care.",))
    assert str(data).splitlines()[0] == repr(data)
    assert "note: Read with care." in str(data).splitlines()


def test_a_notebook_shows_a_table_whose_words_are_escaped():
    notes = ["<script>alert('note')</script>"]
    data = small_log(origin="<b>a & b</b>", notes=notes, horizon=9)
    shown = data._repr_html_()
    assert shown.count("<table") == 1
    for raw in ("<b>", "<script", "a & b"):
        assert raw not in shown
    for text in ("&lt;b&gt;a &amp; b&lt;/b&gt;", "&lt;script&gt;", ">declared horizon<", ">9<", f">{data.steps}<"):
        assert text in shown
    assert "color" not in shown  # so that it can be read on light and on dark pages


def test_a_notebook_shows_every_kind_of_log():
    for log in robot_and_chatbot():
        shown = log._repr_html_()
        assert log.spec.action.words in shown
        assert all(part.words in shown for part in log.spec.observations)
