"""Networks of a state and something else (an action, a latent) whose first layer is kept in two halves.

Many actions of one state then share the state's half of the first layer.
"""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..core.pytree import static
from ..data.spec import Spec
from .dense import MLP, mlp, orthogonal, product, relu
from .encoder import Encoder, encoder

__all__ = ["Joint", "joint"]


class Joint(eqx.Module):
    """`f(s, x)` for a state and a vector beside it."""

    encoder: Encoder
    observation_half: Float[Array, "feature hidden"]
    other_half: Float[Array, "other hidden"]
    bias: Float[Array, "hidden"]
    rest: MLP
    activation: Callable[[Array], Array] = static(default=relu)

    def __call__(self, observation: PyTree, other: Float[Array, "... other"]) -> Float[Array, "... out"]:
        """Return `f(s, x)` for one x per state."""
        return self.finish(self.state_half(observation), other)

    def state_half(self, observation: PyTree) -> Float[Array, "... hidden"]:
        """What the first layer makes of the state alone."""
        return self.encoder(observation) @ self.observation_half + self.bias

    def finish(self, half: Float[Array, "... hidden"], other: Float[Array, "... other"]) -> Float[Array, "... out"]:
        """Finish `f(s, x)` from the state's half; further leading axes of either are broadcast."""
        return self.rest(self.activation(half + product(other, self.other_half)))

    def several(self, observation: PyTree, others: Float[Array, "... sample other"]) -> Float[Array, "... sample out"]:
        """Return `f(s, x_k)` for several x per state."""
        return self.finish(self.state_half(observation)[..., None, :], others)


def joint(key: PRNGKeyArray, spec: Spec, hidden: Sequence[int], other: int, outputs: int, last: float = 1.0) -> Joint:
    """Return a network of the log's observations and `other` numbers; needs at least one hidden layer."""
    encoder_key, first_key, rest_key = jax.random.split(key, 3)
    encode = encoder(encoder_key, spec)
    first = 2.0**0.5 * orthogonal(first_key, encode.features + other, hidden[0])
    rest = mlp(rest_key, (*hidden, outputs), last)
    return Joint(encode, first[: encode.features], first[encode.features :], jnp.zeros(hidden[0]), rest)
