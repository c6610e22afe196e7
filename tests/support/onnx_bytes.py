"""ONNX models of one linear layer, written by hand: a few hundred bytes, and no library is needed to make them."""

import numpy as np

FLOAT, INT64 = 1, 7


def number(value: int) -> bytes:
    """Return a protobuf number."""
    out = bytearray()
    while True:
        value, low = value >> 7, value & 127
        out.append(low | (128 if value else 0))
        if not value:
            return bytes(out)


def field(place: int, value: "int | bytes | str") -> bytes:
    """Return a field of a message."""
    if isinstance(value, int):
        return number(place << 3) + number(value)
    content = value.encode() if isinstance(value, str) else value
    return number(place << 3 | 2) + number(len(content)) + content


def tensor(name: str, values: np.ndarray, external: bool = False) -> bytes:
    """Return a tensor of float32; `external`: with a reference to another file in the place of its numbers."""
    dims = b"".join(field(1, size) for size in values.shape)
    head = dims + field(2, FLOAT) + field(8, name)
    if external:
        return head + field(13, field(1, "location") + field(2, "weights.bin")) + field(14, 1)
    return head + field(9, values.astype("<f4").tobytes())


def port(name: str, shape: tuple, kind: int = FLOAT) -> bytes:
    """Return an input or output; words in the shape are sizes that are not fixed."""
    dims = b"".join(field(1, field(1, size) if isinstance(size, int) else field(2, size)) for size in shape)
    return field(1, name) + field(2, field(1, field(1, kind) + field(2, dims)))


def node(kind: str, inputs: tuple[str, ...], output: str, **attributes: int) -> bytes:
    """Return a node with whole numbers as attributes."""
    words = b"".join(field(5, field(1, name) + field(3, value) + field(20, 2)) for name, value in attributes.items())
    return b"".join(field(1, name) for name in inputs) + field(2, output) + field(4, kind) + words


def linear(weight: np.ndarray, head: str = "", batch: "int | str" = "n", external: bool = False) -> bytes:
    """Return a model `observations @ weight`, with a head: Softmax (probabilities), ArgMax (choices), or none."""
    seen, done = weight.shape
    nodes = [node("MatMul", ("x", "w"), "z" if head else "y")]
    kind, shape = FLOAT, (batch, done)
    if head == "Softmax":
        nodes.append(node("Softmax", ("z",), "y", axis=1))
    elif head == "ArgMax":
        nodes.append(node("ArgMax", ("z",), "y", axis=1, keepdims=0))
        kind, shape = INT64, (batch,)
    graph = b"".join(field(1, one) for one in nodes) + field(2, "policy")
    graph += field(5, tensor("w", weight, external)) + field(11, port("x", (batch, seen)))
    graph += field(12, port("y", shape, kind))
    return field(1, 8) + field(8, field(2, 13)) + field(7, graph)
