"""Ctrl-C that is not lost.

Python raises KeyboardInterrupt wherever it happens to be. In a finaliser or in the callback of a weak reference the
exception is printed and forgotten, and compiling a program runs many of those. So the signal is remembered as well, and
whoever works for long asks for it between two pieces of work.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

__all__ = ["heard", "remembered"]

_signals: list[int] = []


@contextlib.contextmanager
def remembered() -> Iterator[None]:
    """Remember Ctrl-C for `heard` within the block; a handler that the caller has set is left alone."""
    mine = threading.current_thread() is threading.main_thread() and (
        signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if not mine:
        yield
        return
    signal.signal(signal.SIGINT, _remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _signals.clear()


def heard() -> None:
    """Raise KeyboardInterrupt if Ctrl-C came since the block of `remembered` began, even if it was lost then."""
    if _signals:
        raise KeyboardInterrupt


def _remember(number: int, frame: FrameType | None) -> None:
    _signals.append(number)
    signal.default_int_handler(number, frame)
