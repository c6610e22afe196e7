"""What may stand in the columns of a log: every check of a value, each a sentence with file, column and rows.

`weft.data.assemble` puts the checked columns together; nothing here knows about episodes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..core.errors import UserError
from .columns import Ragged, components
from .naming import Naming
from .narrow import narrowed, plain, say_merged
from .spec import ActionSpec, ObservationSpec

__all__ = [
    "MOST",
    "check_count",
    "finite",
    "flags",
    "log_propensities",
    "observation_columns",
    "observation_specs",
    "reward_bounds",
    "reward_columns",
    "single",
]

MOST = 2**22
"""Choices, categories or tokens that there may be; every one has a row of parameters."""


def check_count(rows: int, count: int, part: str, name: Naming) -> None:
    """Raise UserError unless a column has as many rows as there are actions."""
    if rows != count:
        raise name.refuse(f"column {name(part)} has {rows} rows, the actions have {count}.")


def finite(values: Any, count: int, part: str, name: Naming) -> np.ndarray:
    """Return a column as finite float32, with its shape."""
    try:
        numbers = plain(values, part, name)
        if numbers.dtype.kind not in "biuf":
            numbers = numbers.astype(np.float64)
    except UserError:
        raise
    except (TypeError, ValueError, OverflowError):
        raise name.refuse(f"column {name(part)} holds values that are not numbers.") from None
    if numbers.ndim == 0:
        raise name.refuse(f"column {name(part)} is one value; give one a step.")
    check_count(len(numbers), count, part, name)
    return narrowed(numbers, part, name)


def single(values: Any, count: int, part: str, name: Naming) -> np.ndarray:
    """Return a column of one finite number a step, `(steps,)`."""
    numbers = finite(values, count, part, name)
    if numbers.size != count:
        raise name.refuse(f"column {name(part)} has the shape {numbers.shape}; give one number a step.")
    return numbers.reshape(-1)


def reward_columns(rewards: Any, count: int, name: Naming) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return rewards `(steps, objective)` and the names of the components."""
    if isinstance(rewards, Mapping):
        if not rewards:
            raise name.refuse("there is no reward component.")
        columns = [
            single(values, count, key if key in name.names else str(key), name) for key, values in rewards.items()
        ]
        return np.stack(columns, 1), tuple(rewards)
    column = finite(rewards, count, "rewards", name)
    if column.ndim > 2 or (column.ndim == 2 and column.shape[1] != 1):
        raise name.refuse(
            f"{name('rewards')} has shape {column.shape}; give several rewards as a dictionary of columns."
        )
    return column.reshape(count, 1), ("reward",)


def flags(values: Any, count: int, part: str, name: Naming) -> np.ndarray:
    """Return a column of truth values `(steps,)`."""
    column = plain(values, part, name)
    if column.ndim == 0:
        raise name.refuse(f"column {name(part)} is one value; give one a step.")
    if column.dtype != bool:
        good = np.isin(column, [0, 1]) if column.dtype.kind in "iuf" else np.zeros(len(column), bool)
        if not good.all():
            raise name.refuse(f"column {name(part)} must hold true or false, 0 or 1 ({name.some(~good)}).")
        column = column.astype(bool)
    column = column.reshape(-1)
    check_count(len(column), count, part, name)
    return column


def observation_columns(values: Any, count: int, part: str, kinds: Mapping[str, str], name: Naming) -> Any:
    """Return observations as one checked component or a dictionary of such; `kinds` says which are categories."""
    if not isinstance(values, Mapping):
        return _observation(values, count, part, kinds.get("") == "category", name)
    if not values or len({str(key) for key in values}) < len(values):
        raise name.refuse(f"{name(part)} must be a dictionary of one or more observations with different names.")
    return {
        str(key): _observation(component, count, str(key), kinds.get(str(key)) == "category", name)
        for key, component in values.items()
    }


def _observation(values: Any, count: int, part: str, coded: bool, name: Naming) -> Any:
    """Return a component in the form that a log holds: tokens, float32, int32 or images of uint8."""
    if isinstance(values, (list, tuple)) and len({np.shape(value) for value in values}) > 1:
        values = _ragged(values, part, name)
    if isinstance(values, Ragged):
        check_count(len(values), count, part, name)
        return values
    column = plain(values, part, name)
    if column.ndim == 0:
        raise name.refuse(f"column {name(part)} is one value; give one observation a step.")
    check_count(len(column), count, part, name)
    if column.size == 0:
        raise name.refuse(f"column {name(part)} has the shape {column.shape}: there is nothing in it.")
    if column.dtype.kind in "USOmM":
        raise name.refuse(f"column {name(part)} holds {column.dtype} values; observations must be numbers.")
    if coded and _whole_floats(column):
        column = column.astype(np.int64)
    if column.dtype.kind == "f":
        return narrowed(column, part, name)
    if column.dtype == bool:
        return column.astype(np.float32)
    if column.dtype == np.uint8 and column.ndim >= 3:
        _note_channels_first(column, part, name)
        return column
    return _whole_numbers(column, part, coded, name)


