r"""Estimated propensities, for logs without them: how likely the logging policy was to do what it did.

Choices: counts where an observation is one category, else softmax regression on the observation and random tanh
features of it. Continuous actions: a Gaussian whose mean and deviations depend on the observation and whose
correlations do not. Every probability comes from a model that was fitted on other units (users, devices, episodes).

    choices     b(a | s) = softmax(phi(s)^T W)_a
    continuous  b(a | s) = N(a; phi(s)^T W, D(s) C D(s)),   D(s) = diag exp(phi(s)^T U)

Whatever is weighed by them assumes that the log holds everything the logging policy saw. If it saw more, intervals
are narrow around a wrong number: with hidden inputs self-normalised estimates cover 3 to 47 % where 95 % are promised,
against 82 to 89 % with logged propensities. So nothing is certified with them.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize
from scipy.stats import chi2

from ..core.errors import UserError
from ..data.columns import Ragged
from ..data.dataset import Dataset
from ..data.summary import rounding
from .thresholds import INFLATED, LEAST_CHANCE, LEAST_DENSITY

__all__ = ["ASSUMPTION", "Calibration", "calibrate", "coarse", "estimate_propensities"]

ASSUMPTION = (
    "propensities estimated: any value weighed by them assumes that the log holds everything the logging policy saw"
)
"""The note of a log with estimated propensities."""

PENALTY = 4.0  # of squared weights, per fold
FEATURES, FITTED = 128, 40_000  # random features, steps per fold that are fitted
BINS = 10
WORRY, REFUSE = 0.03, 0.1  # distance from calibration, beyond chance, that is worth a sentence, that makes them useless


@dataclasses.dataclass(frozen=True)
class Calibration:
    """How estimated propensities do on units that they were not fitted on.

    likelihood, context_free: mean log-likelihood of a step, with the observation and without it; z: of their
    difference, clustered by unit. predicted, observed, error: per bin, what was promised, what happened, and the
    latter's standard error (choices: probability of an action; continuous: share of actions within a contour).
    """

    likelihood: float
    context_free: float
    z: float
    predicted: np.ndarray
    observed: np.ndarray
    error: np.ndarray

    @property
    def gap(self) -> float:
        """The largest distance between promised and observed that three standard errors do not explain."""
        return float(np.maximum(np.abs(self.predicted - self.observed) - 3 * self.error, 0.0).max(initial=0.0))

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield `(what, text)` in plain words."""
        yield (
            "likelihood",
            (
                f"{self.likelihood:.4g} nats a step held out, {self.context_free:.4g} without the observation "
                f"(z {self.z:.1f})"
            ),
        )
        for promised, seen, error in zip(self.predicted, self.observed, self.error, strict=True):
            yield "calibration", f"promised {promised:.3f}, observed {seen:.3f} ± {error:.3f}"


def estimate_propensities(data: Dataset, seed: int = 0, folds: int = 5) -> Dataset:
    """Return the log with estimated propensities, marked as such (`propensities_estimated`, and a note).

    seed: of the features and the folds. folds: how many models; units are dealt to them by chance, and every step's
    propensity comes from the model that has not seen its unit. Where the observation does not help to predict the
    action, frequencies without it are used, and a note says so. Logged choices get a probability of at least 0.001,
    continuous actions a density no smaller than at the farthest millionth; a note counts them. About ten seconds for
    100,000 steps.

    Raises UserError for a log that has propensities, several choices a step, images and tokens, fewer units than
    folds, and where held-out probabilities are off by more than 0.1 (`calibrate` tells what they are).
    """
    if data.store_log_propensities is not None:
        what = "estimated" if data.propensities_estimated else "logged"
        raise UserError(f"{data.origin} has {what} propensities already; use them.")
    logs, checked, notes = _crossfitted(data, seed, folds)
    if checked.gap > REFUSE:
        worst = int(np.argmax(np.abs(checked.predicted - checked.observed) - 3 * checked.error))
        raise UserError(
            f"Propensities of {data.origin} cannot be estimated well: where {checked.predicted[worst]:.2f} is "
            f"promised, {checked.observed[worst]:.2f} is observed on held-out units. Log them, or judge with methods "
            "that do not weigh ('linear_q', 'double_reinforcement', 'fitted_q')."
        )
    if checked.gap > WORRY:
        notes.append(f"Estimated propensities are off by {checked.gap:.2f} beyond chance on held-out units.")
    stored = np.zeros(len(data.store_rewards), np.float32)
    stored[data.rows] = logs
    return dataclasses.replace(
        data,
        store_log_propensities=stored,
        propensities_estimated=True,
        notes=(*data.notes, f"{ASSUMPTION}.", *notes),
    )


