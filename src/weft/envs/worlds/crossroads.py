r"""A maze in which one step of improvement is not enough: two crossroads, and a coin beside the first.

        0 1 2 3 4 5 6 7 8
      0 # # # # # # # # #       S  start: every episode that judges a policy begins here
      1 # S # E # # G # #       G  goal: reward 1, the task is over
      2 # . # . # # . # #       C  coin: reward 0.4, the task is over
      3 # . # . # # . # #       D  dead end
      4 # . . X . . Y F #       X, Y  crossroads
      5 # # # . # # . # #       E, F  where other walks begin
      6 # # # . # # . # #
      7 # # # C # # D # #
      8 # # # # # # # # #

Of four logged walks one goes from S by X to the coin, two from E by X and Y into the dead end, and one from F by Y to
the goal. No walk from S comes to G, and none that passes both X and Y does: three pieces of different walks have to be
put together (s1 to s9 in the lectures' picture of stitching). Imitation goes to the coin; imitation of the best walks
has never seen S. What a walk from Y on was worth to those who logged it, a third of G's reward, is less than the coin:
so one step of improvement over the behaviour (AWR, one-step RL), which values Y by what the log did there, turns to the
coin too. Only a method that values Y by the better turn, and then X by the better Y, finds the way.
"""

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ...core.pytree import static
from ..corridors import Cell, Corridors

__all__ = ["Crossroads"]

COIN = (3, 7)
ORDER = (0, 1, 1, 2)  # the routes of four episodes in a row


class Crossroads(Corridors):
    """A maze with two crossroads and a coin beside the first; a log whose one-step improvement takes the coin.

    `coin` is what the coin pays. `pace`, `wobble`, `effort` and `steps` are those of `Corridors`.
    """

    title: ClassVar[str] = "Maze of two crossroads and a coin"
    logged: ClassVar[int] = 800
    plan: ClassVar[tuple[str, ...]] = (
        "#########",
        "#.#.##.##",
        "#.#.##.##",
        "#.#.##.##",
        "#.......#",
        "###.##.##",
        "###.##.##",
        "###.##.##",
        "#########",
    )
    start: ClassVar[Cell] = (1, 1)
    goal: ClassVar[Cell] = (6, 1)
    corners: ClassVar[tuple[tuple[Cell, ...], ...]] = (
        (start, (1, 4), (3, 4), COIN, COIN),  # S to C
        ((3, 1), (3, 4), (6, 4), (6, 7), (6, 7)),  # E to D
        ((7, 4), (6, 4), goal, (6, 0), (6, 0)),  # F to G and on
    )

    steps: int = static(default=50)
    coin: float = 0.4

    def chosen(self, number: Int[Array, ""]) -> Int[Array, ""]:
        return jnp.asarray(ORDER)[number % len(ORDER)]

    def pays(self, cell: Float[Array, "two"]) -> tuple[Float[Array, ""], Bool[Array, ""]]:
        reward, arrived = super().pays(cell)
        at_coin = (cell == jnp.asarray(COIN)).all()
        return reward + self.coin * at_coin, arrived | at_coin

    def routes(self, episodes: int) -> dict[str, np.ndarray]:
        """`route` says what a logged episode came to: the `coin`, the `dead end` or the `goal`."""
        names = np.array(["coin", "dead end", "goal"])
        return {"route": names[np.array(ORDER)[np.arange(episodes) % len(ORDER)]]}
