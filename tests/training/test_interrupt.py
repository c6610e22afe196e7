"""Ctrl-C stops a run within seconds, in Python and at the command line, and says how to go on."""

import contextlib
import signal
import time

import pytest
from small import child, continuous, iql, same

import weft
from weft.training.session import Looks

HEARS = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # not ignored, as in the background
LONG = """
import sys, small, weft
from weft.training import pool
pool.WORTH = float("inf")
print("training", flush=True)
try:
    weft.fit(small.iql(), small.continuous(), 10**9, 2, sys.argv[1], log_every=10**9 // 2, keep=[200])
except KeyboardInterrupt as stop:
    print("stopped", *stop.__notes__, flush=True)
    raise
"""


@contextlib.contextmanager
def stopped_at_last(process):
    """Hand on a process that ends with the block, whatever comes."""
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for(process, path):
    """Wait until a process has written a file."""
    deadline = time.monotonic() + 200
    while not path.exists():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)


def test_an_interrupt_stops_a_long_span_and_says_how_to_resume(tmp_path):
    with stopped_at_last(child(HEARS + LONG, tmp_path / "run")) as process:
        assert process.stdout.readline() == "training\n"
        wait_for(process, tmp_path / "run/checkpoints/group-0-step-000000200.safetensors")
        time.sleep(1.0)  # now it is amid half a billion steps
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        line = process.stdout.readline()
        seconds = time.monotonic() - started
        process.communicate(timeout=60)
    assert "resume=True goes on from step 200, saved in" in line
    assert seconds < 3.0
    assert process.returncode in (-signal.SIGINT, 130)
    assert weft.load_run(tmp_path / "run").steps == [200]


@pytest.mark.slow
def test_the_command_line_stops_without_a_trace(tmp_path):
    code = HEARS + "import sys\nfrom weft.cli.main import run\nsys.exit(run(sys.argv[1:]))"
    line = ["fit", "bc", "sample:grid", "--steps", 10**9, "--hidden", 8, "--keep", 100, "--out", tmp_path / "run"]
    with stopped_at_last(child(code, *line)) as process:
        wait_for(process, tmp_path / "run/checkpoints/group-0-step-000000100.safetensors")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "--resume" in errors


def test_without_a_folder_the_sentence_says_to_give_one():
    def interrupting(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("weft.training.session._train_group", interrupting)
        with pytest.raises(KeyboardInterrupt) as caught:
            weft.fit(iql(), continuous(), 4)
    assert "give out=FOLDER" in caught.value.__notes__[0]


def test_looks_cover_a_span_and_follow_the_clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("weft.training.session.time.monotonic", lambda: now[0])
    looks, parts = Looks(1), []
    for begin, end in looks(0, 100_000):
        parts.append((begin, end))
        now[0] += (end - begin) * 1e-3  # a millisecond a step
    assert [begin for begin, _ in parts] == [0, *[end for _, end in parts[:-1]]]
    assert parts[-1][1] == 100_000
    assert max(end - begin for begin, end in parts) <= 1000
    for begin, end in looks(0, 8192):
        now[0] += (end - begin) * 1.0  # a second a step
    assert looks.length == 1


def test_cutting_a_span_changes_no_bit_of_states_and_metrics(monkeypatch):
    whole = weft.fit(iql(), continuous(), 200, 2, log_every=100)
    monkeypatch.setattr("weft.training.session.SHORT", -1.0)
    monkeypatch.setattr("weft.training.session.LONG", -1.0)
    cut = weft.fit(iql(), continuous(), 200, 2, log_every=100)
    assert same(whole.states[0][200], cut.states[0][200])
    assert whole.metrics == cut.metrics


def test_cutting_changes_no_bit_of_acting_either(monkeypatch):
    def acted() -> weft.Run:
        rounds = weft.Rounds(lanes=2, steps=2, warm_up=20)
        method = weft.DQN(hidden=(8,))
        return weft.fit(method, env="grid", steps=400, seeds=2, rounds=rounds, log_every=200, batch_size=8)

    whole = acted()
    monkeypatch.setattr("weft.training.session.SHORT", -1.0)
    monkeypatch.setattr("weft.training.session.LONG", -1.0)
    cut = acted()
    assert same(whole.states[0], cut.states[0])
    assert same(whole.others, cut.others)
    assert whole.metrics == cut.metrics
