"""Ragged rows: built, indexed and padded without losing a token."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from weft.columns import Ragged

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
