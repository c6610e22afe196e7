import dataclasses

import numpy as np
import pytest
import zoo
from small import bc, continuous, iql

import weft
from weft.data.dataset import Dataset
from weft.data.units import fit_transform
from weft.nn.multipliers import Fixed, Lagrange
from weft.training.alarms import (
    Watch,
    alarm,
    believable,
    effective_steps,
    largest_return,
    limits_of,
    smallest_gap,
    strain,
)


def log(rewards, terminal, **declared):
    """Return one episode of rewards that ends by a terminal step or by a time-out (whose last row has no next one)."""
    rewards = rewards if terminal else [*rewards, 0]
    ends = np.arange(len(rewards)) == len(rewards) - 1
    return Dataset.from_arrays(
        np.zeros((len(rewards), 1), np.float32),
        np.zeros(len(rewards), int),
        np.array(rewards, np.float32),
        ends & terminal,
        ends & ~np.bool_(terminal),
        action_count=2,
        **declared,
    )


def bound(data, discount=0.9, **change):
    return largest_return(iql(discount=discount), data, fit_transform(data, "none", **change))


def test_the_bound_is_what_rewards_add_up_to():
    assert bound(log([1, -2, 0.5], terminal=False)) == pytest.approx(20)
    assert bound(log([0, 0, 3], terminal=True)) == pytest.approx(3)  # a terminal reward comes once
    assert bound(log([0, 0.5, 3], terminal=True)) == pytest.approx(5)
    assert bound(log([0, 0, 3], terminal=False)) == pytest.approx(30)
    assert bound(log([1, 1, 1], terminal=False), discount=1.0) == pytest.approx(3)  # the longest episode
    assert bound(log([1, 1, 1], terminal=False).declare(horizon=50), discount=1.0) == pytest.approx(50)


def test_the_bound_is_in_the_units_of_the_log():
    data = log([1, -2, 0.5], terminal=False)
    assert bound(data, reward_shift=-1.0) == pytest.approx(30)
    assert bound(data, rewards="unit") == pytest.approx(20, rel=1e-5)
    assert bound(data, rewards="largest", reward_shift=-1.0) == pytest.approx(40, rel=1e-5)  # (−2 / 2 − 1) · 2


def test_long_steps_discount_more():
    data = Dataset.from_arrays(
        np.zeros((3, 1), np.float32),
        np.zeros(3, int),
        np.array([1.0, 2.0, 0.0], np.float32),
        np.zeros(3, bool),
        np.array([False, False, True]),
        action_count=2,
        durations=np.array([1.0, 3.0, 1.0], np.float32),
    )
    assert bound(data) == pytest.approx(max(1 / 0.1, 2 / (1 - 0.9**3)))


def test_no_value_can_exceed_the_bound_by_value_iteration():
    """Independent of the formula: iterate the best backup over logged steps in any order."""
    generator = np.random.default_rng(0)
    rewards = generator.normal(size=40)
    data = Dataset.from_arrays(
        np.zeros((40, 1), np.float32),
        np.zeros(40, int),
        rewards.astype(np.float32),
        np.arange(40) % 4 == 3,
        np.zeros(40, bool),
        action_count=2,
    )
    going, ending = rewards[np.arange(40) % 4 < 3], rewards[3::4]
    high = low = 0.0
    for _ in range(500):
        high, low = max(going.max() + 0.9 * high, ending.max()), min(going.min() + 0.9 * low, ending.min())
    assert bound(data) == pytest.approx(max(high, -low), rel=1e-5)


def test_a_method_without_a_discount_has_no_bound():
    data = continuous()
    assert largest_return(bc(), data, fit_transform(data)) is None
    assert effective_steps(iql(discount=0.99), data.spec) == pytest.approx(100)


def row(**values):
    return {"step": 10, "setting": 0, "seed": 0, **values}


def test_a_row_is_judged_by_ten_times_what_is_believable():
    assert alarm(row(mean_q=-199.0, loss=1e9), 20.0, 10.0) is None
    kind, words = alarm(row(mean_q=-201.0), 20.0, 10.0)
    assert kind == "diverging"
    assert words == ("mean Q is -201, more than 10 times what rewards, discount and method make believable (20)")
    assert alarm(row(mean_q=9.0), 0.001, 10.0) is None  # untrained critics do not answer in thousandths
    assert alarm(row(mean_q=1e30), None, 10.0) is None
    assert alarm(row(loss=float("nan"), mean_q=float("inf")), None, 1.0) == ("lost", "loss, mean_q are not finite")


