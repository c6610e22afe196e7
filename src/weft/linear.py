r"""Linear value functions in closed form: features, per-episode moments, values and marginal ratios.

    A = sum phi phi^T,   M = sum gamma^dt (1 - d) phi phi'^T,   b = sum phi r,   phi' = E_{a' ~ pi} phi(s', a')
    horizon H:   theta_0 = 0,  theta_h = A^-1 (b + M theta_{h-1}),  V = phi_0^T theta_H        (fitted Q iteration)
    no horizon:  theta = (A - M)^-1 b                                                          (LSTD-Q)
    ratios:      mu_0 = mean phi_0,  mu_h = (M^T A^-1) mu_{h-1},   w_h(s, a) = phi^T u_h,  u_h = n A^-1 mu_h

Sums over the steps of an episode are all that any of this needs of it, so an estimate for other episode weights (a
bootstrap replicate, a fold, a derivative) is a weighted sum of them and one small solve. Where there is room for them
they are kept (`Moments`); many short episodes would need two matrices each, so features are made anew, a piece of the
log at a time, wherever a sum is asked for (`Steps`). With choices, phi(s, a) is zero but for the block of a: A is one
small matrix per choice. For one-hot features this is the exact tabular model; its influence function has the closed
form used by double reinforcement learning (arXiv:1908.08526):

    V(s_0) + sum_h u_h^T (b_i + M_i theta_{H-h-1} - A_i theta_{H-h})
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from .columns import Columns
from .estimator import Candidate, Weighing, mean
from .inverse import positive_inverse, solve_linear
from .paths import Layout, layout
from .pytree import static
from .spec import Spec

__all__ = [
    "Crossfit",
    "Features",
    "Moments",
    "Solution",
    "Steps",
    "Sums",
    "block_inverse",
    "blocks",
    "continued",
    "crossfit",
    "crossfit_influence",
    "diagonal",
    "discounted",
    "features",
    "influence",
    "moments",
    "nuisances",
    "ratios",
    "solve",
    "summed",
    "tables",
]

ROOM = 2**26  # numbers that the sums of all episodes may take, 268 MB
CACHED = 2**18  # numbers of features that are made at once, because what leaves a core's cache costs more than its use
SCALES = (0.5, 1.0, 2.0)  # of the random frequencies, in units of 1 / sqrt(dimension)


class Features(eqx.Module):
    """`phi(s, a)`: one-hot states where an observation is one category, else random Fourier features with the
    constant and the linear terms (Rahimi and Recht 2007); one block per choice where actions are discrete.
    """

    frequencies: Float[Array, "input wave"] | None
    phases: Float[Array, "wave"] | None
    spec: Spec = static()

    def state(self, observation: PyTree, *more: Array) -> Float[Array, "... feature"]:
        """Features of observations, and of whatever numbers belong to them."""
        if self.frequencies is None:
            (part,) = self.spec.observations
            codes = observation if part.name == "" else observation[part.name]
            return jax.nn.one_hot(codes.reshape(codes.shape[: codes.ndim - len(part.shape)]), part.count)
        assert self.phases is not None
        given = jnp.concatenate([_numbers(observation, self.spec), *more], -1)
        # constant and linear terms go through the same product: putting them beside the waves would copy everything
        inputs, waves = self.frequencies.shape
        linear = 0.3 * jnp.eye(inputs, inputs + 1)
        mixed = given @ jnp.concatenate([self.frequencies, linear], 1)
        mixed = mixed + jnp.concatenate([self.phases, jnp.zeros(inputs), jnp.ones(1)])
        return jnp.where(jnp.arange(waves + inputs + 1) < waves, jnp.sqrt(2.0 / waves) * _cosine(mixed), mixed)

    def logged(self, observation: PyTree, action: Array) -> Float[Array, "... feature"]:
        """Features of steps: `(..., feature)`."""
        if not self.spec.discrete:
            return self.state(observation, action.reshape(*action.shape[: action.ndim - 1], -1))
        return _blocks(jax.nn.one_hot(action, self.spec.action.size), self.state(observation))

    def expected(self, candidate: Candidate, observation: PyTree, at: Array) -> Float[Array, "... feature"]:
        """Mean features over what the candidate does at the observations numbered `at`."""
        if candidate.probability is not None:
            return _blocks(candidate.probability[at], self.state(observation))
        assert candidate.action is not None
        drawn = jnp.moveaxis(candidate.action[at], -2, 0)
        if len(drawn) == 1:
            return self.state(observation, drawn[0])
        return jax.vmap(lambda action: self.state(observation, action))(drawn).mean(0)


def _cosine(angle: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return `1 - 2 sin^2(angle / 2)`, the sine by its series: six times as fast on a CPU as `jnp.cos`, right to 4e-7
    but for what 32 bits leave of a large angle.
    """
    turns = angle * (0.5 / jnp.pi)
    half = jnp.pi * (turns - jnp.round(turns))  # at most pi / 2 either way
    square = half * half
    sine = half * (
        1 + square * (-1 / 6 + square * (1 / 120 + square * (-1 / 5040 + square * (1 / 362880 - square / 39916800))))
    )
    return 1 - 2 * sine * sine


