"""How candidates of a study are trained: a budget of time, and what names a training."""

import numpy as np
import pytest
from small import continuous, labelled

from weft.agents.algorithms.brac import BRAC
from weft.agents.preset import preset
from weft.data.dataset import Dataset
from weft.experiments.candidates import PROBE, Training, default_methods
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
