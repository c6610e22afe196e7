"""Returns over time: λ-returns, n-step returns, and what came of a step until its episode ended."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..core.errors import UserError
from ..data.columns import Columns, Segments

__all__ = ["lambda_returns", "n_step_returns", "outcomes", "returns_to_go", "with_outcomes"]


def lambda_returns(
    reward: Float[Array, "row"],
    terminal: Bool[Array, "row"],
    last: Bool[Array, "row"],
    duration: Float[Array, "row"],
    discount: Float[Array, ""] | float,
    trace: Float[Array, ""] | float,
    next_value: Float[Array, "row"],
) -> Float[Array, "row"]:
    """`G_t = r_t + γ^Δt ((1 − λ) V(s′) + λ G_{t+1})` over consecutive episodes (Sutton and Barto 2018, eq. 12.18).

    `last` marks the last step of every episode: after a terminal step nothing follows, after a time-out V(s′) does.
    """
    future = jnp.where(terminal, 0.0, discount**duration)
    carry = jnp.where(last, 0.0, trace)
    constant = reward + future * (1.0 - carry) * jnp.where(terminal, 0.0, next_value)

    # G_t = constant + slope G_{t+1} is an affine map; maps compose associatively, so the scan has logarithmic depth
    def join(later: tuple[Array, Array], now: tuple[Array, Array]) -> tuple[Array, Array]:
        return now[0] + now[1] * later[0], now[1] * later[1]

    return jax.lax.associative_scan(join, (constant, future * carry), reverse=True)[0]


def outcomes(columns: Columns, discount: Float[Array, ""] | float) -> Float[Array, "row"]:
    """Return the discounted return from every step to the end of its episode (`G` of arXiv:2303.05479).

    After a time-out the worst that may follow is added: `min(r_worst, 0) / (1 − γ^Δt)`, the worst logged reward for
    ever at the shortest Δt, or no reward, as the task may end. With γ = 1 that is −∞. What is not known is −∞ too:
    steps of a ring buffer whose episode goes on, and rows that were never written. Raises UserError for a ring buffer
    that does not say how much of it was `written`.
    """
    used = jnp.arange(len(columns.rows)) < columns.count  # nothing may be learned of rows that are held out
    # the task may also end, which is worth 0: hence `initial`
    worst = jnp.min(columns.reward[columns.rows, 0], initial=0.0, where=used)
    shared = discount ** jnp.min(columns.duration[columns.rows], initial=jnp.inf, where=used)
    tail = jnp.where(shared < 1, worst / (1 - shared), -jnp.inf)
    if columns.lanes is None:
        order = jnp.arange(len(columns.episode))
        last = jnp.append(columns.episode[1:] != columns.episode[:-1], True)
        rest, empty = jnp.full(len(order), tail), jnp.zeros(len(order), bool)
    else:
        if (written := columns.written) is None:
            raise UserError("The columns of a ring buffer must say how many steps were written to each lane.")
        count, steps = columns.lanes.count, columns.lanes.steps
        time, lane = jnp.arange(steps), jnp.arange(count)[:, None]
        order = ((written + time) % steps * count + lane).reshape(-1)  # lane by lane, the oldest step first
        ended = columns.terminal[order] | columns.timeout[order]
        last = ended | jnp.tile(time == steps - 1, count)
        rest = jnp.where(ended, tail, -jnp.inf)
        empty = jnp.tile(time < steps - written, count)
    reward, terminal, duration = columns.reward[order, 0], columns.terminal[order], columns.duration[order]
    finite = lambda_returns(reward, terminal, last, duration, discount, 1.0, jnp.where(jnp.isfinite(rest), rest, 0.0))
    # infinities apart: in the sum they would meet a zero and make a NaN
    blank = jnp.zeros(len(order))
    unknown = lambda_returns(blank, terminal, last, blank, 1.0, 1.0, jnp.isinf(rest).astype(jnp.float32)) > 0
    return blank.at[order].set(jnp.where(unknown | empty, -jnp.inf, finite))


def with_outcomes(columns: Columns, discount: Float[Array, ""] | float) -> Columns:
    """Return the log with its `outcomes`, for `Algorithm.focus`."""
    return dataclasses.replace(columns, outcome=outcomes(columns, discount))


def returns_to_go(
    batch: Segments,
    discount: Float[Array, ""] | float,
    trace: Float[Array, ""] | float,
    next_value: Float[Array, "*any"],
) -> Float[Array, "lane time"]:
    """λ-returns of segments: 1 is the return to the end of the episode or segment, 0 one step and V(s′). No gradient.

    Where a segment is cut without an end, `next_value` (broadcast to the steps) stands in for what follows.
    """
    following = jnp.broadcast_to(next_value, batch.reward.shape)

    def lane(part: Segments, following: Array) -> Array:
        return lambda_returns(part.reward, part.terminal, part.last, part.duration, discount, trace, following)

    return jax.lax.stop_gradient(jax.vmap(lane)(batch, following))


def n_step_returns(
    batch: Segments, discount: Float[Array, ""] | float, count: int, next_value: Float[Array, "lane time"]
) -> Float[Array, "lane time"]:
    """`r_t + … + γⁿ⁻¹ r_{t+n−1} + γⁿ V(s_{t+n})`, shorter where episode or segment end before (no gradient)."""
    future = jnp.where(batch.terminal, 0.0, discount**batch.duration)
    returns = batch.reward + future * jnp.where(batch.terminal, 0.0, next_value)
    for _ in range(count - 1):
        # each pass lengthens every return by a step; the last column repeats itself, but there `last` cuts it
        later = jnp.concatenate([returns[:, 1:], returns[:, -1:]], axis=1)
        returns = batch.reward + future * jnp.where(batch.last, jnp.where(batch.terminal, 0.0, next_value), later)
    return jax.lax.stop_gradient(returns)
