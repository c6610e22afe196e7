"""Dense layers and their initial weights."""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..core.pytree import static

__all__ = ["MLP", "LayerNorm", "Linear", "orthogonal", "product", "relu"]

ROOT_TWO = 2.0**0.5
relu = jax.nn.relu


class LayerNorm(eqx.Module):
    """Features brought to mean 0 and deviation 1, then scaled and shifted (arXiv:1607.06450)."""

    scale: Float[Array, "feature"]
    shift: Float[Array, "feature"]

    def __call__(self, values: Float[Array, "... feature"]) -> Float[Array, "... feature"]:
        centred = values - values.mean(-1, keepdims=True)
        variance = jnp.square(centred).mean(-1, keepdims=True)
        return centred * jax.lax.rsqrt(variance + 1e-6) * self.scale + self.shift


class Linear(eqx.Module):
    """`x W + b` for inputs `(..., inputs)`, which may be brought to one scale first."""

    weight: Float[Array, "inputs outputs"]
    bias: Float[Array, "outputs"]
    norm: LayerNorm | None = None

    def __call__(self, values: Float[Array, "... inputs"]) -> Float[Array, "... outputs"]:
        return product(values if self.norm is None else self.norm(values), self.weight) + self.bias


def product(values: Float[Array, "... inputs"], weight: Float[Array, "inputs outputs"]) -> Float[Array, "... outputs"]:
    """Return `x W` with all leading axes as rows of one matrix.

    The gradient for `W` then contracts one axis instead of several, which a CPU does about three times as fast.
    """
    rows = values.reshape(-1, values.shape[-1]) if values.ndim > 2 else values
    narrow = rows.ndim == 2 and weight.shape[1] < weight.shape[0] and jax.default_backend() == "cpu"
    return (_narrow(rows, weight) if narrow else rows @ weight).reshape(*values.shape[:-1], weight.shape[-1])


@jax.custom_vjp
def _narrow(rows: Float[Array, "row inputs"], weight: Float[Array, "inputs outputs"]) -> Float[Array, "row outputs"]:
    """Return `x W` for fewer outputs than inputs; its gradient is made in the order that a CPU is quick at."""
    return rows @ weight


def _narrow_forward(rows: Array, weight: Array) -> tuple[Array, tuple[Array, Array]]:
    return rows @ weight, (rows, weight)


def _narrow_backward(seen: tuple[Array, Array], slope: Array) -> tuple[Array, Array]:
    rows, weight = seen
    # for 256 rows of 256 units and 6 outputs xᵀ g takes 145 µs and gᵀ x 18; the barrier keeps the second from becoming
    # the first
    return slope @ weight.T, jax.lax.optimization_barrier(slope.T @ rows).T


_narrow.defvjp(_narrow_forward, _narrow_backward)


class MLP(eqx.Module):
    """Dense layers with an activation between them (none after the last)."""

    layers: tuple[Linear, ...]
    activation: Callable[[Array], Array] = static(default=relu)

    def __call__(self, values: Float[Array, "... inputs"]) -> Float[Array, "... outputs"]:
        for layer in self.layers[:-1]:
            values = self.activation(layer(values))
        return self.layers[-1](values)


def mlp(key: PRNGKeyArray, sizes: Sequence[int], last: float = 1.0, norms: int = 0) -> MLP:
    """Return an MLP: orthogonal weights (gain √2, `last` for the output), zero biases, `norms` before last layers."""
    keys = jax.random.split(key, len(sizes) - 1)
    gains, normed = [ROOT_TWO] * (len(keys) - 1) + [last], [False] * (len(keys) - norms) + [True] * norms
    return MLP(tuple(map(linear, keys, sizes[:-1], sizes[1:], gains, normed)))


def linear(key: PRNGKeyArray, inputs: int, outputs: int, gain: float = 1.0, norm: bool = False) -> Linear:
    """Return a dense layer with orthogonal weights of the given gain and a zero bias."""
    before = LayerNorm(jnp.ones(inputs), jnp.zeros(inputs)) if norm else None
    return Linear(gain * orthogonal(key, inputs, outputs), jnp.zeros(outputs), before)


def orthogonal(key: PRNGKeyArray, inputs: int, outputs: int) -> Float[Array, "inputs outputs"]:
    """Return a random matrix with orthonormal rows or columns, whichever are fewer.

    The polar factor of a Gaussian matrix, by Newton–Schulz iteration: matrix products only, because several QR calls
    in one compiled program can wait for each other for ever on a CPU.
    """
    tall = jax.random.normal(key, (max(inputs, outputs), min(inputs, outputs)))
    factor = tall / jnp.linalg.norm(tall)  # singular values in (0, 1], where the iteration converges
    # a step takes each singular value s to s (3 - s^2) / 2: small ones grow by a half, and all converge to 1
    factor = jax.lax.fori_loop(0, 40, lambda _, x: 1.5 * x - 0.5 * x @ (x.T @ x), factor)
    return factor if inputs >= outputs else factor.T
