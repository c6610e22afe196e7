r"""A pendulum to be swung up and held upright: Pendulum-v1 of Gymnasium.

With the angle θ (0 upright), a torque u in [-2, 2], g = 10, m = l = 1 and steps of 0.05 s,

    reward = -(θ² + 0.1 θ'² + 0.001 u²)      θ in [-π, π), both as they were before the step
    θ'     <- clip(θ' + 0.05 (3 g / (2 l) sin θ + 3 u / (m l²)), -8, 8),    θ <- θ + 0.05 θ'.

An observation is (cos θ, sin θ, θ'). Nothing ends an episode but its 200 steps. The angle is kept within [-π, π), which
changes no answer and keeps float32 exact.
"""

import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ...core.pytree import static
from ...data.spec import ActionSpec, ObservationSpec, Spec
from ..environment import Environment

__all__ = ["Pendulum"]

GRAVITY = 10.0
TORQUE, FASTEST = 2.0, 8.0
TAU = 0.05
WORST = math.pi**2 + 0.1 * FASTEST**2 + 0.001 * TORQUE**2


class Swing(eqx.Module):
    """The angle from upright and the angular velocity."""

    angle: Float[Array, ""]
    turn: Float[Array, ""]


class Pendulum(Environment):
    """Pendulum-v1: one torque in [-2, 2], no terminal. The log's behaviour draws torques evenly."""

    title: ClassVar[str] = "Pendulum"

    steps: int = static(default=200)

    @property
    def spec(self) -> Spec:
        return Spec(
            observations=(ObservationSpec((3,), low=(-1.0, -1.0, -FASTEST), high=(1.0, 1.0, FASTEST)),),
            action=ActionSpec("continuous", (1,), low=(-TORQUE,), high=(TORQUE,)),
            reward_low=(-WORST,),
            reward_high=(0.0,),
            horizon=self.steps,
            discount=0.99,
            longest=self.steps,
        )

    def reset(self, key: PRNGKeyArray) -> Swing:
        chance = jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0)
        return Swing(_wrapped(math.pi * chance[0]), chance[1])

    def observe(self, state: Swing) -> Float[Array, "three"]:
        return jnp.stack([jnp.cos(state.angle), jnp.sin(state.angle), state.turn])

    def step(self, state: Swing, action: Float[Array, "one"], key: PRNGKeyArray) -> tuple[Swing, Array, Array]:
        del key
        torque = jnp.clip(action[0], -TORQUE, TORQUE)
        cost = _wrapped(state.angle) ** 2 + 0.1 * state.turn**2 + 0.001 * torque**2
        turn = state.turn + TAU * (1.5 * GRAVITY * jnp.sin(state.angle) + 3.0 * torque)
        turn = jnp.clip(turn, -FASTEST, FASTEST)
        return Swing(_wrapped(state.angle + TAU * turn), turn), -cost, jnp.zeros((), bool)


def _wrapped(angle: Float[Array, ""]) -> Float[Array, ""]:
    return (angle + math.pi) % (2 * math.pi) - math.pi
