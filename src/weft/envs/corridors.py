"""What worlds of corridors share: walls, a walker that steps between them, and a behaviour that follows routes.

The position is in the unit square (x to the right, y downwards), the action a velocity in [−1, 1]². Walls stop the
component of a step that runs into them. The behaviour follows its corridor's middle with Gaussian wobble truncated to
the action bounds, so its density is exact; it depends on the route, which the observation does not show.
"""

import abc
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ..core.pytree import static
from ..data.spec import ActionSpec, ObservationSpec, Spec
from .environment import Environment

__all__ = ["Cell", "Corridors", "Place", "Route", "within"]

REACHED = 0.35  # of a cell: how near a corner counts as turned
Cell = tuple[int, int]  # column, row


class Place(eqx.Module):
    """Where the walker is, in the unit square."""

    position: Float[Array, "two"]


class Route(eqx.Module):
    """What the logging behaviour knows: which route it is on and which corner comes next."""

    route: Int[Array, ""]
    corner: Int[Array, ""]


class Corridors(Environment):
    """Corridors between walls, cells that end the walk and pay, and routes that logged episodes follow.

    `pace` is the length of a full step in cells, `wobble` the standard deviation of the logged actions around
    `effort` times the direction of the next corner; `steps` is the horizon. Class attributes: the `plan`, a square of
    '#' and '.'; the cell where every episode that judges a policy begins; the corners of every `route`, from where it
    begins on, all equally many. An episode that is logged follows the route of its number (`chosen`).
    """

    plan: ClassVar[tuple[str, ...]]
    start: ClassVar[Cell]
    goal: ClassVar[Cell]
    corners: ClassVar[tuple[tuple[Cell, ...], ...]]

    pace: float = 0.5
    wobble: float = 0.4
    effort: float = 0.8
    steps: int = static(default=40)

    @property
    def side(self) -> int:
        """The number of cells along a side of the plan."""
        return len(self.plan)

    @property
    def ground(self) -> tuple[str, ...]:
        """The plan that a walker walks on."""
        return self.plan

    @abc.abstractmethod
    def chosen(self, number: Int[Array, ""]) -> Int[Array, ""]:
        """Return the route of a logged episode."""

    def pays(self, cell: Float[Array, "two"]) -> tuple[Float[Array, ""], Bool[Array, ""]]:
        """Return what coming to a cell is worth, and whether the walk is over: 1 at the goal, and it is."""
        arrived = (cell == jnp.asarray(self.goal)).all()
        return arrived.astype(jnp.float32), arrived

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
        return within(key, jnp.asarray(self.start), self.side)

    def observe(self, state: Place) -> Float[Array, "two"]:
        return state.position

    def step(self, state: Place, action: Float[Array, "two"], key: PRNGKeyArray) -> tuple[Place, Array, Array]:
        del key
        move = jnp.clip(action, -1.0, 1.0) * self.pace / self.side
        position = state.position
        for axis in (0, 1):  # one component after the other, so that the walker slides along walls
            tried = position.at[axis].add(move[axis])
            position = jnp.where(_free(tried, self.ground), tried, position)
        reward, over = self.pays(jnp.floor(position * self.side))
        return Place(position), reward, over

    def begin(self, key: PRNGKeyArray, number: Int[Array, ""]) -> tuple[Place, Route]:
        route = self.chosen(number).astype(jnp.int32)
        first = jnp.asarray([corners[0] for corners in self.corners])[route]
        return within(key, first, self.side), Route(route, jnp.ones((), jnp.int32))

    def behave(self, memory: Route, state: Place, key: PRNGKeyArray) -> tuple[Array, Array, Route]:
        corners = (jnp.asarray(self.corners, jnp.float32) + 0.5) / self.side
        near = jnp.abs(corners[memory.route, memory.corner] - state.position).max() < REACHED / self.side
        corner = jnp.minimum(memory.corner + near, corners.shape[1] - 1)
        away = corners[memory.route, corner] - state.position
        # shorter than half a cell it slows down, so that the direction at the corner itself is defined
        wanted = self.effort * away / jnp.maximum(jnp.linalg.norm(away), 0.5 / self.side)
        low, high = (-1.0 - wanted) / self.wobble, (1.0 - wanted) / self.wobble
        noise = jax.random.truncated_normal(key, low, high)
        action = jnp.clip(wanted + self.wobble * noise, -1.0, 1.0)  # rounding alone can lead beyond
        inside = jax.scipy.stats.norm.cdf(high) - jax.scipy.stats.norm.cdf(low)
        density = jax.scipy.stats.norm.logpdf(noise) - jnp.log(self.wobble) - jnp.log(inside)
        return action, density.sum(), Route(memory.route, corner)


def within(key: PRNGKeyArray, cell: Int[Array, "two"], side: int) -> Place:
    """Return a place within a cell, away from its walls."""
    return Place((cell + jax.random.uniform(key, (2,), minval=0.2, maxval=0.8)) / side)


def _free(position: Float[Array, "two"], plan: tuple[str, ...]) -> Bool[Array, ""]:
    free = jnp.asarray([[character != "#" for character in row] for row in plan])
    column, row = jnp.floor(position * len(plan)).astype(jnp.int32)
    return free[row, column]
