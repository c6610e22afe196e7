"""The crossroads: no logged walk shows the way, and one step of improvement over the log takes the coin."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from weft.envs import environment as worlds
from weft.envs.corridors import Place
from weft.envs.rollout import rollout
from weft.envs.worlds.crossroads import COIN, Crossroads

PLAN, START, GOAL, SIDE = Crossroads.plan, Crossroads.start, Crossroads.goal, Crossroads().side
X, Y = (3, 4), (6, 4)


@functools.cache
def log():
    return worlds.log(Crossroads(), 400, 0)


def cells(positions):
    return np.floor(np.asarray(positions) * SIDE).astype(int)


def walks():
    data = log()
    for start, stop in itertools.pairwise(data.starts):
        yield cells(np.concatenate([data.observations[start:stop], data.next_observations[stop - 1 : stop]]))


def visits(walk, cell):
    return (walk == np.asarray(cell)).all(-1).any()


def test_the_way_is_in_three_pieces_of_different_walks():
    seen = [tuple(visits(walk, cell) for cell in (START, X, Y, GOAL)) for walk in walks()]
    assert not any(start and goal for start, _, _, goal in seen)
    assert not any(start and y for start, _, y, _ in seen)
    assert not any(x and goal for _, x, _, goal in seen)
    assert sum(start and x for start, x, _, _ in seen) > 80
    assert sum(x and y for _, x, y, _ in seen) > 150
    assert sum(y and goal for _, _, y, goal in seen) > 80


def test_nobody_walks_through_walls():
    column, row = np.concatenate(list(walks())).T
    assert all(PLAN[r][c] != "#" for c, r in zip(column, row, strict=True))


def test_routes_say_what_a_walk_came_to():
    data = log()
    route = data.units("route")
    assert {name: int((route == name).sum()) for name in np.unique(route)} == {
        "coin": 100, "dead end": 200, "goal": 100,
    }  # fmt: skip
    np.testing.assert_allclose(data.returns[route == "dead end"], 0.0)
    assert np.median(data.returns[route == "coin"]) == pytest.approx(0.4)
    assert np.median(data.returns[route == "goal"]) == 1.0


def test_what_the_second_crossroads_was_worth_speaks_for_the_coin():
    """The mean return of all walks past Y is below the coin, the best one above it: what the world is made for."""
    data, paths = log(), list(walks())
    past = [number for number, walk in enumerate(paths) if visits(walk, Y)]
    discount = data.spec.discount
    assert np.mean(data.returns[past]) < Crossroads().coin * discount**10
    assert data.returns[past].max() * discount**20 > Crossroads().coin


@pytest.mark.parametrize(("cell", "pays"), [(GOAL, 1.0), (COIN, 0.4)])
def test_goal_and_coin_pay_once_and_end(cell, pays):
    side = 1.1 if cell == GOAL else -0.1  # one step away from it
    place = Place((jnp.array(cell) + jnp.array([0.5, side])) / SIDE)
    step = jnp.array([0.0, -1.0 if cell == GOAL else 1.0])
    _, reward, terminal = Crossroads().step(place, step, jax.random.key(0))
    assert float(reward) == pytest.approx(pays)
    assert terminal


def follow(corners):
    """Return a walker from corner to corner, by the row and column it is in."""

    def walk(seen):
        column, row = (seen * SIDE).T
        action = np.zeros_like(seen)
        action[:, 1] = 1.0
        action[row >= 4.2] = [1.0, 0.0]
        done = column > corners + 0.4
        action[done & (row > 0)] = [0.0, -1.0 if corners == 6 else 1.0]
        return action

    return walk


def test_both_ways_exist_and_fit_the_horizon():
    assert rollout(follow(6), "crossroads", 20).mean() == 1.0
    np.testing.assert_allclose(rollout(follow(3), "crossroads", 20), 0.4)


@pytest.mark.parametrize("direction", [(1.0, 0.0), (0.0, 1.0), (0.7, 0.7), (1.0, 1.0)])
def test_no_single_direction_comes_to_the_goal(direction):
    assert rollout(lambda seen: np.tile(np.float32(direction), (len(seen), 1)), "crossroads", 10).max() < 0.5
