"""What a finite Markov decision problem is, and where models of one come from: arrays, a log, the grid world."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from ...core.errors import UserError
from ...core.pytree import require
from ...data.dataset import Dataset
from ...data.spec import ObservationSpec
from ...envs.worlds import grid

__all__ = ["Model", "Table", "codes", "distributions", "finite", "grid_world", "model_of", "one_hot"]

Table = Float[np.ndarray, "state choice"]
LARGEST = 100_000_000  # entries of a table of transitions


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A finite Markov decision problem, float64. Build one with `Model.from_arrays`, `model_of` or `grid_world`.

    `transition`: P(s' | s, a), all zero where a log does not know. `reward`: of the step from s to s'. `ends`: the
    chance that this step ends the task, so that nothing is worth anything after it. `first`: where episodes begin.
    `counts`: how often a log holds a choice, None where the model is not one of a log. A terminal state stays where
    it is, ends at every step and pays nothing, so its value is 0.
    """

    transition: Float[np.ndarray, "state choice next"]
    reward: Float[np.ndarray, "state choice next"]
    ends: Float[np.ndarray, "state choice next"]
    first: Float[np.ndarray, "state"]
    counts: Int[np.ndarray, "state choice"] | None = None

    @classmethod
    def from_arrays(
        cls, transition: Any, reward: Any, terminal: Sequence[int | float] | np.ndarray = (), first: Any = None
    ) -> "Model":
        """Build a model from probabilities `(state, choice, next)` and rewards, whole or expected.

        reward: a number, `(state, choice)` or `(state, choice, next)`. terminal: the states that end the task, by
        number or as a mask `(state,)`; their own transitions and rewards are left out. first: the chance to begin in
        each state, by default the same for all that are not terminal. Raises UserError for wrong shapes, values that
        are not finite, negative probabilities and probabilities that do not sum to 1.
        """
        move = finite(transition, "transition").copy()
        good = move.ndim == 3 and move.shape[0] == move.shape[2] and move.size > 0
        require(good, f"Transitions must have the shape (states, choices, states), got {move.shape}.")
        size, choices = move.shape[:2]
        pay = finite(reward, "reward")
        fits = pay.shape in ((), (size, choices), move.shape)
        require(fits, f"Rewards must be a number, {(size, choices)} or {move.shape}, got the shape {pay.shape}.")
        pay = np.broadcast_to(pay[..., None] if pay.ndim == 2 else pay, move.shape).copy()
        over = _mask(terminal, size)
        move[over], pay[over] = np.eye(size)[over][:, None], 0.0
        distributions(move, "The transitions from state {} with choice {}")
        begin = finite(~over if first is None else first, "first")
        require(begin.shape == (size,), f"The chances to begin must have the shape ({size},), got {begin.shape}.")
        require(first is not None or not over.all(), "Every state is terminal; leave at least one to begin in.")
        begin = begin / begin.sum() if first is None else begin
        distributions(begin, "The chances to begin")
        return cls(move, pay, np.broadcast_to(over.astype(float), move.shape).copy(), begin)

    @property
    def known(self) -> Bool[np.ndarray, "state choice"]:
        """Which choices the model can tell the future of: all, but in a log's model only those that it holds."""
        return np.any(self.transition, -1)

    @property
    def onward(self) -> Float[np.ndarray, "state choice next"]:
        """The chance that the next state is s' and the task goes on."""
        return self.transition * (1.0 - self.ends)

    @property
    def expected(self) -> Table:
        """The expected reward of a choice, 0 where it is not known."""
        return (self.transition * self.reward).sum(-1)


def grid_world() -> Model:
    """Return the model of `sample:grid`, the 4 × 4 grid of Sutton and Barto (example 4.1): −1 per move."""
    return Model.from_arrays(np.eye(grid.CELLS)[grid.transitions()], -1.0, grid.ENDS)


