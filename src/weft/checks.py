"""What may stand in the columns of a log: every check of a value, each a sentence with file, column and rows.

`assembly` puts the checked columns together; nothing here knows about episodes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .columns import Ragged
from .errors import UserError
from .spec import ActionSpec, ObservationSpec


class Naming:
    """How the user calls the parts of a log, for sentences: `name("rewards")` is `column 'click'` of a table."""

    def __init__(self, origin: str, names: Mapping[str, str] | None, row_numbers: Any = None) -> None:
        self.origin, self.names = origin, dict(names or {})
        self.row_numbers = None if row_numbers is None else np.asarray(row_numbers)

    def __call__(self, part: str) -> str:
        return f"'{self.names.get(part, part)}'"

    def refuse(self, sentence: str) -> UserError:
        return UserError(f"{self.origin}: {sentence}")

    def some(self, mask: Any) -> str:
        """Name the first rows of a mask, as the user counts them: `3 rows, first 4, 8, 15`."""
        rows = np.flatnonzero(mask)
        if self.row_numbers is not None:
            rows = np.sort(self.row_numbers[rows])
        first = ", ".join(str(row) for row in rows[:5])
        return f"{len(rows)} rows, first {first}" if len(rows) > 1 else f"row {first}"


def finite(values: Any, count: int, part: str, name: Naming) -> np.ndarray:
    """Return a column as finite float32, with its shape."""
    try:
        found = np.asarray(values, np.float32)
    except (TypeError, ValueError):
        raise name.refuse(f"column {name(part)} holds values that are not numbers.") from None
    if len(found) != count:
        raise name.refuse(f"column {name(part)} has {len(found)} rows, the actions have {count}.")
    bad = ~np.isfinite(found).reshape(count, -1).all(1)
    if bad.any():
        raise name.refuse(f"column {name(part)} is NaN or infinite ({name.some(bad)}); mend or drop these rows.")
    return found


def reward_columns(rewards: Any, count: int, name: Naming) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return rewards `(steps, objective)` and the names of the components."""
    if isinstance(rewards, Mapping):
        if not rewards:
            raise name.refuse("there is no reward component.")
        made = [finite(values, count, key if key in name.names else str(key), name) for key, values in rewards.items()]
        return np.stack(made, 1), tuple(rewards)
    made = finite(rewards, count, "rewards", name)
    if made.ndim > 2 or (made.ndim == 2 and made.shape[1] != 1):
        raise name.refuse(f"{name('rewards')} has shape {made.shape}; give several rewards as a dictionary of columns.")
    return made.reshape(count, 1), ("reward",)


def flags(values: Any, count: int, part: str, name: Naming) -> np.ndarray:
    """Return a column of truth values `(steps,)`."""
    found = np.asarray(values)
    if found.dtype != bool:
        good = np.isin(found, [0, 1]) if found.dtype.kind in "iuf" else np.zeros(len(found), bool)
        if not good.all():
            raise name.refuse(f"column {name(part)} must hold true or false, 0 or 1 ({name.some(~good)}).")
        found = found.astype(bool)
    found = found.reshape(-1)
    if len(found) != count:
        raise name.refuse(f"column {name(part)} has {len(found)} rows, the actions have {count}.")
    return found


def observation_columns(values: Any, count: int, part: str, name: Naming) -> Any:
    """Return observations as one checked component or a dictionary of such."""
    if isinstance(values, Mapping):
        return {str(key): _observation(value, count, str(key), name) for key, value in values.items()}
    return _observation(values, count, part, name)


