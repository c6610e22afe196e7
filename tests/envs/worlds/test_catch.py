"""Catch: what the picture shows, and what is caught."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from weft.envs.environment import log
from weft.envs.rollout import rollout
from weft.envs.worlds.catch import Board, Catch


def board(row, column, paddle):
    return Board(jnp.int32(row), jnp.int32(column), jnp.int32(paddle))


def test_the_picture_shows_ball_and_paddle():
    picture = np.asarray(Catch(size=7).observe(board(2, 5, 3)))
    known = np.zeros((7, 7), np.uint8)
    known[2, 5] = 255
    known[6, 2:5] = 255
    np.testing.assert_array_equal(picture, known)
    assert picture.dtype == np.uint8


def test_the_default_picture_is_84_wide_with_cells_of_four():
    picture = np.asarray(Catch().observe(board(2, 5, 3)))
    assert picture.shape == (84, 84)
    small = Catch(size=21).observe(board(2, 5, 3))
    np.testing.assert_array_equal(picture, np.kron(small, np.ones((4, 4))))
    assert Catch().horizon == 20
    (part,) = Catch().spec.observations
    assert (part.shape, part.dtype, part.kind) == ((84, 84), "uint8", "image")


@pytest.mark.parametrize("size", [5, 23, 50])
def test_every_frame_shows_the_whole_state(size):
    world = Catch(size=size)
    shape = (world.cells - 1, world.cells, world.cells - 2)
    row, column, paddle = (jnp.asarray(part.reshape(-1), jnp.int32) for part in np.indices(shape))
    seen = np.asarray(jax.jit(jax.vmap(lambda *parts: world.observe(Board(*parts))))(row, column, paddle + 1))
    assert len({picture.tobytes() for picture in seen}) == len(row)


@pytest.mark.parametrize(("action", "paddle"), [(0, 2), (1, 3), (2, 4)])
def test_the_paddle_moves_by_one_and_the_ball_falls(action, paddle):
    after, reward, terminal = Catch(size=7).step(board(1, 5, 3), jnp.int32(action), jax.random.key(0))
    assert (int(after.row), int(after.column), int(after.paddle)) == (2, 5, paddle)
    assert (float(reward), bool(terminal)) == (0.0, False)


@pytest.mark.parametrize(("column", "pay"), [(0, -1.0), (1, 1.0), (2, 1.0), (3, 1.0), (4, -1.0)])
def test_the_bottom_row_pays(column, pay):
    _, reward, terminal = Catch(size=7).step(board(5, column, 2), jnp.int32(1), jax.random.key(0))
    assert (float(reward), bool(terminal)) == (pay, True)


def test_the_paddle_stays_on_the_board():
    world = Catch(size=7)
    for start, action, known in ((1, 0, 1), (5, 2, 5)):
        assert int(world.step(board(0, 0, start), jnp.int32(action), jax.random.key(0))[0].paddle) == known


def follow(pictures):
    """Move the paddle's middle under the ball, from the picture alone."""
    paddle = np.array([np.flatnonzero(picture[-1]).mean() for picture in pictures])
    ball = np.array([np.flatnonzero(picture[: -len(picture) // 21].any(0)).mean() for picture in pictures])
    return (1 + np.sign(np.round((ball - paddle) / (pictures.shape[1] // 21)))).astype(np.int32)


def test_a_policy_that_sees_catches_every_ball():
    assert (rollout(follow, "catch", 30) == 1.0).all()
    found = rollout(lambda seen: np.ones(len(seen), np.int32), "catch", 60)
    assert set(found) == {-1.0, 1.0}


def test_a_log_of_pictures():
    data = log(Catch(size=10), 40, 0)
    assert data.observations.dtype == np.uint8
    assert data.observations.shape[1:] == (10, 10)
    assert (data.lengths == 9).all()
    assert set(data.returns) == {-1.0, 1.0}
    assert (data.terminals.reshape(40, 9)[:, -1]).all()
