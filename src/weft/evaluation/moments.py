"""Sums over the steps of episodes that linear value functions are made of, kept or made anew (see `linear`)."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ..core.pytree import static
from ..data.columns import Columns
from .candidate import Candidate
from .case import mean
from .trajectories import Layout, layout
from .waves import Features

__all__ = ["Moments", "Steps", "Sums", "continued", "discounted", "grouped", "mapped", "moments", "summed"]

ROOM = 2**26  # numbers that the sums of all episodes may take, 268 MB
FEW = 64  # groups whose sums are a product
CACHED = 2**18  # numbers of features that are made at once, because what leaves a core's cache costs more than its use


class Sums(eqx.Module):
    """Weighted sums over steps. `gram` holds the blocks of A below each other, `(feature, inner)`, where `inner` is the
    number of features of a state with choices and all features without; `forward` (M) is None where nothing follows.
    """

    gram: Float[Array, "feature inner"]
    forward: Float[Array, "feature feature"] | None
    reward: Float[Array, "feature"]


class Moments(eqx.Module):
    """What a linear value function needs of every episode, kept."""

    gram: Float[Array, "episode feature inner"]
    forward: Float[Array, "episode feature feature"] | None
    reward: Float[Array, "episode feature"]
    first: Float[Array, "episode feature"]

    @property
    def width(self) -> int:
        """Number of features of a step."""
        return self.reward.shape[1]

    def weighted(self, weights: Float[Array, "episode"]) -> Sums:
        """Return the sums over all steps with their episodes' weights."""

        def total(part: Array) -> Array:
            # laid flat, because the derivative by a product over two axes takes thirty times as long on a CPU
            return (weights @ part.reshape(len(part), -1)).reshape(part.shape[1:])

        forward = None if self.forward is None else total(self.forward)
        return Sums(total(self.gram), forward, total(self.reward))

    def initial(self, weights: Float[Array, "episode"]) -> Float[Array, "feature"]:
        """Return the mean of `phi_0`."""
        return mean(self.first, weights)

    def begun(self, theta: Float[Array, "feature"]) -> Float[Array, "episode"]:
        """Return `V(s_0)` of every episode."""
        return self.first @ theta

    def errors(
        self, dual: Float[Array, "time feature"], now: Float[Array, "time feature"], after: Float[Array, "time feature"]
    ) -> Float[Array, "episode"]:
        """Return `sum_h u_h^T (b_i + M_i after_h - A_i now_h)` of every episode, with the rows of `dual` as u."""
        # sum_h u_h^T M theta = <M, sum_h u_h theta^T>: one product per episode whatever the horizon
        width, inner = self.width, self.gram.shape[-1]
        back = jnp.einsum("hak,hal->akl", *(part.reshape(len(part), -1, inner) for part in (dual, now)))
        error = self.reward @ dual.sum(0) - self.gram.reshape(-1, width * inner) @ back.reshape(width * inner)
        if self.forward is None:
            return error
        return error + self.forward.reshape(-1, width * width) @ (dual.T @ after).reshape(width * width)


