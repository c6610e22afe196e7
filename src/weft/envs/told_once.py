"""What simulators say again and again is said once in a process: warnings of Gymnasium and of MuJoCo."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["heard", "listen"]

_told: set[str] = set()


@contextmanager
def heard() -> Iterator[None]:
    """Pass on the warnings of a block, but none that was passed on before."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        yield
    for one in said:
        if _new(str(one.message)):
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)


def listen() -> None:
    """Take over what MuJoCo writes to standard error by itself, where it is loaded and nobody else listens.

    It says so at every step of a simulation that became unstable, and the time is part of the sentence.
    """
    mujoco = sys.modules.get("mujoco")
    if mujoco is not None and mujoco.get_mju_user_warning() is None:
        mujoco.set_mju_user_warning(_from_mujoco)


def _from_mujoco(sentence: str) -> None:
    if _new(sentence.partition(" Time =")[0]):
        print(f"MuJoCo warns (said once): {sentence}", file=sys.stderr, flush=True)


def _new(sentence: str) -> bool:
    new = sentence not in _told
    _told.add(sentence)
    return new
