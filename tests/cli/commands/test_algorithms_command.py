from weft.agents.algorithm import algorithms
from weft.cli.main import run


def test_the_table_names_every_method_with_its_paper(capsys):
    assert run(["algorithms"]) == 0
    out = capsys.readouterr().out
    for name, found in algorithms().items():
        assert name in out
        assert found.title in out
        assert found.paper in out
        assert found.family in out
