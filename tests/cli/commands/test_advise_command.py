import shlex

import pytest

from weft.cli.main import run


def test_the_stitching_sample_is_advised_on(capsys):
    assert run(["advise", "sample:stitch"]) == 0
    out = capsys.readouterr().out
    for word in ("measured", "stitching", "because", "iql", "evaluation", "Tier 1"):
        assert word in out
    line = next(line for line in out.splitlines() if line.startswith("Begin with: "))
    words = shlex.split(line.removeprefix("Begin with: "))
    assert words[:2] == ["weft", "fit"]
    assert "sample:stitch" in words


def test_the_line_to_begin_with_is_a_line_that_fit_can_read(capsys):
    from weft.cli.commands.fit import Fit

    assert run(["advise", "sample:maze"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("Begin with: "))
    read = Fit.read(shlex.split(line.removeprefix("Begin with: weft fit ")))
    assert read.settings[0].name == "iql"
    assert read.settings[0].expectile == pytest.approx(0.9)


def test_columns_are_read_and_named_again_in_the_hint(tmp_path, capsys):
    rows = "".join(f"{index % 7},{index % 2},{index % 3 == 0:d},0.5\n" for index in range(60))
    path = tmp_path / "log.csv"
    path.write_text(f"x,item,click,p\n{rows}")
    columns = ["--observations", "x", "--action", "item", "--reward", "click", "--propensity", "p"]
    assert run(["advise", str(path), *columns]) == 0
    out = capsys.readouterr().out
    assert "one decision" in out
    assert "with the options of the log as here" in out
    assert run(["advise", str(path), *columns[:-1], "q"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
