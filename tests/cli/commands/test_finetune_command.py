import pytest

import weft
from weft.cli.main import run
from weft.core.errors import UserError

SMALL = ["--hidden", "8", "--batch-size", "16", "--quiet"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_method_learns_by_acting(capsys):
    line = ["fit", "dqn", "--env", "cartpole", "--steps", "60", *SMALL, "--lanes", "2", "--updates", "1"]
    assert run([*line, "--warm-up-steps", "20", "--evaluate-every", "30", "--evaluate-episodes", "2"]) == 0
    out = capsys.readouterr().out
    assert "Trained: runs/dqn-1 (1 × 1 runs, 60 steps)." in out
    assert "weft evaluate runs/dqn-1 --env cartpole" in out
    assert "--data" not in out
    made = weft.load_run("runs/dqn-1")
    assert made.record["online"]["rounds"]["lanes"] == 2
    assert [row["step"] for row in made.metrics] == [0, 30, 60]
    assert run(["evaluate", "runs/dqn-1", "--env", "cartpole", "--episodes", "2"]) == 0


def test_learning_from_a_log_goes_on_by_acting(capsys):
    line = ["fit", "iql", "sample:maze", "--steps", "4", *SMALL, "--then-online", "maze:shortcut=true"]
    assert run([*line, "--online-steps", "40", "--evaluate-episodes", "2", "--logged-share", "0.5"]) == 0
    out = capsys.readouterr().out
    assert "Trained: runs/iql-1" in out
    assert "Fine-tuned: runs/iql-1-online. Greedy return in maze:shortcut=true: offline" in out
    made = weft.load_run("runs/iql-1-online")
    assert made.record["online"]["rounds"]["logged_share"] == 0.5
    assert made.record["online"]["from"]["step"] == 4
    more = ["--env", "maze", "--steps", "20", "--evaluate-episodes", "2", "--quiet", "--out", "more"]
    assert run(["finetune", "runs/iql-1", *more]) == 0
    assert "Fine-tuned: more" in capsys.readouterr().out
    assert run(["finetune", "runs/iql-1", *more, "--resume"]) == 0
    other = ["--env", "maze", "--steps", "20", "--evaluate-episodes", "2", "--quiet", "--out", "other"]
    assert run(["finetune", "runs/iql-1", *other, "--set", "expectile=0.9", "learning_rate=1e-4"]) == 0
    changed = weft.load_run("other").record["settings"][0]
    assert (changed["expectile"], changed["learning_rate"]) == (0.9, 1e-4)
    assert run(["finetune", "runs/iql-1", *other, "--resume", "--set", "expectile=0.7/0.9"]) != 0
    assert "A run goes on with one value of expectile" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (["fit", "dqn"], "Give a log, weft fit ALGORITHM DATA, or a world to act in"),
        (["fit", "dqn", "sample:grid", "--env", "cartpole"], "Give a log, weft fit ALGORITHM DATA, or a world"),
        (
            ["fit", "dqn", "--env", "cartpole", "--then-online", "cartpole"],
            "--then-online goes on from what was learned",
        ),
        (["fit", "bc", "--env", "cartpole"], "Behaviour cloning cannot learn by acting"),
        (["finetune", "nowhere", "--env", "maze"], "nowhere is no run"),
        (["fit", "dqn", "--env", "cartpole", "--episode", "user"], "--episode is about a log, and with --env there is"),
        (["fit", "dqn", "--env", "cartpole", "--scale-rewards", "unit"], "--scale-rewards is about a log"),
        (["fit", "dqn", "--env", "cartpole", "--no-standardise"], "--standardise is about a log"),
        (["fit", "dqn", "--env", "cartpole", "--online-steps", "9"], "--online-steps goes with --then-online"),
        (["fit", "iql", "sample:maze", "--lanes", "2"], "--lanes is for acting: give --env, or --then-online"),
        (["fit", "iql", "sample:maze", "--evaluate-episodes", "2"], "--evaluate-episodes is for acting"),
        (["fit", "iql", "sample:maze", "--online-steps", "9"], "--online-steps goes with --then-online"),
        (["fit", "dqn", "--env", "cartpole", "--steps", "1500"], "collects 1,000 steps before its first update"),
    ],
)
def test_a_mistake_is_one_sentence(line, sentence, capsys):
    assert run(line) != 0
    assert sentence in capsys.readouterr().err
    assert issubclass(UserError, ValueError)
