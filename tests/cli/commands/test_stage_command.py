"""`weft stage` on a certificate's file and on a study's folder."""

import json

import numpy as np
import pytest

import weft
from weft.cli.main import run
from weft.deployment.decision import Decision

OPTIONS = ["--observations", "x", "--action", "item", "--reward", "click", "--reward-range", "0", "1", "--horizon", "1"]
STARTED = Decision("STAGED", 0.5, tier=1, doses=(0.5, 1.0), evidence=(4.0, 2.0), units=100)


def decisions(path, seed):
    """Write 300 decisions, four of ten by a policy that earns more."""
    rng = np.random.default_rng(seed)
    new = rng.random(300) < 0.4
    click = rng.random(300) < np.where(new, 0.8, 0.4)
    rows = zip(rng.normal(size=300), new.astype(int), click.astype(int), strict=True)
    path.write_text("x,item,click,new,p\n" + "".join(f"{x:.6f},{n},{c},{n},0.4\n" for x, n, c in rows))
    return path


@pytest.fixture
def rollout(tmp_path):
    """Write a roll-out and a decision to go on from."""
    decisions(tmp_path / "rollout.csv", 0)
    (tmp_path / "decision.json").write_text(json.dumps(STARTED.record()))
    return tmp_path


def test_a_decision_s_evidence_goes_on(rollout, capsys):
    line = ["stage", str(rollout / "decision.json"), str(rollout / "rollout.csv"), *OPTIONS, "--arm", "new"]
    assert run([*line, "--chance", "0.4", "--out", str(rollout / "found.json")]) == 0
    out = capsys.readouterr().out
    found = json.loads((rollout / "found.json").read_text(), parse_constant=pytest.fail)
    assert (found["action"], found["start"], found["units"]) == ("DEPLOY", 4.0, 300)
    assert "DEPLOY (dose 0.5)" in out
    assert all(word in out for word in ("carried", "restarted", "against", "promise", "assumes"))
    assert run([*line, "--chance", "p", "--drift"]) == 0
    assert "shown beside it" in capsys.readouterr().out
    rows = (rollout / "rollout.csv").read_text().splitlines()
    marked = [f"{rows[0]},gone", *(f"{row},{place % 15 == 0:d}" for place, row in enumerate(rows[1:]))]
    (rollout / "rollout.csv").write_text("\n".join(marked))
    assert run([*line, "--chance", "0.4", "--lost", "gone"]) == 0
    assert "20 outcomes (" in " ".join(capsys.readouterr().out.split())


def test_a_study_knows_its_decision_and_policy(rollout, capsys):
    known = {"observations": "x", "action": "item", "reward": "click"}
    made = weft.fit(weft.BC(hidden=(8,)), weft.load(decisions(rollout / "old.csv", 1), **known), 5, batch_size=16)
    (rollout / "study").mkdir()
    made.save_policy(rollout / "study/policy.safetensors")
    record = {"version": 1, "decision": STARTED.record(), "table": [{"drawn": True}]}
    (rollout / "study/study.json").write_text(json.dumps(record))
    line = ["stage", str(rollout / "study"), str(rollout / "rollout.csv"), *OPTIONS, "--arm", "new", "--chance", "p"]
    assert run(line) == 0
    assert "began at 4" in capsys.readouterr().out
    assert run([*line, "--propensity", "p", "--dose", "1"]) == 2
    assert "were not taken by this policy at dose 1" in capsys.readouterr().err
    line[2] = str(rollout / "old.csv")
    assert run(line) == 2
    assert "was trained on 100% of the units" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--arm", "news"], "has no column 'news' for the arm. Did you mean 'new'"),
        (["--arm", "x"], "Arms of"),
        (["--arm", "new", "--chance", "2"], "lies between 0 and 1"),
        (["--arm", "new", "--dose", "0.2"], "no evidence about a dose of 0.2"),
        (["--arm", "new", "--reward-range", "0", "0.5"], "outside the declared"),
    ],
)
def test_a_mistake_is_one_sentence(options, sentence, rollout, capsys):
    assert run(["stage", str(rollout / "decision.json"), str(rollout / "rollout.csv"), *OPTIONS, *options]) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err.startswith("weft: ")
    assert found.err.count("\n") == 1
    assert sentence in found.err
