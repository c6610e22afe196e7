"""Handwritten digits somewhere on a dark canvas: one decision an episode, which digit it is.

The 1797 digits of 8 × 8 pixels are those that scikit-learn ships (UCI, Alpaydin and Kaynak 1998). Episode i of a log
shows digit i, from the front again after the last, at a place of its own; the column `digit` says which of them it was,
and is the unit, so that no digit is in two parts of a log. What is logged is the right answer, with certainty, so its
reward is 1. `clutter` pieces of other digits, 4 × 4 pixels each, lie about (the cluttered task of arXiv:1406.6247).
"""

import functools
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from ...core.errors import UserError
from ...core.pytree import require, static
from ...data.spec import ActionSpec, ObservationSpec, Spec
from ..environment import Environment

__all__ = ["Digits"]

SIDE = 8
PIECE = 4
COUNT = 1797
CLASSES = 10
BRIGHTNESS = 15  # the files count grey from 0 to 16


class Canvas(eqx.Module):
    """What is seen and what it is."""

    image: UInt8[Array, "height width 1"]
    label: Int[Array, ""]


class Digits(Environment):
    """Say which digit lies on a canvas of `size` by `size` pixels; 1 if it is right, else 0."""

    title: ClassVar[str] = "Digits on a canvas"
    logged: ClassVar[int] = COUNT

    size: int = static(default=28)
    clutter: int = static(default=0)

    def __check_init__(self) -> None:
        require(self.size >= SIDE, f"A digit has {SIDE} pixels a side, a canvas of {self.size} is too small.")
        require(self.clutter >= 0, f"There are 0 or more pieces of clutter, got {self.clutter}.")

    @property
    def spec(self) -> Spec:
        return Spec(
            observations=(ObservationSpec((self.size, self.size, 1), "uint8", "image"),),
            action=ActionSpec("discrete", (), "int32", counts=(CLASSES,)),
            reward_low=(0.0,),
            reward_high=(1.0,),
            horizon=1,
            discount=1.0,
            longest=1,
            unit="digit",
        )

    def reset(self, key: PRNGKeyArray) -> Canvas:
        digit_key, place_key = jax.random.split(key)
        return self.shown(jax.random.randint(digit_key, (), 0, COUNT), place_key)

    def observe(self, state: Canvas) -> UInt8[Array, "height width 1"]:
        return state.image

    def step(self, state: Canvas, action: Int[Array, ""], key: PRNGKeyArray) -> tuple[Canvas, Float[Array, ""], Array]:
        del key
        return state, jnp.float32(action == state.label), jnp.ones((), bool)

    def begin(self, key: PRNGKeyArray, number: Int[Array, ""]) -> tuple[Canvas, tuple]:
        return self.shown(number % COUNT, key), ()

    def behave(self, memory: tuple, state: Canvas, key: PRNGKeyArray) -> tuple[Int[Array, ""], Float[Array, ""], tuple]:
        del key
        return state.label, jnp.zeros(()), memory

    def routes(self, episodes: int) -> dict[str, np.ndarray]:
        return {"digit": np.arange(episodes) % COUNT}

    def shown(self, number: Int[Array, ""], key: PRNGKeyArray) -> Canvas:
        """Return one digit at a place drawn with the key, among pieces of others."""
        images, labels = (jnp.asarray(part) for part in _digits())
        place_key, clutter_key = jax.random.split(key)

        def lay(canvas: Array, piece: Array, where: PRNGKeyArray) -> Array:
            corner = jax.random.randint(where, (2,), 0, self.size - piece.shape[0] + 1)
            laid = jax.lax.dynamic_update_slice(jnp.zeros_like(canvas), piece, (corner[0], corner[1]))
            return jnp.maximum(canvas, laid)

        def lay_piece(canvas: Array, piece_key: PRNGKeyArray) -> tuple[Array, None]:
            digit_key, cut_key, where = jax.random.split(piece_key, 3)
            digit = images[jax.random.randint(digit_key, (), 0, COUNT)]
            cut = jax.random.randint(cut_key, (2,), 0, SIDE - PIECE + 1)
            return lay(canvas, jax.lax.dynamic_slice(digit, (cut[0], cut[1]), (PIECE, PIECE)), where), None

        canvas = lay(jnp.zeros((self.size, self.size), jnp.uint8), images[number], place_key)
        if self.clutter:
            canvas = jax.lax.scan(lay_piece, canvas, jax.random.split(clutter_key, self.clutter))[0]
        return Canvas(canvas[..., None], labels[number])


@functools.cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise UserError(
            "scikit-learn, which has the digits, is not installed; run: pip install 'weft[images]'."
        ) from None
    digits: Any = load_digits()
    return (digits.images * BRIGHTNESS).astype(np.uint8), digits.target.astype(np.int32)
