import numpy as np
import pytest

from weft.experiments.learning_curves import (
    choose_checkpoint,
    diverging,
    growing,
    overfitting,
    seed_stability,
    underfitting,
)

STEPS = np.arange(1, 101) * 100
TIME = np.linspace(0, 1, 100)
RISE_AND_FALL = 10 * np.minimum(TIME / 0.4, 1 - (TIME - 0.4))


def noise(seed=0, size=0.3):
    return size * np.random.default_rng(seed).normal(size=100)


# --- over-fitting -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_a_rise_and_a_fall_is_over_fitting_and_the_peak_is_found(seed):
    found = overfitting(STEPS, RISE_AND_FALL + noise(seed))
    assert found.verdict == "alarm"
    assert abs(found.step - 4000) <= 1000
    assert found.figures["first"] < found.figures["last"] < found.figures["peak"]


@pytest.mark.parametrize("scale", [1e-3, 1.0, -1.0, 1e4])
def test_units_do_not_matter(scale):
    curve = RISE_AND_FALL + noise()
    found = overfitting(STEPS, abs(scale) * curve - 7 * scale)
    assert found.verdict == "alarm"
    assert found.step == overfitting(STEPS, curve).step


@pytest.mark.parametrize(
    "curve",
    [10 * TIME, -10 * TIME, 10 * (1 - np.exp(-5 * TIME)), np.full(100, 3.0), 10 * np.minimum(TIME / 0.4, 1.0)],
    ids=["rises", "falls", "saturates", "constant", "plateau"],
)
def test_what_does_not_rise_and_fall_is_clear(curve):
    assert overfitting(STEPS, curve).verdict == "clear"
    assert overfitting(STEPS, curve + noise()).verdict == "clear"


def test_a_fall_within_a_twentieth_of_the_range_is_clear():
    curve = np.where(TIME < 0.5, 20 * TIME, 10 - 0.8 * (TIME - 0.5))  # 0.36 between the means of the windows
    assert overfitting(STEPS, curve).verdict == "clear"
    assert overfitting(STEPS, np.where(TIME < 0.5, curve, 10 - 3 * (TIME - 0.5))).verdict == "alarm"


def test_noise_alone_gives_few_false_alarms():
    generator = np.random.default_rng(1)
    white = generator.normal(size=(300, 100))
    slow = np.zeros((300, 200))
    for column in range(1, 200):
        slow[:, column] = 0.8 * slow[:, column - 1] + generator.normal(size=300)
    rates = [
        np.mean([overfitting(STEPS, curve).verdict == "alarm" for curve in curves]) for curves in (white, slow[:, 100:])
    ]
    assert rates[0] <= 0.05  # 15 of 300; measured 2 %
    assert rates[1] <= 0.07  # measured 3 %
    assert np.mean([overfitting(STEPS, RISE_AND_FALL + curve).verdict == "alarm" for curve in white]) > 0.9


def test_few_rows_say_nothing_and_gaps_do_not_count():
    assert overfitting(STEPS[:19], RISE_AND_FALL[:19]).verdict == "unknown"
    curve = RISE_AND_FALL.copy()
    curve[[3, 50]] = np.nan
    assert overfitting(STEPS, curve).verdict == "alarm"


# --- checkpoints --------------------------------------------------------------------------------------------------


def test_the_checkpoint_is_the_last_before_the_peak_or_the_last():
    over, fine = overfitting(STEPS, RISE_AND_FALL), overfitting(STEPS, 10 * TIME)
    assert 3000 < over.step < 5000
    assert choose_checkpoint([1000, 3000, 9000, 10000], over) == 3000
    assert choose_checkpoint([10000, 1000, over.step], over) == over.step
    assert choose_checkpoint([9000, 10000], over) == 9000  # none that old: the nearest
    assert choose_checkpoint([1000, 3000, 9000, 10000], fine) == 10000
    assert choose_checkpoint([], fine) is None


def test_checkpoints_from_a_divergence_on_do_not_count():
    fine = overfitting(STEPS, 10 * TIME)
    wild = diverging(STEPS, np.where(TIME < 0.5, 1.0, 100.0), 5.0)
    assert (wild.verdict, wild.step) == ("alarm", 5100)
    assert choose_checkpoint([1000, 5000, 5100, 10000], fine, wild) == 5000
    assert choose_checkpoint([9000, 10000], fine, wild) is None


# --- under-fitting ------------------------------------------------------------------------------------------------


