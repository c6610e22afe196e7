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


def test_policies_that_weft_did_not_train_are_judged_in_one_command(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("import numpy as np\ndef f(x): return np.tile([0.1, 0.9], (len(x), 1))\n")
    lines = (folder / "new.csv").read_text().splitlines()
    chance = {"0": "0.1", "1": "0.9"}
    numbered = [f"{lines[0]},id,new", *(f"{line},{n},{chance[line.split(',')[2]]}" for n, line in enumerate(lines[1:]))]
    (tmp_path / "log.csv").write_text("\n".join(numbered) + "\n")
    (tmp_path / "table.csv").write_text("id,q0,q1\n" + "".join(f"{n},0.1,0.9\n" for n in range(199, -1, -1)))
    answers = []
    for number, source in enumerate(["mine.py:f", "table.csv", "column:new"]):
        out = str(tmp_path / f"{number}.json")
        line = [
            "certify",
            source,
            "log.csv",
            *OPTIONS,
            *DECLARED,
            "--ledger",
            str(tmp_path / str(number)),
            "--out",
            out,
        ]
        assert run(line) == 0
        assert "Nobody knows what" in " ".join(capsys.readouterr().out.split())
        found = json.loads((tmp_path / f"{number}.json").read_text())
        answers.append((found["action"], found["low"]))
    assert answers[0][0] == "DEPLOY"
    assert answers[0] == answers[1] == answers[2]
    line = ["certify", "mine.py:f", "log.csv", *OPTIONS, *DECLARED, "--baseline", "column:new"]
    assert run([*line, "--ledger", str(tmp_path / "baseline")]) == 0
    assert "the given baseline" in capsys.readouterr().out
    assert run([*line, "--trained-on", "log.csv"]) == 2
    assert "mine.py:f was trained on 100% of the units" in capsys.readouterr().err
