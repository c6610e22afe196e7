"""How far a policy is from another one, in the direction that keeps it where the other one goes."""

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .distributions import Categorical, Distribution, several

__all__ = ["EDGE", "divergence", "log_ratio"]

EDGE = 1e-3  # log-densities of squashed actors are taken no nearer than this to the bounds, where they run away


def log_ratio(chosen: Distribution, other: Distribution, action: Array) -> Float[Array, "..."]:
    """`log π(a | s) − log β(a | s)`; continuous actions are kept a little inside their bounds for both."""
    if not isinstance(chosen, Categorical):
        action = jnp.clip(action, -1.0 + EDGE, 1.0 - EDGE)
    return chosen.log_prob(action) - other.log_prob(action)


def divergence(chosen: Distribution, other: Distribution, key: PRNGKeyArray, count: int) -> Float[Array, "..."]:
    """`KL(π ‖ β)` per state: exact for choices, else the mean log-ratio of `count` actions of π (may be negative).

    The direction of arXiv:1911.11361: π is drawn from, so that it may leave parts of β out but not go where β is not.
    """
    if isinstance(chosen, Categorical):
        return chosen.expected(chosen.log_probabilities() - other.log_probabilities())  # type: ignore[attr-defined]
    own = several(chosen, count)
    return log_ratio(own, several(other, count), own.sample(key)).mean(-1)
