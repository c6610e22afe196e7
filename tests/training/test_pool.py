"""Runs in workers: the same runs, whatever the number of workers; nothing is left of them, however they end."""

import os
import signal
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from small import bc, child, continuous, iql, same

import weft
from weft.core import pytree
from weft.training import pool
from weft.training.record import APART

HOW = {"log_every": 10, "keep": [20]}


@pytest.fixture(scope="module")
def settings():
    return weft.grid(iql(), expectile=[0.6, 0.8])


@pytest.fixture(autouse=True)
def always(monkeypatch):
    monkeypatch.setattr(pool, "WORTH", 0.0)


@pytest.fixture(scope="module")
def pooled(settings, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "WORTH", 0.0)
        patch.setattr(pool, "cores", lambda: 3)
        return weft.fit(settings, continuous(), 40, [3, 5], tmp_path_factory.mktemp("pool") / "run", **HOW)


def alone(monkeypatch, *arguments, **options):
    """Fit in this process."""
    with monkeypatch.context() as patch:
        patch.setattr(pool, "WORTH", float("inf"))
        return weft.fit(*arguments, **options)


def test_a_run_in_a_worker_is_the_run_alone(pooled, settings, monkeypatch):
    assert pooled.record["computed"] | APART == pooled.record["computed"]
    assert pooled.steps == [20, 40]
    for index, setting in enumerate(settings):
        single = alone(monkeypatch, setting, continuous(), 40, [5], **HOW)
        assert single.record["computed"]["mapping"] == "sequential"
        for step in (20, 40):
            assert same(pooled.state(index, 1, step), single.state(step=step))
        rows = [row for row in pooled.metrics if (row["setting"], row["seed"]) == (index, 5)]
        assert [{**row, "setting": 0} for row in rows] == single.metrics


def test_neither_the_number_of_workers_nor_resuming_changes_a_bit(pooled, settings, monkeypatch, tmp_path):
    monkeypatch.setattr(pool, "cores", lambda: 1)
    weft.fit(settings, continuous(), 40, [3, 5], tmp_path / "run", **HOW)
    (tmp_path / "run/checkpoints/group-0-step-000000040.safetensors").unlink()
    monkeypatch.setattr(pool, "cores", lambda: 2)
    monkeypatch.setattr(pool, "WORTH", float("inf"))  # how it is computed stays as it began
    run = weft.fit(settings, continuous(), 40, [3, 5], tmp_path / "run", resume=True, **HOW)
    assert run.record["computed"] == pooled.record["computed"]
    assert "resumed_on" not in run.record
    assert all(same(run.state(one, seed), pooled.state(one, seed)) for one in range(2) for seed in range(2))
    assert weft.load_run(run.folder).metrics == pooled.metrics


def test_a_run_that_began_in_this_process_stays_there(settings, monkeypatch, tmp_path):
    alone(monkeypatch, bc(), continuous(), 10, 2, tmp_path / "run")
    monkeypatch.setattr(pool, "_Hand", None)
    run = weft.fit(bc(), continuous(), 20, 2, tmp_path / "run", resume=True)
    assert run.record["computed"]["mapping"] == "sequential"


@pytest.mark.slow
def test_hopeless_runs_stop_in_workers_too(monkeypatch):
    method = pytree.replace(weft.CQL(hidden=(8,), learning_rate=1e30), "sampler.batch_size", 16)
    how = {"log_every": 5, "stop_when_hopeless": True}
    here = alone(monkeypatch, method, continuous(), 40, 2, **how)
    there = weft.fit(method, continuous(), 40, 2, **how)
    assert there.record["stopped"] == here.record["stopped"]
    for one, two in zip(jax.tree.leaves(there.states), jax.tree.leaves(here.states), strict=True):
        np.testing.assert_array_equal(one, two)  # what is no number is one in both, of whatever sign


def test_logs_with_categories_and_dictionaries_reach_workers(monkeypatch):
    from small import labelled

    there = weft.fit(iql(), labelled(), 10, 2)
    assert same(there.states, alone(monkeypatch, iql(), labelled(), 10, 2).states)


