"""The one kind of error that is meant for the person who runs weft.

Every mistake of a user (bad data, bad arguments, a missing extra, a full disk) is raised as `UserError` with one
sentence: what is wrong, where, and what to do. The command line prints that sentence and nothing else.
"""

import difflib
from collections.abc import Iterable

__all__ = ["UserError", "nearest"]


class UserError(ValueError):
    """A mistake that the user can mend; its message is one clear sentence."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the closest known word, or the empty string if none is close."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.4)
    return f" Did you mean '{close[0]}'?" if close else ""
