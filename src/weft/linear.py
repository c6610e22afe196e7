r"""Linear value functions in closed form: features, per-episode moments, values and marginal ratios.

    A = sum phi phi^T,   M = sum gamma^dt (1 - d) phi phi'^T,   b = sum phi r,   phi' = E_{a' ~ pi} phi(s', a')
    horizon H:   theta_0 = 0,  theta_h = A^-1 (b + M theta_{h-1}),  V = phi_0^T theta_H        (fitted Q iteration)
    no horizon:  theta = (A - M)^-1 b                                                          (LSTD-Q)
    ratios:      mu_0 = mean phi_0,  mu_h = (M^T A^-1) mu_{h-1},   w_h(s, a) = phi^T u_h,  u_h = n A^-1 mu_h

The moments of an episode are all that any of this needs of it, so an estimate for other episode weights (a bootstrap
replicate, a fold, a derivative) is a weighted sum of them and one small solve. For one-hot features this is the exact
tabular model; its influence function has the closed form used by double reinforcement learning (arXiv:1908.08526):

    V(s_0) + sum_h u_h^T (b_i + M_i theta_{H-h-1} - A_i theta_{H-h})
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

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
    "crossfit",
    "crossfit_influence",
    "features",
    "influence",
    "moments",
    "nuisances",
    "ratios",
    "solve",
    "tables",
]

ROOM = 2**26  # numbers that may be laid out at once
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


class Moments(eqx.Module):
    """What a linear value function needs of every episode."""

    gram: Float[Array, "episode feature feature"]
    forward: Float[Array, "episode feature feature"]
    reward: Float[Array, "episode feature"]
    first: Float[Array, "episode feature"]

    def weighted(self, weights: Float[Array, "episode"]) -> "Moments":
        """Return the weighted sums, without the episode axis."""

        def total(part: Array) -> Array:
            # laid flat, because the derivative by a product over two axes takes thirty times as long on a CPU
            return (weights @ part.reshape(len(part), -1)).reshape(part.shape[1:])

        return jax.tree.map(total, self)


def moments(
    known: Features, candidate: Candidate, columns: Columns, episodes: int, discount: Float[Array, ""] | float
) -> Moments:
    """Return the moments of every episode of the store."""
    where = layout(columns, episodes, candidate.spec.longest)

    def of(rows: Layout) -> Moments:
        at, after = columns.position[rows.row], columns.successor[rows.row]
        there = rows.there[..., None]
        seen = jax.tree.map(lambda part: part[at], columns.observation)
        following = jax.tree.map(lambda part: part[after], columns.observation)
        here = jnp.where(there, known.logged(seen, columns.action[rows.row]), 0.0)
        ahead = discount ** columns.duration[rows.row] * jnp.where(columns.terminal[rows.row], 0.0, 1.0)
        there = known.expected(candidate, following, after) * ahead[..., None]
        begun = jax.tree.map(lambda part: part[at[..., 0]], columns.observation)
        return Moments(
            jnp.einsum("...td,...tf->...df", here, here),
            jnp.einsum("...td,...tf->...df", here, there),
            jnp.einsum("...td,...t->...d", here, columns.reward[rows.row, 0]),
            known.expected(candidate, begun, at[..., 0]),
        )

    width = jax.eval_shape(of, jax.tree.map(lambda part: part[:1], where)).reward.shape[-1]
    together = max(1, CACHED // (where.row.shape[1] * width))
    return of(where) if together >= episodes else jax.lax.map(of, where, batch_size=together)


class Solution(eqx.Module):
    """A linear value function: `theta[h]` with h steps to go, `(1, feature)` without a horizon; damped `inverse` of A,
    for ratios.
    """

    theta: Float[Array, "togo feature"]
    inverse: Float[Array, "feature feature"]
    transition: Float[Array, "feature feature"]
    first: Float[Array, "feature"]

    def at(self, step: Array, horizon: int | None) -> Float[Array, "... feature"]:
        """Return the coefficients for the time `step`."""
        if horizon is None:
            return jnp.broadcast_to(self.theta[0], (*jnp.shape(step), self.theta.shape[1]))
        return self.theta[jnp.clip(horizon - step, 0, horizon)]


def solve(
    total: Moments, initial: Float[Array, "feature"], horizon: int | None, ridge: Any, damping: Any = 0.0
) -> Solution:
    """Return the value function for summed moments. initial: mean of `phi_0`; ridge: as a share of the mean diagonal
    of A, added to it so that what was never seen is worth 0; damping: added to A where ratios come from it.
    """
    size = total.gram.shape[0]
    added = ridge * (jnp.trace(total.gram) / size + 1e-12)
    regular = total.gram + added * jnp.eye(size)
    inverse = positive_inverse(regular)

    def apply(right: Array) -> Array:
        found = inverse @ right
        for _ in range(2):  # features nearly depend on each other, so an explicit inverse in float32 is not enough
            found = found + inverse @ (right - regular @ found)
        return found

    transition, constant = apply(total.forward), apply(total.reward)
    if horizon is None:
        theta = solve_linear(jnp.eye(size) - transition, constant)[None]
    else:

        def back(theta: Array, _: None) -> tuple[Array, Array]:
            theta = constant + transition @ theta
            return theta, theta

        later = jax.lax.scan(back, jnp.zeros(size), None, length=horizon)[1]
        theta = jnp.concatenate([jnp.zeros((1, size)), later])
    damped = positive_inverse(total.gram + (added + damping) * jnp.eye(size))
    return Solution(theta, damped, transition, initial)


def influence(
    every: Moments, solution: Solution, count: Float[Array, ""], horizon: int | None
) -> tuple[Float[Array, "episode"], Float[Array, "episode"]]:
    """Return `V(s_0)` of every episode and its sum of weighed errors, for a solution fitted on `count` other episodes.

    The estimate is the mean of the first over the episodes that begin where the candidate does, plus that of the
    second over all, because the ratios are to how often any episode of the log comes to a step.
    """
    if horizon is None:
        size = solution.transition.shape[0]
        ahead = solve_linear((jnp.eye(size) - solution.transition).T, solution.first)
        dual, theta = (count * solution.inverse.T @ ahead)[None], solution.theta
        error = jnp.einsum("hd,ed->e", dual, every.reward) + jnp.einsum(
            "hd,edf,hf->e", dual, every.forward - every.gram, theta
        )
        return every.first @ theta[0], error

    dual = count * _occupancy(solution, horizon) @ solution.inverse  # inverse is symmetric
    now, after = solution.theta[:0:-1], solution.theta[-2::-1]  # horizon - h and horizon - h - 1 steps to go
    size = dual.shape[1]
    # sum_h u_h^T M theta = <M, sum_h u_h theta^T>: one product per episode whatever the horizon
    onward, back = (dual.T @ after).reshape(size * size), (dual.T @ now).reshape(size * size)
    flat = every.forward.reshape(-1, size * size) @ onward - every.gram.reshape(-1, size * size) @ back
    return every.first @ solution.theta[-1], every.reward @ dual.sum(0) + flat


class Crossfit(eqx.Module):
    """Solutions fitted without the episodes that they are used for; `fold` of every episode."""

    solutions: Solution
    fold: Int[Array, "episode"]
    count: Float[Array, "fold"]


def crossfit(
    total: Moments, weighing: Weighing, horizon: int | None, ridge: Any, folds: int, damping: Any = 1.0
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
        found = total.weighted(others.weights)
        typical = jnp.square(others.weights).sum() / jnp.maximum(others.weights.sum(), 1e-9)
        initial = mean(total.first, others.starts)
        return solve(found, initial, horizon, ridge, damping * typical), others.weights.sum()

    solutions, count = jax.vmap(fit)(jnp.arange(folds))
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
) -> tuple[Features, Moments, Crossfit]:
    """Return `count` features, the moments of every episode, and the cross-fitted solutions made of them."""
    known = features(candidate.spec, key, count)
    every = moments(known, candidate, columns, len(weighing.weights), discount)
    return known, every, crossfit(every, weighing, horizon, ridge, folds, damping)


def crossfit_influence(
    total: Moments, fitted: Crossfit, horizon: int | None
) -> tuple[Float[Array, "episode"], Float[Array, "episode"]]:
    """Return `influence` of every episode by the solution that has not seen it."""
    every = jax.vmap(lambda solution, count: influence(total, solution, count, horizon))
    first, error = every(fitted.solutions, fitted.count)
    each = jnp.arange(len(fitted.fold))
    return first[fitted.fold, each], error[fitted.fold, each]


def tables(
    known: Features, candidate: Candidate, columns: Columns, fitted: Crossfit, horizon: int | None, discount: Any
) -> tuple[Float[Array, "episode time"], Float[Array, "episode time"], Float[Array, "episode time"]]:
    """Return `Q(s_t, a_t)`, `V(s_t)`, and, at the last step of an episode that was cut, `gamma^dt V(s_{t+1})`.

    All are 0 after the end. They are the control variates of doubly robust estimators.
    """
    where = layout(columns, len(fitted.fold), candidate.spec.longest)

    def of(rows: Layout, fold: Array) -> tuple[Array, Array, Array]:
        solution = jax.tree.map(lambda part: part[fold], fitted.solutions)
        at, after, step = (part[rows.row] for part in (columns.position, columns.successor, columns.step))
        seen, following = (jax.tree.map(lambda p, i=i: p[i], columns.observation) for i in (at, after))
        now, later = solution.at(step, horizon), solution.at(step + 1, horizon)
        q = (known.logged(seen, columns.action[rows.row]) * now).sum(-1)
        v = (known.expected(candidate, seen, at) * now).sum(-1)
        ahead = discount ** columns.duration[rows.row] * (known.expected(candidate, following, after) * later).sum(-1)
        next_there = jnp.concatenate([rows.there[1:], jnp.zeros(1, bool)])
        cut = rows.there & ~next_there & ~columns.terminal[rows.row]
        return jnp.where(rows.there, q, 0.0), jnp.where(rows.there, v, 0.0), jnp.where(cut, ahead, 0.0)

    return _per_episode(of, where, fitted)


def ratios(
    known: Features, candidate: Candidate, columns: Columns, fitted: Crossfit, horizon: int | None
) -> Float[Array, "episode time"]:
    """Return how often, discounted, the candidate comes to every logged step over how often an episode of the log does.

    Never negative; 0 after the end.
    """

    def dual(solution: Solution, count: Array) -> Array:
        if horizon is None:
            size = solution.transition.shape[0]
            ahead = solve_linear((jnp.eye(size) - solution.transition).T, solution.first)
        else:
            ahead = _occupancy(solution, horizon).sum(0)
        return count * solution.inverse.T @ ahead

    duals = jax.vmap(dual)(fitted.solutions, fitted.count)

    def of(rows: Layout, fold: Array) -> Array:
        seen = jax.tree.map(lambda part: part[columns.position[rows.row]], columns.observation)
        found = known.logged(seen, columns.action[rows.row]) @ duals[fold]
        return jnp.where(rows.there, jnp.maximum(found, 0.0), 0.0)

    return _per_episode(of, layout(columns, len(fitted.fold), candidate.spec.longest), fitted)


def _per_episode(of: Callable[[Layout, Array], Any], where: Layout, fitted: Crossfit) -> Any:
    size = where.row.size * fitted.solutions.theta.shape[-1]
    if size <= ROOM:
        return jax.vmap(of)(where, fitted.fold)
    return jax.lax.map(lambda two: of(*two), (where, fitted.fold))


def _occupancy(solution: Solution, horizon: int) -> Float[Array, "horizon feature"]:
    """Mean discounted features of what the candidate does at every time."""

    def forth(occupancy: Array, _: None) -> tuple[Array, Array]:
        return solution.transition.T @ occupancy, occupancy

    return jax.lax.scan(forth, solution.first, None, length=horizon)[1]
