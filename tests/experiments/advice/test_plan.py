"""Lines that commands accept, presets of tasks, and how many updates."""

import dataclasses
import shlex

import numpy as np
import pytest
from examples import PLAIN

import weft
from weft.agents.preset import presets
from weft.cli.commands.benchmark import Benchmark
from weft.cli.commands.fit import Fit
from weft.cli.commands.study import Study
from weft.cli.method_options import listed_methods
from weft.experiments.advice.plan import commands, family, steps
from weft.experiments.advice.recommendation import rank

CASES = [
    {}, {"split": 0.5}, {"spliced": 0.5, "rewarded": 0.01, "bottom": 0.0}, {"kind": "discrete", "longest": 5},
    {"width": 24}, {"longest": 1, "kind": "discrete", "choices": 4}, {"fraction": None}, {"good": 0.97},
]  # fmt: skip


@pytest.mark.parametrize("then", ["offline", "online", "model"])
@pytest.mark.parametrize("changes", CASES)
def test_every_line_is_read_by_its_command_as_it_is_written(changes, then):
    m = dataclasses.replace(PLAIN, **changes)
    options = ["--observations", "a", "b c", "--reward-range", "-1.0", "2.0", "--action", "act"]
    lines = commands(m, rank(m, then=then), "a log.csv", options, None, then)
    read = {"fit": Fit, "study": Study, "benchmark": Benchmark}
    assert {words[1] for words in lines.values()} == set(read)
    for words in lines.values():
        line = read[words[1]].read(shlex.split(shlex.join(words))[2:])
        assert line.log.reward_range == (-1.0, 2.0)
        assert line.log.observations == ("a", "b c")
        if words[1] != "fit":
            methods = listed_methods("A test", line.algorithms, line.set, line.preset)
            assert ("filtered_bc" in {method.name for method in methods}) == (m.fraction is not None)
            assert "bc" in {method.name for method in methods}
        else:
            assert line.settings[0].name == rank(m, then=then)[0].algorithm
            assert (line.options.then_online == "ENVIRONMENT") == (then == "online")


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "locomotion"),
        ({"width": 24}, "dexterous_hand"),
        ({"kind": "discrete", "longest": 5}, "decisions"),
        ({"rewarded": 0.01, "bottom": 0.0}, "sparse_goal"),
        ({"rewarded": 0.5}, None),
        ({"kind": "discrete", "longest": 500}, None),
        ({"sees": frozenset({"image"})}, None),
        ({"spread": False}, None),
    ],
)
def test_presets_of_tasks(changes, name):
    assert family(dataclasses.replace(PLAIN, **changes)) == name
    assert name is None or name in presets()


def test_updates_are_passes_through_the_log_between_two_bounds():
    counts = [steps(dataclasses.replace(PLAIN, steps=size)) for size in (100, 249_795, 10_000_000)]
    assert counts == [5000, 29_000, 100_000]


@pytest.mark.slow
@pytest.mark.parametrize("sample", ["stitch", "notifications"])
def test_the_lines_run(sample, tmp_path, capsys, monkeypatch):
    from weft.cli.main import run

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WEFT_LEDGER", str(tmp_path / "ledger"))
    lines = weft.advise(weft.load(f"sample:{sample}")).commands(f"sample:{sample}", environment=sample)
    for place, words in enumerate(lines.values()):
        words[words.index("--steps") + 1] = "20"
        extra = ["--every", "10", "--episodes", "2", "--seeds", "1"] if words[1] == "benchmark" else []
        assert run([*words[1:], *extra, "--out", str(tmp_path / str(place))]) == 0, capsys.readouterr().err
    assert np.isfinite(weft.load_run(tmp_path / "0").metrics[-1]["step"])
