"""The maze: its log stitches and its walls hold."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from weft.envs import environment as worlds
from weft.envs.corridors import Place
from weft.envs.rollout import collect, rollout
from weft.envs.worlds.maze import ELSEWHERE, Maze

PLAN, START, GOAL, CELLS = Maze.plan, Maze.start, Maze.goal, Maze().side
OPEN_PLAN = Maze(shortcut=True).ground


@functools.cache
def log():
    return worlds.log(Maze(), 200, 0)


def cells(positions):
    return np.floor(np.asarray(positions) * CELLS).astype(int)


def visits(positions, cell):
    return (cells(positions) == np.asarray(cell)).all(-1).any()


def test_no_logged_episode_goes_all_the_way():
    data = log()
    for number in range(data.episodes):
        seen = data.episode(number).observations
        at_start, at_goal = visits(seen, START), visits(seen, GOAL)
        assert not (at_start and at_goal)


def test_the_log_covers_the_way_together():
    data = log()
    way = [(1, 1), (1, 2), (1, 3), (1, 4), (2, 4), (3, 4), (4, 4), (4, 3), (4, 2), (4, 1)]
    seen = np.concatenate([data.observations, data.next_observations])
    assert all(visits(seen, cell) for cell in way)


def test_routes_tell_where_an_episode_began_and_whether_it_succeeds():
    data = log()
    elsewhere = data.units("route") == "elsewhere"
    begins = cells(data.first_observations)
    assert (begins[elsewhere] == ELSEWHERE).all()
    assert (begins[~elsewhere] == START).all()
    assert (data.returns[~elsewhere] == 0).all()
    assert data.returns[elsewhere].mean() > 0.95


def test_nobody_walks_through_walls():
    column, row = cells(np.concatenate([log().observations, log().next_observations])).T
    assert all(PLAN[r][c] != "#" for c, r in zip(column, row, strict=True))


def test_a_wall_stops_only_the_component_that_runs_into_it():
    place = Place(jnp.array([1.5, 1.05]) / CELLS)
    after, reward, terminal = Maze().step(place, jnp.array([0.5, -1.0]), jax.random.key(0))
    np.testing.assert_allclose(after.position * CELLS, [1.75, 1.05], atol=1e-5)
    assert reward == 0
    assert not terminal


def test_the_goal_pays_once_and_ends():
    place = Place((jnp.array(GOAL) + jnp.array([0.5, 1.1])) / CELLS)
    _, reward, terminal = Maze().step(place, jnp.array([0.0, -1.0]), jax.random.key(0))
    assert reward == 1
    assert terminal


def test_the_logged_density_is_that_of_a_truncated_gaussian():
    data, maze = log(), Maze()
    corner = (np.array([1, 4]) + 0.5) / CELLS  # the first corner of the route from the start
    first = data.starts[:-1][data.units("route") == "start"]
    away = corner - data.observations[first]
    wanted = maze.effort * away / np.linalg.norm(away, axis=1, keepdims=True)
    low, high = (-1 - wanted) / maze.wobble, (1 - wanted) / maze.wobble
    known = stats.truncnorm.logpdf(data.actions[first], low, high, loc=wanted, scale=maze.wobble).sum(1)
    np.testing.assert_allclose(data.log_propensities[first], known, atol=2e-3)


def guide(observation):
    """Walk from the start to the goal: down, right, up."""
    column, row = (observation * CELLS).T
    action = np.zeros_like(observation)
    left, bottom = (column < 2) & (row < 4.3), (row >= 4) & (column < 4.3)
    action[left] = [0.0, 1.0]
    action[bottom & ~left] = [1.0, 0.0]
    action[~left & ~bottom] = [0.0, -1.0]
    return action


def test_the_way_exists_and_fits_the_horizon():
    assert rollout(guide, "maze", 20).mean() == 1.0


@pytest.mark.parametrize("direction", [(1.0, 0.0), (0.0, 1.0), (0.0, -1.0), (0.7, -0.7), (1.0, 1.0)])
def test_no_single_direction_solves_it(direction):
    assert rollout(lambda seen: np.tile(np.float32(direction), (len(seen), 1)), "maze", 10).max() == 0.0


RIGHT = np.float32((1.0, 0.0))


def straight(observation):
    """Walk from the start to the goal along row 1."""
    return np.tile(RIGHT, (len(observation), 1))


def test_the_shortcut_opens_row_one_and_nothing_else():
    opened = [(c, r) for r in range(CELLS) for c in range(CELLS) if PLAN[r][c] != OPEN_PLAN[r][c]]
    assert opened == [(2, 1), (3, 1)]
    data = collect(straight, Maze(shortcut=True), 20)
    assert (data.returns == 1.0).all()
    assert data.lengths.max() <= 6  # cells between the middles, half a cell a step
    column, row = cells(np.concatenate([data.observations, data.next_observations])).T
    assert (row == START[1]).all()
    assert set(column) == {1, 2, 3, 4}
    assert rollout(guide, "maze:shortcut=true", 20).mean() == 1.0  # the long way is still there


@pytest.mark.parametrize("direction", [(0.0, 1.0), (0.0, -1.0)])
def test_the_shortcut_has_walls(direction):
    place = Place((jnp.array([2.5, 1.5]) + 0.45 * jnp.array(direction)) / CELLS)
    after = Maze(shortcut=True).step(place, jnp.array(direction), jax.random.key(0))[0]
    np.testing.assert_array_equal(after.position, place.position)


def test_no_log_shows_the_shortcut():
    # the widest wobble would drift into an open passage
    wide = [worlds.log(Maze(wobble=3.0, shortcut=shortcut), 300, 0) for shortcut in (False, True)]
    assert wide[0].fingerprint == wide[1].fingerprint
    column, row = cells(np.concatenate([wide[1].observations, wide[1].next_observations])).T
    assert all(PLAN[r][c] != "#" for c, r in zip(column, row, strict=True))
    assert worlds.log(Maze(shortcut=True), 200, 0).fingerprint == log().fingerprint


def test_the_maze_is_closed_unless_it_is_opened():
    assert rollout(straight, "maze", 10).max() == 0.0
    assert rollout(straight, "maze:shortcut=false", 10).max() == 0.0
