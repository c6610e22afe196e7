"""Returns over time against loops and numbers worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from weft.core.errors import UserError
from weft.data.columns import Columns, Lanes
from weft.nn.returns import lambda_returns, outcomes, with_outcomes


def test_lambda_returns_equal_a_loop():
    random = np.random.default_rng(0)
    count, discount, trace = 12, 0.9, 0.7
    reward, after = random.normal(size=(2, count)).astype(np.float32)
    duration = random.integers(1, 3, count).astype(np.float32)
    last = np.zeros(count, bool)
    last[[3, 7, 11]] = True
    terminal = np.zeros(count, bool)
    terminal[[3, 11]] = True
    after[3] = np.nan  # nothing may be read after a terminal
    truth = np.zeros(count)
    for t in reversed(range(count)):
        future = 0.0
        if not terminal[t]:
            future = after[t] if last[t] else (1 - trace) * after[t] + trace * truth[t + 1]
        truth[t] = reward[t] + discount ** duration[t] * future
    found = lambda_returns(*map(jnp.asarray, (reward, terminal, last, duration)), discount, trace, jnp.asarray(after))
    np.testing.assert_allclose(found, truth, rtol=1e-5)


def rows_of(reward, terminal, timeout, episode=None, duration=None, rows=None, lanes=None, written=None) -> Columns:
    """A log without observations, for formulas that look at what follows a step."""
    size = len(reward)
    number = jnp.arange(size)
    zeros = jnp.zeros(size, jnp.int32)
    return Columns(
        observation=number[:, None].astype(jnp.float32),
        action=zeros,
        reward=jnp.asarray(reward, jnp.float32)[:, None],
        terminal=jnp.asarray(terminal, bool),
        timeout=jnp.asarray(timeout, bool),
        position=number,
        successor=number,
        step=zeros,
        episode=zeros if episode is None else jnp.asarray(episode),
        episode_start=zeros,
        duration=jnp.ones(size) if duration is None else jnp.asarray(duration, jnp.float32),
        log_propensity=None,
        rows=number if rows is None else jnp.asarray(rows),
        count=jnp.int32(size if rows is None else len(rows)),
        written=None if written is None else jnp.int32(written),
        lanes=lanes,
    )


def test_outcomes_by_hand():
    # a terminal episode, one that timed out, one terminal step; the worst reward is -1, for ever -10 at .9
    columns = rows_of([1, 2, 4, -1, 0, 3], [0, 0, 1, 0, 0, 1], [0, 0, 0, 0, 1, 0], [0, 0, 0, 1, 1, 2])
    found = jax.jit(outcomes)(columns, 0.9)
    np.testing.assert_allclose(found, [1 + 1.8 + 3.24, 5.6, 4, -1 - 8.1, -9, 3], rtol=1e-5)
    undiscounted = jax.jit(outcomes)(columns, 1.0)
    np.testing.assert_allclose(undiscounted, [7, 6, 4, -np.inf, -np.inf, 3])
    np.testing.assert_array_equal(with_outcomes(columns, 1.0).outcome, undiscounted)


def test_outcomes_after_a_time_out_of_a_maze_without_success():
    # -1 at every step: the bound is exact, whatever the cut
    found = outcomes(rows_of([-1] * 5, [0] * 5, [0, 0, 0, 0, 1]), 0.99)
    np.testing.assert_allclose(found, np.full(5, -100.0), rtol=1e-4)


def test_outcomes_expect_nothing_good_after_a_time_out():
    # the task may end at any time, so a positive worst reward is no bound for ever
    np.testing.assert_allclose(outcomes(rows_of([2, 2], [0, 0], [0, 1]), 0.5), [3, 2])


def test_outcomes_count_durations():
    columns = rows_of([0, 0, 1, -1], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1], duration=[1, 3, 1, 2])
    found = outcomes(columns, 0.5)
    np.testing.assert_allclose(found[:3], [0.5**4, 0.5**3, 1], rtol=1e-6)
    assert float(found[3]) == pytest.approx(-1 - 0.25 * 2)  # after two units; -1 per unit of time


def test_the_worst_reward_is_that_of_the_rows_that_may_be_sampled():
    columns = rows_of([-1, -7, -1], [0, 1, 0], [1, 0, 1], [0, 1, 2], rows=[0, 2])
    np.testing.assert_allclose(outcomes(columns, 0.5), [-2, -7, -2])


def ring(steps: int, lanes: list[list[tuple[float, str]]]) -> Columns:
    """A ring buffer after steps (reward, '' or 'terminal' or 'timeout') of several lanes were written to it."""
    count, written = len(lanes), len(lanes[0])
    reward, ends = np.zeros((steps, count)), np.full((steps, count), "", object)
    for lane, done in enumerate(lanes):
        for time, (value, end) in enumerate(done):
            reward[time % steps, lane], ends[time % steps, lane] = value, end
    used = np.arange(min(written, steps) * count)
    flat = ends.reshape(-1)
    form = Lanes(count, steps, steps + 1)
    return rows_of(reward.reshape(-1), flat == "terminal", flat == "timeout", rows=used, lanes=form, written=written)


def test_outcomes_of_a_ring_that_is_not_full():
    columns = ring(4, [[(1, ""), (2, "terminal"), (5, "")], [(-1, "timeout"), (3, ""), (4, "terminal")]])
    found = np.asarray(jax.jit(outcomes)(columns, 0.5)).reshape(4, 2)
    none = -np.inf
    np.testing.assert_allclose(found, [[2, -2], [2, 5], [none, 4], [none, none]])


def test_outcomes_of_a_ring_that_wrapped_around():
    # six steps in a ring of four: rows hold times 4, 5, 2, 3; the first episode lost its beginning
    one = [(9, ""), (9, ""), (1, ""), (2, ""), (4, "terminal"), (8, "")]
    two = [(9, ""), (9, "terminal"), (0, ""), (1, "timeout"), (-1, ""), (2, "terminal")]
    found = np.asarray(jax.jit(outcomes)(ring(4, [one, two]), 0.5)).reshape(4, 2)
    none = -np.inf
    # lane two: after the time-out -1 for ever is -2, halved
    np.testing.assert_allclose(found, [[4, 0], [none, 2], [3, 0], [4, 0]])
    full = np.asarray(outcomes(ring(3, [one]), 0.5))
    np.testing.assert_allclose(full, [4, 4, none])  # times 3, 4, 5


def test_a_ring_of_outcomes_equals_its_lanes_as_episodes():
    random = np.random.default_rng(3)
    lanes = [
        [
            (float(r), e)
            for r, e in zip(random.normal(size=23), random.choice(["", "", "", "terminal"], 23), strict=True)
        ]
        for _ in range(3)
    ]
    found = np.asarray(jax.jit(outcomes)(ring(10, lanes), 0.9)).reshape(10, 3)
    for lane, done in enumerate(lanes):
        follows = -np.inf
        for time in reversed(range(13, 23)):
            value, end = done[time]
            follows = value + (0.0 if end else 0.9 * follows)
            assert found[time % 10, lane] == pytest.approx(follows, rel=1e-4, abs=1e-6)


def test_a_ring_without_its_writing_position_is_refused():
    with pytest.raises(UserError, match="how many steps were written"):
        outcomes(rows_of([1.0], [True], [False], lanes=Lanes(1, 1, 2)), 0.9)
