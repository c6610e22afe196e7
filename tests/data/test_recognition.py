"""What is recognised of yesterday's export in today's: in any order, changed, doubled, in part, with ids or not."""

import numpy as np
import polars
import pytest

import weft
from weft.data.fingerprints import LOG, fingerprints
from weft.data.recognition import recognise, seen, sight

COLUMNS = {"observations": ["x", "y"], "action": "item", "reward": "click"}


def frame(size: int, seed: int, begin: int, kind: str) -> polars.DataFrame:
    """Return single decisions: `fine` observations, `coarse` ones with 36 contents a choice and reward, or `few`."""
    rng = np.random.default_rng(seed)
    x = {
        "fine": lambda: rng.normal(size=(size, 2)),
        "coarse": lambda: rng.integers(0, 3, (size, 2)).astype(float),
        "few": lambda: np.stack([rng.integers(0, 2, size), np.zeros(size)], 1).astype(float),
    }[kind]()
    item, number = rng.integers(0, 2, size), np.arange(begin, begin + size)
    click = (rng.random(size) < np.where(item, 0.6, 0.4)).astype(float)
    return polars.DataFrame({
        "id": number, "user": number // 3, "time": 1000 + number, "x": x[:, 0], "y": x[:, 1], "item": item,
        "click": click,
    })  # fmt: skip


def late(rows: polars.DataFrame) -> polars.DataFrame:
    """Return the rows with another outcome in every twentieth."""
    changed = polars.int_range(polars.len()) % 20 == 0
    return rows.with_columns(click=polars.when(changed).then(1 - polars.col("click")).otherwise(polars.col("click")))


def table(rows: polars.DataFrame, **options) -> np.ndarray:
    return fingerprints(weft.load(rows, **COLUMNS, **options))


def wrong(old: polars.DataFrame, new: polars.DataFrame, part: bool = False, **options) -> tuple[int, int]:
    """Return how many old decisions count as new, and how many new ones as old; part: a part of the old was opened."""
    data = weft.load(old, **COLUMNS, **options)
    data = data.split((0.4, 0.6), seed=1)[0] if part else data
    answer = recognise(fingerprints(data), table(new, **options))
    assert not answer.guess.any()
    there = np.isin(new["id"].to_numpy(), old["id"].to_numpy()[data.chosen])
    return int((there & ~answer.certain).sum()), int((answer.certain & ~there).sum())


def exports(kind: str) -> dict[str, polars.DataFrame]:
    """Return what the export of the next day may look like, in an order that the rows keep."""
    old, new = frame(600, 1, 0, kind), frame(400, 2, 600, kind)
    both = polars.concat([old, new])
    return {
        "the same": old,
        "appended": both,
        "newest first": polars.concat([new, old]),
        "columns in another order": both.select(reversed(both.columns)),
        "other time stamps": both.with_columns(time=polars.col("time") + 9_000_000),
        "late outcomes": polars.concat([late(old), new]),
        "the last days": both[300:],
        "float32": both.with_columns(polars.col("x", "y").cast(polars.Float32)),
        "loaded twice": polars.concat([old, old]),
        "nothing old": new,
        "another log": frame(1000, 7, 5000, kind),
    }


@pytest.mark.parametrize("part", [False, True])
@pytest.mark.parametrize("kind", ["fine", "coarse", "few"])
def test_rows_that_keep_their_order_are_told_apart_exactly(kind, part):
    old = frame(600, 1, 0, kind)
    assert {name: wrong(old, new, part) for name, new in exports(kind).items()} == dict.fromkeys(exports(kind), (0, 0))


@pytest.mark.parametrize("kind", ["fine", "coarse", "few"])
def test_rows_that_were_put_in_between_change_little(kind):
    old, new = frame(600, 1, 0, kind), frame(400, 2, 600, kind)
    answer = wrong(old, polars.concat([old[:300], new[:7], old[300:], new[7:]]))
    assert max(answer) <= 2  # where old and new ones are alike at the border, either may be taken
    near_the_end = wrong(old, polars.concat([old[:590], new[:7], old[590:], new[7:]]))
    assert near_the_end <= (10, 10)  # ten rows are too few to be an order
    assert kind != "fine" or near_the_end[0] == 0


def test_a_log_in_another_order_is_recognised_by_its_multiset():
    for kind in ("fine", "coarse"):
        old, new = frame(600, 1, 0, kind), frame(400, 2, 600, kind)
        mixed = polars.concat([old, new]).sample(fraction=1, shuffle=True, seed=3)
        answer = recognise(table(old), table(mixed))
        assert answer.certain.sum() == 600
        assert not answer.guess.any()
        bags = [polars.min_horizontal("x", "y").alias("low"), polars.max_horizontal("x", "y").alias("high")]
        left, wanted = (rows.select(*bags, "item", "click") for rows in (mixed.filter(~answer.certain), new))
        assert left.sort(left.columns).equals(wanted.sort(wanted.columns))  # as many of each content as are new


def test_two_alike_decisions_are_two_decisions():
    fine = frame(50, 1, 0, "fine")
    twice = polars.concat([fine, fine[:1]])  # the first one happens again, before anything was opened
    third = polars.concat([twice, fine[:1], frame(50, 2, 50, "fine")]).sample(fraction=1, shuffle=True, seed=0)
    answer = recognise(table(twice), table(third))
    assert answer.certain.sum() == 51
    assert not answer.guess.any()


