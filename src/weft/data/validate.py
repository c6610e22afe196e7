"""What may stand in the columns of a log: every check of a value, each a sentence with file, column and rows.

`assembly` puts the checked columns together; nothing here knows about episodes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..core.errors import UserError
from .columns import Ragged
from .narrow import narrowed, plain, say_merged
from .spec import ActionSpec, ObservationSpec

MOST = 2**22
"""Choices, categories or tokens that there may be; every one has a row of parameters."""


class Naming:
    """How the user calls the parts of a log, for sentences: `name("rewards")` is `column 'click'` of a table.

    `notes` collects what is to be said about the values, though they are taken.
    """

    def __init__(self, origin: str, names: Mapping[str, str] | None, row_numbers: Any = None) -> None:
        self.origin, self.names = origin, dict(names or {})
        self.notes: list[str] = []
        self.noted: set[str] = set()
        self.row_numbers = None if row_numbers is None else np.asarray(row_numbers)

    def __call__(self, part: str) -> str:
        return f"'{self.names.get(part, part)}'"

    def column(self, part: str, place: int, columns: int) -> str:
        """Name one column of an array: `'x1'` of a table, else `1 of 'observations'`."""
        told = self.names.get(f"{part}[{place}]")
        return f"'{told}'" if told else self(part) if columns == 1 else f"{place} of {self(part)}"

    def note(self, sentence: str, about: str | None = None) -> None:
        """Keep a sentence, the first one about a column (whose observations are checked before and after the step)."""
        if about is None or about not in self.noted:
            self.notes.append(sentence)
        self.noted |= {about} if about else set()

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
        found = plain(values, part, name)
        if found.dtype.kind not in "biuf":
            found = found.astype(np.float64)
    except UserError:
        raise
    except (TypeError, ValueError, OverflowError):
        raise name.refuse(f"column {name(part)} holds values that are not numbers.") from None
    if found.ndim == 0:
        raise name.refuse(f"column {name(part)} is one value; give one a step.")
    if len(found) != count:
        raise name.refuse(f"column {name(part)} has {len(found)} rows, the actions have {count}.")
    return narrowed(found, part, name)


def single(values: Any, count: int, part: str, name: Naming) -> np.ndarray:
    """Return a column of one finite number a step, `(steps,)`."""
    found = finite(values, count, part, name)
    if found.size != count:
        raise name.refuse(f"column {name(part)} has the shape {found.shape}; give one number a step.")
    return found.reshape(-1)


def reward_columns(rewards: Any, count: int, name: Naming) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return rewards `(steps, objective)` and the names of the components."""
    if isinstance(rewards, Mapping):
        if not rewards:
            raise name.refuse("there is no reward component.")
        made = [single(values, count, key if key in name.names else str(key), name) for key, values in rewards.items()]
        return np.stack(made, 1), tuple(rewards)
    made = finite(rewards, count, "rewards", name)
    if made.ndim > 2 or (made.ndim == 2 and made.shape[1] != 1):
        raise name.refuse(f"{name('rewards')} has shape {made.shape}; give several rewards as a dictionary of columns.")
    return made.reshape(count, 1), ("reward",)


def flags(values: Any, count: int, part: str, name: Naming) -> np.ndarray:
    """Return a column of truth values `(steps,)`."""
    found = plain(values, part, name)
    if found.ndim == 0:
        raise name.refuse(f"column {name(part)} is one value; give one a step.")
    if found.dtype != bool:
        good = np.isin(found, [0, 1]) if found.dtype.kind in "iuf" else np.zeros(len(found), bool)
        if not good.all():
            raise name.refuse(f"column {name(part)} must hold true or false, 0 or 1 ({name.some(~good)}).")
        found = found.astype(bool)
    found = found.reshape(-1)
    if len(found) != count:
        raise name.refuse(f"column {name(part)} has {len(found)} rows, the actions have {count}.")
    return found


def observation_columns(
    values: Any, count: int, part: str, name: Naming, kinds: Mapping[str, str] | None = None
) -> Any:
    """Return observations as one checked component or a dictionary of such; `kinds` says which are categories."""
    if isinstance(values, Mapping):
        if not values or len({str(key) for key in values}) < len(values):
            raise name.refuse(f"{name(part)} must be a dictionary of one or more observations with different names.")
        return {
            str(key): _observation(value, count, str(key), name, (kinds or {}).get(str(key)) == "category")
            for key, value in values.items()
        }
    return _observation(values, count, part, name, (kinds or {}).get("") == "category")


def _observation(values: Any, count: int, part: str, name: Naming, coded: bool = False) -> Any:
    if isinstance(values, Ragged):
        found: Any = values
    elif isinstance(values, (list, tuple)) and len({np.shape(value) for value in values}) > 1:
        found = _ragged(values, part, name)
    else:
        found = plain(values, part, name)
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
    if coded and found.dtype.kind == "f" and (np.abs(found) < 2**53).all() and (found == np.round(found)).all():
        found = found.astype(np.int64)
    if found.dtype.kind == "f":
        found = narrowed(found, part, name)
    elif found.dtype == bool:
        found = found.astype(np.float32)
    elif found.dtype != np.uint8 or found.ndim < 3:
        least, most = int(found.min()), int(found.max())
        small = least >= -(2**31) and most < 2**31
        if not coded and max(-least, most) > 2**24:
            # networks see float32, whatever is stored
            say_merged(found.reshape(count, -1), found.reshape(count, -1).astype(np.float32), part, name)
        found = found if coded and not small else found.astype(np.int32 if small else np.float32)
    elif found.ndim == 4 and found.shape[1] <= 4 < min(found.shape[2:]):
        size = "×".join(map(str, found.shape[1:]))
        name.note(
            f"Pictures in column {name(part)} are {size}, which looks like channels first; weft takes height × width × "
            "channels: turn them by numpy.moveaxis(pictures, 1, -1), here and where the policy is asked.",
            about=f"pictures {part.removeprefix('next_')}",
        )
    return found


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
    seen: Any, kinds: Mapping[str, str], categories: Mapping[str, Sequence[str]], origin: str = "arrays"
) -> tuple:
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
    for part in made:
        if part.count > MOST:
            what = f"'{part.name}'" if part.name else "the observations"
            raise UserError(
                f"{origin}: {part.kind} values of {what} reach to {part.count - 1:,}, and there may be {MOST:,}; "
                "number them from 0."
            )
    return tuple(made)


def log_propensities(values: Any, count: int, action: ActionSpec, name: Naming) -> np.ndarray | None:
    """Return the logarithm of propensities, probabilities where the actions are choices."""
    if values is None:
        return None
    found = single(values, count, "propensities", name)
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