def test_the_rule_goes_by_the_size_of_the_problem(monkeypatch, settings):
    data = weft.load("sample:maze")
    monkeypatch.undo()
    size = (data.spec,)
    assert not pool.apart([weft.IQL()], 4, 100, *size)
    assert pool.apart([weft.IQL()], 4, 100_000, *size)
    assert not pool.apart([weft.IQL()], 1, 100_000_000, *size)
    assert not pool.apart([iql()], 4, 100_000, *size)
    monkeypatch.setattr(pool, "cores", lambda: 64)
    assert not pool.apart([weft.IQL()], 4, 100, *size)


def test_methods_that_are_not_wefts_own_stay_in_this_process():
    class Mine(type(bc())):
        title = "Mine"

    assert not pool.apart([Mine(hidden=(8,))], 4, 10**9, continuous().spec)


def test_a_worker_that_dies_is_one_sentence_and_leaves_nothing(settings, monkeypatch, tmp_path):
    advance = pool.Pooled.advance

    def deadly(self, begin, end):
        if begin == 20:
            self.workers[0].process.send_signal(signal.SIGKILL)
            self.workers[0].process.wait()
        return advance(self, begin, end)

    monkeypatch.setattr(pool.Pooled, "advance", deadly)
    started = []
    hand = pool._Hand
    monkeypatch.setattr(pool, "_Hand", lambda log: started.append(hand(log)) or started[-1])
    with pytest.raises(weft.UserError, match=r"died, signal SIGKILL \(perhaps for want of memory\); resume them"):
        weft.fit(settings, continuous(), 40, [3, 5], tmp_path / "run", **HOW)
    assert all(one.process.poll() is not None for one in started)
    monkeypatch.setattr(pool.Pooled, "advance", advance)
    assert weft.fit(settings, continuous(), 40, [3, 5], tmp_path / "run", resume=True, **HOW).steps == [20, 40]


UNGUARDED = """
import signal, sys, small, weft
signal.signal(signal.SIGINT, signal.default_int_handler)  # not ignored, as it is in the background
from weft.training import pool
pool.WORTH = 0.0
print("once", flush=True)
run = weft.fit(small.iql(), small.continuous(), int(sys.argv[1]), 2, sys.argv[2], log_every=int(sys.argv[3]), keep=[20])
print(run.record["computed"]["mapping"], flush=True)
"""


@pytest.mark.slow
def test_a_script_without_a_guard_runs_once(tmp_path):
    output, errors = child(UNGUARDED, 40, tmp_path / "run", 20).communicate(timeout=300)
    assert output.split() == ["once", "apart"], errors


@pytest.mark.few(1)
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_parent(tmp_path, how):
    process = child(UNGUARDED, 10**9, tmp_path / "run", 5 * 10**8)
    try:
        deadline = time.monotonic() + 200
        while not (tmp_path / "run/checkpoints/group-0-step-000000020.safetensors").exists():
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        workers = children(process.pid)
        assert len(workers) == min(2, len(os.sched_getaffinity(0)))
        time.sleep(0.5)  # now they are amid half a billion steps
        process.send_signal(how)
        started = time.monotonic()
        process.communicate(timeout=60)
        while any(map(running, workers)):
            assert time.monotonic() - started < 5.0
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    assert weft.load_run(tmp_path / "run").steps == [20]


def children(parent: int) -> list[int]:
    """Return the processes that one has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found.append(int(path.parent.name))
    return found


def running(process: int) -> bool:
    """Say whether a process is there and no mere entry that nobody has asked for yet."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_log_is_mapped_and_not_copied(tmp_path):
    from weft.training._shared_log import mapped, written

    columns = continuous().device()
    file, about = written(columns)
    with file:
        again = mapped(file.fileno(), about)
    assert same(again, columns)
    assert jax.tree.structure(again) == jax.tree.structure(columns)
    pages = Path("/proc/self/maps").read_text() if Path("/proc").is_dir() else ""
    for leaf in jax.tree.leaves(again) if pages else ():
        place = leaf.unsafe_buffer_pointer()
        line = next(line for line in pages.splitlines() if within(line, place))
        assert "(deleted)" in line, leaf.shape


def within(line: str, place: int) -> bool:
    """Say whether a line of a process's memory map holds a place."""
    start, _, end = line.split(maxsplit=1)[0].partition("-")
    return int(start, 16) <= place < int(end, 16)