@pytest.mark.parametrize("kind", ["fine", "coarse", "few"])
def test_an_identity_tells_in_any_order_whatever_has_changed(kind):
    old, new = frame(600, 1, 0, kind), frame(400, 2, 600, kind)
    mixed = polars.concat([late(old), new]).sample(fraction=1, shuffle=True, seed=3)
    for names in ("id", ["user", "time"]):
        assert wrong(old, mixed, identity=names) == (0, 0)
    as_words = mixed.with_columns(polars.col("id").cast(polars.Float64))
    assert wrong(old, as_words, identity="id") == (0, 0)


def test_too_few_contents_in_another_order_are_said_to_be_possible_and_never_certain():
    old, new = frame(600, 1, 0, "few"), frame(400, 2, 600, "few")
    mixed = polars.concat([old, new]).sample(fraction=1, shuffle=True, seed=3)
    answer = recognise(table(old), table(mixed))
    assert answer.possible
    assert not answer.either.any()
    assert not recognise(table(old, identity="id"), table(frame(1000, 7, 5000, "few"), identity="id")).either.any()


def test_a_guess_says_nothing_of_single_episodes():
    old, other = frame(600, 1, 0, "coarse"), frame(400, 2, 600, "coarse")
    part = polars.concat([old.sample(480, seed=1), other[:120]]).sample(fraction=1, shuffle=True, seed=2)
    answer = recognise(table(old), table(part))
    assert not answer.certain.any()
    assert answer.possible
    assert answer.guess.sum() == 0 or answer.guess.sum() > 300


@pytest.mark.parametrize("kind", ["sorted", "periodic", "constant"])
def test_logs_that_look_ordered_are_not_taken_for_one_another(kind):
    def rows(seed):
        made = frame(900, seed, 0, "few")
        if kind == "periodic":
            return made.with_columns(x=polars.Series(np.arange(900) % 3).cast(polars.Float64))
        if kind == "constant":
            return made.with_columns(x=0.0, item=0, click=polars.when(polars.col("click") > 2).then(1.0).otherwise(0.0))
        return made.sort("x", "item", "click")

    accused = [recognise(table(rows(a)), table(rows(b)[: 900 - 10 * b])).either.sum() for a in (1, 2) for b in (3, 4)]
    assert kind == "constant" or accused == [0, 0, 0, 0]


def test_independent_logs_of_one_world_are_hardly_ever_accused():
    tables = [table(frame(300 + 40 * seed, seed, 0, kind)) for kind in ("coarse", "few") for seed in range(12)]
    assert len({int(one[0, LOG]) for one in tables}) == 24
    pairs = [(a, b) for a in range(24) for b in range(24) if a != b and a // 12 == b // 12]
    assert sum(bool(seen(tables[a], tables[b]).any()) for a, b in pairs) == 0  # of 264


def test_a_unit_that_was_there_yesterday_is_seen_with_all_its_episodes():
    old, new = frame(600, 1, 0, "fine"), frame(400, 2, 600, "fine")
    both = polars.concat([old, new.with_columns(user=(polars.col("id") - 600) * 2)])  # every third user was there
    data = weft.load(both, **COLUMNS, unit="user")
    answer = sight(table(old), data)
    users = both["user"].to_numpy()
    assert (answer.units.certain == np.isin(users, old["user"].to_numpy())).all()
    assert answer.episodes.certain.sum() == 600
    # of an export that lacks what was seen only names can tell
    alone = weft.load(both[600:], **COLUMNS, unit="user")
    assert sight(table(old), alone).share == 0
    named = weft.load(both[600:], **COLUMNS, unit="user", identity=["user", "id"])
    known = table(old, unit="user", identity=["user", "id"])
    assert (sight(known, named).units.certain == np.isin(users[600:], old["user"].to_numpy())).all()


def test_a_part_of_a_log_is_known_by_the_whole_that_it_belongs_to():
    old, new = frame(600, 1, 0, "few"), frame(400, 2, 600, "few")
    data = weft.load(polars.concat([old, new]), **COLUMNS)
    for view in data.split((0.3, 0.7), seed=4):
        answer = sight(table(old), view)
        assert (answer.episodes.certain == (view.chosen < 600)).all()
        assert answer.log
    assert not sight(table(old), data.select(np.arange(600, 1000))).share
    assert sight(table(old), data.select(np.arange(600, 1000))).log


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"identity": "ident"},
            r"there is no column 'ident' to identify decisions\. Did you mean 'id'\? Known: id, user",
        ),
        ({"identity": "user"}, r"200 identities \(user\) name several episodes, such as 0; add a column"),
        ({"identity": "gap"}, r"column 'gap', which identifies decisions, has no value"),
    ],
)
def test_an_identity_that_is_none_is_one_sentence(options, sentence):
    rows = frame(600, 1, 0, "few").with_columns(
        gap=polars.when(polars.col("id") == 7).then(None).otherwise(polars.col("id"))
    )
    with pytest.raises(weft.UserError, match=sentence):
        weft.load(rows, **COLUMNS, **options)
