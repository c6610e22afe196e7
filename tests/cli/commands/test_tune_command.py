"""`weft tune`: a search printed, written, answered again, and handed to a study."""

import importlib
import json

import pytest

from weft.cli.main import run
from weft.core.errors import UserError

LINE = ["tune", "sample:notifications", "--algorithm", "bc", "--steps", "6", "--seeds", "1", "--batch-size", "16",
        "--trials", "2", "--together", "2", "--discount", "1"]  # fmt: skip
SPACE = ["--space", "learning_rate=log:1e-4:1e-2"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Work in an empty folder, without the diagnostics, which take longer than all else."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        importlib.import_module("weft.deployment.certify"), "_diagnosed", lambda *_: UserError("left out")
    )
    return tmp_path


@pytest.mark.slow
def test_a_search_is_printed_written_answered_again_and_given_to_a_study(elsewhere, capsys):
    assert run([*LINE, *SPACE]) == 0
    found = capsys.readouterr()
    record = json.loads((elsewhere / "tunings/bc-1/tune.json").read_text())
    assert len(record["batches"][0]) == 2
    assert all(words in found.out for words in ("learning_rate", "score", "→", "0.0003"))
    assert "weft study sample:notifications --algorithms bc --tuned tunings/bc-1" in found.out
    assert "6 steps each, into tunings/bc-1/batch-000" in found.err
    assert run([*LINE, *SPACE, "--out", "tunings/bc-1", "--quiet"]) == 0
    again = capsys.readouterr()
    assert again.out == found.out
    assert again.err == ""
    study = ["study", "sample:notifications", "--discount", "1", "--steps", "6", "--seeds", "1", "--quiet"]
    assert run([*study, "--algorithms", "bc", "--tuned", "tunings/bc-1", "--seed", "1"]) == 2
    assert "was tuned on other folds" in capsys.readouterr().err
    assert run([*study, "--algorithms", "bc", "--tuned", "tunings/bc-1"]) == 0
    assert "bc seed 0" in capsys.readouterr().out
    tried = json.loads((elsewhere / "studies/study-1/runs/bc/run.json").read_text())["settings"]
    best = max(record["batches"][0], key=lambda trial: trial["score"])
    assert [setting["learning_rate"] for setting in tried] == [best["settings"]["learning_rate"]]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "Say what to search, as --space NAME=LOW:HIGH"),
        (["--space", "learning_rate"], "--space is written name=value, got 'learning_rate'"),
        (["--space", "learning_rat=1:2"], "Did you mean 'learning_rate'"),
        ([*SPACE, "--seeds", "many"], "--seeds is a number of seeds"),
        ([*SPACE, "--algorithm", "bcc"], "There is no algorithm 'bcc'"),
    ],
)
def test_a_mistake_is_one_sentence_and_writes_nothing(options, sentence, elsewhere, capsys):
    assert run([*LINE, *options]) == 2
    found = capsys.readouterr()
    assert found.err.startswith("weft: ")
    assert found.err.count("\n") == 1
    assert sentence in found.err
    assert list(elsewhere.iterdir()) == []
