"""A table of probabilities by decision: a CSV or Parquet file, or a data frame."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import UserError, nearest
from ...data.dataset import Dataset
from ...data.formats.table import Table, read_frame
from ..external import External, Question, Reference, Reply
from ._decisions import Where, check_rows, check_support, choice_columns, laid_out

if TYPE_CHECKING:
    import polars

FILE = re.compile(r"(?P<path>.+\.(?:csv|csv\.gz|parquet))(?::(?P<ids>[^/\\]+))?", re.IGNORECASE)


class ProbabilityTable(External):
    """Rows with a decision's id, in columns that the log has, too, and a probability for each choice."""

    @classmethod
    def claims(cls, source: Any) -> bool:
        """Claim table files, with the columns of the id behind a colon if need be, and data frames."""
        if isinstance(source, str):
            return FILE.fullmatch(source) is not None
        return not isinstance(source, dict) and Table.holds(source)

    @classmethod
    def read(cls, source: Any) -> "ProbabilityTable":
        """Return the policy of a table; raise UserError for a file that cannot be read."""
        if not isinstance(source, str):
            return cls((read_frame(source), ()), f"the {type(source).__name__}")
        match = FILE.fullmatch(source)
        assert match is not None
        ids = tuple(word.strip() for word in match["ids"].split(",")) if match["ids"] else ()
        path = Path(match["path"])
        frame = read_frame(path)
        words = os.fspath(path.resolve()) + (f":{match['ids']}" if ids else "")
        return cls((frame, ids), str(path), reference=Reference.of(words, path.read_bytes()))

    def answer(self, question: Question) -> Reply:
        """Return the probabilities of the log's decisions, found by their ids."""
        data = question.data
        if not data.spec.discrete:
            raise UserError(
                f"{self.title} holds probabilities of choices; the log's actions are {data.spec.action.words}."
            )
        labels = data.spec.action.choices
        frame, named = self.source
        others = [name for name in frame.columns if name not in named]
        new = [name for name in others if name not in data.columns]
        prefix, codes = choice_columns(new or others, labels, self.title)
        ids = self._ids(data, [name for name in others if name in data.columns and name not in codes])
        where = Where(self.title, np.array([", ".join(map(str, row)) for row in frame.select(ids).iter_rows()], object))
        unknown = [name for name in new if name not in codes]
        numbers = self._numbers([*codes, *unknown])
        check_rows(numbers, where)
        _check_known(numbers[:, len(codes) :], [name.removeprefix(prefix) for name in unknown], labels, where)
        probability = np.zeros((len(numbers), len(labels)))
        probability[:, list(codes.values())] = numbers[:, : len(codes)]
        places = self._places(data, ids, where)
        check_support(probability[places], data, where.at(places))
        return laid_out(probability[places], data)

    def remarks(self, data: Dataset) -> Iterator[str]:
        """Yield how many rows are about decisions that the log does not hold."""
        extra = self.source[0].height - data.steps
        if extra > 0:
            yield f"{extra:,} rows of {self.name} are about none of the decisions that are judged; they are not used."

    def _ids(self, data: Dataset, shared: list[str]) -> list[str]:
        """Return the columns that name a decision: those that were named, else all that the log has, too."""
        frame, named = self.source
        for name in named:
            for columns, whose in ((frame.columns, self.name), (list(data.columns), data.origin)):
                if name not in columns:
                    raise UserError(
                        f"{whose} has no column '{name}' to know decisions by.{nearest(name, columns)} Known: "
                        f"{', '.join(columns[:20]) or 'none'}."
                    )
        if not named and not shared:
            raise UserError(
                f"{self.title} has no column that {data.origin} has, too, so nobody knows which row is about which "
                f"decision; give both a column that names decisions. The log's are {', '.join(data.columns) or 'none'}."
            )
        return list(named) or shared

    def _numbers(self, names: list[str]) -> np.ndarray:
        """Return columns of numbers; missing ones are NaN."""
        frame = self.source[0]
        for name in names:
            if not frame[name].dtype.is_numeric():
                raise UserError(
                    f"{self.title}: column '{name}' holds {frame[name].dtype} values; it should be the probability of "
                    "a choice, or a column of the log that names decisions."
                )
        return np.stack([frame[name].cast(float).to_numpy() for name in names], 1)

    def _places(self, data: Dataset, ids: list[str], where: Where) -> np.ndarray:
        """Return the row of the table for every decision of a view."""
        theirs = self.source[0].select(ids)
        ours = [np.asarray(data.columns[name])[data.rows] for name in ids]
        words = [_words(ours[place], theirs[name]) for place, name in enumerate(ids)]
        row: dict[Any, int] = {}
        for number, key in enumerate(zip(*(list(pair[1]) for pair in words), strict=True)):
            if None in key:
                raise UserError(f"{self.title}, row {number}: the id of the decision is missing ({', '.join(ids)}).")
            if key in row:
                raise UserError(f"{where(number)}: row {row[key]} is about the same decision; one row each is needed.")
            row[key] = number
        places, seen = np.zeros(data.steps, int), {}
        for step, key in enumerate(zip(*(list(pair[0]) for pair in words), strict=True)):
            if key in seen:
                raise UserError(
                    f"{data.origin}: steps {seen[key]} and {step} have the same {', '.join(ids)} "
                    f"({', '.join(map(str, key))}), which therefore names no single decision; name columns that do: "
                    f"{self.name}:COLUMN,COLUMN."
                )
            if key not in row:
                raise UserError(
                    f"{self.title} has no row for decision {', '.join(map(str, key))} of {data.origin} (step {step}, "
                    f"by {', '.join(ids)}); every decision that is judged needs one."
                )
            seen[key], places[step] = step, row[key]
        return places


def _check_known(numbers: np.ndarray, names: list[str], labels: Sequence[str], where: Where) -> None:
    """Raise UserError for a probability of what is no choice of the log."""
    rows, places = np.nonzero(numbers > 0)
    if len(rows):
        row, name = rows[0], names[places[0]]
        raise UserError(
            f"{where(row)}: '{name}' has a probability of {numbers[row, places[0]]:.3g}, and the log has no choice "
            f"'{name}'.{nearest(name, labels)}"
        )


def _words(ours: np.ndarray, theirs: "polars.Series") -> tuple[list[Any], list[Any]]:
    """Return the ids of a log and of a table as what can be compared: numbers, or words where either has words."""
    if ours.dtype.kind in "biuf" and theirs.dtype.is_numeric():
        return ours.tolist(), theirs.to_list()
    import polars

    return ours.astype(str).tolist(), theirs.cast(polars.String).to_list()
