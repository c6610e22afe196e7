"""Holm's correction: which of several exact tests reject, with their risk shared."""

from collections.abc import Iterator, Sequence

__all__ = ["rejected"]


def rejected(tests: Sequence[tuple[float, str]], risk: float = 0.05) -> Iterator[str]:
    """Yield the sentences of the tests `(p, sentence)` that reject, at one risk for all of them together."""
    for place, (p, sentence) in enumerate(sorted(tests)):
        if p > risk / (len(tests) - place):
            return
        yield sentence
