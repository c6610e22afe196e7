"""The checker of annotations that the suite runs with: shapes by jaxtyping, classes by beartype.

`float` takes whole numbers too, as everywhere in Python's own typing (the numeric tower of PEP 484).
"""

from beartype import BeartypeConf, beartype

__all__ = ["checked"]

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
