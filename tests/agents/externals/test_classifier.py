"""Classifiers as policies: classes mapped to choices, columns to columns."""

import numpy as np
import pandas as pd
import pytest
from asked import probabilities

import weft
from weft.core.errors import UserError

COUNT = 300


def table(labels=("a", "b", "c")) -> dict:
    """Return the columns of a log of single decisions."""
    random = np.random.default_rng(0)
    x, y, code = random.normal(size=COUNT), random.normal(size=COUNT), random.integers(0, 3, COUNT)
    reward = (random.random(COUNT) < 0.2 + 0.5 * ((x > 0) == (code == 0))).astype(int)
    action = np.array(labels)[code]
    return {"x": x, "y": y, "action": action, "reward": reward, "p": np.full(COUNT, 1 / 3)}


def load(columns):
    return weft.load(columns, observations=["x", "y"], action="action", reward="reward", propensity="p")


class Stub:
    """Answers like a classifier, with the same probabilities everywhere."""

    def __init__(self, classes, probability, names=None):
        self.classes_, self.probability = np.asarray(classes), probability
        if names is not None:
            self.feature_names_in_ = np.asarray(names)

    def predict_proba(self, rows):
        self.rows = rows
        return np.tile(self.probability, (len(rows), 1))


def test_scikit_learn_is_judged_as_the_function_of_its_probabilities():
    linear_model = pytest.importorskip("sklearn.linear_model")
    columns = table()
    best = np.where(columns["x"] > 0, "a", "b")
    frame = pd.DataFrame({"y": columns["y"], "x": columns["x"]})  # another order than the log's
    classifier = linear_model.LogisticRegression().fit(frame, best)
    data = load(columns)

    def function(seen):
        chance = classifier.predict_proba(pd.DataFrame({"y": seen[:, 1], "x": seen[:, 0]}))
        return np.column_stack([chance, np.zeros(len(seen))])

    assert np.allclose(probabilities(classifier, data), probabilities(function, data), atol=1e-6)
    there = weft.estimate(classifier, data, "per_decision", "student")
    assert there.value > data.rewards.mean() + 0.1
    assert any("has no class for 1 of the log's choices (c): it never makes them" in one for one in there.warnings)


@pytest.mark.parametrize(("labels", "classes"), [(("a", "b", "c"), ["c", "a", "b"]), ((0, 1, 2), [2.0, 0.0, 1.0]),
                                                 ((10, 500, 90000), [90000, 10, 500])])  # fmt: skip
def test_classes_meet_choices_by_name(labels, classes):
    data = load(table(labels))
    chance = dict(zip(map(str, labels), (0.2, 0.3, 0.5), strict=True))
    stub = Stub(classes, [chance[str(int(one) if isinstance(one, float) else one)] for one in classes])
    codes = [str(label) for label in data.spec.action.labels or (0, 1, 2)]
    assert np.allclose(probabilities(stub, data), [chance[code] for code in codes])


def test_columns_come_in_the_order_in_which_the_classifier_was_fitted():
    columns = table()
    stub = Stub(["a", "b", "c"], [0.2, 0.3, 0.5], ["y", "x"])
    probabilities(stub, load(columns))
    assert np.allclose(stub.rows[:, 0], columns["y"])


@pytest.mark.parametrize(
    ("stub", "sentence"),
    [
        (Stub(["a", "b", "z"], [0.2, 0.3, 0.5]), "the class 'z', which is no choice of the log, and gives it a probab"),
        (Stub(["a", "b"], [0.2, 0.3, 0.5]), "has 2 classes and answers 300 observations with"),
        (Stub(["a", "b", "c"], [0.2, 0.3, 0.5], ["x", "age"]), "was fitted on the column 'age'"),
        (type("Unfitted", (), {"predict_proba": lambda self, rows: rows})(), "has no classes_: fit it"),
    ],
)
def test_what_cannot_be_judged_is_one_sentence(stub, sentence):
    with pytest.raises(UserError, match=sentence):
        probabilities(stub, load(table()))


def test_a_class_of_no_probability_hurts_nobody():
    assert np.allclose(probabilities(Stub(["a", "b", "z"], [0.5, 0.5, 0.0]), load(table())), [0.5, 0.5, 0.0])


def test_continuous_actions_have_no_classes():
    data = weft.Dataset.from_arrays(
        np.zeros((4, 1)), np.random.default_rng(0).normal(size=(4, 1)), np.zeros(4), np.ones(4, bool)
    )
    with pytest.raises(UserError, match="chooses classes, and the log's actions are continuous"):
        probabilities(Stub(["a"], [1.0]), data)
