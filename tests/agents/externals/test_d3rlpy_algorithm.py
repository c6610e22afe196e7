"""d3rlpy's algorithms: by the form of their objects here, by d3rlpy itself where it is installed."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import weft
from weft.core.errors import UserError
from weft.evaluation.case import prepare

SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks" / "peers" / "judge_d3rlpy.py"
NEEDED = ("d3rlpy", "onnx", "onnxruntime")


class Algorithm:
    """Has what weft asks of a d3rlpy algorithm."""

    observation_shape, action_size = (2,), 1

    def predict(self, x):
        assert x.dtype == np.float32
        return x[:, :1] * 0.5


def log():
    random = np.random.default_rng(0)
    seen, action = random.normal(size=(80, 2)), random.normal(size=(80, 1))
    return weft.Dataset.from_arrays(seen, action, seen[:, 0] * action[:, 0], np.ones(80, bool))


def test_its_greedy_actions_are_judged():

    def function(seen):
        return seen[:, :1] * np.float32(0.5)

    here, there = (prepare(log()).candidate(one).action for one in (function, Algorithm()))
    assert np.array_equal(here, there)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"observation_shape": (3,)}, r"takes observations of the shape \(3,\), those of the log are \(2,\)"),
        ({"action_size": 2}, "has actions of size 2, those of the log are continuous, 1 dimension"),
        ({"observation_shape": None}, "is not built"),
    ],
)
def test_another_form_is_one_sentence(changes, sentence):
    algorithm = Algorithm()
    vars(algorithm).update(changes)
    with pytest.raises(UserError, match=f"The d3rlpy algorithm Algorithm {sentence}"):
        prepare(log()).candidate(algorithm)


@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, NEEDED)), reason=f"needs {', '.join(NEEDED)} beside weft (see {SCRIPT.name})"
)
def test_its_own_export_gives_the_same_estimate(tmp_path):
    command = [sys.executable, str(SCRIPT), "--steps", "50", "--episodes", "60", "--out", str(tmp_path / "found.json")]
    subprocess.run(command, check=True, capture_output=True)
    discrete, fitted, continuous, _ = json.loads((tmp_path / "found.json").read_text())
    assert discrete["difference"] == fitted["difference"] == 0
    assert continuous["relative"] <= 1e-5
