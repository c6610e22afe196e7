"""`weft benchmark`: a comparison printed and written, answered again, and its page made anew."""

import importlib
import json

import pytest

from weft.cli.main import run

LINE = ["benchmark", "bc", "td3-bc", "--data", "sample:grid", "--env", "grid", "--steps", "4", "--every", "2",
        "--episodes", "2", "--seeds", "2", "--batch-size", "16", "--set", "bc.hidden=8", "--quiet"]  # fmt: skip


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_benchmark_is_printed_written_answered_again_and_extended(elsewhere, capsys):
    assert run([*LINE, "--reference", "sample:grid=-200:-4"]) == 0
    out = capsys.readouterr().out
    assert "Final scores, mean ± standard deviation (seeds):" in out
    assert "Note: td3_bc on grid, seed 0, 1: skipped. TD3 with behaviour cloning learns from continuous actions" in out
    assert "Written: benchmarks/benchmark-1/benchmark.md" in out
    folder = elsewhere / "benchmarks" / "benchmark-1"
    cell = json.loads((folder / "cells/grid/bc/seed-1.json").read_text())
    assert (cell["settings"]["hidden"], cell["reference"]) == ([8], [-200, -4])
    assert cell["settings"]["sampler"]["batch_size"] == 16
    assert [point["step"] for point in cell["curve"]] == [2, 4]
    page = (folder / "benchmark.md").read_bytes()
    assert run([*LINE, "--out", str(folder)]) == 0
    assert capsys.readouterr().out.splitlines()[:-1] == out.splitlines()[:-1]
    (folder / "benchmark.md").unlink()
    assert run(["benchmark", "--page", str(folder)]) == 0
    assert (folder / "benchmark.md").read_bytes() == page
    capsys.readouterr()
    assert run([*LINE, "--out", str(folder), "--steps", "6"]) == 2
    assert "holds another benchmark: its protocol differs (steps: 4 then, 6 now)" in capsys.readouterr().err


def test_several_logs_environments_and_settings(elsewhere, capsys):
    line = ["benchmark", "bc", "--data", "sample:grid", "sample:grid", "--env", "grid", "FrozenLake-v1"]
    more = ["--set", "bc.learning_rate=0.1/0.2", "--steps", "2", "--quiet", "--out", "out"]
    assert run([*line, *more]) == 2
    assert "The environment of 'grid in FrozenLake-v1' does not fit its log" in capsys.readouterr().err
    assert run(["benchmark", "bc", "--data", "sample:grid", "--env", "grid", "--episodes", "1", *more, "--set",
                "bc.hidden=8", "bc.learning_rate=0.1/0.2"]) == 0  # fmt: skip
    out = capsys.readouterr().out
    assert "bc learning_rate=0.1" in out
    assert "bc learning_rate=0.2" in out
    assert len(list((elsewhere / "out" / "cells" / "grid" / "bc-learning_rate=0.2").iterdir())) == 5


def test_a_preset_gives_settings_and_units(elsewhere, capsys):
    line = ["benchmark", "bc", "filtered_bc", *LINE[3:7], "--episodes", "1", "--steps", "2", "--seeds", "1", "--quiet"]
    assert run([*line, "--preset", "sparse-goal", "--out", "out"]) == 0
    record = json.loads((elsewhere / "out/benchmark.json").read_text())
    assert record["protocol"]["rewards"] == "largest"
    cell = json.loads((elsewhere / "out/cells/grid/filtered_bc/seed-0.json").read_text())
    assert cell["settings"]["fraction"] == 0.1


def test_a_stopped_benchmark_says_how_to_go_on(monkeypatch, capsys):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib.import_module("weft.experiments.benchmark"), "fit", stop)
    assert run(LINE) == 130
    sentence = "Stopped. The same command and --out benchmarks/benchmark-1 goes on from the last checkpoints."
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (["benchmark"], "Say what to compare: weft benchmark ALGORITHM"),
        (["benchmark", "bc", "--data", "sample:grid"], "Say what to compare"),
        (["benchmark", "bc", "--data", "a", "b", "c", "--env", "d", "e"], "one for each, got 3 logs, 2 environments"),
        (["benchmark", "bcc", *LINE[3:]], "There is no algorithm 'bcc'"),
        ([*LINE, "--set", "bc.hiden=8"], "Behaviour cloning has no hyperparameter 'hiden'. Did you mean 'hidden'"),
        ([*LINE, "--set", "bc.hidden=wide"], "'hidden' of Behaviour cloning is written as 256,256, got 'wide'"),
        ([*LINE, "--set", "iql.hidden=8"], "METHOD.FIELD=VALUE with one of bc, td3_bc, got 'iql.hidden=8'"),
        ([*LINE, "--set", "bc"], "--set is written name=value"),
        ([*LINE, "--reference", "grit=0:1"], "--reference grit=0:1 is of no log in --data. Did you mean 'grid'"),
        ([*LINE, "--reference", "grid=0"], "--reference is written grid=LOW:HIGH, got '0'"),
        ([*LINE, "--every", "5"], "Policies are measured every 1 to 4 steps, got 5"),
        ([*LINE, "--env", "maze"], "The environment of 'grid' does not fit its log"),
        ([*LINE, "--preset", "sparse-goal", "--scale-rewards", "none"], "--preset sets the units of measure"),
        (
            ["benchmark", "rebrac", "td3-bc", *LINE[3:7], "--preset", "sparse-goal"],
            "measures td3_bc and rebrac in other units",
        ),
        (["benchmark", "--page", "nowhere"], "nowhere holds no benchmark"),
        ([*LINE, "--page", "nowhere"], "--page FOLDER only writes a page"),
    ],
)
def test_a_mistake_is_one_sentence_and_writes_nothing(line, sentence, elsewhere, capsys):
    assert run(line) == 2
    found = capsys.readouterr()
    assert found.err.startswith("weft: ")
    assert found.err.count("\n") == 1
    assert sentence in found.err
    assert list(elsewhere.iterdir()) == []
