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

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..core.linear_algebra import positive_inverse, solve_linear
from ..core.pytree import static
from .case import Case, Weighing
from .moments import Moments, Steps, Sums, continued, mapped, moments
from .waves import Features, features

__all__ = [
    "Crossfit",
    "Fitting",
    "Nuisances",
    "Solution",
    "block_inverse",
    "blocks",
    "crossfit",
    "crossfit_influence",
    "diagonal",
    "influence",
    "nuisances",
    "ratios",
    "solve",
    "tables",
]


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
    of A, added to it; damping: added to A where ratios come from it.

    The ridge draws every choice to what all choices together say of a state. So a choice that was never seen there is
    worth as much as those that were, and a constant added to all rewards changes no difference of values.
    """
    size = len(total.reward)
    added = diagonal(ridge, total.gram)
    regular = blocks(total.gram, added)
    inverse, pooled = block_inverse(regular), block_inverse(regular.sum(0, keepdims=True))[0]

    def apply(right: Array) -> Array:
        if len(regular) > 1:
            together = pooled @ right.reshape(*regular.shape[:2], -1).sum(0)
            right = right + added * jnp.tile(together, (len(regular), 1)).reshape(right.shape)
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


class Fitting(eqx.Module):
    """How a linear value function and its ratios are fitted: `features` of them, `folds` for cross-fitting, a `ridge`
    as a share of the mean diagonal of A, and for ratios a `damping`, a number of steps (`crossfit`).
    """

    discount: Float[Array, ""] | float
    ridge: Float[Array, ""] | float
    horizon: int | None = static()
    features: int = static()
    folds: int = static()
    damping: Float[Array, ""] | float = 1.0


class Nuisances(eqx.Module):
    """What is fitted before an estimate, on other episodes than those it is used for: the features of a step, the
    sums of every episode, and the cross-fitted solutions made of them.
    """

    basis: Features
    sums: Moments | Steps
    fitted: Crossfit
    fitting: Fitting


def nuisances(case: Case, key: PRNGKeyArray, fitting: Fitting) -> Nuisances:
    """Fit linear value functions and ratios across folds."""
    basis = features(case.candidate.spec, key, fitting.features)
    sums = moments(basis, case.candidate, case.columns, case.episodes, fitting.discount, fitting.horizon)
    fitted = crossfit(sums, case.weighing, fitting.horizon, fitting.ridge, fitting.folds, fitting.damping)
    return Nuisances(basis, sums, fitted, fitting)


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
    case: Case, model: Nuisances
) -> tuple[Float[Array, "episode time"], Float[Array, "episode time"], Float[Array, "episode time"]]:
    """Return `Q(s_t, a_t)`, `V(s_t)`, and, at the last step of an episode that was cut, `gamma^dt V(s_{t+1})`.

    All are 0 after the end. They are the control variates of doubly robust estimators.
    """
    candidate, columns, basis, fitted = case.candidate, case.columns, model.basis, model.fitted
    discount, horizon = model.fitting.discount, model.fitting.horizon

    def of(row: Array) -> tuple[Array, Array, Array]:
        at, after, step = (part[row] for part in (columns.position, columns.successor, columns.step))
        fold = fitted.fold[columns.episode[row]]
        seen, following = (jax.tree.map(lambda p, i=i: p[i], columns.observation) for i in (at, after))
        now, later = (_coefficients(fitted.solutions.theta, fold, time, horizon) for time in (step, step + 1))
        q = (basis.logged(seen, columns.action[row]) * now).sum(-1)
        v = (basis.expected(candidate, seen, at) * now).sum(-1)
        ahead = discount ** columns.duration[row] * (basis.expected(candidate, following, after) * later).sum(-1)
        return q, v, jnp.where(continued(columns, row)[0], 0.0, ahead)

    where = case.trajectories.layout
    q, v, tail = mapped(of, len(columns.terminal), fitted.solutions.theta.shape[-1])
    return where(q), where(v), where(tail)


def _coefficients(
    theta: Float[Array, "fold togo feature"], fold: Int[Array, "step"], step: Int[Array, "step"], horizon: int | None
) -> Float[Array, "step feature"]:
    """Return the coefficients of every step at its time, by the fold that has not seen it."""
    return theta[fold, 0 if horizon is None else jnp.clip(horizon - step, 0, horizon)]


def ratios(case: Case, model: Nuisances) -> Float[Array, "episode time"]:
    """Return how often, discounted, the candidate comes to every logged step over how often an episode of the log does.

    Never negative; 0 after the end.
    """
    columns, fitted, horizon = case.columns, model.fitted, model.fitting.horizon

    def dual(solution: Solution, count: Array) -> Array:
        return count * solution.dual(_occupancy(solution, horizon)).sum(0)

    duals = jax.vmap(dual)(fitted.solutions, fitted.count)

    def of(row: Array) -> Array:
        seen = jax.tree.map(lambda part: part[columns.position[row]], columns.observation)
        return (model.basis.logged(seen, columns.action[row]) * duals[fitted.fold[columns.episode[row]]]).sum(-1)

    return case.trajectories.layout(jnp.maximum(mapped(of, len(columns.terminal), duals.shape[-1]), 0.0))


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
