"""A column of the log itself: the probability (or density) of the logged action, or one column per choice."""

import fnmatch
import os
from typing import Any

import numpy as np

from ...core.errors import UserError, nearest
from ...data.dataset import Dataset
from ..external import ONLY_LOGGED, External, Question, Reference, Reply
from ._decisions import Where, check_rows, check_support, choice_columns, laid_out

MARK = "column:"


class LogColumn(External):
    """`column:NAME` has the probability with which the policy takes the logged action; `column:p_*`, a pattern, means a
    column of probabilities for each choice.
    """

    @classmethod
    def claims(cls, source: Any) -> bool:
        """Claim words that begin with `column:`."""
        return isinstance(source, str) and source.startswith(MARK)

    @classmethod
    def read(cls, source: Any) -> "LogColumn":
        """Return the policy of a column, which is looked for in the log that it is judged on."""
        name = os.fspath(source).removeprefix(MARK).strip()
        if not name:
            raise UserError("column: needs the name of a column of the log behind it, such as column:p_new.")
        return cls(name, f"the column '{name}'", reference=Reference.of(f"{MARK}{name}", b""))

    def answer(self, question: Question) -> Reply:
        """Return what the columns say."""
        data = question.data
        if self.source not in data.columns and set(self.source) & set("*?["):
            return self._each(data)
        values, rows = self._column(data, self.source), data.rows
        where = Where(f"{data.origin}, {self.name}", row="step")
        discrete = data.spec.action.kind != "continuous"
        wrong = np.flatnonzero(~np.isfinite(values) | (values < 0) | ((values > 1) & discrete))
        if len(wrong):
            what = "probability between 0 and 1" if discrete else "density of at least 0"
            raise UserError(f"{where(wrong[0])}: {values[wrong[0]]:g} is no {what} of the logged action.")
        log_prob = np.zeros(len(data.store_actions), np.float32)
        with np.errstate(divide="ignore"):
            log_prob[rows] = np.log(values)
        return Reply(log_prob=log_prob, lacks=ONLY_LOGGED)

    def _each(self, data: Dataset) -> Reply:
        """Return what a column for each choice says."""
        if not data.spec.discrete:
            raise UserError(
                f"{self.title} means several columns, one per choice; the actions are {data.spec.action.words}."
            )
        labels = data.spec.action.choices
        names = fnmatch.filter(data.columns, self.source)
        if not names:
            raise UserError(f"{data.origin} has no column that matches '{self.source}'. {_known(data)}")
        codes = choice_columns(names, labels, data.origin)[1]
        unknown = [name for name in names if name not in codes]
        if unknown:
            raise UserError(f"{data.origin}: column '{unknown[0]}' matches '{self.source}' and belongs to no choice.")
        where = Where(data.origin, row="step")
        probability = np.zeros((data.steps, len(labels)))
        for name, code in codes.items():
            probability[:, code] = self._column(data, name)
        check_rows(probability, where)
        check_support(probability, data, where)
        return laid_out(probability, data)

    def _column(self, data: Dataset, name: str) -> np.ndarray:
        """Return a column of numbers of the view."""
        if name not in data.columns:
            raise UserError(f"{data.origin} has no column '{name}'.{nearest(name, data.columns)} {_known(data)}")
        values = np.asarray(data.columns[name])
        if values.dtype.kind not in "biuf":
            raise UserError(f"{data.origin}: column '{name}' holds words; probabilities are numbers.")
        return values.astype(float)[data.rows]


def _known(data: Dataset) -> str:
    return f"Known: {', '.join(list(data.columns)[:20]) or 'none'}."
