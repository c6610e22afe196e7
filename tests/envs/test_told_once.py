"""Simulators repeat themselves; what they say is passed on once."""

import sys
import types
import warnings

import pytest

from weft.envs import told_once


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch):
    monkeypatch.setattr(told_once, "_told", set())


def test_a_warning_is_passed_on_once_and_others_are_too():
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for sentence in (*["out of date"] * 5, "something else"):
            with told_once.heard():
                warnings.warn(sentence, DeprecationWarning, stacklevel=1)
    assert [str(one.message) for one in said] == ["out of date", "something else"]


def test_an_unstable_simulation_is_told_once_whatever_the_time(monkeypatch, capsys):
    handlers = []
    mujoco = types.SimpleNamespace(
        get_mju_user_warning=lambda: handlers[-1] if handlers else None, set_mju_user_warning=handlers.append
    )
    monkeypatch.setitem(sys.modules, "mujoco", mujoco)
    told_once.listen()
    told_once.listen()
    assert len(handlers) == 1, "somebody listens already"
    for time in range(11):
        handlers[0](f"Nan, Inf or huge value in QACC at DOF 0. The simulation is unstable. Time = {time}.0000.")
    handlers[0]("Another matter. Time = 1.0000.")
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    assert told[0].startswith("MuJoCo warns (said once): Nan, Inf or huge value in QACC")


def test_a_real_simulation_that_goes_astray_speaks_once(capfd, tmp_path, monkeypatch):
    pytest.importorskip("mujoco")
    from weft.envs.gymnasium_adapter import make_simulator

    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        env = make_simulator("Hopper-v5").make()
        env.reset(seed=0)
        for step in range(3):
            env.unwrapped.data.qvel[:] = 1e9 * (step + 1)
            env.step(env.action_space.low * 0)
        env.close()
    assert capfd.readouterr().err.count("The simulation is unstable") == 1
