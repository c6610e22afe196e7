"""Policies in ONNX files: what they answer, and what is refused."""

import numpy as np
import onnx_bytes
import pytest

import weft
from weft.agents.external import external_policy
from weft.core.errors import UserError

WEIGHT = np.array([[1.0, -0.5], [0.25, 2.0], [-1.0, 0.5]], np.float32)


def runtime():
    return pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")


def written(path, content):
    """Write a model and return its name."""
    path.write_bytes(content)
    return str(path)


def log(discrete: bool = True, count: int = 60) -> weft.Dataset:
    """Return single decisions about three numbers."""
    random = np.random.default_rng(0)
    seen = random.normal(size=(count, 3)).astype(np.float32)
    action = random.integers(0, 2, count) if discrete else random.normal(size=(count, 2)).astype(np.float32)
    reward = seen[:, 0] + (action if discrete else action[:, 0])
    chance = np.full(count, 0.5) if discrete else np.exp(-0.5 * (action**2).sum(1)) / (2 * np.pi)
    return weft.Dataset.from_arrays(seen, action, reward, np.ones(count, bool), propensities=chance)


def softmax(seen):
    raised = np.exp(np.asarray(seen) @ WEIGHT)
    return raised / raised.sum(1, keepdims=True)


@pytest.mark.parametrize("batch", ["n", 1, 7])
def test_probabilities_choices_and_actions_are_what_numpy_says(tmp_path, batch):
    runtime()
    kinds = [
        ("Softmax", softmax, log(), "doubly_robust"),
        ("ArgMax", lambda seen: (np.asarray(seen) @ WEIGHT).argmax(1), log(), "per_decision"),
        ("", lambda seen: np.asarray(seen) @ WEIGHT, log(discrete=False), "linear_q"),
    ]
    for head, policy, data, method in kinds:
        model = written(tmp_path / f"policy{head}.onnx", onnx_bytes.linear(WEIGHT, head, batch))
        here, there = (weft.estimate(one, data, method, "normal") for one in (policy, model))
        assert there.value == pytest.approx(here.value, rel=1e-5)
        assert any("Nobody knows" in warning and model in warning for warning in there.warnings)


def test_a_model_that_refers_to_other_files_is_refused_before_it_is_run(tmp_path):
    model = written(tmp_path / "two.onnx", onnx_bytes.linear(WEIGHT, "Softmax", external=True))
    with pytest.raises(
        UserError, match=r"two\.onnx: the tensor 'w' lies in another file, and a model must be one file"
    ):
        weft.estimate(model, log())


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"not a model at all", "this is no ONNX model"),
        (b"", "this is no ONNX model that can be run"),
        (onnx_bytes.linear(WEIGHT)[:-9], "this is no ONNX model"),
        (onnx_bytes.linear(WEIGHT, "Softmax").replace(b"MatMul", b"Nothng"), "this is no ONNX model that can be run"),
    ],
)
def test_what_is_no_model_is_one_sentence(tmp_path, content, sentence):
    runtime()
    with pytest.raises(UserError, match=rf"policy\.onnx: {sentence}"):
        external_policy(written(tmp_path / "policy.onnx", content))


def test_another_form_than_the_logs_is_one_sentence(tmp_path):
    runtime()
    wide = written(tmp_path / "wide.onnx", onnx_bytes.linear(np.ones((4, 2), np.float32), "Softmax"))
    with pytest.raises(
        UserError, match=r"wide\.onnx takes observations of the shape \(4,\), those of the log have \(3,\)"
    ):
        weft.estimate(wide, log())
    scores = written(tmp_path / "scores.onnx", onnx_bytes.linear(WEIGHT))
    with pytest.raises(UserError, match=r"must be at least 0 and sum to 1"):
        weft.estimate(scores, log())
    good = written(tmp_path / "good.onnx", onnx_bytes.linear(WEIGHT, "Softmax"))
    with pytest.raises(UserError, match=r"good\.onnx has no output 'z'"):
        weft.estimate(f"{good}:z", log())
    assert (
        weft.estimate(f"{good}:y", log(), interval="normal").value
        == weft.estimate(good, log(), interval="normal").value
    )


def test_a_missing_file_and_a_missing_runtime_are_one_sentence(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"none\.onnx: there is no such file"):
        external_policy(str(tmp_path / "none.onnx"))
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"pip install 'weft\[onnx\]'"):
        external_policy(written(tmp_path / "policy.onnx", onnx_bytes.linear(WEIGHT)))
