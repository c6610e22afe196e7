"""What a run and its workers say to each other through pipes: a head of plain JSON, and named arrays. No pickle."""

import json
from collections.abc import Mapping
from typing import IO, Any

import numpy as np
from safetensors.numpy import load, save

__all__ = ["receive", "send"]

SIZE = 8  # bytes that tell the length of what follows


def send(pipe: IO[bytes], head: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> None:
    """Write one message; BrokenPipeError where nobody listens any more."""
    body = save({name: np.asarray(array, order="C") for name, array in arrays.items()}) if arrays else b""
    for part in (json.dumps(head).encode(), body):
        pipe.write(len(part).to_bytes(SIZE, "little") + part)
    pipe.flush()


def receive(pipe: IO[bytes]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Wait for one message and return its head and its arrays; EOFError where the other end is gone."""
    head, body = _part(pipe), _part(pipe)
    return json.loads(head), load(body) if body else {}


def _part(pipe: IO[bytes]) -> bytes:
    size = int.from_bytes(_exactly(pipe, SIZE), "little")
    return _exactly(pipe, size)


def _exactly(pipe: IO[bytes], size: int) -> bytes:
    content = pipe.read(size)
    if len(content) < size:
        raise EOFError
    return content