def ending(value, seeds=3, spread=0.01, seed=0):
    """Return a metric that falls from 5 to a value."""
    generator = np.random.default_rng(seed)
    return value + (5 - value) * np.exp(-8 * TIME)[:, None] + spread * generator.normal(size=(100, seeds))


@pytest.mark.parametrize(
    ("td_error", "gap", "verdict"),
    [(0.5, 0.4, "alarm"), (0.5, 1.0, "watch"), (1.0, 1.0, "clear"), (0.95, 0.97, "clear"), (2.0, 2.0, "clear")],
)
def test_a_smaller_run_under_fits_when_both_are_clearly_lower_in_the_larger(td_error, gap, verdict):
    smaller = {"td_error": ending(1.0), "gap": ending(1.0, seed=1)}
    larger = {"td_error": ending(td_error, seed=2), "gap": ending(gap, seed=3)}
    assert underfitting(smaller, larger).verdict == verdict


def test_seeds_that_differ_widely_hide_a_difference():
    seeds = np.array([0.2, 1.0, 1.8])
    smaller = {name: ending(0.0) + seeds for name in ("td_error", "gap")}
    larger = {name: ending(0.0) + 0.5 * seeds for name in ("td_error", "gap")}
    assert underfitting(smaller, larger).verdict == "clear"


def test_a_gap_may_be_negative():
    smaller, larger = ({"td_error": ending(value), "gap": ending(gap)} for value, gap in ((1.0, -1.0), (0.5, -2.0)))
    assert underfitting(smaller, larger).verdict == "alarm"
    assert underfitting(larger, smaller).verdict == "clear"


def test_without_the_metrics_nothing_is_said():
    assert underfitting({"td_error": ending(1.0)}, {"td_error": ending(1.0)}).verdict == "unknown"
    lost = {"td_error": ending(np.nan), "gap": ending(1.0)}
    assert underfitting(lost, lost).verdict == "unknown"


# --- divergence and seeds -----------------------------------------------------------------------------------------


def test_values_are_held_against_the_bound():
    assert diverging(STEPS, 9 * TIME, 10.0).verdict == "clear"
    beyond = diverging(STEPS, -20 * TIME, 10.0)
    assert (beyond.verdict, beyond.step) == ("watch", 5100)
    assert diverging(STEPS, 200 * TIME, 10.0).verdict == "alarm"
    spike = np.where((TIME > 0.2) & (TIME < 0.3), 150.0, 5.0)
    assert diverging(STEPS, spike, 10.0).verdict == "watch"
    assert diverging(STEPS, 20 * TIME, 10 + 20 * TIME).verdict == "clear"  # a bound for every row
    lost = diverging(STEPS, np.where(TIME < 0.5, 1.0, np.nan), 10.0)
    assert (lost.verdict, lost.step) == ("alarm", 5100)
    assert diverging(STEPS[:0], TIME[:0]).verdict == "unknown"


@pytest.mark.parametrize(
    ("curve", "grows"),
    [
        (np.exp(8 * TIME), True),
        (-np.exp(8 * TIME), True),
        (TIME, False),
        (TIME**2, False),
        (1 - np.exp(-5 * TIME), False),
        (np.ones(100), False),
        (np.exp(8 * np.minimum(TIME, 0.7)), False),
    ],
    ids=["exponential", "downwards", "linear", "quadratic", "saturating", "constant", "came to rest"],
)
def test_geometric_growth_is_told_from_growth_that_settles(curve, grows):
    assert growing(curve) == grows
    assert growing(curve * (1 + noise(size=0.02))) == grows
    assert diverging(STEPS, curve).verdict == ("alarm" if grows else "clear")


def test_growth_below_the_bound_is_learning():
    assert diverging(STEPS, 0.01 * np.exp(5 * TIME), 10.0).verdict == "clear"
    assert diverging(STEPS, np.exp(4 * TIME), 10.0).verdict == "alarm"


def test_seeds_that_end_apart_are_worth_watching():
    curves = TIME[:, None] * np.array([1.0, 1.1, 0.9]) + noise(size=0.01)[:, None]
    assert seed_stability(curves).verdict == "clear"
    assert seed_stability(TIME[:, None] * np.array([1.0, -1.0, 0.2])).verdict == "watch"
    assert seed_stability(curves[:, :1]).verdict == "unknown"
    assert seed_stability(np.full((100, 2), np.nan)).verdict == "unknown"
