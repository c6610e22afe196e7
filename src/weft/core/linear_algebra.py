"""Inverse matrices and linear systems of matrix products and loops alone, for compiled programs on a CPU.

LAPACK's routines inside one compiled program can wait for each other for ever there (as QR does), and mapped over many
matrices they nearly always do. Elimination as below never waits, maps, and differentiates in closed form.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["cholesky_inverse", "positive_inverse", "solve_linear"]

LEAF = 32  # rows that are eliminated one by one; larger matrices are divided


def _eliminate(matrix: Float[Array, "n n"], right: Float[Array, "n k"]) -> Float[Array, "n k"]:
    """Solve by Gauss–Jordan elimination, choosing the largest pivot of each column."""
    size = len(matrix)
    rows = jnp.arange(size)

    def step(number: Array, table: Array) -> Array:
        column = table[:, number]
        best = jnp.where(rows >= number, jnp.abs(column), -1.0).argmax()
        this, that = table[number], table[best]
        table = table.at[best].set(this)
        pivot = that[number]
        that = that / jnp.where(pivot == 0, 1e-30, pivot)
        rest = table[:, number].at[number].set(0.0)
        return (table - rest[:, None] * that[None]).at[number].set(that)

    return jax.lax.fori_loop(0, size, step, jnp.concatenate([matrix, right], 1))[:, size:]


def _factor(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """Return the inverse of the lower Cholesky factor of a small matrix: its row operations, done to the identity."""
    size = len(matrix)
    rows = jnp.arange(size)

    def step(number: Array, tables: tuple[Array, Array]) -> tuple[Array, Array]:
        rest, made = tables
        pivot = jnp.sqrt(jnp.maximum(rest[number, number], 1e-30))
        column = jnp.where(rows > number, rest[:, number] / pivot, 0.0)
        row = made[number] / pivot
        return rest - column[:, None] * column[None], (made - column[:, None] * row[None]).at[number].set(row)

    return jax.lax.fori_loop(0, size, step, (matrix, jnp.eye(size, dtype=matrix.dtype)))[1]


def cholesky_inverse(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """Return the inverse of the lower Cholesky factor of a symmetric positive definite matrix, by halves.

    Halving the inverse itself would lose all digits of matrices with a condition number above about 1e4.
    """
    size = len(matrix)
    if size <= LEAF:
        return _factor(matrix)
    half = size // 2
    first, cross, second = matrix[:half, :half], matrix[half:, :half], matrix[half:, half:]
    top = cholesky_inverse(first)
    below = cross @ top.T
    bottom = cholesky_inverse(second - below @ below.T)
    return jnp.block([[top, jnp.zeros((half, size - half), matrix.dtype)], [-bottom @ below @ top, bottom]])


@jax.custom_jvp
def positive_inverse(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """Return the inverse of a symmetric positive definite matrix, by Cholesky.

    A Newton step would multiply its error where the condition number is above about 1e6; refine solutions instead.
    """
    half = cholesky_inverse(matrix)
    return half.T @ half


@positive_inverse.defjvp
def _inverse_slope(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    inverse = positive_inverse(*primals)
    return inverse, -inverse @ tangents[0] @ inverse


def solve_linear(matrix: Float[Array, "n n"], right: Float[Array, "n"]) -> Float[Array, "n"]:
    """Solve a linear system of any regular matrix for one right side."""

    def solve(_: object, values: Array) -> Array:
        return _eliminate(jax.lax.stop_gradient(matrix), values[:, None])[:, 0]

    def transposed(_: object, values: Array) -> Array:
        return _eliminate(jax.lax.stop_gradient(matrix).T, values[:, None])[:, 0]

    return jax.lax.custom_linear_solve(lambda values: matrix @ values, right, solve, transposed)
