"""Fingerprints: what is recognised after re-sorting, renaming and conversion, what is coincidence, and how fast."""

import time

import numpy as np
import polars
import pytest

import weft
from weft import Dataset, concatenate
from weft.data.fingerprints import CONTENT, FINE, LEAST, LOG, NUMBER, WIDTH, fingerprints, repeated
from weft.data.recognition import overlap, seen
from weft.data.trace import Trace


def wide(seed: int = 0, steps: int = 300, shift: float = 0.0, **options) -> Dataset:
    """Return 30 episodes of 10 steps with continuous observations, discrete actions and a user for every two."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(steps, 3)).astype(np.float32) + np.float32(shift)
    last = np.arange(steps) % 10 == 9
    return Dataset.from_arrays(
        values, rng.integers(0, 3, steps), rng.normal(size=steps), last,
        **{"columns": {"user": np.arange(steps) // 20}, **options},
    )  # fmt: skip


def small_world(seed: int, episodes: int = 400, length: int = 5, states: int = 6) -> Dataset:
    """Return episodes of a world so small that many are alike."""
    rng = np.random.default_rng(seed)
    steps = episodes * length
    state = rng.integers(0, states, steps)[:, None].astype(np.float32)
    last = np.arange(steps) % length == length - 1
    return Dataset.from_arrays(state, rng.integers(0, 2, steps), rng.integers(0, 2, steps), last)


def rows(data: Dataset) -> dict[str, np.ndarray]:
    """Return a log as the columns of a table."""
    seen_at = data.observations
    return {
        "episode": np.repeat(np.arange(data.episodes), data.lengths),
        **{f"x{i}": seen_at[:, i] for i in range(seen_at.shape[1])},
        "action": data.actions,
        "reward": data.rewards,
    }


def test_a_view_is_recognised_by_its_place():
    data = small_world(0)
    table = fingerprints(data)
    assert table.shape == (400, WIDTH)
    assert table.dtype == np.uint64
    parts = data.split((0.5, 0.5), seed=1)
    first, second = map(fingerprints, parts)
    assert overlap(first, second) == 0
    assert seen(first, table).sum() == 200
    assert (seen(first, table) == np.isin(data.chosen, parts[0].chosen)).all()
    again = fingerprints(small_world(0).rewarded([3.0]))  # the same decisions, loaded again, other rewards
    assert seen(first, again).sum() == 200


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_log_is_recognised_after_conversion_renaming_and_sorting(tmp_path, suffix):
    data = wide()
    original = fingerprints(data)
    frame = polars.DataFrame(rows(data))
    names = {"x0": "speed", "x1": "angle", "x2": "height"}
    order = np.random.default_rng(1).permutation(len(frame))
    other = frame.rename(names).select("reward", "height", "action", "speed", "episode", "angle")[order]
    if suffix == "parquet":
        other = other.with_columns(polars.col("speed", "angle", "height", "reward").cast(polars.Float64))
        other = other.with_columns(polars.col("action").cast(polars.Int16))
        other.write_parquet(tmp_path / "log.parquet")
    else:
        other.write_csv(tmp_path / "log.csv")
    loaded = weft.load(
        tmp_path / f"log.{suffix}", episode="episode", action="action", reward="reward", ends="terminal",
        observations=["height", "speed", "angle"],
    )  # fmt: skip
    found = fingerprints(loaded)
    assert found[0, LOG] != original[0, LOG]
    assert set(found[:, CONTENT]) == set(original[:, CONTENT])
    assert set(found[:, LEAST]) == set(original[:, LEAST])
    assert overlap(original, found) == 1
    assert overlap(fingerprints(data.select(np.arange(12))), found) == 12 / 30


def test_components_joined_types_changed_and_another_reward():
    data = wide()
    split = Dataset.from_arrays(
        {"left": data.observations[:, 2:].astype(np.float64), "right": data.observations[:, :2].astype(np.float64)},
        data.actions.astype(np.int16), data.rewards.astype(np.float64), data.terminals,
    )  # fmt: skip
    assert (fingerprints(split)[:, [CONTENT, LEAST]] == fingerprints(data)[:, [CONTENT, LEAST]]).all()
    reward = Dataset.from_arrays(data.observations, data.actions, data.rewards * 2, data.terminals)
    changed = fingerprints(reward)
    assert overlap(fingerprints(data), changed) == 1
    few = fingerprints(Dataset.from_arrays(*(part[:20] for part in (
        data.observations, data.actions, data.rewards + 1, data.terminals))))  # fmt: skip
    assert seen(fingerprints(data), few).all()
    small = small_world(0)
    shifted = Dataset.from_arrays(small.observations, small.actions, small.rewards + 1, small.terminals)
    assert (fingerprints(shifted)[:, CONTENT] != fingerprints(small)[:, CONTENT]).all()


def test_what_differs_is_told_apart():
    data = wide()
    for other in (wide(1), wide(shift=1e-4)):
        assert overlap(fingerprints(data), fingerprints(other)) == 0
    joined = concatenate([wide(1), data.select(np.array([3, 7]))])
    assert np.flatnonzero(seen(fingerprints(data), fingerprints(joined))).tolist() == [30, 31]
    mirrored = Dataset.from_arrays(data.observations, 2 - data.actions, data.rewards, data.terminals)
    assert not set(fingerprints(mirrored)[:, CONTENT]) & set(fingerprints(data)[:, CONTENT])


def test_an_episode_that_was_cut_or_lost_a_step_is_recognised_by_its_least_step():
    data = wide()
    ends = np.arange(300) % 5 == 4
    cut = Dataset.from_arrays(data.observations, data.actions, data.rewards, ends)
    found = seen(fingerprints(data), fingerprints(cut)).reshape(30, 2)
    assert (found.sum(1) == 1).all()
    keep = np.arange(300) % 10 != 9
    shorter = Dataset.from_arrays(
        data.observations[keep], data.actions[keep], data.rewards[keep], np.arange(270) % 9 == 8
    )
    assert overlap(fingerprints(data), fingerprints(shorter)) > 0.75


def test_units_count_as_seen_when_one_episode_is():
    data = wide()
    half = fingerprints(data.select(np.array([0, 5])))
    assert overlap(half, fingerprints(data)) == 2 / 30
    assert overlap(half, fingerprints(data), data.units("user")) == 2 / 15


@pytest.mark.parametrize("length", [1, 3, 6])
def test_coincidence_in_a_small_world_is_not_held_against_anybody(length):
    logs = [fingerprints(small_world(seed, length=length)) for seed in range(8)]
    common = len(set(logs[0][:, CONTENT]) & set(logs[1][:, CONTENT]))
    assert common > 5 or length == 6
    assert max(overlap(logs[i], logs[j]) for i in range(8) for j in range(i)) == 0
    # a copy in another form is recognised all the same
    data = small_world(0, length=length)
    copy = Dataset.from_arrays(data.observations.astype(int), data.actions, data.rewards, data.terminals)
    assert overlap(logs[0], fingerprints(copy)) == 1


def test_a_shared_part_of_small_worlds_is_more_than_coincidence():
    parts = small_world(0, length=6).split((0.5, 0.5))
    mixed = concatenate([small_world(1, 200, length=6), parts[0]])
    assert overlap(fingerprints(small_world(0, length=6)), fingerprints(mixed)) > 0.3


def drawn(contents: np.ndarray, log: int) -> np.ndarray:
    """Return fingerprints of episodes of one coarse step, by the numbers of their contents."""
    table = np.zeros((len(contents), WIDTH), np.uint64)
    table[:, LOG], table[:, NUMBER] = log, np.arange(len(contents))
    table[:, CONTENT], table[:, LEAST] = contents, contents // 2
    return table


@pytest.mark.parametrize("skewed", [0.0, 1.0])
@pytest.mark.parametrize("contents", [6, 24, 500, 50_000])
def test_fresh_logs_of_one_small_world_share_nothing(contents, skewed):
    rng = np.random.default_rng(contents)
    chance = 1 / np.arange(1, contents + 1) ** skewed
    accused = 0
    for sizes in ((40, 40), (400, 400), (3000, 300), (300, 3000), (3000, 3000)):
        for _ in range(6):
            first, second = (rng.choice(contents, size, p=chance / chance.sum()) for size in sizes)
            accused += overlap(drawn(first, 1), drawn(second, 2)) > 0
    assert accused == 0  # of 240 in all


@pytest.mark.parametrize("skewed", [0.0, 1.0])
def test_what_logs_of_a_small_world_share_is_estimated(skewed):
    rng = np.random.default_rng(0)
    chance = 1 / np.arange(1, 501) ** skewed
    first, fresh = (rng.choice(500, 3000, p=chance / chance.sum()) for _ in range(2))
    known = drawn(first, 1)
    for share in (0.4, 0.6, 0.8):
        part = np.concatenate([rng.permutation(first)[: int(3000 * share)], fresh[int(3000 * share) :]])
        assert overlap(known, drawn(rng.permutation(part), 2)) == pytest.approx(share, abs=0.12)
    assert overlap(known, drawn(rng.permutation(first)[1:], 2)) == 1
    assert overlap(known, drawn(rng.permutation(first)[:1500], 2)) == 1
    # a policy put together from two that saw the same log has seen it once
    assert overlap(np.concatenate([known, known]), drawn(rng.permutation(first)[:1500], 2)) == 1
    again = known.copy()
    again[:, LOG] = 3
    assert overlap(np.concatenate([known, again]), drawn(rng.permutation(first), 2)) == 1


def test_words_are_no_fine_numbers():
    rng = np.random.default_rng(0)
    words, names = tuple(f"word {number}" for number in range(40)), [f"x{place}" for place in range(4)]
    data = Dataset.from_arrays(
        {name: rng.integers(0, 40, 400) for name in names}, rng.integers(0, 2, 400), np.zeros(400), np.ones(400, bool),
        kinds=dict.fromkeys(names, "category"), categories=dict.fromkeys(names, words),
    )  # fmt: skip
    assert (fingerprints(data)[:, FINE] == 0).all()


def shop(path, observations: str = "user_feature_*,position") -> Dataset:
    """Load the real log of discrete decisions."""
    return weft.load(
        path, observations=observations, action="item_id", reward="click", propensity="propensity_score",
        time="timestamp",
    )  # fmt: skip


@pytest.fixture(scope="module")
def resaved(shared_data, tmp_path_factory):
    """Return the table of a real log, and a function that saves some of its rows in another form and loads them."""
    table = polars.read_csv(shared_data / "open_bandit" / "men_random.csv")
    folder = tmp_path_factory.mktemp("resaved")

    def save(rows, suffix: str = "parquet", observations: str = "user_feature_*,position") -> np.ndarray:
        part = table[rows].select(sorted(table.columns, reverse=True))
        path = folder / f"{len(list(folder.iterdir()))}.{suffix}"
        part.write_csv(path) if suffix == "csv" else part.write_parquet(path)
        return fingerprints(shop(path, observations))

    return fingerprints(shop(shared_data / "open_bandit" / "men_random.csv")), save


def test_a_real_log_of_discrete_decisions_is_recognised_after_saving(resaved, shared_data):
    whole, save = resaved
    every = np.arange(10_000)
    order = np.random.default_rng(0).permutation(10_000)
    for rows in (every[1:], every[:5000], every[::2], order[1:]):
        assert overlap(whole, save(rows)) == 1
    assert overlap(whole, save(every[1:], "csv")) == 1
    assert overlap(save(order[:4000]), save(order[2400:6400])) == pytest.approx(0.4, abs=0.05)
    for apart in ((every[:5000], every[5000:]), (every[::2], every[1::2]), (order[:5000], order[5000:])):
        assert overlap(*map(save, apart)) == 0
    # by the position alone there are 137 contents
    whole = fingerprints(shop(shared_data / "open_bandit" / "men_random.csv", "position"))
    for rows in (every[1:], every[:5000], every[::2]):
        assert overlap(whole, save(rows, observations="position")) == 1
    assert overlap(save(every[:5000], observations="position"), save(every[5000:], observations="position")) == 0


def test_images_tokens_and_labels():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (20, 5, 5, 3), dtype=np.uint8)
    ends = np.arange(20) % 4 == 3
    make = lambda pixels: fingerprints(Dataset.from_arrays(pixels, np.zeros(20, int), np.zeros(20), ends))  # noqa: E731
    assert overlap(make(image), make(image.copy())) == 1
    assert not set(make(image)[:, CONTENT]) & set(make(image[:, :, ::-1])[:, CONTENT])
    tokens = [rng.integers(0, 50, rng.integers(2, 9)).tolist() for _ in range(20)]
    write = lambda words: fingerprints(Dataset.from_arrays(words, np.zeros(20, int), np.zeros(20), ends))  # noqa: E731
    assert (write(tokens)[:, CONTENT] == write(tokens)[:, CONTENT]).all()
    assert not set(write(tokens)[:, CONTENT]) & set(write([[*row[::-1], 1] for row in tokens])[:, CONTENT])
    words = np.array(["stay", "go"])[rng.integers(0, 2, 20)]
    named = Dataset.from_arrays(rng.normal(size=(20, 2)), words, np.zeros(20), ends)
    other = Dataset.from_arrays(
        named.observations, words, np.zeros(20), ends, action_labels=["stay", "wait", "go"]
    )  # fmt: skip
    assert (named.actions != other.actions).any()
    assert (fingerprints(named)[:, CONTENT] == fingerprints(other)[:, CONTENT]).all()


def test_a_trace_survives_packing_and_never_changes_a_program():
    table = fingerprints(wide())
    assert (Trace.unpack(Trace(table).packed()).table == table).all()
    assert Trace.unpack(Trace().packed()).table is None
    assert Trace(table) == Trace()
    assert hash(Trace(table)) == hash(Trace())
    assert repr(Trace(table)) == "Trace(30 episodes)"
    older = np.ascontiguousarray(table[:, :5]).view(np.uint32)  # as files had it that knew no identity
    assert (Trace.unpack(older).table == table).all()
    assert len(Trace(table).joined(table[:3]).table) == 33
    assert Trace().joined(table).table is None


def test_a_hundred_thousand_steps_take_a_fraction_of_a_second():
    rng = np.random.default_rng(0)
    data = Dataset.from_arrays(
        rng.normal(size=(100_000, 17)), rng.normal(size=(100_000, 6)), rng.normal(size=100_000),
        np.arange(100_000) % 100 == 99,
    )  # fmt: skip
    begun = time.process_time()
    fingerprints(data)
    assert time.process_time() - begun < 2


def test_rows_that_were_loaded_twice_are_known():
    def log(size, kinds, seed, ordered=False):
        random = np.random.default_rng(seed)
        seen = random.normal(size=(size, 4)) if kinds is None else random.integers(0, kinds, (size, 1)).astype(float)
        action, reward = random.integers(0, 2, size), (random.random(size) < 0.3).astype(float)
        if ordered:
            order = np.lexsort((reward, action, seen[:, 0]))
            seen, action, reward = seen[order], action[order], reward[order]
        return Dataset.from_arrays(seen, action, reward, np.ones(size, bool), action_count=2)

    for kinds in (1, 3, 10, 1000, None):
        once = log(1000, kinds, 0)
        assert repeated(fingerprints(once)) == 0
        assert repeated(fingerprints(concatenate([once, once]))) == 0.5
        if kinds is not None:
            assert repeated(fingerprints(log(1000, kinds, 0, ordered=True))) == 0
    fine = log(1000, None, 0)
    assert repeated(fingerprints(concatenate([fine, fine.select(np.arange(300))]))) == pytest.approx(300 / 1300)
    assert not any(repeated(fingerprints(log(500, kinds, seed))) for kinds in (1, 3, 10, 100) for seed in range(20))
