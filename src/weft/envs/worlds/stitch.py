"""The smallest world in which stitching pays (Z2 of the project's fixture list).

    A: 0 → M (0), 1 → end (+0.6)      B: 0 or 1 → M (0)      M: 0 → end (+1), 1 → end (0)

Logged are equal numbers of three trajectories: `A,0,M,1` (return 0), `B,0,M,0` (1) and `A,1` (0.6). From A the best
logged return is 0.6, the best possible one 1. The behaviour's choice at M depends on where the episode began.
"""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ...data.spec import ActionSpec, ObservationSpec, Spec
from ..environment import Environment

__all__ = ["Stitch"]

A, B, M = range(3)
LOG_HALF = -0.6931471805599453


class Node(eqx.Module):
    """Which of A, B, M it is."""

    node: Int[Array, ""]


class Stitch(Environment):
    """Three states and two choices; an episode that judges a policy begins at A."""

    title: ClassVar[str] = "Stitching in three states"

    @property
    def spec(self) -> Spec:
        return Spec(
            observations=(ObservationSpec((3,), low=(0.0,) * 3, high=(1.0,) * 3),),
            action=ActionSpec("discrete", (), "int32", counts=(2,)),
            reward_low=(0.0,),
            reward_high=(1.0,),
            horizon=3,
            discount=0.99,
            longest=3,
        )

    def reset(self, key: PRNGKeyArray) -> Node:
        del key
        return Node(jnp.int32(A))

    def observe(self, state: Node) -> Float[Array, "node"]:
        return jax.nn.one_hot(state.node, 3)

    def step(self, state: Node, action: Int[Array, ""], key: PRNGKeyArray) -> tuple[Node, Array, Array]:
        del key
        left = (state.node == A) & (action == 1)
        won = (state.node == M) & (action == 0)
        return Node(jnp.int32(M)), jnp.where(left, 0.6, jnp.where(won, 1.0, 0.0)), left | (state.node == M)

    def begin(self, key: PRNGKeyArray, number: Int[Array, ""]) -> tuple[Node, Int[Array, ""]]:
        del key
        kind = (number % 3).astype(jnp.int32)
        return Node(jnp.where(kind == 1, B, A).astype(jnp.int32)), kind

    def behave(
        self, memory: Int[Array, ""], state: Node, key: PRNGKeyArray
    ) -> tuple[Int[Array, ""], Float[Array, ""], Int[Array, ""]]:
        del key
        leaves, fails = (state.node == A) & (memory == 2), (state.node == M) & (memory == 0)
        return (leaves | fails).astype(jnp.int32), jnp.where(state.node == A, LOG_HALF, 0.0), memory
