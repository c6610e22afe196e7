"""Ctrl-C at the command line: a real signal to a real process that is training."""

import os
import signal
import subprocess
import sys
import time

import pytest

# A process in the background of a script ignores the signal, and so would its children: take its usual meaning back.
CODE = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from weft.cli.main import main; main()"
ENDLESS = ["--steps", "1000000000", "--batch-size", "16", "--quiet", "--out", "out"]
LINES = {
    "fit": (["fit", "bc", "sample:grid", "--hidden", "8", *ENDLESS], "out/run.json"),
    "study": (["study", "sample:notifications", "--algorithms", "bc", *ENDLESS], "out/runs/bc/run.json"),
}


@pytest.mark.parametrize("name", list(LINES))
def test_ctrl_c_is_one_sentence_and_exit_code_130(name, tmp_path):
    line, sign = LINES[name]
    child = subprocess.Popen(
        [sys.executable, "-c", CODE, *line],
        cwd=tmp_path,
        env={**os.environ, "WEFT_LEDGER": str(tmp_path / "ledger")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        until = time.monotonic() + 240
        while not (tmp_path / sign).exists() and child.poll() is None and time.monotonic() < until:
            time.sleep(0.1)
        assert child.poll() is None
        os.killpg(child.pid, signal.SIGINT)  # a terminal tells all processes of the command
        out, err = child.communicate(timeout=60)
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
    assert child.returncode == 130, err
    assert err.startswith("weft: Stopped. ")
    assert err.count("\n") == 1
    assert out == ""
