import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from weft.core.errors import UserError
from weft.data import replay as rings
from weft.data.columns import Lanes
from weft.data.replay import Step
from weft.data.samplers.recent import Recent
from weft.data.samplers.transitions import gather
from weft.data.spec import ActionSpec, ObservationSpec, Spec
from weft.data.transforms import identity

CHOICES = ActionSpec("discrete", (), "int32", counts=(3,))
VECTORS = Spec((ObservationSpec((1,)),), CHOICES)
IMAGES = Spec((ObservationSpec((1, 1), "uint8", "image"),), CHOICES)


def played(spec, lanes, stack, ends):
    """Fill a ring; every observation has a number of its own. `ends[t][lane]`: None, "terminal", "timeout" or "life".

    Returns the ring and what was written: per lane a list of (number before, number after, episode, step, how).
    """
    kind = np.uint8 if spec.observations[0].kind == "image" else np.float32
    number = iter(range(256))
    shape = spec.observations[0].shape

    def shown(values):
        return jnp.asarray(np.array(values, kind).reshape(len(values), *shape))

    now = [next(number) for _ in range(lanes.count)]
    ring = rings.first(rings.empty(spec, lanes, stack), shown(now))
    step, episode = [0] * lanes.count, [0] * lanes.count
    told = [[] for _ in range(lanes.count)]
    write = jax.jit(rings.write)
    for moment in ends:
        after = [next(number) for _ in now]
        over = [how in ("terminal", "timeout") for how in moment]
        start = [next(number) if done else value for done, value in zip(over, after, strict=True)]
        terminal = np.array([how in ("terminal", "life") for how in moment])
        ring = write(ring, _step(after, terminal, over, shown(after), shown(start)))
        for lane in range(lanes.count):
            told[lane].append((now[lane], after[lane], episode[lane], step[lane], moment[lane]))
            step[lane] = 0 if over[lane] else step[lane] + 1
            episode[lane] += over[lane]
        now = start
    return ring, told


def _step(after, terminal, over, shown, start):
    count = len(after)
    return Step(
        jnp.asarray(np.array(after) % 3, jnp.int32),
        jnp.log(jnp.full(count, 0.5)),
        jnp.asarray(after, jnp.float32),
        jnp.asarray(terminal),
        jnp.asarray(over),
        jnp.ones(count, bool),
        shown,
        start,
    )


moments = some.lists(
    some.tuples(*[some.sampled_from([None, None, None, "terminal", "timeout", "life"])] * 2), min_size=1, max_size=24
)


@settings(deadline=None, max_examples=40)
@given(moments)
def test_a_ring_of_vectors_holds_the_last_steps_whatever_ends_when(ends):
    lanes = rings.lanes_of(2, 16, VECTORS, 1)
    ring, told = played(VECTORS, lanes, 1, ends)
    held = {row for lane in told for row in lane[-lanes.steps :]}
    count = int(ring.columns.count)
    assert count == len(held)
    batch = gather(ring.columns, ring.columns.rows[:count])
    found = {
        (int(before), int(after), int(reward), bool(terminal))
        for before, after, reward, terminal in zip(
            batch.observation[:, 0], batch.next_observation[:, 0], batch.reward, batch.terminal, strict=True
        )
    }
    assert found == {(b, a, a, how in ("terminal", "life")) for b, a, _, _, how in held}


@settings(deadline=None, max_examples=40)
@given(moments)
def test_images_are_stacked_within_their_episode(ends):
    ends = [tuple(None if how and moment % 4 else how for how in pair) for moment, pair in enumerate(ends)]
    lanes = Lanes(2, 8, 8 + 8 + 5)
    ring, told = played(IMAGES, lanes, 3, ends)
    count = int(ring.columns.count)
    batch = gather(ring.columns, ring.columns.rows[:count])
    stacks = {int(last): tuple(map(int, frames)) for last, frames in zip(
        batch.next_observation[:, 0, 0, -1], batch.next_observation[:, 0, 0], strict=True
    )}  # fmt: skip
    for lane in told:
        for place, (before, after, episode, step, _) in enumerate(lane):
            if after not in stacks or place < len(lane) - lanes.steps:
                continue
            earlier = [row[0] for row in lane[: place + 1] if row[2] == episode]
            seen = [*earlier[-(step + 1) :], after]
            wanted = ([seen[0]] * 3 + seen)[-3:]
            assert stacks[after] == tuple(wanted), (before, after)


