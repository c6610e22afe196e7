"""Notifications from a sparse log: double DQN sends too much, the conservative penalty holds it back (section 5.4).

The settings and the log are the benchmark's (`benchmarks/notifications.py`), on two seeds and half of the updates;
every figure is exact.
"""

import functools
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from weft.core import pytree
from weft.data.samplers.transitions import Transitions
from weft.envs.worlds import notifications
from weft.training import loop as train

STEPS, SEEDS = 2000, 2


@functools.cache
def benchmark():
    """Import the benchmark, which is no part of the package."""
    path = Path(__file__).resolve().parents[3] / "benchmarks" / "notifications.py"
    spec = importlib.util.spec_from_file_location("notifications_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def smaller(setting):
    return pytree.replace(setting, "sampler", Transitions(128))


@functools.cache
def judged():
    """Return the figures of the logging policy and of both methods' seeds."""
    bench = benchmark()
    log = bench.collect(300)
    found = {
        name: bench.learned([smaller(one)], log, STEPS, SEEDS)[0]
        for name, one in (("ddqn", bench.DDQN), ("cql", bench.CQL))
    }
    return bench.judge(bench.Careful()), found


def mean(each, name):
    return np.mean([one[name] for one in each])


def test_the_log_hardly_sends_to_the_tired():
    log = benchmark().collect(300)
    tired = log.observations[:, 0] > 0.3
    assert tired.sum() > 200
    assert (log.actions[tired] == 1).sum() < 6
    assert log.spec.rewards == ("click", "visit", "quiet")
    assert set(np.unique(log.durations)) == {1.0, 2.0, 4.0}


@pytest.mark.slow
def test_without_a_penalty_more_is_sent_and_less_is_clicked():
    base, found = judged()
    assert mean(found["ddqn"], "volume") > 1.1 * base["volume"]
    assert mean(found["ddqn"], "clicks_per_send") < 0.95 * base["clicks_per_send"]
    assert all(one["believed"] > one["value"] + 0.3 for one in found["ddqn"])


@pytest.mark.slow
def test_with_a_penalty_less_is_sent_more_is_clicked_and_more_is_earned():
    base, found = judged()
    for one in found["cql"]:
        assert one["volume"] < base["volume"]
        assert one["clicks_per_send"] > base["clicks_per_send"]
        assert one["value"] > 1.2 * base["value"]
    best = notifications.value(notifications.reference(benchmark().WORLD, 0.98), benchmark().WORLD, 0.98)
    assert mean(found["cql"], "value") > 0.95 * best
    assert mean(found["cql"], "value") > 1.2 * mean(found["ddqn"], "value")


@pytest.mark.slow
def test_other_weights_of_the_objectives_compile_no_other_program():
    bench = benchmark()
    judged()
    before = train.advance._cache_size()
    other = {"click": 0.3, "visit": 0.25, "quiet": 0.45}
    bench.learned([smaller(bench.CQL)], bench.collect(300), 3, SEEDS, other)
    assert train.advance._cache_size() == before


@pytest.mark.slow
def test_a_large_penalty_reproduces_the_logged_send_rate():
    bench = benchmark()
    log = bench.collect(300)
    found = bench.soft_send_rate(pytree.replace(bench.CQL, "weight.value", 100.0), log, 4000)
    assert found == pytest.approx((log.actions == 1).mean(), abs=0.02)


@pytest.mark.slow
def test_with_ten_times_the_log_the_penalty_is_not_needed():
    bench = benchmark()
    log = bench.collect(3000)
    best = bench.judge(notifications.reference(bench.WORLD, bench.DISCOUNT))["value"]
    for setting in (bench.DDQN, bench.CQL):
        assert mean(bench.learned([setting], log, 4000, 3)[0], "value") > 0.95 * best
