"""The one kind of error that is meant for the person who runs weft.

Every mistake of a user (bad data, bad arguments, a missing extra, a full disk) is raised as `UserError` with one
sentence: what is wrong, where, and what to do. The command line prints that sentence and nothing else.
"""

import difflib
import itertools
from collections.abc import Iterable

__all__ = ["UserError", "nearest"]

LONGEST = 2000  # letters of a sentence; names that come from a file can be of any length and number
COMPARED = 500  # known words, each at most as long, that are compared with a word


class UserError(ValueError):
    """A mistake that the user can mend; its message is one clear sentence.

    Names and reasons in it may come from a hostile file: the sentence stays one line without control characters, which
    could steer a terminal, and has an end.
    """

    def __init__(self, sentence: object = "", *more: object) -> None:
        super().__init__(_plain(str(sentence)), *more)


def _plain(sentence: str) -> str:
    """Return a sentence as one line of letters that can be printed; what is too long is cut in the middle."""
    if len(sentence) > LONGEST:
        sentence = f"{sentence[: LONGEST * 3 // 4]} … {sentence[-LONGEST // 4 :]}"
    if sentence.isprintable():
        return sentence
    lines = (line.strip() for line in sentence.splitlines()) if "\n" in sentence else (sentence,)
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
        for letter in " ".join(line for line in lines if line)
    )


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the closest known word, or the empty string if none is close."""
    words = [other for other in itertools.islice(map(str, known), COMPARED) if len(other) <= COMPARED]
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.4) if len(word) <= COMPARED else []
    return f" Did you mean '{close[0]}'?" if close else ""
