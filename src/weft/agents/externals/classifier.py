"""A scikit-learn classifier, or whatever answers like one: `predict_proba` and `classes_`."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from ...core.errors import UserError, nearest
from ...data.dataset import Dataset
from ...data.spec import Spec
from ..external import External, Question, Reply, choice_codes


class Classifier(External):
    """A classifier as a policy: it chooses each class with the probability that it predicts."""

    @classmethod
    def claims(cls, source: Any) -> bool:
        """Claim objects that predict probabilities."""
        return hasattr(source, "predict_proba") and not isinstance(source, type)

    @classmethod
    def read(cls, source: Any) -> "Classifier":
        """Return the policy of a classifier, called by its class."""
        return cls(source, f"the classifier {type(source).__name__}")

    def answer(self, question: Question) -> Reply:
        """Return the predicted probabilities, classes mapped to the log's choices."""
        spec = question.spec
        if not spec.discrete:
            raise UserError(f"{self.title} chooses classes, and the log's actions are {spec.action.words}.")
        classes = self._classes()
        table = self._features(spec, question.observation)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="X does not have valid feature names")  # brought in order above
            predicted = np.asarray(self.ask(self.source.predict_proba, table))
        if predicted.shape != (len(table), len(classes)):
            raise UserError(
                f"{self.title} has {len(classes)} classes and answers {len(table)} observations with {predicted.shape} "
                "probabilities."
            )
        probability = np.zeros((len(table), spec.action.size), predicted.dtype)
        for place, code in enumerate(choice_codes(spec, classes)):
            if code is not None:
                probability[:, code] += predicted[:, place]
            elif (rows := np.flatnonzero(predicted[:, place] > 0)).size:
                raise UserError(
                    f"{self.title} has the class {classes[place]!r}, which is no choice of the log, and gives it a "
                    f"probability of {predicted[rows[0], place]:.3g} at observation {rows[0]}; the log's choices are "
                    f"{_listed(spec)}."
                )
        return Reply(probability)

    def remarks(self, data: Dataset) -> Iterator[str]:
        """Yield the choices that the classifier never makes, because it has no class for them."""
        missing = sorted(set(range(data.spec.action.size)) - set(choice_codes(data.spec, self._classes())))
        if missing:
            names = data.spec.action.choices
            yield (
                f"{self.title} has no class for {len(missing)} of the log's choices "
                f"({', '.join(names[code] for code in missing[:8])}{', …' if len(missing) > 8 else ''}): it never "
                "makes them."
            )

    def _classes(self) -> list[Any]:
        """Return the names of the classes, in the order of the predicted columns."""
        classes = getattr(self.source, "classes_", None)
        if classes is None:
            raise UserError(f"{self.title} has no classes_: fit it before it is judged.")
        if isinstance(classes, list) and classes and isinstance(classes[0], np.ndarray):
            raise UserError(f"{self.title} predicts {len(classes)} things at once; a policy makes one choice.")
        return np.asarray(classes).tolist()

    def _features(self, spec: Spec, observation: Any) -> np.ndarray:
        """Return the observations as rows of numbers, the columns in the order in which the classifier was fitted."""
        if not spec.plain:
            parts = ", ".join(f"'{part.name}'" for part in spec.observations)
            raise UserError(
                f"the log's observations have several components ({parts}), and {self.name} takes rows of numbers; "
                "pass a function that makes them of a dictionary and asks the classifier."
            )
        table = np.asarray(observation).reshape(len(observation), -1)
        fitted, names = getattr(self.source, "feature_names_in_", None), spec.observations[0].names
        if fitted is None or not names:
            return table
        for name in fitted:
            if name not in names:
                raise UserError(
                    f"{self.title} was fitted on the column '{name}', which the log's observations do not have."
                    f"{nearest(str(name), names)}"
                )
        return table[:, [names.index(str(name)) for name in fitted]]


def _listed(spec: Spec) -> str:
    names = spec.action.labels or (f"0 to {spec.action.size - 1}",)
    return ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