def _whole_floats(column: np.ndarray) -> bool:
    """Say whether a column of floats holds whole numbers that 64 bits hold exactly."""
    return column.dtype.kind == "f" and bool((np.abs(column) < 2**53).all() and (column == np.round(column)).all())


def _whole_numbers(column: np.ndarray, part: str, coded: bool, name: Naming) -> np.ndarray:
    """Return whole numbers as 32 bits hold them; codes beyond them stay wide, they will get others."""
    least, most = int(column.min()), int(column.max())
    small = least >= -(2**31) and most < 2**31
    if not coded and max(-least, most) > 2**24:
        # networks see float32, whatever is stored
        table = column.reshape(len(column), -1)
        say_merged(table, table.astype(np.float32), part, name)
    return column if coded and not small else column.astype(np.int32 if small else np.float32)


def _note_channels_first(pictures: np.ndarray, part: str, name: Naming) -> None:
    if pictures.ndim != 4 or not pictures.shape[1] <= 4 < min(pictures.shape[2:]):
        return
    size = "×".join(map(str, pictures.shape[1:]))
    name.note(
        f"Pictures in column {name(part)} are {size}, which looks like channels first; weft takes height × width × "
        "channels: turn them by numpy.moveaxis(pictures, 1, -1), here and where the policy is asked.",
        about=f"pictures {part.removeprefix('next_')}",
    )


def _ragged(values: Sequence[Any], part: str, name: Naming) -> Ragged:
    rows = [np.asarray(value) for value in values]
    if any(row.dtype.kind in "iu" and row.size and row.max() >= 2**31 for row in rows):
        raise name.refuse(f"column {name(part)} holds tokens of {2**31} and more; number the words from 0.")
    bad = np.array([row.ndim != 1 or (row.size > 0 and (row.dtype.kind not in "iu" or row.min() < 0)) for row in rows])
    if bad.any():
        raise name.refuse(
            f"column {name(part)} has rows of different shapes that are not sequences of tokens, whole numbers from 0 "
            f"({name.some(bad)})."
        )
    return Ragged.from_rows(rows)


def observation_specs(
    observations: Any, kinds: Mapping[str, str], categories: Mapping[str, Sequence[str]], origin: str = "arrays"
) -> tuple[ObservationSpec, ...]:
    """Describe stored observations, those after a last step included: shape, kind, range, categories of each."""
    specs = []
    for key, part in components(observations).items():
        if isinstance(part, Ragged):
            longest = int(np.diff(part.offsets).max(initial=0))
            vocabulary = int(part.values.max(initial=0)) + 1
            specs.append(ObservationSpec((longest,), "int32", "tokens", key, count=vocabulary))
            continue
        kind = kinds.get(key, "image" if part.dtype == np.uint8 and part.ndim in (3, 4) else "vector")
        count = int(part.max(initial=0)) + 1 if kind in ("category", "tokens") else 0
        labels = tuple(str(label) for label in categories.get(key, ()))
        low = high = None
        if kind == "vector" and part.dtype.kind == "f" and part.ndim == 2:
            low, high = tuple(part.min(0).tolist()), tuple(part.max(0).tolist())
        specs.append(
            ObservationSpec(part.shape[1:], str(part.dtype), kind, key, low, high, max(count, len(labels)), labels)
        )
    for spec in specs:
        if spec.count > MOST:
            what = f"'{spec.name}'" if spec.name else "the observations"
            raise UserError(
                f"{origin}: {spec.kind} values of {what} reach to {spec.count - 1:,}, and there may be {MOST:,}; "
                "number them from 0."
            )
    return tuple(specs)


def log_propensities(values: Any, count: int, action: ActionSpec, name: Naming) -> np.ndarray | None:
    """Return the logarithm of propensities, probabilities where the actions are choices."""
    if values is None:
        return None
    propensities = single(values, count, "propensities", name)
    low = propensities <= 0
    if low.any():
        raise name.refuse(
            f"column {name('propensities')} must be positive ({name.some(low)}); it is a probability or density."
        )
    high = propensities > 1
    if action.kind != "continuous" and high.any():
        raise name.refuse(
            f"column {name('propensities')} is a probability of a discrete action and may not exceed 1 "
            f"({name.some(high)})."
        )
    return np.log(propensities).astype(np.float32)


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
