"""The checker of annotations that the suite runs with: shapes by jaxtyping, classes by beartype.

`float` takes whole numbers too, as everywhere in Python's own typing (the numeric tower of PEP 484). `Array` takes
arrays of the host as well: shapes and kinds of numbers are checked, and not on which side of the device they lie,
because JAX takes both. Import this before weft.
"""

import jax
import jaxtyping
import numpy as np
from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeDecorHintPep673Exception

__all__ = ["checked"]

jaxtyping.Array = jax.Array | np.ndarray | np.generic

_typed = beartype(conf=BeartypeConf(is_pep484_tower=True))


def checked(function):
    """Return the function with its annotations checked.

    A method's settings are not: they answer wrong types with a sentence of their own. What names `Self` outside its
    class stays as it is, too.
    """
    if function.__name__ == "__init__" and function.__module__.startswith("weft.agents.algorithms"):
        return function
    try:
        return _typed(function)
    except BeartypeDecorHintPep673Exception:
        return function
