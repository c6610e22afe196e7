import shlex

import pytest

import weft
from weft.agents.algorithm import algorithms
from weft.cli.commands.fit import Fit, free_folder
from weft.cli.main import run
from weft.core.errors import UserError

SMALL = ["--steps", "4", "--hidden", "8", "--batch-size", "16"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_hyperparameters_are_swept_in_one_program(elsewhere, capsys):
    line = [
        "fit",
        "iql",
        "sample:grid",
        *SMALL,
        "--learning-rate",
        "1e-3",
        "3e-4",
        "--seeds",
        "3,7",
        "--no-standardise",
    ]
    assert run(line) == 0
    found = capsys.readouterr()
    assert "4 runs (2 settings × 2 seeds) in 1 program, 4 steps each, into runs/iql-1" in found.err
    assert "weft evaluate runs/iql-1 --env grid" in found.out
    assert "weft report runs/iql-1" in found.out
    made = weft.load_run(elsewhere / "runs/iql-1")
    assert [setting.learning_rate for setting in made.settings] == [1e-3, 3e-4]
    assert made.seeds == [3, 7]
    assert made.settings[0].hidden == (8,)
    assert made.settings[0].sampler.batch_size == 16
    assert made.record["units"]["observations"] == "none"
    assert made.record["data"]["origin"] == "sample:grid"
    assert run([*line, "--out", "runs/iql-1", "--resume", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_a_preset_gives_numbers_and_units_and_what_is_given_wins(elsewhere, capsys):
    line = ["fit", "iql", "sample:grid", *SMALL, "--preset", "sparse-goal", "--expectile", "0.8", "--no-standardise"]
    assert run(line) == 0
    made = weft.load_run(elsewhere / "runs/iql-1")
    assert (made.settings[0].expectile, made.settings[0].inverse_temperature) == (0.8, 10.0)
    assert float(made.transform.reward_shift) == -1.0
    assert run([*line, "--shift-rewards", "0.5"]) == 0
    assert float(weft.load_run(elsewhere / "runs/iql-2").transform.reward_shift) == 0.5
    assert run(["fit", "ram", "sample:digits", "--preset", "locomotion"]) == 2
    assert "has no numbers for" in capsys.readouterr().err


def test_a_table_becomes_a_policy_by_its_columns(elsewhere):
    rows = "".join(f"{i % 7 / 7},{i % 3},{('red', 'blue')[i % 2]},{i % 2},0.5\n" for i in range(40))
    (elsewhere / "log.csv").write_text("x1,x2,item,click,p\n" + rows)
    columns = ["--observations", "x*", "--action", "item", "--reward", "click", "--propensity", "p"]
    assert run(["fit", "bc", "log.csv", *SMALL, *columns, "--quiet", "--out", "run"]) == 0
    assert weft.load_run("run").policy()([0.1, 1.0]) in ("red", "blue")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("iqll sample:grid", "There is no algorithm 'iqll'. Did you mean 'iql'?"),
        ("iql sample:grid --seeds 0", "The number of seeds must be at least 1, got 0."),
        ("iql sample:grid --seeds many", "--seeds is a number of seeds (4) or a list of them (3,7), got 'many'."),
        ("iql sample:grid --steps 0", "The number of steps must be at least 1, got 0."),
        ("iql sample:grid --expectile 1.2", "IQL's expectile must be at least 0.5 and below 1, got 1.2."),
        ("iql sample:grid --expectil 0.8", "Did you mean '--expectile'?"),
        ("td3_bc sample:grid", "TD3 with behaviour cloning learns from continuous actions, the log's are discrete."),
        ("iql sample:gird", "Did you mean"),
        ("iql log.csv", "there is no such file"),
        ("iql sample:grid --resume", "--resume needs --out FOLDER"),
        ("--steps 3 iql", "The algorithm comes first: weft fit ALGORITHM DATA"),
    ],
)
def test_a_mistake_is_one_sentence_and_writes_nothing(line, sentence, elsewhere, capsys):
    assert run(["fit", *line.split()]) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err.startswith("weft: ")
    assert found.err.count("\n") == 1
    assert sentence in found.err
    assert list(elsewhere.iterdir()) == []


def test_a_value_of_a_wrong_type_is_refused(elsewhere, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(["fit", "iql", "sample:grid", "--hidden", "wide"])
    assert stopped.value.code == 2
    assert "--hidden" in capsys.readouterr().err
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("name", algorithms())
def test_the_help_of_a_method_shows_its_hyperparameters_with_defaults(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(["fit", name, "--help"])
    assert stopped.value.code == 0
    out = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert algorithms()[name].title in out
    method = algorithms()[name]()
    assert f"--learning-rate [FLOAT [FLOAT ...]] (default: {method.learning_rate})" in out
    if (hidden := getattr(method, "hidden", None)) is not None:
        assert f"(default: {','.join(map(str, hidden))})" in out.replace(", ", ",")  # a line may end within it


def test_nested_modules_are_options(elsewhere):
    line = [
        "cql",
        "sample:grid",
        "--weight.kind",
        "lagrange",
        "--weight.threshold",
        "1",
        "5",
        "--hidden",
        "none",
        "64,64",
    ]
    read = Fit.read(line)
    assert [(setting.weight.threshold, setting.hidden) for setting in read.settings] == [
        (1.0, ()),
        (1.0, (64, 64)),
        (5.0, ()),
        (5.0, (64, 64)),
    ]


def test_stopping_says_how_to_go_on(elsewhere, monkeypatch, capsys):
    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("weft.core.progress.Progress.begin", stop)  # the folder is there, training is about to begin
        assert run(["fit", "bc", "sample:grid", *SMALL]) == 130
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("weft: Stopped. Go on from the last checkpoint with: ")
    again = shlex.split(said.rpartition("with: ")[2])
    assert again == ["weft", "fit", "bc", "sample:grid", *SMALL, "--out", "runs/bc-1", "--resume"]
    assert run(again[1:]) == 0
    with monkeypatch.context() as patch:
        patch.setattr("weft.core.progress.Progress.__enter__", stop)
        assert run(["fit", "bc", "sample:grid", *SMALL, "--out", "other"]) == 130
    assert "nothing was saved" in capsys.readouterr().err


def test_a_hopeless_run_ends_early_when_asked(elsewhere, capsys, caplog):
    line = ["fit", "iql", "sample:grid", "--hidden", "8", "--batch-size", "16", "--steps", "20", "--log-every", "5"]
    line += ["--learning-rate", "1e30", "--stop-when-hopeless", "--quiet", "--out", "run"]
    assert run(line) == 0
    assert "Trained: run (1 × 1 runs, 20 steps, all stopped early)." in capsys.readouterr().out
    assert weft.load_run("run").record["stopped"][0]["step"] == 10
    assert "Alarm at step 5: " in caplog.text


def test_runs_are_numbered(elsewhere):
    assert free_folder(elsewhere, "iql").name == "iql-1"
    (elsewhere / "iql-1").mkdir()
    assert free_folder(elsewhere, "iql").name == "iql-2"


def test_a_taken_folder_is_refused(elsewhere, capsys):
    (elsewhere / "mine").write_text("")
    assert run(["fit", "bc", "sample:grid", *SMALL, "--out", "mine"]) == 2
    assert capsys.readouterr().err == "weft: mine is a file; choose a folder for the run.\n"
    with pytest.raises(UserError, match="The algorithm comes first"):
        Fit.read(["--out", "mine"])
