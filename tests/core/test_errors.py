"""Sentences stay sentences whatever stands in them."""

import time

from hypothesis import given
from hypothesis import strategies as st

from weft.core.errors import LONGEST, UserError, nearest


def test_a_sentence_stays_as_it_is():
    assert str(UserError("log.csv: column 'naïve' has 3 rows – drop one.")) == (
        "log.csv: column 'naïve' has 3 rows – drop one."
    )
    assert str(UserError()) == ""


def test_lines_and_controls_from_a_file_cannot_reach_a_terminal():
    assert str(UserError("there is no 'a\nb'")) == "there is no 'a b'"
    assert str(UserError("there is no '\x1b[31mred'")) == r"there is no '\x1b[31mred'"
    assert str(UserError("there is no '\udcff\u202e'")) == r"there is no '\udcff\u202e'"


def test_a_sentence_has_an_end():
    sentence = str(UserError("Known: " + ", ".join(f"x{place}" for place in range(100_000)) + "; rename one."))
    assert len(sentence) < LONGEST + 10
    assert sentence.startswith("Known: x0, x1, ")
    assert sentence.endswith("x99999; rename one.")


@given(st.text(st.characters(), max_size=60))
def test_every_sentence_can_be_printed_on_one_line(text):
    sentence = str(UserError(text))
    assert sentence.isprintable()
    sentence.encode()


def test_the_nearest_of_very_many_words_is_soon_known():
    begun = time.monotonic()
    assert nearest("reward", ["rewards", *(f"column {place}" for place in range(10**6))]) == " Did you mean 'rewards'?"
    nearest("x" * 10**5, ["x" * 10**5 + "y"])
    assert time.monotonic() - begun < 5
