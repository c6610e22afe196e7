"""Categories of observations: whole numbers that are codes already, and names that get codes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .columns import Ragged
from .narrow import scattered

if TYPE_CHECKING:
    from .validate import Naming

__all__ = ["categories_of"]


def categories_of(
    seen: Any, after: Any, kinds: Mapping[str, str], categories: Mapping[str, Sequence[str]], name: "Naming"
) -> tuple[Any, Any, dict[str, Sequence[str]]]:
    """Return observations whose categories are codes from 0, and the names of categories.

    Whole numbers are codes already, unless they are far apart or negative: then they are names, and get codes. Raises
    UserError for fractions and for codes beyond the declared names.
    """
    told = dict(categories)
    plainly = not isinstance(seen, dict)
    sides = [{"": side} if plainly else dict(side) for side in (seen, after) if side is not None]
    for key, kind in kinds.items():
        if kind != "category" or key not in sides[0] or isinstance(sides[0][key], Ragged):
            continue
        shown = name(key) if key else name("observations")
        found = [side[key] for side in sides]
        for part in found:
            if (part != np.round(part)).any():
                odd = (part != np.round(part)).reshape(len(part), -1).any(1)
                raise name.refuse(f"column {shown} is called a category, but holds fractions ({name.some(odd)}).")
        codes = np.unique(np.concatenate([np.unique(part) for part in found]))
        if told.get(key):
            size = len(told[key])
            beyond = (found[0] < 0) | (found[0] >= size)
            if codes[0] < 0 or codes[-1] >= size:
                where = f" ({name.some(beyond.reshape(len(beyond), -1).any(1))})" if beyond.any() else ""
                raise name.refuse(f"column {shown} has codes outside the {size} declared categories{where}.")
        elif scattered(codes):
            told[key] = [str(int(code)) for code in codes]
            name.note(
                f"Column {shown} holds {len(codes)} whole numbers from {codes[0]:.0f} to {codes[-1]:.0f}; they are "
                "names of categories, with codes from 0, and a policy is asked by name."
            )
            found = [np.searchsorted(codes, part) for part in found]
        for side, part in zip(sides, found, strict=True):
            side[key] = part.astype(np.int32)
    sides = [side[""] for side in sides] if plainly else sides
    return sides[0], sides[1] if after is not None else None, told
