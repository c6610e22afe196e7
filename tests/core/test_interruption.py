"""Ctrl-C is heard even where Python forgets the exception."""

import signal
import weakref

import pytest

from weft.core.interruption import heard, remembered
from weft.training.session import Looks

FORGETS = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class Thing:
    """Something that a weak reference can watch."""


def lost_signal():
    """Interrupt this process amid the callback of a weak reference, where an exception goes nowhere."""
    thing = Thing()
    watch = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
    del thing
    assert watch() is None


@pytest.fixture(autouse=True)
def usual_handler():
    """Begin with the handler that Python starts with; a suite in the background ignores the signal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@FORGETS
def test_a_lost_signal_is_heard_later():
    with remembered():
        lost_signal()
        with pytest.raises(KeyboardInterrupt):
            heard()


@FORGETS
def test_training_hears_of_it_at_its_next_look():
    with remembered():
        parts = Looks(1)(0, 10**6)
        next(parts)
        lost_signal()
        with pytest.raises(KeyboardInterrupt):
            next(parts)


def test_a_signal_is_raised_at_once():
    with pytest.raises(KeyboardInterrupt), remembered():
        signal.raise_signal(signal.SIGINT)


@FORGETS
def test_the_block_over_nothing_is_left_of_it():
    with remembered():
        lost_signal()
    heard()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@FORGETS
def test_blocks_in_one_another_remember_until_the_outer_one_ends():
    with remembered():
        with remembered():
            lost_signal()
        with pytest.raises(KeyboardInterrupt):
            heard()


def test_a_handler_of_the_caller_is_left_alone():
    signals = []
    own = lambda number, frame: signals.append(number)  # noqa: E731
    signal.signal(signal.SIGINT, own)
    with remembered():
        signal.raise_signal(signal.SIGINT)
    heard()
    assert signals == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) is own
