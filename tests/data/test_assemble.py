"""Every wrong value is one sentence that names the origin, the column and the rows, counted from 0."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft import Dataset, UserError, concatenate


def build(**changes) -> Dataset:
    """Four steps in two episodes, with some arguments changed."""
    parts = {
        "observations": np.arange(8.0).reshape(4, 2),
        "actions": np.array([0, 1, 0, 1]),
        "rewards": np.array([1.0, 0, 1, 0]),
        "terminals": np.array([False, True, False, True]),
        "origin": "log.npz",
    }
    return Dataset.from_arrays(**{**parts, **changes})


CONTINUOUS = np.array([[0.5], [-0.5], [0.1], [2.0]])

BAD = {
    "reward NaN": (
        {"rewards": [1.0, np.nan, 1, np.nan]},
        "log.npz: column 'rewards' is NaN or infinite (2 rows, first 1, 3); mend or drop these rows.",
    ),
    "reward infinite": (
        {"rewards": [1.0, 0, 1, np.inf]},
        "log.npz: column 'rewards' is NaN or infinite (row 3); mend or drop these rows.",
    ),
    "reward component": (
        {"rewards": {"click": [1, 2, 3, 4], "buy": [1, np.nan, 3, 4]}},
        "log.npz: column 'buy' is NaN or infinite (row 1); mend or drop these rows.",
    ),
    "reward words": ({"rewards": ["a", 1, 2, 3]}, "log.npz: column 'rewards' holds values that are not numbers."),
    "reward short": ({"rewards": [1, 2]}, "log.npz: column 'rewards' has 2 rows, the actions have 4."),
    "reward wide": (
        {"rewards": np.zeros((4, 2))},
        "log.npz: 'rewards' has shape (4, 2); give several rewards as a dictionary of columns.",
    ),
    "observation NaN": (
        {"observations": np.array([[0, 1], [2, np.nan], [3, 4], [5, 6]])},
        "log.npz: column 'observations' is NaN or infinite (row 1); mend or drop these rows.",
    ),
    "observation infinite": (
        {"observations": {"x": np.array([0, 1, -np.inf, 3])}},
        "log.npz: column 'x' is NaN or infinite (row 2); mend or drop these rows.",
    ),
    "observation objects": (
        {"observations": np.array([{}, 1, 2, 3], object)},
        "log.npz: column 'observations' holds object values; observations must be numbers.",
    ),
    "observation short": (
        {"observations": np.zeros((3, 2))},
        "log.npz: column 'observations' has 3 rows, the actions have 4.",
    ),
    "observation empty": (
        {"observations": np.zeros((4, 0))},
        "log.npz: column 'observations' has the shape (4, 0): there is nothing in it.",
    ),
    "observation no tokens": (
        {"observations": [[1], [0.5, 2], [1, 2], [3]]},
        "log.npz: column 'observations' has rows of different shapes that are not sequences of tokens, whole numbers "
        "from 0 (row 1).",
    ),
    "kind of nothing": (
        {"observations": {"word": np.arange(4)}, "kinds": {"wrd": "category"}},
        "log.npz: a kind is given for 'wrd', which is no observation. Did you mean 'word'?",
    ),
    "action outside": (
        {"actions": CONTINUOUS, "action_bounds": (-1, 1)},
        "log.npz: column 'actions' is outside its bounds [[-1.0], [1.0]] (row 3).",
    ),
    "action negative": (
        {"actions": [0, -1, 0, 1]},
        "log.npz: column 'actions' is outside its bounds: a choice is counted from 0 (row 1).",
    ),
    "action too large": (
        {"actions": [0, 1, 2, 5], "action_count": 3},
        "log.npz: column 'actions' is outside its bounds [0, 2] (row 3).",
    ),
    "action beyond the labels": (
        {"actions": [0, 1, 2, 1], "action_labels": ["no", "yes"]},
        "log.npz: column 'actions' is outside its bounds [0, 1] (row 2).",
    ),
    "action unknown label": (
        {"actions": ["no", "yes", "maybe", "no"], "action_labels": ["no", "yes"]},
        "log.npz: column 'actions' holds labels that are not declared (row 2).",
    ),
    "action mixed": (
        {"actions": [0, "left", 1, 0]},
        "log.npz: column 'actions' mixes action types (int, text; unlike the first: row 1); make them all "
        "numbers or all labels.",
    ),
    "action NaN": (
        {"actions": np.array([0.0, np.nan, 1, 0])},
        "log.npz: column 'actions' is NaN or infinite (row 1); mend or drop these rows.",
    ),
    "action ragged": (
        {"actions": [[1], [1, 2], [1], [2]]},
        "log.npz: column 'actions' has rows of different shapes.",
    ),
    "action bounds": (
        {"actions": CONTINUOUS, "action_bounds": (1, -1)},
        "log.npz: the action bounds [[1.0], [-1.0]] must be finite, the lower ones lower.",
    ),
    "terminal inside": (
        {"boundaries": [False, False, False, True]},
        "log.npz: column 'terminals' is true inside an episode (row 1); end the episode there, or pass "
        "terminal_inside='keep' (--terminal-inside keep) if steps after a terminal are meant.",
    ),
    "timeout inside": (
        {"terminals": [0, 0, 0, 1], "timeouts": [0, 1, 0, 0], "boundaries": [0, 0, 0, 1]},
        "log.npz: column 'timeouts' is true inside an episode (row 1); end it there.",
    ),
    "terminal values": (
        {"terminals": [0, 2, 0, 1]},
        "log.npz: column 'terminals' must hold true or false, 0 or 1 (row 1).",
    ),
    "zero length": (
        {"terminals": [0, 1, 0, 1], "timeouts": [0, 0, 1, 0]},
        "log.npz: an episode of zero length: its only row is a timeout without a next observation (row 2); give next "
        "observations, or drop the row.",
    ),
    "no steps": ({"actions": []}, "log.npz: there are no steps; give a log with at least one."),
    "propensity zero": (
        {"propensities": [0.5, 0.0, 0.5, -1.0]},
        "log.npz: column 'propensities' must be positive (2 rows, first 1, 3); it is a probability or density.",
    ),
    "propensity above one": (
        {"propensities": [0.5, 0.5, 1.5, 1.0]},
        "log.npz: column 'propensities' is a probability of a discrete action and may not exceed 1 (row 2).",
    ),
    "duration": ({"durations": [1, 0, 1, 1]}, "log.npz: column 'durations' must be positive (row 1)."),
    "reward range": (
        {"reward_range": (1, 0)},
        "log.npz: the declared reward range ((1.0,), (0.0,)) is empty.",
    ),
    "reward range form": (
        {"reward_range": 3},
        "log.npz: the reward range must be a pair (low, high), each one number or 1.",
    ),
    "column short": ({"columns": {"user": [1]}}, "log.npz: column 'user' has 1 rows, the actions have 4."),
}


@pytest.mark.parametrize(("changes", "sentence"), BAD.values(), ids=BAD)
def test_bad_input(changes, sentence):
    with pytest.raises(UserError) as caught:
        build(**changes)
    assert str(caught.value) == sentence


def test_names_and_row_numbers_are_the_users():
    with pytest.raises(UserError) as caught:
        build(rewards=[np.nan, 0, 1, np.nan], names={"rewards": "click"}, row_numbers=[7, 5, 6, 4])
    assert str(caught.value) == (
        "log.npz: column 'click' is NaN or infinite (2 rows, first 4, 7); mend or drop these rows."
    )


def test_density_may_exceed_one():
    data = build(actions=CONTINUOUS, propensities=[0.5, 3.0, 1.0, 2.0])
    assert data.log_propensities == pytest.approx(np.log([0.5, 3.0, 1.0, 2.0]))


def test_terminal_inside_can_be_kept():
    data = build(boundaries=[False, False, False, True], terminal_inside="keep")
    assert (data.episodes, data.terminals.tolist()) == (1, [False, True, False, True])


def test_timed_out_step_without_next_observation_becomes_the_last_observation():
    data = build(terminals=[0, 0, 0, 1], timeouts=[0, 1, 0, 0])
    assert (data.steps, data.episodes, data.lengths.tolist()) == (3, 2, [1, 2])
    assert data.timeouts.tolist() == [True, False, False]
    assert data.next_observations[0].tolist() == [2, 3]
    assert data.episode(0).observations.tolist() == [[0, 1], [2, 3]]
    assert "1 timed-out steps without a next observation are kept as last observations only." in data.notes


def test_a_log_that_stops_is_timed_out():
    data = build(terminals=[0, 1, 0, 0], next_observations=np.arange(8.0).reshape(4, 2) + 2)
    assert data.timeouts.tolist() == [False, False, False, True]
    assert data.notes == ("The last episode ends with the log; it counts as timed out.",)


def test_one_step_with_a_next_observation():
    data = Dataset.from_arrays(np.zeros((1, 2)), [0], [1.0], [False], [True], next_observations=np.ones((1, 2)))
    assert data.next_observations.tolist() == [[1, 1]]


def test_tokens_and_categories_seen_only_at_the_end_are_counted():
    tokens = build(observations=[[1], [2, 3], [0], [1]], next_observations=[[2, 3], [7, 8, 9], [1], [4]])
    assert (tokens.spec.observation().count, tokens.spec.observation().shape) == (10, (3,))
    words = build(
        observations={"word": np.array([0, 1, 0, 1])},
        next_observations={"word": np.array([1, 0, 1, 5])},
        kinds={"word": "category"},
    )
    assert words.spec.observation("word").count == 6


def test_whole_numbers_and_floats_become_floats():
    data = build(observations=np.arange(4)[:, None], next_observations=np.arange(4)[:, None] + 1.5)
    assert (data.observations.dtype, data.spec.observation().dtype) == (np.float32, "float32")


def test_large_integers_do_not_wrap():
    assert build(observations=np.array([[2**40], [1], [2], [3]])).observations[0, 0] == 2.0**40


@given(st.lists(st.tuples(st.integers(1, 5), st.booleans()), min_size=1, max_size=6), st.integers(0, 99))
def test_any_episodes_round_trip(shape, seed):
    rng = np.random.default_rng(seed)
    count = sum(length for length, _ in shape)
    last = np.zeros(count, bool)
    last[np.cumsum([length for length, _ in shape]) - 1] = True
    terminal = np.zeros(count, bool)
    terminal[last] = [ended for _, ended in shape]
    seen, after = rng.normal(size=(2, count, 2)).astype(np.float32)
    after[:-1][~last[:-1]] = seen[1:][~last[:-1]]
    data = build(
        observations=seen,
        next_observations=after,
        actions=rng.integers(0, 3, count),
        rewards=rng.normal(size=count),
        terminals=terminal,
        timeouts=last & ~terminal,
    )
    assert data.lengths.tolist() == [length for length, _ in shape]
    np.testing.assert_array_equal(data.observations, seen)
    np.testing.assert_array_equal(data.next_observations, after)
    assert len(data.store_observations) == count + data.episodes
    for index, (length, ended) in enumerate(shape):
        episode = data.episode(index)
        assert (len(episode), episode.terminal, episode.timeout) == (length, ended, not ended)
        assert len(episode.observations) == length + 1


def test_next_observations_that_contradict_the_following_row_are_noted():
    seen = np.arange(8.0).reshape(4, 2)
    right = build(next_observations=seen + 2)
    assert right.notes == ()
    wrong = build(next_observations=seen + 1)
    assert wrong.notes == (
        "The next observation differs from the observation of the following row inside episodes (2 rows, first 0, 2); "
        "both are kept. Check the order of rows and the ends of episodes.",
    )
    np.testing.assert_array_equal(wrong.next_observations, seen + 1)


def test_dictionaries_may_come_in_any_order():
    rng = np.random.default_rng(0)
    seen = {"a": rng.normal(size=(4, 2)), "b": rng.normal(size=4)}
    after = {"a": rng.normal(size=(4, 2)), "b": rng.normal(size=4)}
    turned = [dict(reversed(part.items())) for part in (seen, after)]
    straight = build(observations=seen, next_observations=after)
    for now, then in ((seen, turned[1]), (turned[0], after), turned):
        assert build(observations=now, next_observations=then).fingerprint == straight.fingerprint
    joined = concatenate([straight, build(observations=turned[0], next_observations=turned[1])])
    np.testing.assert_array_equal(joined.observations["a"][4:], straight.observations["a"])


@pytest.mark.parametrize(
    ("seen", "after", "said"),
    [
        ({"a": np.zeros(4)}, {"b": np.zeros(4)}, "the observations are a, the next observations b; give the same."),
        ({"a": np.zeros(4)}, np.zeros(4), "the observations are a, the next observations one array; give the same."),
        (
            np.zeros((4, 2)),
            np.zeros((4, 3)),
            "the observations are of the shape (2,), after the step of the shape (3,); give the same form.",
        ),
        (
            np.zeros((4, 2)),
            [[1], [2, 3], [4], [5]],
            "the observations are of the shape (2,), after the step tokens; give the same form.",
        ),
    ],
)
def test_next_observations_of_another_form(seen, after, said):
    with pytest.raises(UserError) as caught:
        build(observations=seen, next_observations=after)
    assert str(caught.value) == f"log.npz: {said}"


def test_categories_that_are_names_get_codes():
    seen = {"item": np.array([1_000_000_001, 7, 1_000_000_001, 7])}
    data = build(observations=seen, next_observations={"item": np.array([7, 9, 7, 9])}, kinds={"item": "category"})
    part = data.spec.observation("item")
    assert (part.count, part.categories) == (3, ("7", "9", "1000000001"))
    assert data.observations["item"].tolist() == [2, 0, 2, 0]
    assert data.notes[0].startswith("Column 'item' holds 3 whole numbers from 7 to 1000000001")
    whole = build(observations={"item": np.array([0.0, 1, 2, 1])}, kinds={"item": "category"})
    assert (whole.observations["item"].dtype, whole.spec.observation("item").count) == (np.int32, 3)
    for values, said in (
        ([0.5, 1, 2, 1], "column 'item' is called a category, but holds fractions (row 0)"),
        ([0, 1, 5, 1], "column 'item' has codes outside the 3 declared categories (row 2)"),
    ):
        with pytest.raises(UserError) as caught:
            build(observations={"item": values}, kinds={"item": "category"}, categories={"item": ["a", "b", "c"]})
        assert str(caught.value).startswith(f"log.npz: {said}")


def test_tokens_of_huge_numbers_are_refused():
    for huge in (10**9, 2**40):
        with pytest.raises(UserError, match="number"):
            build(observations=[[1], [2, huge], [3], [4]])


def test_channels_first_pictures_are_noted():
    pictures = np.zeros((4, 3, 12, 16), np.uint8)
    note = build(observations={"camera": pictures}).notes[0]
    assert note.startswith("Pictures in column 'camera' are 3×12×16, which looks like channels first")
    assert build(observations=np.moveaxis(pictures, 1, -1)).notes == ()
    assert build(observations=pictures[:, 0]).notes == ()


@pytest.mark.parametrize(
    "values", [[np.nan, 1.0, 2, 2], ["NA", "a", "b", "b"], np.array([None, "a", "b", "c"], object)]
)
def test_units_without_a_name_are_refused(values):
    with pytest.raises(UserError, match="column 'user', the unit, has no value"):
        build(columns={"user": values}, unit="user")
    data = build(columns={"user": values})
    with pytest.raises(UserError, match="column 'user' of units has no value"):
        data.units("user")


def test_one_value_for_a_column_is_a_sentence():
    for part in ("actions", "rewards", "terminals", "propensities", "durations"):
        with pytest.raises(UserError, match="is one value"):
            build(**{part: 0.5})
