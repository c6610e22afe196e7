r"""How well those logged steps turned out that a policy would have taken, too: a score without Bellman's equation.

    A_i = G_i - v(s_i),      score = sum_i k_i A_i / sum_i k_i

`G_i` is the logged return from step i on, `v` a linear value function of what was seen, fitted to these returns, and
`k_i` how much the policy agrees with what was done: its probability over that of the logging policy, at most `CLIP`;
its probability alone where none was logged; a Gaussian in the distance of both actions where they are continuous.
With the ratio, and where nothing is cut off, this is in expectation the mean advantage of one step of the policy over
the logging one in the logged states (the performance difference lemma, Kakade and Langford 2002); otherwise states
where the policy and the log agree count more. It knows nothing of what a policy gains by stitching several steps, of
what follows a cut, and of values that were fitted where the log has no data, so it errs otherwise than fitted Q does.
It ranks policies; it is no estimate of their values.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..core.linear_algebra import positive_inverse
from ..data.columns import Columns
from .case import Case
from .moments import mapped, summed
from .waves import Features

__all__ = ["Advantage", "logged_advantage", "returns_to_go"]

CLIP = 10.0  # of the ratio of two probabilities
RIDGE = 1e-3
WIDTH = 0.25  # of the Gaussian, as a share of half the range of an action's dimension


class Advantage(NamedTuple):
    """The score, and the influence of every unit on it, which sum to 0."""

    mean: Float[Array, ""]
    each: Float[Array, "unit"]


def logged_advantage(basis: Features, case: Case, discount: Any, ridge: Any = RIDGE) -> Advantage:
    """Return the mean advantage of the logged steps, weighed by how much the policy of a case agrees with them.

    Features are made piece by piece, so that memory grows no faster than the log.
    """
    columns, weighing = case.columns, case.weighing
    counted, gone = weighing.weights[columns.episode], returns_to_go(columns, discount)
    width = jax.eval_shape(partial(_state, basis, columns), jnp.zeros(1, jnp.int32)).shape[1]

    def sums(rows: Array, weights: Array) -> tuple[Array, Array]:
        state = _state(basis, columns, rows)
        return (state * weights[:, None]).T @ state, state.T @ (weights * gone[rows])

    gram, right = summed(sums, counted, width)
    added = ridge * (jnp.trace(gram) / width + 1e-12)
    fit = positive_inverse(gram + added * jnp.eye(width)) @ right
    usual = mapped(lambda rows: _state(basis, columns, rows) @ fit, len(counted), width)
    advantage, weight = gone - usual, counted * _likeness(case)
    total = jnp.maximum(weight.sum(), 1e-30)
    mean = (weight * advantage).sum() / total
    each = jnp.zeros(case.episodes).at[weighing.unit[columns.episode]].add(weight * (advantage - mean))
    return Advantage(mean, each / total)


def _state(basis: Features, columns: Columns, rows: Array) -> Float[Array, "row feature"]:
    """Return features of what was seen at some rows, without the action."""
    seen = jax.tree.map(lambda part: part[columns.position[rows]], columns.observation)
    if basis.spec.discrete:
        return basis.state(seen)
    return basis.state(seen, jnp.zeros_like(columns.action[rows].reshape(len(rows), -1)))


def returns_to_go(columns: Columns, discount: Any) -> Float[Array, "row"]:
    """Return the discounted sum of the logged rewards from every step to the end of its episode."""
    last = jnp.append(columns.episode[1:] != columns.episode[:-1], True)
    factor = jnp.where(last, 0.0, discount**columns.duration)

    def compose(later: tuple[Array, Array], now: tuple[Array, Array]) -> tuple[Array, Array]:
        return now[0] * later[0], now[1] + now[0] * later[1]

    return jax.lax.associative_scan(compose, (factor, columns.reward[:, 0]), reverse=True)[1]


def _likeness(case: Case) -> Float[Array, "row"]:
    """Return how much the policy agrees with what was done at every step."""
    candidate, columns = case.candidate, case.columns
    if candidate.probability is not None:
        chance = candidate.probability[columns.position, columns.action]
        if columns.log_propensity is None:
            return chance
        return jnp.minimum(chance * jnp.exp(-columns.log_propensity), CLIP)
    assert candidate.action is not None
    apart = candidate.action[columns.position] - columns.action[:, None].reshape(len(columns.action), 1, -1)
    return jnp.exp(-0.5 * jnp.square(apart / WIDTH).mean(-1)).mean(-1)
