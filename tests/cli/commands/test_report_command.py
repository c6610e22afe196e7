import pytest
from small import bc, continuous

import weft
from weft.cli.main import run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "run"
    weft.fit(bc(), continuous(), 10, 2, folder, log_every=5)
    return str(folder)


def test_the_page_is_written_and_named(trained, tmp_path, capsys):
    out = tmp_path / "new" / "report.html"
    assert run(["report", trained, trained, "--out", str(out)]) == 0
    assert str(out) in capsys.readouterr().out.replace("\n", "")
    assert "actor loss" in out.read_text().replace("_", " ")


def test_a_mistake_is_one_sentence(trained, tmp_path, capsys):
    assert run(["report", trained, str(tmp_path)]) == 2
    assert "is no run" in capsys.readouterr().err
    assert run(["report"]) == 2
    assert "Name at least one run" in capsys.readouterr().err
