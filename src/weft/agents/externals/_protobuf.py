"""The few words of protobuf that tell, before anything opens an ONNX model, whether it is one file.

onnxruntime follows a model's references to further files, wherever they lead; so the references are looked for in the
bytes (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto), and no library is needed for it.
"""

from collections.abc import Iterator

__all__ = ["external_tensor"]

INSIDE = {  # message: {field: message}
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
NAME, EXTERNAL_DATA, DATA_LOCATION = 8, 13, 14  # fields of a tensor
SIZES = {1: 8, 5: 4}  # bytes of the wire types of fixed length
WORD = 10  # bytes of the longest number


def external_tensor(content: bytes) -> str | None:
    """Return the name of a tensor whose numbers lie in another file; None if there is none.

    Raises ValueError for bytes that are no protobuf message.
    """
    waiting = [("model", memoryview(content))]
    while waiting:
        message, piece = waiting.pop()
        if message == "tensor":
            name, elsewhere = "", False
            for field, value in _fields(piece):
                name = (
                    bytes(value).decode("utf-8", "replace") if field == NAME and isinstance(value, memoryview) else name
                )
                elsewhere |= field == EXTERNAL_DATA or (field == DATA_LOCATION and value == 1)
            if elsewhere:
                return name
            continue
        inside = INSIDE[message]
        waiting += [(inside[field], value) for field, value in _fields(piece)
                    if field in inside and isinstance(value, memoryview)]  # fmt: skip
    return None


def _fields(piece: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the number and the value of every field of a message."""
    place = 0
    while place < len(piece):
        tag, place = _number(piece, place)
        field, wire = tag >> 3, tag & 7
        if wire == 0:
            value, place = _number(piece, place)
            yield field, value
            continue
        if wire == 2:
            size, place = _number(piece, place)
        elif wire in SIZES:
            size = SIZES[wire]
        else:
            raise ValueError(f"a field of the unknown type {wire}")
        if field == 0 or place + size > len(piece):
            raise ValueError("a field that is longer than its message")
        yield field, piece[place : place + size]
        place += size


def _number(piece: memoryview, place: int) -> tuple[int, int]:
    """Return the number that begins at a place, and the place behind it."""
    number = 0
    for shift in range(WORD):
        if place + shift >= len(piece):
            raise ValueError("a message that breaks off")
        byte = piece[place + shift]
        number |= (byte & 127) << (7 * shift)
        if byte < 128:
            return number, place + shift + 1
    raise ValueError("a number without an end")