def _observation(values: Any, count: int, part: str, name: Naming) -> Any:
    if isinstance(values, Ragged):
        found: Any = values
    elif isinstance(values, (list, tuple)) and len({np.shape(value) for value in values}) > 1:
        found = _ragged(values, part, name)
    else:
        found = np.asarray(values)
    if not isinstance(found, Ragged) and found.ndim == 0:
        raise name.refuse(f"column {name(part)} is one value; give one observation a step.")
    if len(found) != count:
        raise name.refuse(f"column {name(part)} has {len(found)} rows, the actions have {count}.")
    if isinstance(found, Ragged):
        return found
    if found.size == 0:
        raise name.refuse(f"column {name(part)} has the shape {found.shape}: there is nothing in it.")
    if found.dtype == object or found.dtype.kind in "USOmM":
        raise name.refuse(f"column {name(part)} holds {found.dtype} values; observations must be numbers.")
    if found.dtype.kind == "f":
        bad = ~np.isfinite(found).reshape(count, -1).all(1)
        if bad.any():
            raise name.refuse(f"column {name(part)} is NaN or infinite ({name.some(bad)}); mend or drop these rows.")
        found = found.astype(np.float32, copy=False)
    elif found.dtype == bool:
        found = found.astype(np.float32)
    elif found.dtype != np.uint8 or found.ndim < 3:
        small = int(found.min()) >= -(2**31) and int(found.max()) < 2**31
        found = found.astype(np.int32 if small else np.float32)
    return found


def _ragged(values: Sequence[Any], part: str, name: Naming) -> Ragged:
    rows = [np.asarray(value) for value in values]
    bad = np.array([row.ndim != 1 or (row.size > 0 and (row.dtype.kind not in "iu" or row.min() < 0)) for row in rows])
    if bad.any():
        raise name.refuse(
            f"column {name(part)} has rows of different shapes that are not sequences of tokens, whole numbers from 0 "
            f"({name.some(bad)})."
        )
    return Ragged.from_rows(rows)


def observation_specs(seen: Any, kinds: Mapping[str, str], categories: Mapping[str, Sequence[str]]) -> tuple:
    """Describe stored observations, those after a last step included: shape, kind, range, categories of each."""
    parts = seen if isinstance(seen, dict) else {"": seen}
    made = []
    for key, part in parts.items():
        if isinstance(part, Ragged):
            longest = int(np.diff(part.offsets).max(initial=0))
            vocabulary = int(part.values.max(initial=0)) + 1
            made.append(ObservationSpec((longest,), "int32", "tokens", key, count=vocabulary))
            continue
        kind = kinds.get(key, "image" if part.dtype == np.uint8 and part.ndim in (3, 4) else "vector")
        count = int(part.max(initial=0)) + 1 if kind in ("category", "tokens") else 0
        labels = tuple(str(label) for label in categories.get(key, ()))
        low = high = None
        if kind == "vector" and part.dtype.kind == "f" and part.ndim == 2:
            low, high = tuple(part.min(0).tolist()), tuple(part.max(0).tolist())
        made.append(
            ObservationSpec(part.shape[1:], str(part.dtype), kind, key, low, high, max(count, len(labels)), labels)
        )
    return tuple(made)


def action_columns(
    actions: Any, count: int, bounds: Any, labels: Sequence[str], number: int | None, name: Naming
) -> tuple[np.ndarray, ActionSpec]:
    """Return the actions in their stored form and what can be done."""
    try:
        found = np.asarray(actions)
    except ValueError:
        raise name.refuse(f"column {name('actions')} has rows of different shapes.") from None
    if found.size == 0:
        raise name.refuse(f"column {name('actions')} has the shape {found.shape}: there is nothing in it.")
    if found.dtype.kind in "US" and isinstance(actions, (list, tuple)):
        found = np.array(actions, object)  # NumPy has made text of the numbers among the labels
    if found.dtype.kind in "USO" and found.ndim > 1:
        raise name.refuse(f"column {name('actions')} holds several labels a step; give one, or numbers.")
    if found.dtype.kind in "USO":
        kinds = {type(value).__name__ for value in found.reshape(-1).tolist()}
        kinds = {"text" if kind == "str" else kind for kind in kinds}
        if len(kinds) > 1:
            odd = np.array([not isinstance(value, type(found.reshape(-1)[0])) for value in found.reshape(-1).tolist()])
            raise name.refuse(
                f"column {name('actions')} mixes action types ({', '.join(sorted(kinds))}; unlike the first: "
                f"{name.some(odd)}); make them all numbers or all labels."
            )
        if kinds == {"text"}:
            known = tuple(labels) or tuple(np.unique(found.astype(str)).tolist())
            code = {label: index for index, label in enumerate(known)}
            strange = np.array([label not in code for label in found.astype(str).tolist()])
            if strange.any():
                raise name.refuse(
                    f"column {name('actions')} holds labels that are not declared ({name.some(strange)})."
                )
            found = np.array([code[label] for label in found.astype(str).tolist()])
            return found.astype(np.int32), ActionSpec("discrete", (), "int32", counts=(len(known),), labels=known)
        found = np.asarray(found.tolist())
    if found.dtype == bool:
        found = found.astype(np.int32)
    if found.dtype.kind in "iu":
        return _integer_actions(found, labels, number, name)
    if found.dtype.kind != "f":
        raise name.refuse(f"column {name('actions')} holds {found.dtype} values; actions must be numbers or labels.")
    found = finite(found, count, "actions", name).reshape(count, -1)
    low, high = _action_bounds(bounds, found.shape[1], name)
    if low is not None and high is not None:
        outside = ((found < low - 1e-6) | (found > high + 1e-6)).any(1)
        if outside.any():
            raise name.refuse(
                f"column {name('actions')} is outside its bounds [{low.tolist()}, {high.tolist()}] "
                f"({name.some(outside)})."
            )
    return found, ActionSpec(
        "continuous",
        found.shape[1:],
        "float32",
        None if low is None else tuple(low.tolist()),
        None if high is None else tuple(high.tolist()),
    )


