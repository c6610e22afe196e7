"""What a ledger says to a reader: openings, decisions, what is left, a log's news, and older and half-written ones."""

import json
from pathlib import Path

import numpy as np
import pytest

from weft import Dataset, UserError
from weft.deployment.account import account
from weft.deployment.ledger import Ledger

FROZEN = Path(__file__).parents[1] / "frozen"


def log(seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    return Dataset.from_arrays(rng.normal(size=(20, 2)), rng.integers(0, 2, 20), rng.normal(size=20), np.ones(20, bool))


def test_streams_openings_and_what_is_left(own_ledger):
    book = Ledger(subject="runs/one")
    book.spend(log(), "question one", risk=0.02)
    book.files.answered("question one", "DEPLOY", 0.5)
    after = [book.entries()[0].fold]
    Ledger(subject="runs/two").spend(log(1), "question two", shown="report", granted=0.025, after=after)
    answer = account(book)
    assert dict(answer.lines())["ledger"] == str(own_ledger)
    assert dict(answer.lines())["opened"] == "2 folds in 2 openings"
    assert dict(answer.lines())["log that grows"].endswith(
        ": 2 tests, 0.045 spent; the next has 0.00833, all to come together 0.025"
    )
    head, one, two = (dict(zip(answer.cells()[0], row, strict=True)) for row in answer.cells())
    assert head["policy"] == "policy"
    assert (one["policy"], one["decided"], one["risk"], one["left"]) == (
        "runs/one",
        "DEPLOY (0.5)",
        "0.02 of 0.05",
        "0.03",
    )
    assert (two["policy"], two["decided"], two["left"], two["test"][:4]) == ("runs/two", "–", "0", "2 of")
    assert [one.entry.policy for one in account(book, words="two").openings] == ["question two"]
    assert json.loads(json.dumps(answer.record()))["openings"][0]["left"] == pytest.approx(0.03)
    asked = account(book, log())
    assert asked.part is not None
    assert asked.part.risk == pytest.approx(0.03)
    assert dict(account(book, log(1)).lines())["new"] == "nothing"
    assert dict(account(book, log(2)).lines())["new"] == "all of it"
    assert len(book.entries()) == 2


def test_answers_that_were_lost_or_torn_change_nothing_else(own_ledger):
    book = Ledger()
    book.spend(log(), "question", risk=0.02)
    book.files.answered("question", "DEPLOY", 1.0)
    path = own_ledger / "answers.jsonl"
    path.write_bytes(path.read_bytes() + b'{"question": "to')
    book.files.answered("other", "REJECT", 0.0)
    assert {name: found["action"] for name, found in book.answers().items()} == {
        "question": "DEPLOY",
        "other": "REJECT",
    }
    path.unlink()
    assert account(book).cells()[1][5] == "–"
    (own_ledger / "fold-0.safetensors.new").touch()
    assert "1 half-written files" in dict(account(book).lines())["left undone"]


def test_a_ledger_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"^There is no ledger in .*nowhere yet: nothing was opened with it"):
        account(Ledger(tmp_path / "nowhere"))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is no folder"):
        account(Ledger(tmp_path / "file"))


@pytest.mark.parametrize("version", sorted(path.name for path in FROZEN.iterdir()))
def test_ledgers_of_older_versions_are_read(version):
    answer = account(Ledger(FROZEN / version / "ledger"))
    assert answer.openings
    assert all(one.place == 1 and one.entry.after == () and one.entry.subject == "" for one in answer.openings)