def calibrate(data: Dataset, seed: int = 0, folds: int = 5) -> Calibration:
    """Return how well the behaviour of a log can be predicted on held-out units, whatever propensities it has."""
    return _crossfitted(data, seed, folds)[1]


def _crossfitted(data: Dataset, seed: int, folds: int) -> tuple[np.ndarray, Calibration, list[str]]:
    """Return the log-propensity of every step of the view, how good they are, and what is worth a note."""
    action = data.spec.action
    if action.kind == "multidiscrete":
        raise UserError(f"{data.origin} has several choices a step; propensities are estimated for one.")
    unit = _units(data)
    count = int(unit.max()) + 1
    if folds < 2 or count < folds:
        raise UserError(f"{data.origin} has {count} units; cross-fitting takes at least 2 folds and a unit for each.")
    generator = np.random.default_rng(seed)
    fold = (generator.permutation(count) % folds)[unit]
    if action.kind == "discrete":
        return _choices(data, fold, unit, generator)
    return _densities(data, fold, unit, generator)


def _units(data: Dataset) -> np.ndarray:
    """Return the number of the unit of every step."""
    labels = data.units(data.spec.unit) if data.spec.unit else np.arange(data.episodes)
    labels = labels.astype(str) if labels.dtype == object else labels
    return np.repeat(np.unique(labels, return_inverse=True)[1], data.lengths)