@settings(deadline=None, max_examples=25)
@given(moments)
def test_what_was_collected_is_a_log_with_every_end_as_it_was(ends):
    lanes = rings.lanes_of(2, 16, VECTORS, 1)
    ring, told = played(VECTORS, lanes, 1, ends)
    data = rings.collected(jax.tree.map(np.asarray, ring), identity(VECTORS), "here")
    rows = [row for lane in told for row in lane[-lanes.steps :]]
    np.testing.assert_array_equal(data.observations[:, 0], [row[0] for row in rows])
    np.testing.assert_array_equal(data.next_observations[:, 0], [row[1] for row in rows])
    np.testing.assert_array_equal(data.terminals, [row[4] in ("terminal", "life") for row in rows])
    np.testing.assert_allclose(np.exp(data.log_propensities), 0.5)
    again = rings.collected(rings.trimmed(jax.tree.map(np.asarray, ring)), identity(VECTORS), "here")
    assert again.fingerprint == data.fingerprint


@settings(deadline=None, max_examples=25)
@given(moments)
def test_a_saved_ring_goes_on_as_if_it_had_stayed(ends):
    lanes = rings.lanes_of(2, 16, VECTORS, 1)
    half = len(ends) // 2
    ring, _ = played(VECTORS, lanes, 1, ends[:half] or ends)
    kept = rings.trimmed(jax.tree.map(np.asarray, ring))
    back = rings.refilled(jax.tree.map(jnp.asarray, kept), rings.empty(VECTORS, lanes))
    more = _step([7, 8], np.array([False, True]), [False, True], jnp.full((2, 1), 7.0), jnp.full((2, 1), 9.0))
    one, two = rings.write(ring, more), rings.write(back, more)
    for each in ("count", "written"):
        assert getattr(one.columns, each) == getattr(two.columns, each)
    rows = one.columns.rows[: int(one.columns.count)]
    for name in ("action", "reward", "terminal", "timeout", "position", "successor", "step", "episode", "duration"):
        np.testing.assert_array_equal(getattr(one.columns, name)[rows], getattr(two.columns, name)[rows])


def test_a_full_ring_fits_no_smaller_one():
    lanes = rings.lanes_of(2, 16, VECTORS, 1)
    ring, _ = played(VECTORS, lanes, 1, [(None, None)] * 12)
    kept = jax.tree.map(jnp.asarray, rings.trimmed(jax.tree.map(np.asarray, ring)))
    with pytest.raises(UserError, match="does not fit a buffer of 8 steps"):
        rings.refilled(kept, rings.empty(VECTORS, rings.lanes_of(2, 8, VECTORS, 1)))


def test_an_empty_ring_has_nothing_to_tell():
    ring = rings.empty(VECTORS, Lanes(1, 4, 12))
    with pytest.raises(UserError, match="Nothing was collected from here"):
        rings.collected(jax.tree.map(np.asarray, ring), identity(VECTORS), "here")


def test_tokens_cannot_be_collected():
    with pytest.raises(UserError, match="tokens of changing number"):
        rings.empty(Spec((ObservationSpec((), "int32", "tokens", "words"),), CHOICES), Lanes(1, 4, 12))


def test_frames_take_a_fraction_of_what_stacks_would():
    lanes = rings.lanes_of(1, 100_000, Spec((ObservationSpec((84, 84), "uint8", "image"),), CHOICES), 4)
    bytes_ = lanes.room * 84 * 84
    stacks = 2 * 100_000 * 84 * 84 * 4
    assert bytes_ < stacks / 7
    assert lanes.room == 100_000 + 12_500 + 6


def test_the_newest_steps_come_lane_by_lane_in_the_order_of_time():
    lanes = Lanes(2, 3, 9)
    ring, told = played(VECTORS, lanes, 1, [(None, "terminal"), ("timeout", None), (None, None), (None, None)])
    found = Recent()(ring.columns, jax.random.key(0))
    for lane in range(2):
        rows = told[lane][-3:]
        np.testing.assert_array_equal(found.observation[lane, :, 0], [row[0] for row in rows])
        np.testing.assert_array_equal(found.next_observation[lane, :, 0], [row[1] for row in rows])
        ends = [row[4] in ("terminal", "timeout") for row in rows]
        np.testing.assert_array_equal(found.last[lane], [*ends[:2], True])
        np.testing.assert_array_equal(found.terminal[lane], [row[4] == "terminal" for row in rows])
    assert found.alive.all()


def test_steps_that_were_never_taken_are_not_alive():
    lanes = Lanes(2, 4, 12)
    ring, _ = played(VECTORS, lanes, 1, [(None, None)])
    dead = _step([5, 6], np.array([False, False]), [False, False], jnp.ones((2, 1)), jnp.ones((2, 1)))
    ring = rings.write(ring, Step(**{**vars(dead), "alive": jnp.array([True, False])}))
    found = Recent()(ring.columns, jax.random.key(0))
    np.testing.assert_array_equal(found.alive, [[False, False, True, True], [False, False, True, False]])
    assert found.last[1, 2]  # the last that was taken
