"""MinAtar's Breakout (Young and Tian 2019, arXiv:1903.03176) as a world of weft, from pgx-minatar's rules in JAX.

    pip install pgx==2.6.0 pgx-minatar==0.5.1      # GPL-3: for benchmarks alone, never installed with weft
    python benchmarks/defaults.py breakout

A picture of 10 × 10 with four channels (paddle, ball, its trail, bricks), three actions, an action repeated with
chance .1, a reward of 1 a brick; the task is over when the ball is lost. Episodes are timed out after 1,000 steps.
"""

from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, UInt8

from weft.data.spec import ActionSpec, ObservationSpec, Spec
from weft.envs.environment import Environment

__all__ = ["Breakout"]


def rules() -> Any:
    """Return the game of pgx-minatar, which is no part of weft's environment."""
    from pgx_minatar.breakout import MinAtarBreakout  # type: ignore[import-not-found]

    return MinAtarBreakout()


class Breakout(Environment):
    """A paddle, a ball and bricks in a picture of 10 by 10."""

    title: ClassVar[str] = "MinAtar Breakout"

    def __check_init__(self) -> None:
        rules()  # its module makes arrays when it is imported, which must not happen inside a compiled program

    @property
    def spec(self) -> Spec:
        return Spec(
            observations=(ObservationSpec((10, 10, 4), "uint8", "image"),),
            action=ActionSpec("discrete", (), "int32", counts=(3,), labels=("stay", "left", "right")),
            reward_low=(0.0,),
            reward_high=(1.0,),
            horizon=1000,
            discount=0.99,
            longest=1000,
        )

    def reset(self, key: PRNGKeyArray) -> Any:
        return rules().init(key)

    def observe(self, state: Any) -> UInt8[Array, "10 10 4"]:
        return state.observation.astype(jnp.uint8) * 255

    def step(self, state: Any, action: Int[Array, ""], key: PRNGKeyArray) -> tuple[Any, Array, Array]:
        after = rules().step(state, action, key)
        return after, after.rewards[0].astype(jnp.float32), after.terminated