def test_soft_methods_may_count_their_entropy():
    assert believable(row(temperature=0.5, entropy=2.0), 20.0, 10.0) == pytest.approx(30)
    assert believable(row(temperature=0.5, entropy=-2.0), 20.0, 10.0) == pytest.approx(20)


def test_conservative_methods_may_lift_the_logged_actions_by_half_their_weight():
    """One state, one step of reward 1 for ever: the value that CQL's two gradients agree on is below the limit."""
    weight, discount, logged, other = 5.0, 0.9, 0.0, 0.0
    for _ in range(20_000):
        share = np.exp(logged) / (np.exp(logged) + np.exp(other))
        goal = 1 + discount * logged
        logged -= 0.01 * (2 * (logged - goal) - weight * (1 - share))
        other -= 0.01 * weight * (1 - share)
    limit = believable(row(weight=weight, gap=0.1), 10.0, 10.0)
    assert limit == pytest.approx(10 + 2.5 * 10)
    assert 10 < logged < limit
    assert believable(row(weight=weight), 10.0, 10.0) == pytest.approx(10)


def test_what_is_believable_is_in_the_units_of_the_log():
    values = row(temperature=0.5, entropy=2.0, mean_q=2500.0)
    assert believable(values, 2000.0, 10.0, 100.0) == pytest.approx(3000)
    assert believable(row(), 0.1, 10.0, 100.0) == pytest.approx(100)  # what an untrained critic may answer
    assert alarm(row(mean_q=900.0), 0.1, 10.0, 100.0) is None
    assert alarm(row(mean_q=900.0), 0.1, 10.0) is not None


def test_hope_ends_with_two_alarms_in_a_row_of_every_run():
    watch = Watch([(0, 0), (0, 1)], [1.0], [10.0])
    both = [row(mean_q=50.0), {**row(mean_q=50.0), "seed": 1}]
    assert len(watch.take(both)) == 1
    assert watch.hopeless() is None
    assert watch.take([row(mean_q=50.0), {**row(mean_q=0.0), "seed": 1}]) == []
    assert watch.hopeless() is None
    assert watch.take(both) == []
    assert watch.hopeless() is None  # the second seed has recovered in between
    assert len(watch.take([row(mean_q=float("nan")), both[1]])) == 1  # another kind
    assert watch.hopeless().startswith("seed 0: mean_q is not finite")
    assert Watch([], [], []).hopeless() is None


def test_rows_of_other_programs_are_left_out():
    watch = Watch([(1, 0)], [1.0, 1.0], [10.0, 10.0])
    assert watch.take([row(mean_q=50.0)]) == []
    assert watch.take([{**row(mean_q=50.0), "setting": 1}])[0].startswith("Alarm at step 10: mean Q is 50,")


def test_the_record_holds_the_bounds(tmp_path):
    data, setting = continuous(), iql(discount=0.5)
    weft.fit(setting, data, 2, 1, tmp_path / "run")
    found = weft.load_run(tmp_path / "run").record["largest_returns"]
    assert found == [largest_return(setting, data, fit_transform(data))]
    assert weft.fit(bc(), data, 2).record["largest_returns"] == [None]


def test_too_many_weights_that_are_cut_off_are_told():
    limits = [limits_of(iql())]
    assert Watch([(0, 0)], [None], [1.0], limits).take([row(clipped_weights=0.2)]) == []
    watch = Watch([(0, 0)], [None], [1.0], limits)
    rows = [row(clipped_weights=0.79)]
    assert watch.take(rows) == [
        "Alarm at step 10: 79% of the weights are cut off at their largest, so what is better and what is best count "
        "alike; set a smaller inverse temperature, or a larger largest weight."
    ]
    assert watch.take(rows) == []
    assert watch.hopeless() is None


# --- multipliers ----------------------------------------------------------------------------------------------------


def conservative(threshold, **change):
    return weft.CQL(hidden=(), weight=Lagrange(threshold, **change))