class Steps(eqx.Module):
    """The same as `Moments` without keeping anything of an episode: features are made anew for every sum, some steps at
    a time. Without a candidate, what follows is the logged next action; cut steps, which have none, are left out.
    """

    basis: Features
    candidate: Candidate | None
    columns: Columns
    discount: Float[Array, ""] | float
    episodes: int = static()
    follows: bool = static()
    inner: int = static()
    width: int = static()

    def steps(self, row: Int[Array, "step"]) -> tuple[Array, Array | None, Array]:
        """Return `phi`, `gamma^dt (1 - d) phi'` (None where nothing follows) and `r` of some steps."""
        columns = self.columns
        seen = jax.tree.map(lambda part: part[columns.position[row]], columns.observation)
        here, reward = self.basis.logged(seen, columns.action[row]), columns.reward[row, 0]
        ahead = discounted(columns, row, self.discount)[:, None]
        if self.candidate is None:
            used, following = continued(columns, row)
            seen = jax.tree.map(lambda part: part[columns.position[following]], columns.observation)
            there = self.basis.logged(seen, columns.action[following]) * ahead if self.follows else None
            return jnp.where(used[:, None], here, 0.0), there, jnp.where(used, reward, 0.0)
        if not self.follows:
            return here, None, reward
        after = columns.successor[row]
        following = jax.tree.map(lambda part: part[after], columns.observation)
        return here, self.basis.expected(self.candidate, following, after) * ahead, reward

    def firsts(self, episode: Int[Array, "some"]) -> Float[Array, "some feature"]:
        """Return `phi_0` of some episodes: of what the candidate does there, else of what was done."""
        row = _begins(self.columns, self.episodes)[episode]
        at = self.columns.position[row]
        seen = jax.tree.map(lambda part: part[at], self.columns.observation)
        if self.candidate is None:
            return self.basis.logged(seen, self.columns.action[row])
        return self.basis.expected(self.candidate, seen, at)

    def weighted(self, weights: Float[Array, "episode"]) -> Sums:
        def part(row: Array, weight: Array) -> Sums:
            here, following, reward = self.steps(row)
            each = here * weight[:, None]
            small = here.reshape(len(row), -1, self.inner).sum(1)  # its only block
            return Sums(each.T @ small, None if following is None else each.T @ following, each.T @ reward)

        return summed(part, weights[self.columns.episode], self.width)

    def initial(self, weights: Float[Array, "episode"]) -> Float[Array, "feature"]:
        total = summed(lambda episode, weight: weight @ self.firsts(episode), weights, self.width)
        return total / jnp.maximum(weights.sum(), 1e-9)

    def begun(self, theta: Float[Array, "feature"]) -> Float[Array, "episode"]:
        return mapped(lambda episode: self.firsts(episode) @ theta, self.episodes, self.width)

    def errors(
        self, dual: Float[Array, "time feature"], now: Float[Array, "time feature"], after: Float[Array, "time feature"]
    ) -> Float[Array, "episode"]:
        short = 3 * len(dual) < self.width + self.inner  # products by time cost less than those of a matrix
        onward = None if short or not self.follows else dual.T @ after
        blocks = (part.reshape(len(part), -1, self.inner) for part in (dual, now))
        back = None if short else jnp.einsum("hak,hal->akl", *blocks)

        def error(row: Array) -> Array:
            here, following, reward = self.steps(row)
            if back is None:
                error = reward[:, None] - here @ now.T
                error = error if following is None else error + following @ after.T
                return (here @ dual.T * error).sum(1)
            small = here.reshape(len(row), -1, self.inner)
            total = here @ dual.sum(0) * reward - jnp.einsum("nak,akl,nal->n", small, back, small)
            return total if following is None or onward is None else total + (here @ onward * following).sum(1)

        each = mapped(error, len(self.columns.terminal), self.width)
        return jnp.zeros(self.episodes).at[self.columns.episode].add(each)