def _blocks(chance: Float[Array, "... choice"], state: Float[Array, "... feature"]) -> Float[Array, "... product"]:
    return (chance[..., :, None] * state[..., None, :]).reshape(*state.shape[:-1], -1)


def _numbers(observation: PyTree, spec: Spec) -> Float[Array, "... input"]:
    parts = []
    for part in spec.observations:
        values = observation if part.name == "" else observation[part.name]
        batch = values.shape[: values.ndim - len(part.shape)]
        if part.kind == "category":
            values = jax.nn.one_hot(values, part.count)
        parts.append(values.reshape(*batch, -1).astype(jnp.float32))
    return jnp.concatenate(parts, -1)


def features(spec: Spec, key: PRNGKeyArray, count: int) -> Features:
    """Return about `count` features of steps for the observations and actions of a log.

    One category per observation, of at most `count` values, gives the exact table whatever its size.
    """
    (part, *others) = spec.observations
    if not others and part.kind == "category" and part.count <= count and spec.discrete:
        return Features(None, None, spec)
    sizes = [max(p.count, 1) if p.kind == "category" else 1 for p in spec.observations]
    inputs = sum(size * max(1, _product(p.shape)) for size, p in zip(sizes, spec.observations, strict=True))
    if not spec.discrete:
        inputs += spec.action.size
    waves = max(8, (count // spec.action.size if spec.discrete else count) - inputs - 1)
    frequency_key, scale_key, phase_key = jax.random.split(key, 3)
    scale = jax.random.choice(scale_key, jnp.asarray(SCALES), (waves,)) / jnp.sqrt(float(inputs))
    frequencies = jax.random.normal(frequency_key, (inputs, waves)) * scale
    return Features(frequencies, jax.random.uniform(phase_key, (waves,), maxval=2 * jnp.pi), spec)


def _product(shape: tuple[int, ...]) -> int:
    found = 1
    for size in shape:
        found *= size
    return found


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

        return jax.tree.map(total, Sums(self.gram, self.forward, self.reward))

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

    known: Features
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
        here, reward = self.known.logged(seen, columns.action[row]), columns.reward[row, 0]
        ahead = discounted(columns, row, self.discount)[:, None]
        if self.candidate is None:
            used, following = continued(columns, row)
            seen = jax.tree.map(lambda part: part[columns.position[following]], columns.observation)
            there = self.known.logged(seen, columns.action[following]) * ahead if self.follows else None
            return jnp.where(used[:, None], here, 0.0), there, jnp.where(used, reward, 0.0)
        if not self.follows:
            return here, None, reward
        after = columns.successor[row]
        following = jax.tree.map(lambda part: part[after], columns.observation)
        return here, self.known.expected(self.candidate, following, after) * ahead, reward

    def firsts(self, episode: Int[Array, "some"]) -> Float[Array, "some feature"]:
        """Return `phi_0` of some episodes: of what the candidate does there, else of what was done."""
        row = _begins(self.columns, self.episodes)[episode]
        at = self.columns.position[row]
        seen = jax.tree.map(lambda part: part[at], self.columns.observation)
        if self.candidate is None:
            return self.known.logged(seen, self.columns.action[row])
        return self.known.expected(self.candidate, seen, at)

    def weighted(self, weights: Float[Array, "episode"]) -> Sums:
        def part(row: Array, there: Array) -> Sums:
            here, following, reward = self.steps(row)
            each = here * jnp.where(there, weights[self.columns.episode[row]], 0.0)[:, None]
            small = here.reshape(len(row), -1, self.inner).sum(1)  # its only block
            return Sums(each.T @ small, None if following is None else each.T @ following, each.T @ reward)

        return summed(part, len(self.columns.terminal), self.width)

    def initial(self, weights: Float[Array, "episode"]) -> Float[Array, "feature"]:
        def part(episode: Array, there: Array) -> Array:
            return jnp.where(there, weights[episode], 0.0) @ self.firsts(episode)

        return summed(part, self.episodes, self.width) / jnp.maximum(weights.sum(), 1e-9)

    def begun(self, theta: Float[Array, "feature"]) -> Float[Array, "episode"]:
        return _mapped(lambda episode: self.firsts(episode) @ theta, self.episodes, self.width)

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

        each = _mapped(error, len(self.columns.terminal), self.width)
        return jnp.zeros(self.episodes).at[self.columns.episode].add(each)


def moments(
    known: Features,
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
    width = jax.eval_shape(lambda: known.logged(seen, columns.action[row])).shape[-1]
    inner = width // known.spec.action.size if known.spec.discrete else width
    follows = horizon != 1
    steps = Steps(known, candidate, columns, discount, episodes, follows, inner, width)
    if episodes * width * (inner + width * follows) > ROOM:
        return steps

    def of(rows: Layout) -> Sums:
        here, there, reward = steps.steps(rows.row)
        here = jnp.where(rows.there[:, None], here, 0.0)
        small = here.reshape(len(here), -1, inner).sum(1)
        return Sums(here.T @ small, None if there is None else here.T @ there, here.T @ reward)

    where = layout(columns, episodes, known.spec.longest)
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


def summed(part: Callable[[Array, Array], Any], count: int, width: int) -> Any:
    """Return the sum of `part(numbers, there)` over pieces of `range(count)`; a derivative makes each piece anew."""
    together = min(count, _together(width))
    numbers = jnp.arange(-(-count // together) * together).reshape(-1, together)
    piece = jax.checkpoint(lambda these: part(jnp.minimum(these, count - 1), these < count))
    blank = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(piece, numbers[0]))
    return jax.lax.scan(lambda total, these: (jax.tree.map(jnp.add, total, piece(these)), None), blank, numbers)[0]


def _mapped(part: Callable[[Array], Array], count: int, width: int) -> Array:
    """Return `part(numbers)` for all of `range(count)`, made piece by piece."""
    together = min(count, _together(width))
    numbers = jnp.arange(-(-count // together) * together).reshape(-1, together)
    made = jax.lax.map(lambda these: part(jnp.minimum(these, count - 1)), numbers)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:count], made)


class Solution(eqx.Module):
    """A linear value function: `theta[h]` with h steps to go, `(1, feature)` without a horizon; damped `inverse` of the
    blocks of A, for ratios; `transition` is `A^-1 M`, None where nothing follows.
    """

    theta: Float[Array, "togo feature"]
    inverse: Float[Array, "block inner inner"]
    transition: Float[Array, "feature feature"] | None
    first: Float[Array, "feature"]

    def at(self, step: Array, horizon: int | None) -> Float[Array, "... feature"]:
        """Return the coefficients for the time `step`."""
        if horizon is None:
            return jnp.broadcast_to(self.theta[0], (*jnp.shape(step), self.theta.shape[1]))
        return self.theta[jnp.clip(horizon - step, 0, horizon)]

    def dual(self, occupancy: Float[Array, "time feature"]) -> Float[Array, "time feature"]:
        """Return `A^-1 mu` for every row."""
        return _times(self.inverse, occupancy.T).T


def blocks(gram: Float[Array, "feature inner"], added: Any = 0.0) -> Float[Array, "block inner inner"]:
    """Return the blocks of A with a number added to their diagonals."""
    inner = gram.shape[1]
    return gram.reshape(-1, inner, inner) + added * jnp.eye(inner)


def diagonal(ridge: Any, gram: Float[Array, "feature inner"]) -> Float[Array, ""]:
    """Return a ridge given as a share of the mean diagonal of A."""
    return ridge * (jnp.einsum("aii->", blocks(gram)) / len(gram) + 1e-12)


def block_inverse(matrices: Float[Array, "block inner inner"]) -> Float[Array, "block inner inner"]:
    """Return the inverses of positive definite matrices."""
    return positive_inverse(matrices[0])[None] if len(matrices) == 1 else jax.vmap(positive_inverse)(matrices)


def _times(matrices: Float[Array, "block inner inner"], right: Float[Array, "feature *any"]) -> Array:
    """Multiply a matrix of blocks on the diagonal by anything."""
    if len(matrices) == 1:
        return matrices[0] @ right
    return jnp.einsum("akl,al...->ak...", matrices, right.reshape(*matrices.shape[:2], *right.shape[1:])).reshape(
        right.shape
    )


def solve(
    total: Sums, initial: Float[Array, "feature"], horizon: int | None, ridge: Any, damping: Any = 0.0
) -> Solution:
    """Return the value function for summed moments. initial: mean of `phi_0`; ridge: as a share of the mean diagonal
    of A, added to it so that what was never seen is worth 0; damping: added to A where ratios come from it.
    """
    size = len(total.reward)
    added = diagonal(ridge, total.gram)
    regular = blocks(total.gram, added)
    inverse = block_inverse(regular)

    def apply(right: Array) -> Array:
        answer = _times(inverse, right)
        for _ in range(2):  # features nearly depend on each other, so an explicit inverse in float32 is not enough
            answer = answer + _times(inverse, right - _times(regular, answer))
        return answer

    transition, constant = None if total.forward is None else apply(total.forward), apply(total.reward)
    if transition is None:
        theta = jnp.stack([jnp.zeros(size), constant])
    elif horizon is None:
        theta = solve_linear(jnp.eye(size) - transition, constant)[None]
    else:

        def back(theta: Array, _: None) -> tuple[Array, Array]:
            theta = constant + transition @ theta
            return theta, theta

        later = jax.lax.scan(back, jnp.zeros(size), None, length=horizon)[1]
        theta = jnp.concatenate([jnp.zeros((1, size)), later])
    return Solution(theta, block_inverse(blocks(total.gram, added + damping)), transition, initial)


def influence(
    every: Moments | Steps, solution: Solution, count: Float[Array, ""], horizon: int | None
) -> tuple[Float[Array, "episode"], Float[Array, "episode"]]:
    """Return `V(s_0)` of every episode and its sum of weighed errors, for a solution fitted on `count` other episodes.

    The estimate is the mean of the first over the episodes that begin where the candidate does, plus that of the
    second over all, because the ratios are to how often any episode of the log comes to a step.
    """
    dual = count * solution.dual(_occupancy(solution, horizon))
    if horizon is None:
        return every.begun(solution.theta[0]), every.errors(dual, solution.theta, solution.theta)
    # horizon - h and horizon - h - 1 steps to go
    return every.begun(solution.theta[-1]), every.errors(dual, solution.theta[:0:-1], solution.theta[-2::-1])


class Crossfit(eqx.Module):
    """Solutions fitted without the episodes that they are used for; `fold` of every episode."""

    solutions: Solution
    fold: Int[Array, "episode"]
    count: Float[Array, "fold"]


def crossfit(
    total: Moments | Steps, weighing: Weighing, horizon: int | None, ridge: Any, folds: int, damping: Any = 1.0
) -> Crossfit:
    """Fit one solution per fold on all other folds; all episodes of a unit are in one fold.

    For ratios every feature counts as seen `damping` steps more often than the other folds show. What they never show
    would otherwise weigh as much as the ridge is small; and of 1 / N and 1 / (N + 1), with N a number of visits, it
    is the second whose mean is about one over the mean of N.
    """
    counted = jnp.zeros(len(weighing.unit)).at[weighing.unit].max(weighing.weights) > 0
    fold = ((jnp.cumsum(counted) - 1) % folds)[weighing.unit]  # by rank: a view may hold every fifth unit alone

    def fit(number: Array) -> tuple[Solution, Array]:
        others = weighing.reweighted(jnp.where(fold == number, 0.0, weighing.weights))
        typical = jnp.square(others.weights).sum() / jnp.maximum(others.weights.sum(), 1e-9)
        sums, initial = total.weighted(others.weights), total.initial(others.starts)
        return solve(sums, initial, horizon, ridge, damping * typical), others.weights.sum()

    # one fold after another where steps are made anew, so that their matrices are not there all at once
    many = jax.vmap(fit) if isinstance(total, Moments) else lambda numbers: jax.lax.map(fit, numbers)
    solutions, count = many(jnp.arange(folds))
    return Crossfit(solutions, fold, count)


def nuisances(
    candidate: Candidate,
    columns: Columns,
    weighing: Weighing,
    key: PRNGKeyArray,
    count: int,
    discount: Any,
    horizon: int | None,
    ridge: Any,
    folds: int,
    damping: Any = 1.0,
) -> tuple[Features, Moments | Steps, Crossfit]:
    """Return `count` features, the moments of every episode, and the cross-fitted solutions made of them."""
    known = features(candidate.spec, key, count)
    every = moments(known, candidate, columns, len(weighing.weights), discount, horizon)
    return known, every, crossfit(every, weighing, horizon, ridge, folds, damping)


def crossfit_influence(
    total: Moments | Steps, fitted: Crossfit, horizon: int | None
) -> tuple[Float[Array, "episode"], Float[Array, "episode"]]:
    """Return `influence` of every episode by the solution that has not seen it."""

    def every(one: tuple[Solution, Array]) -> tuple[Array, Array]:
        return influence(total, *one, horizon)

    both = fitted.solutions, fitted.count
    first, error = jax.vmap(every)(both) if isinstance(total, Moments) else jax.lax.map(every, both)
    each = jnp.arange(len(fitted.fold))
    return first[fitted.fold, each], error[fitted.fold, each]


def tables(
    known: Features, candidate: Candidate, columns: Columns, fitted: Crossfit, horizon: int | None, discount: Any
) -> tuple[Float[Array, "episode time"], Float[Array, "episode time"], Float[Array, "episode time"]]:
    """Return `Q(s_t, a_t)`, `V(s_t)`, and, at the last step of an episode that was cut, `gamma^dt V(s_{t+1})`.

    All are 0 after the end. They are the control variates of doubly robust estimators.
    """

    def of(row: Array) -> tuple[Array, Array, Array]:
        at, after, step = (part[row] for part in (columns.position, columns.successor, columns.step))
        fold = fitted.fold[columns.episode[row]]
        seen, following = (jax.tree.map(lambda p, i=i: p[i], columns.observation) for i in (at, after))
        now, later = (_coefficients(fitted.solutions.theta, fold, time, horizon) for time in (step, step + 1))
        q = (known.logged(seen, columns.action[row]) * now).sum(-1)
        v = (known.expected(candidate, seen, at) * now).sum(-1)
        ahead = discount ** columns.duration[row] * (known.expected(candidate, following, after) * later).sum(-1)
        return q, v, jnp.where(continued(columns, row)[0], 0.0, ahead)

    where = layout(columns, len(fitted.fold), candidate.spec.longest)
    q, v, tail = _mapped(of, len(columns.terminal), fitted.solutions.theta.shape[-1])
    return where(q), where(v), where(tail)


def _coefficients(
    theta: Float[Array, "fold togo feature"], fold: Int[Array, "step"], step: Int[Array, "step"], horizon: int | None
) -> Float[Array, "step feature"]:
    """Return the coefficients of every step at its time, by the fold that has not seen it."""
    return theta[fold, 0 if horizon is None else jnp.clip(horizon - step, 0, horizon)]


def ratios(
    known: Features, candidate: Candidate, columns: Columns, fitted: Crossfit, horizon: int | None
) -> Float[Array, "episode time"]:
    """Return how often, discounted, the candidate comes to every logged step over how often an episode of the log does.

    Never negative; 0 after the end.
    """

    def dual(solution: Solution, count: Array) -> Array:
        return count * solution.dual(_occupancy(solution, horizon)).sum(0)

    duals = jax.vmap(dual)(fitted.solutions, fitted.count)

    def of(row: Array) -> Array:
        seen = jax.tree.map(lambda part: part[columns.position[row]], columns.observation)
        return (known.logged(seen, columns.action[row]) * duals[fitted.fold[columns.episode[row]]]).sum(-1)

    where = layout(columns, len(fitted.fold), candidate.spec.longest)
    return where(jnp.maximum(_mapped(of, len(columns.terminal), duals.shape[-1]), 0.0))


def _occupancy(solution: Solution, horizon: int | None) -> Float[Array, "time feature"]:
    """Return the mean discounted features of what the candidate does at every time; their sum without a horizon."""
    transition = solution.transition
    if transition is None:
        return solution.first[None]
    if horizon is None:
        return solve_linear((jnp.eye(len(transition)) - transition).T, solution.first)[None]

    def forth(occupancy: Array, _: None) -> tuple[Array, Array]:
        return transition.T @ occupancy, occupancy

    return jax.lax.scan(forth, solution.first, None, length=horizon)[1]
