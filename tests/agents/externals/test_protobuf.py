"""What tells an ONNX model that is one file from one that refers to others."""

import contextlib

import numpy as np
import onnx_bytes
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.agents.externals._protobuf import external_tensor

WEIGHT = np.eye(3, dtype=np.float32)


def test_a_model_of_one_file_refers_to_none():
    assert external_tensor(onnx_bytes.linear(WEIGHT)) is None
    assert external_tensor(b"") is None


def test_a_tensor_elsewhere_is_named():
    assert external_tensor(onnx_bytes.linear(WEIGHT, external=True)) == "w"


@pytest.mark.parametrize("path", [(7, 1, 5, 5), (7, 1, 5, 10), (7, 15, 1), (7, 1, 5, 6, 5), (25, 7, 5, 5), (20, 1, 5),
                                  (7, 1, 5, 11, 1, 5, 22, 2), (25, 11, 5)])  # fmt: skip
def test_a_tensor_elsewhere_is_found_wherever_the_format_has_tensors(path):
    content = onnx_bytes.tensor("hidden", WEIGHT, external=True)
    for place in reversed(path):
        content = onnx_bytes.field(place, content)
    assert external_tensor(content) == "hidden"


def read_or_refused(content):
    """Read bytes; nothing but a ValueError may come of it."""
    with contextlib.suppress(ValueError):
        assert isinstance(external_tensor(content), str | None)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(content):
    read_or_refused(content)


@given(st.data())
def test_damaged_models_are_read_or_refused(data):
    content = bytearray(onnx_bytes.linear(WEIGHT, external=True))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    read_or_refused(bytes(content[: data.draw(st.integers(0, len(content)))]))
