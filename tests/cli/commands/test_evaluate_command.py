import json

import numpy as np
import pytest
from scipy.stats import binomtest

import weft
import weft.evaluation.refusals
from weft.cli.commands.evaluate import bounds, interval, labels
from weft.cli.main import run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate") / "run"
    settings = weft.grid(weft.IQL(hidden=(8,)), expectile=[0.6, 0.9])
    weft.fit(settings, weft.load("sample:grid"), 4, [5, 6], folder, batch_size=16, keep=[2])
    return folder


def test_every_seed_and_setting_is_rolled_out_and_printed(trained, tmp_path, capsys):
    line = [
        "evaluate",
        str(trained),
        "--env",
        "grid",
        "--episodes",
        "3",
        "--step",
        "2",
        "4",
        "--reference",
        "-100",
        "0",
    ]
    assert run([*line, "--out", str(tmp_path / "found.json")]) == 0
    out = capsys.readouterr().out
    assert "Implicit Q-learning, 3 episodes each in grid" in out
    assert all(words in out for words in ("expectile 0.6", "expectile 0.9", "95 % interval", "score", "all"))
    found = json.loads((tmp_path / "found.json").read_text())["rollouts"]["policies"]
    assert [(row["step"], row["setting"], row["seed"]) for row in found] == [
        (step, setting, seed) for step in (2, 4) for setting in (0, 1) for seed in (5, 6)
    ]
    policy = weft.load_run(trained).policy(setting=1, seed=0, step=4)
    assert found[6]["returns"] == weft.rollout(policy, "grid", episodes=3, seed=0).tolist()


def test_a_log_is_answered_by_fitted_q(trained, monkeypatch, tmp_path, capsys):
    asked = []

    class Found:
        value, low, high, discount, notes = 1.5, 1.0, 2.0, 0.9, ("Assumes something.",)

    def estimate(policy, data, **options):
        asked.append((data.origin, options["replicates"], options["discount"]))
        return Found

    monkeypatch.setattr(weft, "estimate_fitted_q", estimate, raising=False)
    monkeypatch.setattr(weft.evaluation.refusals, "refusals", lambda *_, **__: ())
    assert run(["evaluate", str(trained), "--data", "sample:grid", "--refits", "3", "--discount", "0.9"]) == 0
    out = capsys.readouterr().out
    assert asked == [("sample:grid", 3, 0.9)] * 4
    assert "1 to 2" in out
    assert "This is the log that the run was trained on" in out
    assert out.count("Assumes something.") == 1


def test_what_the_diagnostics_speak_against_is_not_printed(trained, monkeypatch, tmp_path, capsys):
    class Found:
        value, low, high, discount, notes = 311.5, 282.25, 340.75, 0.9, ()

    monkeypatch.setattr(weft, "estimate_fitted_q", lambda *_, **__: Found, raising=False)
    monkeypatch.setattr(weft.evaluation.refusals, "refusals", lambda *_, **__: ("Nothing fits.",))
    line = ["evaluate", str(trained), "--data", "sample:grid", "--out", str(tmp_path / "out.json")]
    assert run(line) == 0
    out = capsys.readouterr().out
    assert "311.5" not in out
    assert "282" not in out
    assert out.count("refused") == 4
    assert out.count("Refused: Nothing fits.") == 1
    assert json.loads((tmp_path / "out.json").read_text())["estimates"]["policies"][0]["refused"] == ["Nothing fits."]
    assert run([*line, "--refused"]) == 0
    out = capsys.readouterr().out
    assert out.count("311.5") == 4
    assert "Refused: Nothing fits." in out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "Say what to judge by"),
        (["--env", "gird"], "Did you mean 'grid'?"),
        (["--env", "grid", "--step", "3"], "keeps no state of step 3; kept are 2, 4"),
        (["--env", "grid", "--episodes", "0"], "at least one episode"),
        (["--data", "nowhere.csv"], "there is no such file"),
    ],
)
def test_a_mistake_is_one_sentence(options, sentence, trained, capsys):
    assert run(["evaluate", str(trained), *options]) == 2
    err = capsys.readouterr().err
    assert err.startswith("weft: ")
    assert err.count("\n") == 1
    assert sentence in err


def test_a_folder_without_a_run_is_refused(tmp_path, capsys):
    assert run(["evaluate", str(tmp_path), "--env", "grid"]) == 2
    assert "is no run" in capsys.readouterr().err


def test_settings_are_named_by_what_differs(trained):
    assert labels(weft.load_run(trained)) == ["expectile 0.6", "expectile 0.9"]


def test_the_interval_is_student_s(capsys):
    low, high = interval(np.array([1.0, 2.0, 3.0, 4.0]))
    assert (low, high) == pytest.approx((2.5 - 3.1824 * 1.29099 / 2, 2.5 + 3.1824 * 1.29099 / 2), abs=1e-3)
    assert bounds(*interval(np.array([1.0]))) == "–"
    assert bounds(*interval(np.ones(20))) == "–"  # nothing varied, which is no certainty


def test_two_values_have_the_exact_interval_of_a_share():
    returns = np.array([0.0] * 3 + [10.0] * 17)
    found = binomtest(17, 20).proportion_ci(0.95, "exact")
    assert interval(returns) == pytest.approx((10 * found.low, 10 * found.high))
    assert interval(returns - 5) == pytest.approx((10 * found.low - 5, 10 * found.high - 5))


def test_a_log_is_answered_by_the_named_method_and_interval(trained, tmp_path, capsys):
    line = [
        "evaluate",
        str(trained),
        "--data",
        "sample:grid",
        "--sample",
        "--method",
        "linear_q",
        "--interval",
        "normal",
    ]
    assert run([*line, "--out", str(tmp_path / "found.json")]) == 0
    assert "by linear_q (normal interval) on sample:grid" in capsys.readouterr().out
    found = json.loads((tmp_path / "found.json").read_text())["estimates"]
    assert found["method"] == "linear_q"
    policy = weft.load_run(trained).policy(setting=1, seed=0, step=4)
    wanted = weft.estimate(policy, weft.load("sample:grid"), "linear_q", "normal", greedy=False)
    assert found["policies"][2]["value"] == pytest.approx(wanted.value)
    assert run([*line[:-1], "normall"]) == 2
    assert "Did you mean 'normal'?" in capsys.readouterr().err


def test_a_policy_that_weft_did_not_train_is_judged_from_a_log(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("import numpy as np\ndef f(x): return np.tile([0.5, 0.5], (len(x), 1))\n")
    line = ["evaluate", "mine.py:f", "--data", "sample:notifications"]
    assert run([*line, "--method", "per_decision", "--interval", "normal", "--out", "found.json"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    found = json.loads((tmp_path / "found.json").read_text())
    here = weft.estimate(
        lambda x: np.tile([0.5, 0.5], (len(x), 1)), weft.load("sample:notifications"), "per_decision", "normal"
    )
    assert found["value"] == pytest.approx(here.value, rel=1e-6)
    assert f"{here.value:.4g}" in out
    assert "Nobody knows what mine.py:f was trained on" in out
    assert run(["evaluate", "mine.py:f", "--env", "notifications"]) == 2
    assert "--env is for runs" in capsys.readouterr().err
    assert run([*line, "--step", "3"]) == 2
    assert "--step is for runs" in capsys.readouterr().err
