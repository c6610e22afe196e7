"""Small held-out fits: what some columns predict of a target, and whether further columns help.

Ridge regression and its softmax counterpart on standardised columns and a few random tanh features; closed form or a
handful of quasi-Newton steps, thousands of rows in well under a second. Rows are held out by whole episodes and errors
are clustered by them.
"""

import dataclasses

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

__all__ = ["Comparison", "compare"]

FEATURES, WIDEST, STEEP = 64, 256, 3.0  # tanh features, columns that they can be made of, variance of their arguments
PENALTY = 10.0
PENALTIES = (1.0, 10.0, 100.0, 1e3, 1e4, 1e6)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Held-out losses of a fit without and with further columns.

    base, gain: mean nats a row without them, and by how much they lower it (Gaussian with one deviation per column,
    or categorical). z: gain over its standard error, clustered. share: gain as a share of the target's variance
    (Gaussian only). deviation: held-out root mean squared error per target column without them.
    """

    base: float
    gain: float
    z: float
    share: float
    deviation: np.ndarray

    @property
    def clear(self) -> bool:
        """Whether the further columns help beyond chance."""
        return self.z > 3


def compare(
    table: np.ndarray,
    further: np.ndarray | None,
    target: np.ndarray,
    held: np.ndarray,
    cluster: np.ndarray,
    choices: int = 0,
) -> Comparison:
    """Fit the target with the columns of `table` and with those of `further` beside them, and compare held-out losses.

    Both halves that `held` makes of the rows are held out in turn. `target` is `(rows, column)` of numbers, or choices
    `(rows,)` when `choices` says how many there are; `cluster` names the episode of each row.
    """
    gain, loss = np.zeros(len(table)), np.zeros(len(table))
    squares = np.zeros((len(table), 1 if choices else target.shape[1]))
    fewer = np.zeros_like(squares)
    member = np.unique(cluster, return_inverse=True)[1]
    inner = np.random.default_rng(0).random(member.max() + 1)[member] < 0.5
    for out in (held, ~held):
        base = _features(table, out)
        loss[out], squares[out] = _losses(base, target, out, inner, choices)
        if further is not None:
            other, fewer[out] = _losses(
                np.concatenate([base, _features(further, out, table)], 1), target, out, inner, choices
            )
            gain[out] = loss[out] - other
    deviation = np.sqrt(squares.mean(0))
    if further is None:
        return Comparison(float(loss.mean()), 0.0, 0.0, 0.0, deviation)
    error = np.sqrt((np.bincount(member, gain - gain.mean()) ** 2).sum()) / len(gain)
    share = float((squares - fewer).sum(1).mean() / max(target.var(0).sum(), 1e-12)) if choices == 0 else 0.0
    return Comparison(float(loss.mean()), float(gain.mean()), float(gain.mean() / max(error, 1e-12)), share, deviation)


def _features(table: np.ndarray, held: np.ndarray, beside: np.ndarray | None = None) -> np.ndarray:
    """Return columns standardised by the rows that are not held out, and random tanh features of them and `beside`."""
    plain = _standard(table, held)
    joint = plain if beside is None else np.concatenate([_standard(beside, held), plain], 1)
    if joint.shape[1] > WIDEST:
        return plain
    generator = np.random.default_rng(joint.shape[1])
    count = min(FEATURES, max(4, (~held).sum() // 20))
    alive = max(1, (joint.std(0) > 0).sum())
    mix = generator.normal(size=(joint.shape[1], count)) * np.sqrt(STEEP / alive)
    return np.concatenate([plain, np.tanh(joint @ mix + generator.normal(size=count))], 1)


def _standard(table: np.ndarray, held: np.ndarray) -> np.ndarray:
    fit = table[~held]
    width = fit.std(0)
    return np.clip((table - fit.mean(0)) / np.where(width > 1e-6, width, np.inf), -5, 5)


def _losses(
    table: np.ndarray, target: np.ndarray, held: np.ndarray, inner: np.ndarray, choices: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return nats per held-out row, and squared errors `(held, column)`."""
    table = np.concatenate([np.ones((len(table), 1)), table], 1)
    fit, test = table[~held], table[held]
    if choices:
        scores = test @ _softmax(fit, target[~held], choices)
        loss = np.asarray(logsumexp(scores, 1)) - scores[np.arange(len(test)), target[held]]
        return loss, loss[:, None]
    weights = _ridge(fit, target[~held], inner[~held])
    width = np.maximum(((target[~held] - fit @ weights) ** 2).mean(0), 1e-6)
    squares = (target[held] - test @ weights) ** 2
    return 0.5 * (squares / width + np.log(2 * np.pi * width)).sum(1), squares


def _ridge(table: np.ndarray, target: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Return weights `(column, target)`; the penalty is the best from one half of the episodes to the other.

    Steps of an episode share their luck, so a penalty chosen as if rows were independent would be far too small.
    """
    losses = np.zeros(len(PENALTIES))
    for out in (inner, ~inner):
        gram, cross = table[~out].T @ table[~out], table[~out].T @ target[~out]
        for index, penalty in enumerate(PENALTIES):
            weights = np.linalg.solve(gram + _penalty(len(gram), penalty), cross)
            losses[index] += ((target[out] - table[out] @ weights) ** 2).sum()
    penalty = 2 * PENALTIES[int(losses.argmin())]  # twice the rows
    return np.linalg.solve(table.T @ table + _penalty(table.shape[1], penalty), table.T @ target)


def _penalty(columns: int, penalty: float) -> np.ndarray:
    return np.diag(np.append(1e-9, np.full(columns - 1, penalty)))


def _softmax(table: np.ndarray, target: np.ndarray, choices: int) -> np.ndarray:
    corners = np.eye(choices)[target]
    start = np.zeros((table.shape[1], choices))
    start[0] = np.log((corners.sum(0) + 1) / (len(target) + choices))

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(start.shape)
        scores = table @ weights
        level = np.asarray(logsumexp(scores, 1, keepdims=True))
        slope = table.T @ (np.exp(scores - level) - corners)
        slope[1:] += PENALTY * weights[1:]
        loss = (level.reshape(-1) - (scores * corners).sum(1)).sum() + 0.5 * PENALTY * (weights[1:] ** 2).sum()
        return float(loss), slope.reshape(-1)

    optimum = minimize(objective, start.reshape(-1), jac=True, method="L-BFGS-B", options={"maxiter": 40})
    return optimum.x.reshape(start.shape)
