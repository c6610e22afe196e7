"""Probabilities by decision: checked, and laid out over the observations of a log."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ...core.errors import UserError
from ...data.dataset import Dataset
from ..external import Reply

__all__ = ["Where", "check_rows", "check_support", "choice_columns", "laid_out"]

ROOM = 1e-3  # how far from 1 a row's sum may be
BEYOND = (
    "a table by decision says nothing of what the policy would do at the last observation of an episode that was cut"
)


@dataclasses.dataclass(frozen=True)
class Where:
    """How the rows of a table are called in sentences: by their number, and by their decision where it has a name.

    places: the number of each row in the table, where they were brought into another order.
    """

    table: str
    names: np.ndarray | None = None
    row: str = "row"
    places: np.ndarray | None = None

    def __call__(self, number: int) -> str:
        number = number if self.places is None else self.places[number]
        name = "" if self.names is None else f" (decision {self.names[number]})"
        return f"{self.table}, {self.row} {number}{name}"

    def at(self, places: np.ndarray) -> "Where":
        """Return the same for rows that were brought into another order."""
        return dataclasses.replace(self, places=places)


def choice_columns(columns: Sequence[str], labels: Sequence[str], table: str) -> tuple[str, dict[str, int]]:
    """Return the prefix that the columns of choices share, and the code of each: `p_send` and `p_wait` of send, wait.

    The prefix with the most choices counts. Raises UserError where there is none, or two are as good.
    """
    codes: dict[str, dict[str, int]] = {}
    for column in columns:
        for code, label in enumerate(labels):
            if column.endswith(label):
                codes.setdefault(column[: len(column) - len(label)], {})[column] = code
    most = max(map(len, codes.values()), default=0)
    best = [prefix for prefix, of in codes.items() if len(of) == most]
    best = [""] if "" in best and len(best) > 1 and most == len(labels) else best
    listed = ", ".join(labels[:6]) + (", …" if len(labels) > 6 else "")
    if most == 0:
        raise UserError(
            f"{table} has no column for any of the log's choices ({listed}); call the columns of probabilities by the "
            f"choices, with a prefix that they share if need be (p_{labels[0]})."
        )
    if len(best) > 1:
        raise UserError(
            f"{table}: columns that begin with {' and '.join(repr(prefix) for prefix in best[:3])} may both be the "
            f"probabilities of the log's choices ({listed}); call them by the choices alone, or with one prefix."
        )
    return best[0], codes[best[0]]


def check_rows(probability: np.ndarray, where: Where) -> None:
    """Raise UserError, naming row and decision, for numbers that are no probabilities of one choice."""
    wrong = np.flatnonzero(~np.isfinite(probability).all(1))
    if len(wrong):
        raise UserError(f"{where(wrong[0])}: a probability is missing or not finite; every choice needs one.")
    wrong = np.flatnonzero((probability < 0).any(1))
    if len(wrong):
        raise UserError(f"{where(wrong[0])}: a probability is negative ({probability[wrong[0]].min():g}).")
    total = probability.sum(1)
    wrong = np.flatnonzero(np.abs(total - 1) > ROOM)
    if len(wrong):
        raise UserError(f"{where(wrong[0])}: the probabilities sum to {total[wrong[0]]:.6g} and not to 1.")


def check_support(probability: np.ndarray, data: Dataset, where: Where) -> None:
    """Raise UserError for a choice with a probability that the log has never made, unless a least chance is declared.

    `probability` has the choices of the log as columns.
    """
    if data.spec.propensity_low:
        return
    never = np.setdiff1d(np.arange(data.spec.action.size), data.actions)
    rows, place = np.nonzero(probability[:, never] > 0)
    if len(rows):
        code = never[place[0]]
        name = data.spec.action.choices[code]
        raise UserError(
            f"{where(rows[0])}: the choice '{name}' has a probability of {probability[rows[0], code]:.3g}, and no "
            "decision of the log ever made it, so nothing says what it is worth; leave it out, or declare "
            "propensity_low if every choice had a chance."
        )


def laid_out(probability: np.ndarray, data: Dataset) -> Reply:
    """Return the reply for the probabilities `(step, choice)` of a view's steps.

    Where an episode goes on behind its last logged decision, nobody knows what the policy would do there: then only the
    probabilities of the logged actions are told.
    """
    rows, count = data.rows, data.store_actions.shape[0]
    decided = np.zeros(int(max(data.position.max(), data.successor.max())) + 1, bool)
    decided[data.position[rows]] = True
    beyond = ~data.terminals & ~decided[data.successor[rows]]
    if beyond.any():
        log_prob = np.zeros(count, np.float32)
        with np.errstate(divide="ignore"):
            log_prob[rows] = np.log(probability[np.arange(len(rows)), data.actions])
        return Reply(log_prob=log_prob, lacks=BEYOND)
    # what is done after an end, and outside the view, counts for nothing
    does = np.full((len(decided), probability.shape[1]), 1 / probability.shape[1], np.float32)
    does[data.position[rows]] = probability
    return Reply(does)
