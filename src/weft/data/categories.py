"""Categories of observations: whole numbers that are codes already, and names that get codes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .columns import Ragged, components, like
from .naming import Naming
from .narrow import scattered
from .steps import Facts

__all__ = ["categories_of"]


def categories_of(before: Any, after: Any, facts: Facts, name: Naming) -> tuple[Any, Any, dict[str, Sequence[str]]]:
    """Return observations before and after steps whose categories are codes from 0, and the names of categories.

    Whole numbers are codes already, unless they are far apart or negative: then they are names, and get codes. Raises
    UserError for fractions and for codes beyond the declared names.
    """
    labels = dict(facts.categories)
    sides = [dict(components(side)) for side in (before, after) if side is not None]
    for key, kind in facts.kinds.items():
        if kind != "category" or key not in sides[0] or isinstance(sides[0][key], Ragged):
            continue
        called = name(key or "observations")
        columns = [side[key] for side in sides]
        codes = _distinct_codes(columns, called, name)
        if labels.get(key):
            _check_codes(columns[0], codes, len(labels[key]), called, name)
        elif scattered(codes):
            labels[key] = [str(int(code)) for code in codes]
            name.note(
                f"Column {called} holds {len(codes)} whole numbers from {codes[0]:.0f} to {codes[-1]:.0f}; they are "
                "names of categories, with codes from 0, and a policy is asked by name."
            )
            columns = [np.searchsorted(codes, column) for column in columns]
        for side, column in zip(sides, columns, strict=True):
            side[key] = column.astype(np.int32)
    before = like(before, sides[0])
    return before, None if after is None else like(before, sides[1]), labels


def _distinct_codes(columns: Sequence[np.ndarray], called: str, name: Naming) -> np.ndarray:
    """Return the different codes of a category before and after steps, in order; raise UserError for fractions."""
    for column in columns:
        fractions = column != np.round(column)
        if fractions.any():
            odd = fractions.reshape(len(column), -1).any(1)
            raise name.refuse(f"column {called} is called a category, but holds fractions ({name.some(odd)}).")
    return np.unique(np.concatenate([np.unique(column) for column in columns]))


def _check_codes(column: np.ndarray, codes: np.ndarray, size: int, called: str, name: Naming) -> None:
    """Raise UserError for a code beyond the declared names, with the rows where it stands before a step."""
    if codes[0] < 0 or codes[-1] >= size:
        beyond = ((column < 0) | (column >= size)).reshape(len(column), -1).any(1)
        where = f" ({name.some(beyond)})" if beyond.any() else ""
        raise name.refuse(f"column {called} has codes outside the {size} declared categories{where}.")
