"""The grid world of Sutton and Barto (example 4.1; Z1 of the project's fixture list).

Sixteen cells, terminals at two opposite corners, reward −1 per move, a move into the edge stays where it is. Logged by
the uniformly random policy. `weft.tabular` has its exact values.
"""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ...core.pytree import static
from ...data.spec import ActionSpec, ObservationSpec, Spec
from ..environment import Environment

__all__ = ["CELLS", "ENDS", "Grid", "transitions"]

SIDE = 4
CELLS = SIDE * SIDE
ENDS = (0, CELLS - 1)
MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))  # row, column: up, down, left, right


def transitions() -> Int[np.ndarray, "cell choice"]:
    """Return the cell that each move leads to from each cell; terminal cells lead to themselves."""
    table = np.zeros((CELLS, len(MOVES)), np.int32)
    for cell in range(CELLS):
        for choice, (down, right) in enumerate(MOVES):
            row, column = cell // SIDE + down, cell % SIDE + right
            inside = 0 <= row < SIDE and 0 <= column < SIDE and cell not in ENDS
            table[cell, choice] = row * SIDE + column if inside else cell
    return table


class Cell(eqx.Module):
    """Where the walker is, counted row by row."""

    cell: Int[Array, ""]


class Grid(Environment):
    """Four by four cells, −1 per move until a corner is reached. An episode begins in any cell that is no corner."""

    title: ClassVar[str] = "Grid world"

    steps: int = static(default=200)

    @property
    def spec(self) -> Spec:
        return Spec(
            observations=(ObservationSpec((CELLS,), low=(0.0,) * CELLS, high=(1.0,) * CELLS),),
            action=ActionSpec("discrete", (), "int32", counts=(len(MOVES),)),
            reward_low=(-1.0,),
            reward_high=(-1.0,),
            horizon=self.steps,
            discount=1.0,
            longest=self.steps,
        )

    def reset(self, key: PRNGKeyArray) -> Cell:
        return Cell(jax.random.randint(key, (), 1, CELLS - 1))

    def observe(self, state: Cell) -> Float[Array, "cell"]:
        return jax.nn.one_hot(state.cell, CELLS)

    def step(self, state: Cell, action: Int[Array, ""], key: PRNGKeyArray) -> tuple[Cell, Array, Array]:
        del key
        cell = jnp.asarray(transitions())[state.cell, action]
        return Cell(cell), jnp.float32(-1.0), (cell == ENDS[0]) | (cell == ENDS[1])
