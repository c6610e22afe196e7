"""How far a policy is from another one, in the direction that keeps it where the other one goes."""

from jaxtyping import Array, Float, PRNGKeyArray

from .distributions import Categorical, Distribution, Normal, TanhNormal, several

__all__ = ["EDGE", "divergence"]

EDGE = 1e-3  # squashed actors imitate actions no nearer than this to the bounds, where their densities run away


def divergence(chosen: Distribution, other: Distribution, key: PRNGKeyArray, count: int) -> Float[Array, "..."]:
    """`KL(π ‖ β)` per state: exact for choices, else the mean log-ratio of `count` actions of π (may be negative).

    The direction of arXiv:1911.11361: π is drawn from, so that it may leave parts of β out but not go where β is not.
    Of two squashed Gaussians those before the squashing are compared. The volume of tanh cancels in their ratio, and no
    action need be kept off its bounds (both must be squashed, or neither): densities read a little inside would let π,
    by going beyond, seem unlikely to itself and so nearer to β than it is, without a limit.
    """
    if isinstance(chosen, Categorical) and isinstance(other, Categorical):
        return chosen.expected(chosen.log_probabilities() - other.log_probabilities())
    if isinstance(chosen, TanhNormal) and isinstance(other, TanhNormal):
        chosen, other = (Normal(one.mean, one.log_std) for one in (chosen, other))
    own = several(chosen, count)
    action = own.sample(key)
    return (own.log_prob(action) - several(other, count).log_prob(action)).mean(-1)
