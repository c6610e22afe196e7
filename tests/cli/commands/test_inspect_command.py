import pytest

from weft.cli.main import run

TABLE = "user,ts,x1,x2,item,click,p\na,1,0.5,1,red,0,0.5\na,2,0.1,2,blue,1,0.25\nb,1,0.2,3,red,1,0.5\n"


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(TABLE)
    return str(path)


COLUMNS = ["--observations", "x*", "--action", "item", "--reward", "click", "--propensity", "p"]


def test_a_table_is_described_by_its_columns(table, capsys):
    assert run(["inspect", table, *COLUMNS, "--episode", "user", "--time", "ts", "--ends", "terminal"]) == 0
    out = capsys.readouterr().out
    assert "2" in next(line for line in out.splitlines() if line.startswith("episodes"))
    assert "red" in out or "one of 2" in out


def test_a_sample_needs_no_columns(capsys):
    assert run(["inspect", "sample:grid"]) == 0
    assert "fingerprint" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--observations", "y*", "--action", "item", "--reward", "click"], "y*"),
        ([*COLUMNS, "--unit", "userr"], "userr"),
        ([*COLUMNS, "--reward", "click", "x1"], "Several rewards need weights"),
        ([*COLUMNS, "--reward", "click=much"], "needs a number"),
        ([*COLUMNS, "--kinds", "x1"], "name=value"),
        ([*COLUMNS, "--gigabytes", "0"], "gigabytes is the most that the log may take in memory"),
        ([*COLUMNS, "--gigabytes", "1e-7"], "gigabytes=1e-07 allows 100 bytes; raise it if you trust the file."),
    ],
)
def test_a_mistake_is_one_sentence(options, sentence, table, capsys):
    assert run(["inspect", table, *options]) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err.startswith("weft: ")
    assert found.err.count("\n") == 1
    assert sentence in found.err


def test_rewards_are_weighted_on_the_line(table, capsys):
    assert run(["inspect", table, *COLUMNS, "--reward", "click=2", "x2=-1"]) == 0
    assert "reward" in capsys.readouterr().out