def _parts(fold: np.ndarray, generator: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield, per fold, which steps it holds and the numbers of those that are fitted, always equally many."""
    count = min(FITTED, int(len(fold) - np.bincount(fold).max()))
    for number in range(fold.max() + 1):
        yield fold == number, np.sort(generator.permutation(np.flatnonzero(fold != number))[:count])


def _table(data: Dataset, generator: np.random.Generator) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return features `(step, feature)` of the observations: constant, numbers, and random tanh features of them; and
    how many to use: one, those without the random ones, or all.
    """
    seen, parts = data.observations, []
    for part in data.spec.observations:
        values = seen[part.name] if isinstance(seen, dict) else seen
        if part.kind in ("image", "tokens") or isinstance(values, Ragged):
            name = f"'{part.name}'" if part.name else "of the log"
            raise UserError(
                f"Propensities are estimated from numbers and categories; the observation {name} is {part.kind}."
            )
        if part.kind == "category":
            values = np.eye(max(part.count, 1), dtype=np.float32)[np.asarray(values)]
        parts.append(np.asarray(values, np.float32).reshape(len(values), -1))
    plain = np.concatenate(parts, 1)
    width = plain.std(0)
    plain = np.clip((plain - plain.mean(0)) / np.where(width > 1e-6, width, np.inf), -6, 6)
    size = min(FEATURES, max(4, len(plain) // 25))
    mix = generator.normal(size=(plain.shape[1], size)) / np.sqrt(max(1, int((width > 1e-6).sum())))
    mix *= generator.choice([0.5, 1.0, 2.0], size)
    waves = np.tanh(plain @ mix + generator.normal(size=size))
    table = np.concatenate([np.ones((len(plain), 1)), plain, waves - waves.mean(0)], 1).astype(np.float32)
    return table, (1, 1 + plain.shape[1], table.shape[1])


# --- choices --------------------------------------------------------------------------------------------------------


def _choices(
    data: Dataset, fold: np.ndarray, unit: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, Calibration, list[str]]:
    actions, choices = np.asarray(data.actions), data.spec.action.size
    taken = np.eye(choices, dtype=np.float32)[actions]
    (part, *others) = data.spec.observations
    counted = not others and part.kind == "category" and part.shape in ((), (1,)) and data.spec.plain
    codes = np.asarray(data.observations).reshape(-1) if counted else None
    table, sizes = (np.zeros((0, 0)), (1, 0)) if codes is not None else _table(data, generator)
    models = np.zeros((len(sizes), len(actions), choices), np.float32)
    for held, fit in _parts(fold, generator):
        rate = (taken[~held].sum(0) + 0.5) / ((~held).sum() + 0.5 * choices)
        models[0, held] = rate
        if codes is not None:
            counts = np.zeros((int(codes.max()) + 1, choices))
            np.add.at(counts, codes[~held], taken[~held])
            # as if every place had been seen once per choice more, with the choices of the whole log
            models[1, held] = ((counts + choices * rate) / (counts.sum(1, keepdims=True) + choices))[codes[held]]
            continue
        for place, size in enumerate(sizes[1:], 1):
            weights = _softmax(table[fit, :size], actions[fit], rate)
            models[place, held] = np.asarray(jax.nn.softmax(jnp.asarray(table[held, :size]) @ weights, -1))
    every = np.log(np.maximum(models[:, np.arange(len(actions)), actions].astype(float), 1e-12))
    place = int(every.mean(1).argmax())
    logs, notes = every[place], []
    if place == 0:
        notes.append("The observation does not help to predict the action; propensities are frequencies of choices.")
    low = int((logs < np.log(LEAST_CHANCE)).sum())
    if low:
        notes.append(
            f"{low} of {len(logs)} logged choices had estimated probabilities below {LEAST_CHANCE:g}, raised to it."
        )
    means = float(logs.mean()), float(every[0].mean())
    checked = Calibration(*means, _z(every[max(place, 1)] - every[0], unit), *_bins(models[place], taken, unit))
    return np.maximum(logs, np.log(LEAST_CHANCE)), checked, notes


def _softmax(table: np.ndarray, actions: np.ndarray, rate: np.ndarray) -> jax.Array:
    """Return the weights of a penalised softmax regression: a few dozen quasi-Newton steps."""
    start = np.zeros((table.shape[1], len(rate)))
    start[0] = np.log(rate)
    features, choices = jnp.asarray(table), jnp.asarray(actions)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        loss, slope = _loss(jnp.asarray(flat, jnp.float32).reshape(start.shape), features, choices)
        return float(loss), np.asarray(slope, np.float64).reshape(-1)

    fit = minimize(objective, start.reshape(-1), jac=True, method="L-BFGS-B", options={"maxiter": 60, "ftol": 1e-6})
    return jnp.asarray(fit.x.reshape(start.shape), jnp.float32)


@jax.jit
@jax.value_and_grad
def _loss(weights: jax.Array, table: jax.Array, actions: jax.Array) -> jax.Array:
    logs = jax.nn.log_softmax(table @ weights, -1)
    chosen = jnp.take_along_axis(logs, actions[:, None], 1)[:, 0]
    return -chosen.mean() + 0.5 * PENALTY * jnp.square(weights[1:]).sum() / len(actions)


# --- continuous actions ---------------------------------------------------------------------------------------------


def _densities(
    data: Dataset, fold: np.ndarray, unit: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, Calibration, list[str]]:
    actions = np.asarray(data.actions, np.float64).reshape(data.steps, -1)
    table, sizes = _table(data, generator)
    size = actions.shape[1]
    results = np.zeros((len(sizes), 2, len(actions)))  # log-density and squared distance
    for held, rows in _parts(fold, generator):
        fit, test = table[rows].astype(np.float64), table[held].astype(np.float64)
        gram = fit.T @ fit
        for place, used in enumerate(sizes):
            results[place][:, held] = _gaussian(
                fit[:, :used], test[:, :used], gram[:used, :used], actions[rows], actions[held]
            )
    place = int(results[:, 0].mean(1).argmax())
    z = _z(results[max(place, 1), 0] - results[0, 0], unit)
    notes = []
    if place == 0:
        notes.append("The observation does not help to predict the action; propensities are those of one Gaussian.")
    logs, distance = results[place]
    limit = chi2.isf(LEAST_DENSITY, size)
    far = distance > limit
    if far.any():
        notes.append(f"{int(far.sum())} of {len(logs)} logged actions were so unlikely that their density was raised.")
        logs = logs + np.where(far, (distance - limit) / 2, 0.0)
    within = chi2.cdf(distance, size)
    edges = np.linspace(0, 1, BINS + 1)
    inside = (within[:, None] >= edges[:-1]) & (within[:, None] < edges[1:] + (edges[1:] == 1))
    observed = inside.mean(0)
    error = np.array([_error(column - share, unit) for column, share in zip(inside.T, observed, strict=True)])
    promised = np.full(BINS, 1 / BINS)
    means = float(results[place, 0].mean()), float(results[0, 0].mean())
    return logs, Calibration(*means, z, promised, observed, error), notes


def _gaussian(fit: np.ndarray, test: np.ndarray, gram: np.ndarray, actions: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Return log-densities and squared Mahalanobis distances of held-out actions, fitted on others."""
    penalised = gram + PENALTY * np.diag([1e-9] + [1.0] * (len(gram) - 1))
    mean = np.linalg.solve(penalised, fit.T @ actions)
    rest = actions - fit @ mean
    spare = len(fit) / max(1.0, len(fit) - np.trace(np.linalg.solve(penalised, gram)))  # residuals are too small
    least = 1e-4 * actions.std(0) + 1e-8
    usual = np.sqrt(np.maximum((rest**2).mean(0), least**2))
    few = len(gram) if len(fit) > 50 * len(gram) else 1  # deviations depend on what they can
    sizes = np.log(np.maximum((rest / usual) ** 2, 1e-6))
    level = np.linalg.solve(penalised[:few, :few], fit[:, :few].T @ sizes)
    scale, other = (usual * np.exp(np.clip(part[:, :few] @ level / 2, -4, 4)) for part in (fit, test))
    unitless = np.sqrt((rest**2 / scale**2).mean(0) * spare)
    scale, other = np.maximum(scale * unitless, least), np.maximum(other * unitless, least)
    together = np.atleast_2d(np.cov((rest / scale).T, bias=True)) * spare + 1e-6 * np.eye(actions.shape[1])
    apart = (held - test @ mean) / other
    distance = (apart * np.linalg.solve(together, apart.T).T).sum(1)
    volume = np.log(other).sum(1) + 0.5 * np.linalg.slogdet(together)[1]
    return np.stack([-0.5 * (distance + actions.shape[1] * np.log(2 * np.pi)) - volume, distance])


# --- how good they are ----------------------------------------------------------------------------------------------


def _bins(chance: np.ndarray, taken: np.ndarray, unit: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return promised and observed probabilities and the latter's errors, in tenths of all (step, action) pairs."""
    flat, happened = chance.reshape(-1), taken.reshape(-1)
    member = np.repeat(unit, chance.shape[1])
    edges = np.unique(np.quantile(flat, np.linspace(0, 1, BINS + 1)[1:-1]))
    place = np.digitize(flat, edges)
    rows: list[tuple[Any, ...]] = []
    for number in range(len(edges) + 1):
        here = place == number
        if here.any():
            gap = happened[here] - flat[here]
            rows.append((flat[here].mean(), happened[here].mean(), _error(gap - gap.mean(), member[here])))
    promised, observed, error = (np.array(column) for column in zip(*rows, strict=True))
    return promised, observed, error


def _error(values: np.ndarray, unit: np.ndarray) -> float:
    """Return the clustered standard error of a mean of centred values; never less than that of one whole unit."""
    sums = np.bincount(unit, values)
    return float(np.sqrt((sums**2).sum() + 1.0) / len(values))


def _z(values: np.ndarray, unit: np.ndarray) -> float:
    error = np.sqrt((np.bincount(unit, values - values.mean()) ** 2).sum()) / len(values)
    return float(values.mean() / max(float(error), 1e-12))


def coarse(data: Dataset) -> str:
    """Return why weights of a log's rounded propensities cannot be believed, empty where they can (`INFLATED`)."""
    logged = data.log_propensities
    chances = None if logged is None else rounding(np.exp(logged.astype(float)))
    if chances is None or chances.bias <= INFLATED:
        return ""
    return (
        f"the propensities are {chances}, which makes weights {chances.bias:.1%} too large on average; log them as "
        "they were"
    )
