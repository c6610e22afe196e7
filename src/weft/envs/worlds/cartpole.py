r"""A pole on a cart, pushed left or right: CartPole-v1 of Gymnasium (Barto, Sutton and Anderson 1983, in its form).

With the cart's position x and the pole's angle θ (0 upright), force F = ±10 N, masses m_c = 1 and m_p = 0.1 kg, half
length l = 0.5 m and steps of τ = 0.02 s, Euler's rule moves x and θ by the old velocities and these by

    h   = (F + m_p l θ'² sin θ) / (m_c + m_p)
    θ'' = (g sin θ - h cos θ) / (l (4/3 - m_p cos² θ / (m_c + m_p)))
    x'' = h - m_p l θ'' cos θ / (m_c + m_p).

Every step pays 1, the last one included. The task is over when |x| > 2.4 or |θ| > 12°; after 500 steps the time is up.
"""

import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ...core.pytree import static
from ...data.spec import ActionSpec, ObservationSpec, Spec
from ..environment import Environment

__all__ = ["CartPole"]

GRAVITY = 9.8
CART, POLE = 1.0, 0.1  # masses
LENGTH = 0.5  # half of the pole's
FORCE = 10.0
TAU = 0.02
FARTHEST, STEEPEST = 2.4, 12 * 2 * math.pi / 360
SPREAD = 0.05  # of every coordinate at the start


class Motion(eqx.Module):
    """Position and velocity of the cart, angle and angular velocity of the pole."""

    values: Float[Array, "four"]


class CartPole(Environment):
    """CartPole-v1: choice 0 pushes to the left, 1 to the right. The log's behaviour is a coin."""

    title: ClassVar[str] = "Cart and pole"

    steps: int = static(default=500)

    @property
    def spec(self) -> Spec:
        return Spec(
            observations=(ObservationSpec((4,)),),
            action=ActionSpec("discrete", (), "int32", counts=(2,), labels=("left", "right")),
            reward_low=(1.0,),
            reward_high=(1.0,),
            horizon=self.steps,
            discount=0.99,
            longest=self.steps,
        )

    def reset(self, key: PRNGKeyArray) -> Motion:
        return Motion(jax.random.uniform(key, (4,), minval=-SPREAD, maxval=SPREAD))

    def observe(self, state: Motion) -> Float[Array, "four"]:
        return state.values

    def step(self, state: Motion, action: Int[Array, ""], key: PRNGKeyArray) -> tuple[Motion, Array, Array]:
        del key
        _, speed, angle, turn = state.values
        force = jnp.where(action == 1, FORCE, -FORCE)
        cosine, sine, mass = jnp.cos(angle), jnp.sin(angle), CART + POLE
        pushed = (force + POLE * LENGTH * turn**2 * sine) / mass
        turning = (GRAVITY * sine - cosine * pushed) / (LENGTH * (4.0 / 3.0 - POLE * cosine**2 / mass))
        driven = pushed - POLE * LENGTH * turning * cosine / mass
        values = state.values + TAU * jnp.stack([speed, driven, turn, turning])
        over = (jnp.abs(values[0]) > FARTHEST) | (jnp.abs(values[2]) > STEEPEST)
        return Motion(values), jnp.float32(1.0), over
