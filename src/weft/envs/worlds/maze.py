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

Walls and the behaviour are those of `corridors`. With `shortcut` row 1 is open from S to G, for a policy that acts and
learns; logs are of the closed plan all the same.
"""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from ...core.pytree import static
from ..corridors import Cell, Corridors

__all__ = ["Maze"]

ELSEWHERE = (6, 4)


class Maze(Corridors):
    """Two crossing corridors; the log never holds a whole way from start to goal.

    One logged episode in `rarity` is a success. `shortcut` opens a straight passage from start to goal that no log
    shows. `pace`, `wobble`, `effort` and `steps` are those of `Corridors`.
    """

    title: ClassVar[str] = "Maze of two crossing corridors"
    logged: ClassVar[int] = 700
    plan: ClassVar[tuple[str, ...]] = (
        "########",
        "#.##.###",
        "#.##.###",
        "#.##.###",
        "#......#",
        "####.###",
        "####.###",
        "########",
    )
    start: ClassVar[Cell] = (1, 1)
    goal: ClassVar[Cell] = (4, 1)
    corners: ClassVar[tuple[tuple[Cell, ...], ...]] = (
        (start, (1, 4), (4, 4), (4, 6), (4, 6)),  # S to D
        (ELSEWHERE, (4, 4), goal, (4, 0), (4, 0)),  # E to G and on
    )

    rarity: int = static(default=3)
    shortcut: bool = static(default=False)

    @property
    def logging(self) -> "Maze":
        return dataclasses.replace(self, shortcut=False)

    @property
    def ground(self) -> tuple[str, ...]:
        return (self.plan[0], "#....###", *self.plan[2:]) if self.shortcut else self.plan

    def chosen(self, number: Int[Array, ""]) -> Int[Array, ""]:
        return jnp.where(number % self.rarity == 0, 1, 0)

    def routes(self, episodes: int) -> dict[str, np.ndarray]:
        """`route` says where a logged episode began: at the `start` or `elsewhere`."""
        return {"route": np.where(np.arange(episodes) % self.rarity == 0, "elsewhere", "start")}
