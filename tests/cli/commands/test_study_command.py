"""`weft study`: one command from a log to a decision."""

import importlib
import json

import pytest

from weft.cli.main import run
from weft.core.errors import UserError

LINE = ["study", "sample:notifications", "--algorithms", "bc", "--steps", "6", "--seeds", "1", "--batch-size", "16"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Work in an empty folder, without the diagnostics, which take longer than all else."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        importlib.import_module("weft.deployment.certify"), "_diagnosed", lambda *_: UserError("left out")
    )
    return tmp_path


def test_a_study_is_printed_written_and_answered_again(elsewhere, capsys):
    assert run([*LINE, "--discount", "1"]) == 0
    found = capsys.readouterr()
    record = json.loads((elsewhere / "studies/study-1/study.json").read_text())
    assert record["decision"]["action"] in found.out
    assert all(words in found.out for words in ("decision", "candidate", "bc seed 0", "bc seed 0, drawn", "→"))
    assert "Written: studies/study-1 (policy, study.json, runs). Open" in found.out
    assert "6 steps each, into studies/study-1/runs/bc" in found.err
    assert run([*LINE, "--discount", "1", "--out", "studies/study-1", "--quiet"]) == 0
    again = capsys.readouterr()
    assert again.out == found.out
    assert again.err == ""


def test_a_preset_settings_and_a_budget_of_time_reach_the_runs(elsewhere, capsys):
    line = [*LINE, "--algorithms", "bc", "iql", "--preset", "sparse-goal", "--set", "iql.expectile=0.6", "--quiet"]
    budget = ["--steps", "100000", "--minutes", "0.0001", "--out", "one"]
    assert run([*line, *budget]) == 0
    out = capsys.readouterr().out
    assert "Note: iql: 50 of 100,000 updates, what 0.0001 minutes allow." in out
    record = json.loads((elsewhere / "one/runs/iql/run.json").read_text())
    assert record["steps"] == 50
    assert record["units"] == {"observations": "none", "rewards": "largest", "reward_shift": -1.0}
    assert [(s["expectile"], s["inverse_temperature"]) for s in record["settings"]] == [(0.6, 10.0)]
    assert run([*line, *budget]) == 0  # the same study again keeps its steps, whatever the pace now
    assert capsys.readouterr().out == out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--minutes", "0"], "The budget of a method is a number of minutes above 0, got 0.0."),
        (["--preset", "locomotive"], "There is no preset 'locomotive'. Did you mean 'locomotion'"),
        (["--set", "iql.expectile=0.6"], "METHOD.FIELD=VALUE with one of bc, got 'iql.expectile=0.6'"),
        (["--algorithms", "bcc"], "There is no algorithm 'bcc'. Did you mean 'bc'?"),
        (["--seeds", "many"], "--seeds is a number of seeds (4) or a list of them (3,7), got 'many'."),
        (["--baseline", "nowhere"], "nowhere"),
        (["--reward-range", "0", "0.5"], "lie outside the declared"),
    ],
)
def test_a_mistake_is_one_sentence_and_writes_nothing(options, sentence, elsewhere, capsys):
    assert run([*LINE, *options]) == 2
    found = capsys.readouterr()
    assert found.err.startswith("weft: ")
    assert found.err.count("\n") == 1
    assert sentence in found.err
    assert list(elsewhere.iterdir()) == []


def test_a_policy_that_weft_did_not_train_competes(elsewhere, capsys):
    (elsewhere / "mine.py").write_text("import numpy as np\ndef f(x): return np.tile([0.5, 0.5], (len(x), 1))\n")
    assert run([*LINE, "--candidates", "mine.py:f", "--baseline", "mine.py:f", "--quiet"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "mine.py:f, external" in out
    assert "Nobody knows what mine.py:f was trained on" in out
