"""Small tables, and what is said of those that cannot be read."""

import polars
import pytest

from weft import UserError
from weft.data.load import load

PARTS = {"observations": "x*", "action": "a", "reward": "r"}


def frame(**changes) -> polars.DataFrame:
    """Return six rows of two episodes, the second one logged first and out of order."""
    columns = {
        "e": ["b", "b", "a", "a", "a", "b"],
        "t": [2, 1, 1, 2, 3, 3],
        "x0": [11.0, 10.0, 20.0, 21.0, 22.0, 12.0],
        "x1": [1, 0, 0, 1, 2, 2],
        "a": [1, 0, 0, 1, 2, 2],
        "r": [0.5, 0.0, 1.0, 2.0, 3.0, 1.5],
        "end": [0, 0, 0, 0, 1, 1],
        **changes,
    }
    return polars.DataFrame({name: values for name, values in columns.items() if values is not None}, strict=False)


def sentence(log, **options) -> str:
    with pytest.raises(UserError) as caught:
        load(log, **options)
    return str(caught.value)


def csv(path, table) -> str:
    table.write_csv(path / "log.csv")
    return str(path / "log.csv")