def moments(
    basis: Features,
    candidate: Candidate | None,
    columns: Columns,
    episodes: int,
    discount: Float[Array, ""] | float,
    horizon: int | None = None,
) -> Moments | Steps:
    """Return the sums of every episode of the store where there is room for them, else the steps to make them of.

    Without a candidate they are those of the logging policy: what follows a step is the logged next action.
    """
    row = jnp.zeros(1, jnp.int32)
    seen = jax.tree.map(lambda part: part[columns.position[row]], columns.observation)
    width = jax.eval_shape(lambda: basis.logged(seen, columns.action[row])).shape[-1]
    inner = width // basis.spec.action.size if basis.spec.discrete else width
    follows = horizon != 1
    steps = Steps(basis, candidate, columns, discount, episodes, follows, inner, width)
    if episodes * width * (inner + width * follows) > ROOM:
        return steps

    def of(rows: Layout) -> Sums:
        here, there, reward = steps.steps(rows.row)
        here = jnp.where(rows.there[:, None], here, 0.0)
        small = here.reshape(len(here), -1, inner).sum(1)
        return Sums(here.T @ small, None if there is None else here.T @ there, here.T @ reward)

    where = layout(columns, episodes, basis.spec.longest)
    each = jax.lax.map(of, where, batch_size=min(episodes, max(1, CACHED // (where.row.shape[1] * width))))
    return Moments(each.gram, each.forward, each.reward, steps.firsts(jnp.arange(episodes)))


def discounted(columns: Columns, row: Int[Array, "step"], discount: Any) -> Float[Array, "step"]:
    """Return by how much what follows a step is discounted, 0 where nothing does."""
    return jnp.where(columns.terminal[row], 0.0, discount ** columns.duration[row])


def continued(columns: Columns, row: Int[Array, "step"]) -> tuple[Bool[Array, "step"], Int[Array, "step"]]:
    """Say whether the log shows what was done after a step, or that nothing was, and in which row."""
    following = jnp.minimum(row + 1, len(columns.terminal) - 1)
    goes_on = (following > row) & (columns.episode[following] == columns.episode[row])
    return goes_on | columns.terminal[row], following


def _begins(columns: Columns, episodes: int) -> Int[Array, "episode"]:
    """Return the first row of every episode."""
    return jnp.zeros(episodes, jnp.int32).at[columns.episode].set(columns.episode_start)


def _together(width: int) -> int:
    """Return how many steps' features are made at once: what a core caches, or enough to pay for a sum of matrices."""
    return max(CACHED // width, min(width, 1024))


def _pieces(weights: Float[Array, "number"], width: int) -> tuple[Int[Array, "piece some"], Float[Array, "piece some"]]:
    """Return all numbers in pieces, filled up with the last one, and their weights, 0 where filled up."""
    count = len(weights)
    together = min(count, _together(width))
    size = -(-count // together) * together
    numbers = jnp.minimum(jnp.arange(size), count - 1)
    return numbers.reshape(-1, together), jnp.pad(weights, (0, size - count)).reshape(-1, together)


def summed(part: Callable[[Array, Array], Any], weights: Float[Array, "number"], width: int) -> Any:
    """Return the sum of `part(numbers, weights)` over pieces of all numbers; a derivative makes each piece anew.

    Weights go into their piece alone, so that a derivative in them costs as much as they are.
    """
    pieces, piece = _pieces(weights, width), jax.checkpoint(part)
    blank = jax.eval_shape(piece, pieces[0][0], pieces[1][0])
    blank = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), blank)
    return jax.lax.scan(lambda total, these: (jax.tree.map(jnp.add, total, piece(*these)), None), blank, pieces)[0]


def grouped(
    part: Callable[[Array, Array], tuple[Array, Array]], weights: Float[Array, "number"], width: int, groups: int
) -> Float[Array, "group ..."]:
    """Return sums by group over all numbers, made in pieces; `part(numbers, weights)` returns group and values of each
    number of a piece."""
    pieces = _pieces(weights, width)
    form = jax.eval_shape(part, pieces[0][0], pieces[1][0])[1]

    def add(total: Array, these: tuple[Array, Array]) -> tuple[Array, None]:
        group, each = part(*these)
        if groups > FEW:
            return total.at[group].add(each), None
        # a CPU scatters slowly, so that sums of a few groups are a product
        product = jax.nn.one_hot(group, groups).T @ each.reshape(len(each), -1)
        return total + product.reshape(total.shape), None

    return jax.lax.scan(add, jnp.zeros((groups, *form.shape[1:]), form.dtype), pieces)[0]


def mapped(part: Callable[[Array], Any], count: int, width: int) -> Any:
    """Return `part(numbers)` for all of `range(count)`, made piece by piece."""
    together = min(count, _together(width))
    numbers = jnp.arange(-(-count // together) * together).reshape(-1, together)
    pieces = jax.lax.map(lambda these: part(jnp.minimum(these, count - 1)), numbers)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:count], pieces)
