"""A run that is killed at random moments, again and again, ends in the same bits as one that nobody touched."""

import random
import signal
import time

import pytest
from small import child, continuous, iql, same

import weft
from weft.deployment.ledger import Ledger

CODE = """
import sys, weft, small
settings = weft.grid(small.iql(), expectile=[0.6, 0.9], hidden=[(8,), (4, 4)])
weft.fit(settings, small.continuous(), int(sys.argv[2]), 2, sys.argv[1], log_every=2, checkpoint_seconds=0, resume=True)
"""


def progress_of(folder):
    """Return how many rows of metrics there are."""
    path = folder / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def survive(folder, steps, kills, generator):
    """Kill a run at so many random moments, let it finish in peace, and return how often it was really killed."""
    rows = steps // 2 * 8
    killed = 0
    for number in range(kills):
        # a random amount of work on, then a random moment within the writing of rows and checkpoints
        wanted = (number + generator.random()) / kills * rows * 0.85
        process = child(CODE, folder, steps)
        while process.poll() is None and progress_of(folder) < wanted:
            time.sleep(0.01)
        time.sleep(generator.random() * 0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
    process = child(CODE, folder, steps)
    _, problems = process.communicate(timeout=300)
    assert process.returncode == 0, problems
    return killed


def check(tmp_path, steps, kills):
    seed = random.SystemRandom().randrange(10**6)
    print(f"moments drawn with seed {seed}")  # shown when the test fails
    assert survive(tmp_path / "run", steps, kills, random.Random(seed)) == kills
    settings = weft.grid(iql(), expectile=[0.6, 0.9], hidden=[(8,), (4, 4)])
    whole = weft.fit(settings, continuous(), steps, 2, tmp_path / "whole", log_every=2)
    run = weft.load_run(tmp_path / "run")
    assert all(same(run.state(setting, seed), whole.state(setting, seed)) for setting in range(4) for seed in range(2))
    assert (tmp_path / "run/metrics.jsonl").read_bytes() == (tmp_path / "whole/metrics.jsonl").read_bytes()
    assert not list((tmp_path / "run").rglob("*.part"))


@pytest.mark.slow
def test_three_kills_cost_no_bit(tmp_path):
    check(tmp_path, 300, 3)


@pytest.mark.slow
def test_twenty_kills_cost_no_bit(tmp_path):
    check(tmp_path, 1500, 20)


SPENDING = """
import os, signal, sys, small
from weft.deployment.ledger import Ledger
replace, left = os.replace, int(sys.argv[2])
def killed(source, target):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    replace(source, target)
os.replace = killed
Ledger(sys.argv[1]).spend(small.continuous(), "killed", risk=0.02)
"""


@pytest.mark.parametrize(("moment", "spent"), [(1, False), (2, True), (3, True)])
def test_a_kill_while_a_fold_is_spent_leaves_a_ledger(tmp_path, moment, spent):
    process = child(SPENDING, tmp_path / "ledger", moment)
    _, problems = process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL, problems
    ledger = Ledger(tmp_path / "ledger")
    assert ledger.left(continuous()) == pytest.approx(0.03 if spent else 0.05)
    ledger.spend(continuous(), "again")
    assert len(ledger.entries()) == 1 + spent
    assert not [path.name for path in ledger.folder.iterdir() if path.suffix in (".new", ".part")]


@pytest.mark.slow
def test_a_kill_before_the_first_checkpoint_costs_no_bit(tmp_path):
    process = child(CODE, tmp_path / "run", 20)
    while process.poll() is None and not (tmp_path / "run").exists():
        time.sleep(0.001)
    process.kill()
    process.communicate()
    process = child(CODE, tmp_path / "run", 20)
    _, problems = process.communicate(timeout=300)
    assert process.returncode == 0, problems
    settings = weft.grid(iql(), expectile=[0.6, 0.9], hidden=[(8,), (4, 4)])
    whole = weft.fit(settings, continuous(), 20, 2, log_every=2)
    run = weft.load_run(tmp_path / "run")
    assert all(same(run.state(setting), whole.state(setting)) for setting in range(4))
    assert run.metrics == whole.metrics
