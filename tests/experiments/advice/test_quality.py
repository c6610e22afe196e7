"""What returns, rewards and lengths tell, for logs with known shares."""

import numpy as np
import pytest

from weft import Dataset
from weft.experiments.advice.quality import quality


def walks(lengths, returns) -> Dataset:
    """Return episodes of so many steps that pay all at their end."""
    lengths, ends = np.asarray(lengths), np.cumsum(lengths) - 1
    total = int(lengths.sum())
    rewards, terminals = np.zeros(total, np.float32), np.zeros(total, bool)
    rewards[ends], terminals[ends] = returns, True
    return Dataset.from_arrays(np.zeros((total, 1)), np.arange(total) % 2, rewards, terminals)


def test_few_good_episodes_can_be_many_good_steps():
    figures = quality(walks([900] * 4 + [100] * 96, [100.0] * 4 + [10.0] * 96))
    assert (figures["good_episodes"], figures["good"]) == (4, 0.04)
    assert figures["good_steps"] == pytest.approx(3600 / 13_200)
    assert (figures["kept_episodes"], figures["kept_steps"], figures["kept_mean"]) == (4, 3600, 100)
    assert figures["fraction"] == 0.04


def test_a_few_steps_more_are_kept_where_the_good_ones_are_too_few_to_copy():
    returns = np.linspace(0, 60, 100)
    returns[-1] = 100.0
    figures = quality(walks([100] * 100, returns))
    assert figures["kept_steps"] == 1000  # a tenth of the log
    assert figures["kept_episodes"] == 10
    assert figures["kept_mean"] == pytest.approx(np.sort(returns)[-10:].mean())


def test_the_kept_share_is_what_filtered_copying_keeps():
    """Also where the share is no round number and where episodes are tied."""
    from weft.agents.algorithms.filtered_bc import FilteredBC

    for count, good in ((1502, 58), (7, 3), (900, 301)):
        returns = np.where(np.arange(count) < good, 1.0, 0.0)
        figures = quality(walks([3] * count, returns))
        columns = FilteredBC(fraction=figures["fraction"]).focus(walks([3] * count, returns).device())
        assert int(columns.count) == 3 * good == figures["kept_steps"]


@pytest.mark.parametrize("returns", [[1.0] * 30, [1.0] * 29 + [1.0 - 1e-9]])
def test_equal_returns_have_nothing_to_filter_by(returns):
    figures = quality(walks([2] * 30, returns))
    assert figures["fraction"] is None
    assert figures["kept_episodes"] == 0


def test_ties_do_not_swallow_the_log():
    """One click among a thousand decisions: the next best are all the others."""
    figures = quality(walks([1] * 1000, [1.0] * 3 + [0.0] * 997))
    assert (figures["kept_episodes"], figures["fraction"]) == (3, 0.003)


def test_rewards_are_measured_in_their_own_size():
    figures = quality(walks([2, 2, 2, 2], [6.0, 0.0, 0.0, 0.0]))
    assert figures["unit_reward"] == pytest.approx(np.sqrt(36 / 8))
    assert figures["rewarded"] == pytest.approx(1 / 8)
    assert (figures["mean"], figures["deviation"]) == (1.5, pytest.approx(np.std([6, 0, 0, 0])))
