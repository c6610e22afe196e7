"""Catch the ball: a game shown as a picture, for policies that see (after Mnih et al. 2014 and bsuite's `catch`).

The board has square cells of `size // 21` pixels (at least one), 21 a side at the default size. A ball begins in a
random column of the top row and falls one cell a step; a paddle, three cells wide, begins in the middle of the bottom
row and moves one cell to the left, stays, or moves one to the right. When the ball comes to the bottom row the task is
over: +1 if the paddle is there, -1 if not, 0 on every step before. Ball and paddle are white on black, so one frame
shows the whole state.
"""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, UInt8

from ...core.pytree import require, static
from ...data.spec import ActionSpec, ObservationSpec, Spec
from ..environment import Environment

__all__ = ["Catch"]

CELLS = 21  # a side, where the picture is large enough
REACH = 1  # of the paddle, in cells to either side
WHITE = 255


class Board(eqx.Module):
    """Row and column of the ball, column of the paddle's middle."""

    row: Int[Array, ""]
    column: Int[Array, ""]
    paddle: Int[Array, ""]


class Catch(Environment):
    """A falling ball and a paddle in a picture of `size` by `size` pixels. The log's behaviour moves evenly."""

    title: ClassVar[str] = "Catch"
    logged: ClassVar[int] = 100

    size: int = static(default=84)

    def __check_init__(self):
        require(self.size >= 5, f"The picture of catch is at least 5 pixels wide, got {self.size}.")

    @property
    def cells(self) -> int:
        """Cells a side; pixels that do not make a whole one stay black."""
        return self.size // self._pixels

    @property
    def _pixels(self) -> int:
        return max(1, self.size // CELLS)

    @property
    def spec(self) -> Spec:
        return Spec(
            observations=(ObservationSpec((self.size, self.size), "uint8", "image"),),
            action=ActionSpec("discrete", (), "int32", counts=(3,), labels=("left", "stay", "right")),
            reward_low=(-1.0,),
            reward_high=(1.0,),
            horizon=self.cells - 1,
            discount=0.99,
            longest=self.cells - 1,
        )

    def reset(self, key: PRNGKeyArray) -> Board:
        column = jax.random.randint(key, (), 0, self.cells)
        return Board(jnp.int32(0), column, jnp.int32(self.cells // 2))

    def observe(self, state: Board) -> UInt8[Array, "height width"]:
        place = jnp.arange(self.size) // self._pixels
        ball = (place == state.row)[:, None] & (place == state.column)
        paddle = (place == self.cells - 1)[:, None] & (jnp.abs(place - state.paddle) <= REACH)
        return jnp.where(ball | paddle, WHITE, 0).astype(jnp.uint8)

    def step(self, state: Board, action: Int[Array, ""], key: PRNGKeyArray) -> tuple[Board, Array, Array]:
        del key
        paddle = jnp.clip(state.paddle + action - 1, REACH, self.cells - 1 - REACH).astype(jnp.int32)
        row = jnp.minimum(state.row + 1, self.cells - 1)
        over = row == self.cells - 1
        caught = jnp.abs(state.column - paddle) <= REACH
        return Board(row, state.column, paddle), jnp.where(over, jnp.where(caught, 1.0, -1.0), 0.0), over
