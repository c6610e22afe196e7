"""How candidates of a study are trained: a budget of time, and what names a training."""

import numpy as np
import pytest
from small import continuous, labelled

from weft.agents.algorithms.bc import BC
from weft.agents.algorithms.brac import BRAC
from weft.agents.algorithms.iql import IQL
from weft.agents.preset import preset
from weft.data.dataset import Dataset
from weft.experiments.candidates import PROBE, Training, default_methods, with_imitation
from weft.training import run_folder as folders


def test_a_pace_is_measured_though_openings_and_kept_steps_are_counted_in_updates(tmp_path):
    """The few updates that tell the pace are fewer than those of the phase, and than the step that is to be kept."""
    training = Training(5000, 1, {"keep": (4000,), "batch_size": 16})
    setting = BRAC(hidden=(8,), behaviour_steps=2000)
    assert training.within(1e-6, [setting], continuous(), tmp_path).steps == PROBE
    assert training.within(1e6, [setting], continuous(), tmp_path).steps == 5000
    assert not (tmp_path / folders.RECORD).exists(), "measuring leaves nothing behind"


@pytest.mark.parametrize(
    ("name", "choices"), [(None, {"stack": 1}), ("sparse-goal", {"stack": 1, "preset": "sparse_goal"})]
)
def test_a_preset_is_one_of_the_choices_that_decide(name, choices):
    assert Training(5, 1, {"stack": 1}, family=None if name is None else preset(name)).choices == choices


def test_single_decisions_among_choices_are_learned_by_regression_too():
    count, usual = 20, ("bc", "iql", "cql")
    ends = np.ones(count, bool)

    def log(actions, seen=None, last=ends, **options):
        return Dataset.from_arrays(
            np.zeros((count, 1)) if seen is None else seen, actions, np.zeros(count), last, **options
        )

    choices = np.arange(count) % 2
    assert default_methods(log(choices)) == (*usual, "regression")
    assert default_methods(log(choices), "decisions") == (*usual, "regression")
    assert default_methods(log(choices), "sparse-goal") == usual  # which has no numbers for it
    assert default_methods(labelled()) == usual  # episodes of eight steps
    assert default_methods(continuous()) == usual
    assert default_methods(log(choices, np.zeros((count, 12, 12), np.uint8))) == usual
    assert default_methods(log(0 * choices, action_count=1)) == usual


def scored(episodes: int = 40):
    """Return a log of two steps an episode, of which every tenth episode is paid."""
    steps = 2 * episodes
    ends = np.arange(steps) % 2 == 1
    paid = (ends & (np.arange(steps) // 2 % 10 == 0)).astype(np.float32)
    return Dataset.from_arrays(np.zeros((steps, 1)), np.arange(steps) % 2, paid, ends, action_count=2)


def test_imitation_competes_unasked_with_the_share_of_episodes_that_is_good():
    methods, notes = with_imitation({"iql": [IQL()]}, scored(), None)
    assert list(methods) == ["iql", "bc", "filtered_bc"]
    assert methods["filtered_bc"][0].fraction == pytest.approx(0.1)
    assert notes == ["bc and filtered_bc came unasked: what others have to beat."]


def test_what_was_named_is_left_as_it_is_and_equal_returns_are_no_filter():
    mine = BC(hidden=(8,))
    methods, notes = with_imitation({"mine": [mine]}, labelled(), None)
    assert methods["mine"] == [mine]
    assert "bc" not in methods
    equal = Dataset.from_arrays(np.zeros((20, 1)), np.arange(20) % 2, np.ones(20), np.ones(20, bool), action_count=2)
    methods, notes = with_imitation({}, equal, None)
    assert list(methods) == ["bc"]
    assert "only they could be copied" in notes[0]
