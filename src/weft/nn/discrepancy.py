"""How far two sets of samples are apart: the maximum mean discrepancy (Gretton et al. 2012)."""

import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["KERNELS", "discrepancy"]

KERNELS = ("laplacian", "gaussian")


def discrepancy(
    first: Float[Array, "*any one act"],
    second: Float[Array, "*any two act"],
    kernel: str,
    width: Float[Array, ""] | float,
) -> Float[Array, "*any"]:
    """Return `sqrt(MMD² + 1e-6)` of two sets of samples per state, the diagonals included.

    The kernels are exp(−‖x − y‖₁ / 2σ) (`laplacian`) and exp(−‖x − y‖² / 2σ) (`gaussian`; σ is not squared), as in
    BEAR (arXiv:1906.00949, app. C and code). The 1e-6 keeps the gradient finite where the sets are equal.
    """

    def mean(one: Array, two: Array) -> Array:
        apart = one[..., :, None, :] - two[..., None, :, :]
        distance = jnp.abs(apart).sum(-1) if kernel == "laplacian" else jnp.square(apart).sum(-1)
        return jnp.exp(-distance / (2.0 * width)).mean((-2, -1))

    # with the diagonals it is a squared norm, so never negative but for rounding
    squared = mean(first, first) - 2.0 * mean(first, second) + mean(second, second)
    return jnp.sqrt(jnp.maximum(squared, 0.0) + 1e-6)