def _action_bounds(bounds: Any, size: int, name: Naming) -> tuple[np.ndarray | None, np.ndarray | None]:
    if bounds is None:
        return None, None
    try:
        low, high = (np.broadcast_to(np.asarray(bound, np.float32), (size,)) for bound in bounds)
    except (TypeError, ValueError):
        raise name.refuse(f"the action bounds must be a pair (low, high), each one number or {size}.") from None
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
        raise name.refuse(f"the action bounds [{low.tolist()}, {high.tolist()}] must be finite, the lower ones lower.")
    return low, high


def _integer_actions(
    found: np.ndarray, labels: Sequence[str], number: int | None, name: Naming
) -> tuple[np.ndarray, ActionSpec]:
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if (found < 0).any():
        below = (found < 0).reshape(len(found), -1).any(1)
        raise name.refuse(
            f"column {name('actions')} is outside its bounds: a choice is counted from 0 ({name.some(below)})."
        )
    if found.ndim == 1:
        size = number or len(labels) or int(found.max()) + 1
        if (found >= size).any():
            raise name.refuse(
                f"column {name('actions')} is outside its bounds [0, {size - 1}] ({name.some(found >= size)})."
            )
        return found.astype(np.int32), ActionSpec("discrete", (), "int32", counts=(size,), labels=tuple(labels))
    counts = tuple(int(part) + 1 for part in found.max(0))
    return found.astype(np.int32), ActionSpec("multidiscrete", found.shape[1:], "int32", counts=counts)


def log_propensities(values: Any, count: int, action: ActionSpec, name: Naming) -> np.ndarray | None:
    """Return the logarithm of propensities, probabilities where the actions are choices."""
    if values is None:
        return None
    found = finite(values, count, "propensities", name).reshape(-1)
    low = found <= 0
    if low.any():
        raise name.refuse(
            f"column {name('propensities')} must be positive ({name.some(low)}); it is a probability or density."
        )
    if action.kind != "continuous" and (found > 1).any():
        raise name.refuse(
            f"column {name('propensities')} is a probability of a discrete action and may not exceed 1 "
            f"({name.some(found > 1)})."
        )
    return np.log(found).astype(np.float32)


def reward_bounds(bounds: Any, size: int, name: Naming) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Return the declared range of rewards as one number a component."""
    if bounds is None:
        return None, None
    try:
        low, high = (tuple(np.broadcast_to(np.asarray(bound, float), (size,)).tolist()) for bound in bounds)
    except (TypeError, ValueError):
        raise name.refuse(f"the reward range must be a pair (low, high), each one number or {size}.") from None
    if any(a > b for a, b in zip(low, high, strict=True)):
        raise name.refuse(f"the declared reward range ({low}, {high}) is empty.")
    return low, high
