import shlex

import pytest

from weft.cli.commands.fit import Fit
from weft.cli.commands.study import Study
from weft.cli.main import run


def lines(out: str) -> list[list[str]]:
    """Return the words of every command that is printed."""
    return [shlex.split(line) for line in out.splitlines() if line.startswith("  weft ")]


def test_the_stitching_sample_is_advised_on_within_80_columns(capsys):
    assert run(["advise", "sample:stitch"]) == 0
    out = capsys.readouterr().out
    for word in ("measured", "stitching", "because", "iql", "to beat", "filtered_bc", "the old rule", "Tier 1"):
        assert word in out
    assert max(len(line.rstrip()) for line in out.splitlines() if not line.startswith("  weft ")) <= 80
    assert [words[1] for words in lines(out)] == ["fit", "study", "study", "benchmark"]


def test_the_first_line_is_one_that_fit_can_read_and_trains_the_first_method(capsys):
    assert run(["advise", "sample:maze", "--then", "online"]) == 0
    first = lines(capsys.readouterr().out)[0]
    line = Fit.read(first[2:])
    assert (line.settings[0].name, line.options.data, line.options.then_online) == ("iql", "sample:maze", "maze")


def test_another_aim_is_refused(capsys):
    with pytest.raises(SystemExit):
        run(["advise", "sample:maze", "--then", "later"])
    assert "online" in capsys.readouterr().err


def test_columns_are_read_and_named_again_in_the_lines(tmp_path, capsys):
    rows = "".join(f"{index % 7},{index % 2},{index % 3 == 0:d},0.5\n" for index in range(60))
    path = tmp_path / "log.csv"
    path.write_text(f"x,item,click,p\n{rows}")
    columns = ["--observations", "x", "--action", "item", "--reward", "click", "--propensity", "p"]
    assert run(["advise", str(path), *columns]) == 0
    out = capsys.readouterr().out
    assert "one decision" in out
    study = Study.read(lines(out)[1][2:])
    assert (study.data, study.log.action, study.log.propensity) == (str(path), ("item",), "p")
    assert run(["advise", str(path), *columns[:-1], "q"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
