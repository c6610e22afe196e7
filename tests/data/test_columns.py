"""Ragged rows: built, indexed and padded without losing a token."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.core.errors import UserError
from weft.data.columns import Ragged

ROWS = st.lists(st.lists(st.integers(0, 1000), max_size=6), min_size=1, max_size=12)


@given(ROWS)
def test_rows_come_back(rows):
    ragged = Ragged.from_rows(rows)
    assert len(ragged) == len(rows)
    assert [ragged[i].tolist() for i in range(len(rows))] == rows


@given(ROWS, st.data())
def test_index_takes_rows(rows, data):
    index = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=8))
    taken = Ragged.from_rows(rows)[np.array(index, int)]
    assert [taken[i].tolist() for i in range(len(index))] == [rows[i] for i in index]


@given(ROWS)
def test_padding_ends_rows_with_minus_one(rows):
    padded = Ragged.from_rows(rows).padded()
    assert padded.shape == (len(rows), max(len(row) for row in rows))
    for found, row in zip(padded, rows, strict=True):
        assert found[found >= 0].tolist() == row


def test_mask_takes_rows():
    assert Ragged.from_rows([[1], [2, 3], []])[np.array([False, True, True])].padded().tolist() == [[2, 3], [-1, -1]]


def test_one_long_row_among_very_many_is_refused():
    ragged = Ragged(np.zeros(10**6, np.int32), np.concatenate([np.zeros(10**7, np.int64), [10**6]]))
    with pytest.raises(UserError, match=r"A table of 10,000,000 rows of 1,000,000 tokens needs 40000\.0 GB of memory"):
        ragged.padded()
