"""`weft certify` on a run and on a file: the decision, its figures, and mistakes in one sentence."""

import json
import shutil

import numpy as np
import pytest

import weft
from weft.cli.main import run
from weft.deployment.ledger import Ledger

COLUMNS = {"observations": ["x", "y"], "action": "item", "reward": "click", "propensity": "p"}
OPTIONS = ["--observations", "x", "y", "--action", "item", "--reward", "click", "--propensity", "p"]
DECLARED = ["--reward-range", "0", "1", "--horizon", "1"]


def table(path, seed):
    """Write a log of 200 single decisions between two items, of which the second pays more."""
    rng = np.random.default_rng(seed)
    item = rng.integers(0, 2, 200)
    click = rng.random(200) < np.where(item, 0.9, 0.1)
    rows = zip(rng.normal(size=200), rng.normal(size=200), item, click.astype(int), strict=True)
    path.write_text("x,y,item,click,p\n" + "".join(f"{x:.6f},{y:.6f},{i},{c},0.5\n" for x, y, i, c in rows))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a log, a run that was trained on it, a policy's file, and a log that nothing has seen."""
    found = tmp_path_factory.mktemp("certify")
    data = weft.load(table(found / "old.csv", 1), **COLUMNS)
    made = weft.fit(weft.IQL(hidden=(8,), learning_rate=1e-2), data, 200, 2, found / "run", batch_size=32)
    made.save_policy(found / "policy.safetensors")
    table(found / "new.csv", 2)
    return found


def test_a_run_s_policy_is_judged_and_written_and_the_answer_is_kept(folder, tmp_path, capsys, own_ledger):
    line = ["certify", str(folder / "run"), str(folder / "new.csv"), *OPTIONS, *DECLARED, "--seed-of-run", "1"]
    assert run([*line, "--out", str(tmp_path / "found.json")]) == 0
    out = capsys.readouterr().out
    found = json.loads((tmp_path / "found.json").read_text(), parse_constant=pytest.fail)
    assert (found["action"], found["tier"], found["units"]) == ("DEPLOY", 1, 200)
    assert "DEPLOY (dose 1)" in out
    assert all(word in out for word in ("tier", "reason", "compared with", "by dose", "promise", "assumes"))
    assert run(line) == 0
    assert capsys.readouterr().out == out
    assert [entry.shown for entry in Ledger(own_ledger).entries()] == ["report"]


def test_a_file_of_a_policy_a_baseline_and_a_decision_alone(folder, tmp_path, capsys):
    line = ["certify", str(folder / "policy.safetensors"), str(folder / "new.csv"), *OPTIONS, *DECLARED]
    more = ["--baseline", str(folder / "run"), "--show", "decision", "--risk", "0.02", "--discount", "1"]
    assert run([*line, *more, "--ledger", str(tmp_path / "elsewhere")]) == 0
    out = capsys.readouterr().out
    assert "ABSTAIN" in out  # the policy is the baseline
    assert "by dose" not in out
    assert [entry.spent for entry in Ledger(tmp_path / "elsewhere").entries()] == [0.02]


def test_a_file_is_judged_as_it_acts_unless_draws_are_asked_for(folder, tmp_path, capsys):
    for written, options, drawn in ((False, [], False), (False, ["--sample"], True), (True, [], True)):
        weft.load_run(folder / "run").save_policy(tmp_path / "policy.safetensors", drawn=written)
        line = ["certify", str(tmp_path / "policy.safetensors"), str(folder / "new.csv"), *OPTIONS, *DECLARED, *options]
        assert run([*line, "--ledger", str(tmp_path / "own"), "--out", str(tmp_path / "found.json")]) == 0
        assert json.loads((tmp_path / "found.json").read_text())["drawn"] == drawn
        assert ("as it draws its actions" in capsys.readouterr().out) == drawn
        shutil.rmtree(tmp_path / "own")


@pytest.mark.parametrize(
    ("policy", "data", "options", "sentence"),
    [
        ("run", "old.csv", DECLARED, "was trained on 100% of the units"),
        ("nowhere", "new.csv", DECLARED, "nowhere"),
        ("run", "new.csv", [*DECLARED, "--seed-of-run", "7"], "has seeds 0 to 1, not 7"),
        ("run", "new.csv", [*DECLARED, "--step", "3"], "keeps no state of step 3"),
        ("run", "new.csv", [*DECLARED, "--risk", "2"], "The risk lies between 0 and 1, got 2.0."),
        ("run", "new.csv", ["--reward-range", "0", "0.5", "--horizon", "1"], "outside the declared"),
    ],
)
def test_a_mistake_is_one_sentence(policy, data, options, sentence, folder, capsys, own_ledger):
    assert run(["certify", str(folder / policy), str(folder / data), *OPTIONS, *options]) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err.startswith("weft: ")
    assert found.err.count("\n") == 1
    assert sentence in found.err
    assert Ledger(own_ledger).entries() == []
