r"""A maze of two crossing corridors in which the way from start to goal was never logged whole.

        0 1 2 3 4 5 6 7
      0 # # # # # # # #       S  start: every episode that judges a policy begins here
      1 # S # # G # # #       G  goal: reward 1, the task is over
      2 # . # # . # # #       X  crossing
      3 # . # # . # # #       E  where logged successes begin
      4 # . . . X . E #       D  dead end
      5 # # # # . # # #
      6 # # # # D # # #
      7 # # # # # # # #

Logged episodes either begin at S, come to the crossing and turn down into the dead end (return 0), or begin at E, come
to the crossing and turn up to the goal (return 1). Each is half of the solution. Imitation turns down, because most
episodes do; imitation of the successes has never seen the corridor of S, where it must first go down and walks up; a
method that values states finds the turn (stitching, T28 and Z2 of the project's fixture list).

The position is in the unit square (x to the right, y downwards), the action a velocity in [−1, 1]². Walls stop the
component of a step that runs into them. The behaviour follows its corridor's middle with Gaussian wobble truncated to
the action bounds, so its density is exact; it depends on the route, which the observation does not show.

With `shortcut` row 1 is open from S to G, for a policy that acts and learns; logs are of the closed plan all the same.
"""

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ...core.pytree import static
from ...data.spec import ActionSpec, ObservationSpec, Spec
from ..environment import Environment

__all__ = ["Maze"]

PLAN = (
    "########",
    "#.##.###",
    "#.##.###",
    "#.##.###",
    "#......#",
    "####.###",
    "####.###",
    "########",
)
OPEN_PLAN = (PLAN[0], "#....###", *PLAN[2:])
CELLS = len(PLAN)
START, ELSEWHERE, GOAL = (1, 1), (6, 4), (4, 1)  # column, row
ROUTES = (((1, 1), (1, 4), (4, 4), (4, 6), (4, 6)), ((6, 4), (4, 4), (4, 1), (4, 0), (4, 0)))  # S to D, E to G
REACHED = 0.35  # of a cell: how near a corner counts as turned


class Place(eqx.Module):
    """Where the walker is, in the unit square."""

    position: Float[Array, "two"]


class Route(eqx.Module):
    """What the logging behaviour knows: which route it is on and which corner comes next."""

    route: Int[Array, ""]
    corner: Int[Array, ""]


class Maze(Environment):
    """Two crossing corridors; the log never holds a whole way from start to goal.

    `pace` is the length of a full step in cells, `wobble` the standard deviation of the logged actions around
    `effort` times the direction of the next corner, and one logged episode in `rarity` is a success. `shortcut` opens a
    straight passage from start to goal that no log shows.
    """

    title: ClassVar[str] = "Maze of two crossing corridors"
    logged: ClassVar[int] = 700

    pace: float = 0.5
    wobble: float = 0.4
    effort: float = 0.8
    rarity: int = static(default=3)
    steps: int = static(default=40)
    shortcut: bool = static(default=False)

    @property
    def logging(self) -> "Maze":
        return dataclasses.replace(self, shortcut=False)

    @property
    def spec(self) -> Spec:
        return Spec(
            observations=(ObservationSpec((2,), low=(0.0, 0.0), high=(1.0, 1.0)),),
            action=ActionSpec("continuous", (2,), low=(-1.0, -1.0), high=(1.0, 1.0)),
            reward_low=(0.0,),
            reward_high=(1.0,),
            horizon=self.steps,
            discount=0.99,
            longest=self.steps,
        )

    def reset(self, key: PRNGKeyArray) -> Place:
        return _within(key, jnp.asarray(START))

    def observe(self, state: Place) -> Float[Array, "two"]:
        return state.position

    def step(self, state: Place, action: Float[Array, "two"], key: PRNGKeyArray) -> tuple[Place, Array, Array]:
        del key
        move = jnp.clip(action, -1.0, 1.0) * self.pace / CELLS
        position = state.position
        for axis in (0, 1):  # one component after the other, so that the walker slides along walls
            tried = position.at[axis].add(move[axis])
            position = jnp.where(_free(tried, OPEN_PLAN if self.shortcut else PLAN), tried, position)
        arrived = (jnp.floor(position * CELLS) == jnp.asarray(GOAL)).all()
        return Place(position), arrived.astype(jnp.float32), arrived

    def begin(self, key: PRNGKeyArray, number: Int[Array, ""]) -> tuple[Place, Route]:
        route = (number % self.rarity == 0).astype(jnp.int32)
        cell = jnp.where(route == 0, jnp.asarray(START), jnp.asarray(ELSEWHERE))
        return _within(key, cell), Route(route, jnp.ones((), jnp.int32))

    def behave(self, memory: Route, state: Place, key: PRNGKeyArray) -> tuple[Array, Array, Route]:
        corners = (jnp.asarray(ROUTES, jnp.float32) + 0.5) / CELLS
        near = jnp.abs(corners[memory.route, memory.corner] - state.position).max() < REACHED / CELLS
        corner = jnp.minimum(memory.corner + near, corners.shape[1] - 1)
        away = corners[memory.route, corner] - state.position
        # shorter than half a cell it slows down, so that the direction at the corner itself is defined
        wanted = self.effort * away / jnp.maximum(jnp.linalg.norm(away), 0.5 / CELLS)
        low, high = (-1.0 - wanted) / self.wobble, (1.0 - wanted) / self.wobble
        noise = jax.random.truncated_normal(key, low, high)
        action = jnp.clip(wanted + self.wobble * noise, -1.0, 1.0)  # rounding alone can lead beyond
        inside = jax.scipy.stats.norm.cdf(high) - jax.scipy.stats.norm.cdf(low)
        density = jax.scipy.stats.norm.logpdf(noise) - jnp.log(self.wobble) - jnp.log(inside)
        return action, density.sum(), Route(memory.route, corner)

    def routes(self, episodes: int) -> dict[str, np.ndarray]:
        """`route` says where a logged episode began: at the `start` or `elsewhere`."""
        return {"route": np.where(np.arange(episodes) % self.rarity == 0, "elsewhere", "start")}


def _within(key: PRNGKeyArray, cell: Int[Array, "two"]) -> Place:
    return Place((cell + jax.random.uniform(key, (2,), minval=0.2, maxval=0.8)) / CELLS)


def _free(position: Float[Array, "two"], plan: tuple[str, ...]) -> Bool[Array, ""]:
    free = jnp.asarray([[character != "#" for character in row] for row in plan])
    column, row = jnp.floor(position * CELLS).astype(jnp.int32)
    return free[row, column]
