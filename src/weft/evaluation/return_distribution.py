"""The distribution of returns under a policy: logged returns, weighed by whole episodes (arXiv:2104.08977)."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from .case import Case, Weighing
from .trajectories import relative

__all__ = ["ranked_returns", "weighted_returns"]

Weighted = tuple[Float[Array, "episode"], Float[Array, "episode"]]


def weighted_returns(case: Case, discount: Float[Array, ""] | float) -> Weighted:
    """Return the weight of every episode, up to a factor, and its discounted return."""
    paths = case.paths(discount)
    return relative(paths.log_weight[:, -1], case.weighing.starts), paths.returns


def ranked_returns(terms: Weighted, weighing: Weighing) -> tuple[*Weighted, Float[Array, ""]]:
    """Return the weights of the episodes by rising return, these returns, and the sum of all weights."""
    weight, total = terms
    counted = jnp.where(weighing.starts > 0, weighing.starts * weight, 0.0)
    order = jnp.argsort(total)
    return counted[order], total[order], jnp.maximum(counted.sum(), 1e-30)