def test_the_smallest_gap_is_the_entropy_of_the_logged_actions():
    data = zoo.conservative_bandit()
    entropy = -sum(p * np.log(p) for p in (0.6, 0.3, 0.1))  # .8979, Z3
    assert smallest_gap(conservative(1.0), data) == pytest.approx(entropy)
    uniform = dataclasses.replace(conservative(1.0), regulariser="uniform")
    assert smallest_gap(uniform, data) == pytest.approx(entropy - np.log(3))  # -.2007
    assert smallest_gap(dataclasses.replace(uniform, regulariser="policy"), data) is None
    assert smallest_gap(weft.CQL(weight=Fixed(1.0)), data) is None
    assert smallest_gap(conservative(1.0), continuous()) is None
    assert smallest_gap(iql(), data) is None
    alone = zoo.tabular([[(0, 0, 0.0), (1, 1, 0.0)], [(0, 1, 0.0), (2, 0, 0.0)]], 3, 2)
    assert smallest_gap(conservative(1.0), alone) == pytest.approx(np.log(2) / 2)  # two choices in one of three states
    assert smallest_gap(conservative(1.0), alone.select(np.array([0]))) == 0.0


def test_no_critic_has_a_smaller_gap():
    """Independent of the formula: random tables on a random log."""
    generator = np.random.default_rng(1)
    place, action = generator.integers(0, 4, 60), generator.integers(0, 3, 60)
    data = zoo.tabular([[(int(s), int(a), 0.0)] for s, a in zip(place, action, strict=True)], 4, 3)
    least = smallest_gap(conservative(1.0), data)
    for scale in (0.1, 1.0, 3.0):
        for q in generator.normal(scale=scale, size=(200, 4, 3)):
            assert (np.log(np.exp(q[place]).sum(1)) - q[place, action]).mean() > least


def test_an_unreachable_threshold_is_told_before_the_multiplier_has_grown():
    limits = limits_of(conservative(0.85), 0.8979)
    kind, words = strain(row(gap=1.2, weight=1.0), limits)
    assert kind == "unreachable"
    assert words.startswith("the weight's threshold, 0.85, is not above 0.8979, the smallest gap")
    assert strain(row(gap=1.2, weight=1.0), limits_of(conservative(0.92), 0.8979)) is None
    assert strain(row(gap=1.2, weight=1.0), limits_of(conservative(0.85))) is None


def test_a_multiplier_at_its_largest_is_told():
    limits = limits_of(weft.CQL(weight=Lagrange(0.2, largest=50.0), temperature=Lagrange(1.0, largest=9.0)))
    assert strain(row(gap=0.9, weight=40.0, temperature=1.0), limits) is None
    kind, words = strain(row(gap=0.9, weight=50.0, temperature=1.0), limits)
    assert kind == "saturated"
    assert words.startswith("the weight is at its largest, 50, and its threshold, 0.2, is not met: the gap is 0.9")
    kind, words = strain(row(gap=0.1, weight=1.0, temperature=9.0), limits)
    assert words == (
        "the temperature is at its largest, 9, and its threshold, 1, is not met; set a higher threshold, or a Fixed "
        "temperature"
    )
    assert strain(row(weight=50.0), limits_of(weft.CQL(weight=Fixed(50.0)))) is None


def test_strained_multipliers_are_said_once_and_end_no_run():
    limits = [limits_of(conservative(0.2, largest=50.0))]
    watch = Watch([(0, 0), (0, 1)], [None], [1.0], limits)
    rows = [row(gap=0.9, weight=50.0), {**row(gap=0.9, weight=50.0), "seed": 1}]
    [sentence] = watch.take(rows)
    assert sentence.startswith("Alarm at step 10: seed 0: the weight is at its largest")
    assert sentence.endswith("(1 other run alike).")
    assert watch.take(rows) == []
    assert watch.hopeless() is None


def test_training_says_that_a_threshold_cannot_be_met(caplog):
    data = zoo.conservative_bandit()
    settings = [conservative(0.85), conservative(0.95, initial=2.0, largest=2.0, learning_rate=0.1)]
    weft.fit(settings, data, 40, log_every=20, batch_size=10)
    told = [record.message for record in caplog.records if "Alarm" in record.message]
    assert len(told) == 2
    assert "setting 0: the weight's threshold, 0.85, is not above 0.8979" in told[0]
    assert "setting 1: the weight is at its largest, 2, and its threshold, 0.95, is not met" in told[1]
