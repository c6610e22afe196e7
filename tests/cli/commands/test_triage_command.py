import pytest
from small import bc, continuous, iql

import weft
from weft.cli.main import run
from weft.core import pytree


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of CQL that differ in size, and one of two settings."""
    folder, data = tmp_path_factory.mktemp("triage"), continuous()
    for name, width in (("small", 4), ("large", 16)):
        method = pytree.replace(weft.CQL(hidden=(width,), samples=1), "sampler.batch_size", 16)
        weft.fit(method, data, 40, 1, folder / name, log_every=2)
    weft.fit(weft.grid(iql(), expectile=[0.7, 0.9]), data, 4, 1, folder / "sweep")
    weft.fit(bc(), weft.load("sample:grid", episodes=4), 4, 1, folder / "grid")
    return folder


def test_findings_checkpoint_and_what_they_are_not(runs, capsys):
    assert run(["triage", str(runs / "small"), "--larger", str(runs / "large")]) == 0
    out = capsys.readouterr().out
    assert out.startswith("small, Conservative Q-learning: step 40 of 40, 1 seed.\n")
    for word in ("divergence", "over-fitting", "under-fitting  TD error", "seeds", "Checkpoint: step 40"):
        assert word in out
    assert "never evidence of what a policy is worth" in out


def test_every_setting_of_a_sweep(runs, capsys):
    assert run(["triage", str(runs / "sweep")]) == 0
    out = capsys.readouterr().out
    assert "Setting 0: sweep, Implicit Q-learning" in out
    assert "Setting 1: sweep, Implicit Q-learning" in out


def test_a_held_out_log(runs, capsys):
    assert run(["triage", str(runs / "grid"), "--data", "sample:grid"]) == 0
    assert "of the policy's actions are unlike any in the log" in capsys.readouterr().out


def test_mistakes_are_one_sentence(runs, tmp_path, capsys):
    for line, sentence in (
        ([str(tmp_path)], "is no run"),
        ([str(runs / "sweep"), "--larger", str(runs / "small")], "conservative methods only"),
        ([str(runs / "small"), "--data", "sample:maze"], "sample:maze"),
    ):
        assert run(["triage", *line]) == 2
        found = capsys.readouterr()
        assert sentence in found.err
        assert found.err.count("\n") == 1
