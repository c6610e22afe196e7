"""Which kind of policy a source is, what it refers to, and what it was trained on."""

import numpy as np
import polars as pl
import pytest

import weft
from weft.agents.external import choice_codes, external_policy, is_external, recalled
from weft.agents.externals.classifier import Classifier
from weft.agents.externals.d3rlpy_algorithm import D3rlpyAlgorithm
from weft.agents.externals.density import Density
from weft.agents.externals.function import Function
from weft.agents.externals.log_column import LogColumn
from weft.agents.externals.probability_table import ProbabilityTable
from weft.core.errors import UserError
from weft.data.spec import ActionSpec, ObservationSpec, Spec


def rule(observations):
    return np.tile([0.2, 0.8], (len(observations), 1))


def has(**members):
    """Return an object with these members, which can also be called."""
    return type("Thing", (), {"__call__": lambda self, x: x, **members})()


def log(seed: int = 0) -> weft.Dataset:
    random = np.random.default_rng(seed)
    action = random.integers(0, 2, 50)
    return weft.Dataset.from_arrays(
        random.normal(size=(50, 2)), action, action * 1.0, np.ones(50, bool), propensities=np.full(50, 0.5)
    )


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        (rule, Function),
        (has(), Function),
        (has(predict_proba=rule), Classifier),
        (has(predict=rule, observation_shape=(2,), action_size=2), D3rlpyAlgorithm),
        (has(sample=rule, log_prob=rule), Density),
        (pl.DataFrame({"id": [1]}), ProbabilityTable),
        ("column:p", LogColumn),
    ],
)
def test_one_kind_claims_a_source(source, kind):
    assert type(external_policy(source)) is kind


def test_python_code_stands_for_what_is_found_there(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "class Model:\n    classes_ = [0, 1]\n    predict_proba = len\nmodel = Model()\ndef f(x): return x\n"
    )
    assert type(external_policy(f"{path}:f")) is Function
    assert type(external_policy(f"{path}:model")) is Classifier
    assert external_policy(f"{path}:model").name == f"{path}:model"
    with pytest.raises(UserError, match="A type is no policy"):
        external_policy(f"{path}:Model")


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("runs/none", "There is no policy 'runs/none': give a run, a file that weft saved, an ONNX model"),
        ("policy.pkl", "weft opens no pickle"),
        ("model.joblib", "weft opens no pickle"),
        ("policy.pt", "weft opens no pickle"),
        (7, "A int is no policy"),
        (None, "A NoneType is no policy"),
        ("none.csv", "none.csv: there is no such file"),
    ],
)
def test_what_is_no_policy_is_one_sentence(source, sentence):
    with pytest.raises(UserError, match=sentence):
        external_policy(source)


def test_words_are_told_apart_by_their_form():
    assert all(map(is_external, ["a.onnx", "a.py:f", "m:f", "t.csv", "t.parquet:id", "column:p", "a.pkl"]))
    assert not any(map(is_external, ["runs/iql-1", "policy.safetensors", "policy"]))


@pytest.mark.parametrize(
    ("labels", "names", "codes"),
    [
        (("a", "b"), ["b", "z", b"a"], [1, None, 0]),
        ((), [1, 0.0, "1", 1.5, 7, np.int64(0)], [1, 0, 1, None, None, 0]),
        (("10", "500"), [500, "10"], [1, 0]),
    ],
)
def test_choices_are_known_by_label_or_number(labels, names, codes):
    spec = Spec((ObservationSpec((1,)),), ActionSpec("discrete", counts=(2,), labels=labels))
    assert choice_codes(spec, names) == codes


def test_what_it_was_trained_on_is_unknown_unless_declared(tmp_path):
    data, other = log(), log(1)
    said = weft.estimate(rule, data, "per_decision", "normal").warnings
    assert [one for one in said if "Nobody knows what the function 'rule' was trained on" in one]
    new = weft.external_policy(rule, trained_on=other)
    assert not weft.estimate(new, data, "per_decision", "normal").warnings
    old = weft.external_policy(rule, trained_on=data)
    assert any("trained on 100%" in one for one in weft.estimate(old, data, "per_decision", "normal").warnings)
    ranged = data.declare(reward_low=(0.0,), reward_high=(1.0,), horizon=1)
    with pytest.raises(UserError, match="The function 'rule' was trained on 100% of the units"):
        weft.certify(old, ranged, ledger=tmp_path)
    decision = weft.certify(rule, ranged, ledger=tmp_path)
    assert any("Nobody knows" in one for one in decision.assumptions)
    with pytest.raises(UserError, match="trained_on needs a loaded log"):
        weft.external_policy(rule, trained_on="log.csv")


def test_a_record_leads_back_to_the_same_file_and_to_no_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("def f(x): return x\n")
    record = external_policy("mine.py:f").record()
    monkeypatch.chdir("/")
    assert recalled(record).name == "mine.py:f"
    (tmp_path / "mine.py").write_text("def f(x): return -x\n")
    with pytest.raises(UserError, match=r"mine\.py:f is not what it was when it was judged: its file has changed"):
        recalled(record)
    with pytest.raises(UserError, match="is about the function 'rule', an object of the process that made it"):
        recalled(external_policy(rule).record())


def test_choices_may_be_answered_by_label():
    data = weft.Dataset.from_arrays(np.zeros((4, 1)), ["a", "b", "a", "b"], np.ones(4), np.ones(4, bool),
                                    propensities=np.full(4, 0.5))  # fmt: skip
    from asked import probabilities

    assert np.array_equal(probabilities(lambda seen: ["b"] * len(seen), data), np.tile([0, 1], (4, 1)))
    with pytest.raises(UserError, match="The policy chooses 'c' at observation 0, which is no choice of the log"):
        probabilities(lambda seen: np.array(["c"] * len(seen)), data)


def test_code_found_by_words_has_its_mistakes_told_and_a_function_keeps_its_trace(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def f(seen):\n    return seen['age']\n")
    with pytest.raises(UserError, match=rf"^{path}:f raised IndexError: .*\({path}, line 2\)\.$"):
        weft.estimate(f"{path}:f", log(), "per_decision")
    with pytest.raises(IndexError):
        weft.estimate(lambda seen: seen["age"], log(), "per_decision")