def model_of(data: Dataset) -> Model:
    """Return the model that a log is the sample of: relative frequencies, mean rewards, and counts of choices.

    Observations are one-hot vectors, a category or whole numbers; actions are discrete. A terminal step counts in
    `ends`, a time-out does not: what was seen after it is a transition like any other. What the log does not hold is
    left unknown. Raises UserError for other forms, for several rewards, and for steps that take different times.
    """
    spec, origin = data.spec, data.origin
    require(spec.discrete, f"A finite model needs discrete actions; those of {origin} are {spec.action.kind}.")
    require(spec.plain, f"A finite model needs one observation; {origin} has several components.")
    require(len(spec.rewards) == 1, f"{origin} has several rewards; make one of them with `rewarded` first.")
    require(bool((data.durations == 1).all()), f"Steps of {origin} take different times; a finite model has no clock.")
    here, there, start = (
        codes(seen, spec.observations[0], origin, ignored)
        for seen, ignored in (
            (data.observations, None),
            (data.next_observations, data.terminals),
            (data.first_observations, None),
        )
    )
    there = np.where(there < 0, here, there)  # what is seen after an end need not be a state
    kind = spec.observations[0]
    size = kind.shape[0] if one_hot(kind) else max(kind.count, 1 + int(max(here.max(), there.max())))
    shape = (size, spec.action.size, size)
    small = size * size * spec.action.size <= LARGEST
    require(small, f"{origin} has {size} states and {spec.action.size} choices, too many for a table of transitions.")
    step = np.ravel_multi_index((here, data.actions, there), shape)
    times, paid, over = (
        np.bincount(step, weights, int(np.prod(shape))).reshape(shape)
        for weights in (None, data.rewards.astype(float), data.terminals.astype(float))
    )
    counts = times.sum(-1)
    return Model(
        transition=times / np.maximum(counts, 1)[..., None],
        reward=paid / np.maximum(times, 1),
        ends=over / np.maximum(times, 1),
        first=np.bincount(start, minlength=size) / len(start),
        counts=counts.astype(np.int64),
    )


def finite(values: Any, name: str) -> np.ndarray:
    """Return numbers as float64; raise UserError, naming them, unless all are finite."""
    numbers = np.asarray(values, float)
    require(bool(np.isfinite(numbers).all()), f"The array '{name}' holds values that are not finite.")
    return numbers


def distributions(chances: np.ndarray, what: str) -> None:
    """Raise UserError unless the last axis holds probabilities that sum to 1; `what` names the other axes."""
    low, total = chances.min(-1), chances.sum(-1)
    wrong = (low < 0) | (np.abs(total - 1) > 1e-6)
    if wrong.any():
        at = np.unravel_index(int(wrong.argmax()), wrong.shape)
        fault = f"sum to {total[at]:.6g}" if low[at] >= 0 else f"hold {low[at]:.6g}"
        raise UserError(f"{what.format(*at)} {fault}; probabilities are 0 or more and sum to 1.")


def _mask(terminal: Sequence[int | float] | np.ndarray, size: int) -> Bool[np.ndarray, "state"]:
    states = np.asarray(terminal)
    if states.dtype == bool and states.shape == (size,):
        return states
    numbers = states.astype(int).reshape(-1)
    good = states.size == 0 or (states.dtype.kind in "iu" and numbers.min() >= 0 and numbers.max() < size)
    require(good, f"Terminal states are numbers from 0 to {size - 1} or a mask of {size}.")
    return np.isin(np.arange(size), numbers)


def one_hot(kind: ObservationSpec) -> bool:
    """Say whether an observation is a vector with one place per state, and not the number of a state."""
    return kind.kind == "vector" and len(kind.shape) == 1 and (kind.shape[0] > 1 or "int" not in kind.dtype)


def codes(seen: Any, kind: ObservationSpec, origin: str, ignored: np.ndarray | None = None) -> Int[np.ndarray, "row"]:
    """Return observations as numbers of states, −1 where one is none and may be ignored."""
    array = np.asarray(seen)
    if one_hot(kind):
        good, codes = (np.isin(array, (0, 1)).all(1) & (array.sum(1) == 1)), array.argmax(1)
    else:
        single = kind.kind in ("category", "vector") and array.size == len(array) and array.dtype.kind in "iu"
        require(single, f"A finite model needs one-hot or whole-number observations; those of {origin} are neither.")
        codes = array.reshape(-1).astype(int)
        good = codes >= 0
    wrong = ~good if ignored is None else ~good & ~ignored
    if wrong.any():
        raise UserError(f"Observations of {origin} are not all one-hot or whole numbers (row {int(wrong.argmax())}).")
    return np.where(good, codes, -1)
