"""`weft ledger`: what it prints of a ledger and of a log, and mistakes in one sentence."""

import json

import numpy as np
import small

from weft import fit, load
from weft.cli.main import run
from weft.deployment.ledger import Ledger

OPTIONS = ["--observations", "x", "--action", "item", "--reward", "click", "--propensity", "p", "--identity", "id"]
DECLARED = ["--reward-range", "0", "1", "--horizon", "1"]


def rows(path, size):
    """Write the first rows of a log; they are the same in every export."""
    rng = np.random.default_rng(0)
    lines = [f"{number},{rng.normal():.3f},{rng.integers(0, 2)},{rng.integers(0, 2)},0.5" for number in range(size)]
    path.write_text("id,x,item,click,p\n" + "\n".join(lines) + "\n")
    return str(path)


def test_a_log_that_grows_from_the_command_line(tmp_path, capsys, own_ledger):
    assert run(["ledger"]) == 2
    assert capsys.readouterr().err.startswith(f"weft: There is no ledger in {own_ledger} yet")
    old, new = rows(tmp_path / "old.csv", 100), rows(tmp_path / "new.csv", 160)
    columns = {"observations": "x", "action": "item", "reward": "click", "propensity": "p"}
    data = load(old, **columns, reward_range=(0, 1), horizon=1, identity="id")
    Ledger(subject="a policy").spend(data.select(np.arange(60)), "question", shown="report")
    assert run(["ledger"]) == 0
    out = capsys.readouterr().out
    assert "a policy" in out
    assert str(own_ledger) in out
    learned = fit(small.bc(), data.select(np.arange(60, 100)), 2)
    learned.save_policy(tmp_path / "policy.safetensors")
    line = ["ledger", "--data", new, *OPTIONS, *DECLARED, "--out", str(tmp_path / "found.json")]
    assert run(line) == 0
    assert json.loads((tmp_path / "found.json").read_text())["log"]["new"] == 100
    assert run([*line, "--policy", str(tmp_path / "policy.safetensors")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["log"]["new"], found["log"]["risk"], len(found["openings"])) == (60, 0.025, 1)
    assert "40 in training or choosing the policy" in " ".join(capsys.readouterr().out.split())
    (tmp_path / "mine.py").write_text("def choose(seen):\n    return [0 for _ in seen]\n")
    assert run([*line, "--policy", f"{tmp_path / 'mine.py'}:choose"]) == 0  # nobody knows what trained it
    assert json.loads((tmp_path / "found.json").read_text())["log"]["new"] == 100
    capsys.readouterr()
    assert run([*line, "--policy", str(tmp_path / "mistyped")]) == 2  # it was taken for a name, and ignored
    assert "There is no policy" in capsys.readouterr().err
    assert len(Ledger().entries()) == 1  # nothing was opened
    (own_ledger / "ledger.jsonl").write_text("{")
    assert run(["ledger"]) == 2
    assert "is damaged (line 1 of ledger.jsonl cannot be read)" in capsys.readouterr().err
