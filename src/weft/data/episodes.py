"""The bookkeeping of episodes: where they end, and at which observation every step begins and ends.

Observations are laid out once. Step i was decided at observation `position[i]` and led to observation `successor[i]`,
which within an episode is where the next step was decided; an episode of T steps takes T + 1 observations where the
last one was seen.
"""

import dataclasses
from typing import Any

import numpy as np

from .columns import Ragged, append_rows, components, like
from .naming import Naming
from .steps import Facts, StepColumns
from .validate import flags

__all__ = ["Ends", "Placement", "decision_rows", "lay_out"]


@dataclasses.dataclass(frozen=True)
class Ends:
    """How episodes end, one flag a step: the task was over, the log was cut, the episode has no further step.

    A step is never both terminal and timed out.
    """

    terminal: np.ndarray
    timeout: np.ndarray
    last: np.ndarray
    notes: tuple[str, ...] = ()

    @classmethod
    def flagged(cls, steps: StepColumns, count: int, name: Naming) -> "Ends":
        """Read terminals and timeouts, each of which ends an episode. Raises UserError for what is no flag a step."""
        terminal = flags(steps.terminals, count, "terminals", name)
        timeout = np.zeros(count, bool) if steps.timeouts is None else flags(steps.timeouts, count, "timeouts", name)
        both = terminal & timeout
        if not both.any():
            return cls(terminal, timeout, terminal | timeout)
        note = f"{int(both.sum())} steps are both terminal and timed out; they count as terminal."
        return cls(terminal, timeout & ~terminal, terminal | timeout, (note,))

    def divided(self, steps: StepColumns, facts: Facts, name: Naming) -> "Ends":
        """Return the ends with the log's own boundaries of episodes; what ends in no other way has timed out.

        Raises UserError for terminals (unless they are meant) and timeouts inside an episode.
        """
        last = self.last if steps.boundaries is None else flags(steps.boundaries, len(self.last), "boundaries", name)
        inside = self.terminal & ~last
        if inside.any() and facts.terminal_inside != "keep":
            raise name.refuse(
                f"column {name('terminals')} is true inside an episode ({name.some(inside)}); end the episode there, "
                "or pass terminal_inside='keep' (--terminal-inside keep) if steps after a terminal are meant."
            )
        cut = self.timeout & ~last
        if cut.any():
            raise name.refuse(f"column {name('timeouts')} is true inside an episode ({name.some(cut)}); end it there.")
        notes = self.notes
        if not last[-1]:
            last = np.append(last[:-1], True)
            notes = (*notes, "The last episode ends with the log; it counts as timed out.")
        return Ends(self.terminal, self.timeout | (last & ~self.terminal), last, notes)


def decision_rows(ends: Ends, name: Naming) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return which rows are steps where no next observations are given, and a note of those that are not.

    A timed-out row led nowhere that was seen: it is the last observation of its episode. Raises UserError where an
    episode is such a row alone.
    """
    steps = ~(ends.timeout & ends.last)
    alone = ends.last & ~steps & np.concatenate([[True], ends.last[:-1]])
    if alone.any():
        raise name.refuse(
            f"an episode of zero length: its only row is a timeout without a next observation "
            f"({name.some(alone)}); give next observations, or drop the row."
        )
    bare = int((~steps).sum())
    note = f"{bare} timed-out steps without a next observation are kept as last observations only."
    return steps, (note,) if bare else ()


@dataclasses.dataclass(frozen=True)
class Placement:
    """Observations laid out once, and the flags and places of the steps that lead from one to another."""

    observations: Any
    terminals: np.ndarray
    timeouts: np.ndarray
    position: np.ndarray
    successor: np.ndarray
    starts: np.ndarray


def lay_out(before: Any, after: Any, ends: Ends, steps: np.ndarray, name: Naming) -> Placement:
    """Lay out observations before each row and, where they are given, after it; `steps` says which rows are steps."""
    count = len(ends.last)
    position = np.arange(count)
    if after is None:
        # a step right before a timed-out row leads to that row's observation
        observations, successor = before, np.where(ends.last, position, np.minimum(position + 1, count - 1))
    else:
        observations, successor = _with_following(before, after, ends, name)
    terminal, timeout, last = ends.terminal.copy(), ends.timeout.copy(), ends.last.copy()
    bare = np.flatnonzero(~steps)
    last[bare - 1] = True
    timeout[bare - 1] = True
    return Placement(
        observations,
        terminal[steps],
        timeout[steps],
        position[steps].astype(np.int64),
        successor[steps].astype(np.int64),
        np.concatenate([[0], np.flatnonzero(last[steps]) + 1]).astype(np.int64),
    )


def _with_following(before: Any, after: Any, ends: Ends, name: Naming) -> tuple[Any, np.ndarray]:
    """Append to the observations those next ones that are not the observation of the row below, and find them all."""
    count = len(ends.last)
    position = np.arange(count)
    over = ends.last & ends.terminal
    broken = ~_follows(after, before) & ~over
    if (broken & ~ends.last).any():
        name.note(
            f"The next observation differs from the observation of the following row inside episodes "
            f"({name.some(broken & ~ends.last)}); both are kept. Check the order of rows and the ends of episodes."
        )
    added = np.concatenate([np.flatnonzero(broken), np.flatnonzero(over)])
    successor = np.minimum(position + 1, count - 1)
    successor[added] = count + np.arange(len(added))
    following = components(after)
    parts = {key: append_rows(part, following[key][added]) for key, part in components(before).items()}
    return like(before, parts), successor


def _follows(after: Any, before: Any) -> np.ndarray:
    """Say whether the next observation of a row is the observation of the row below; that of the last row is not."""
    following = components(after)
    follows = np.append(np.ones(len(next(iter(following.values()))) - 1, bool), False)
    for key, part in components(before).items():
        if isinstance(part, Ragged):
            equal = [np.array_equal(following[key][row], part[row + 1]) for row in range(len(part) - 1)]
            follows[:-1] &= np.array(equal, bool)
        else:
            follows[:-1] &= (following[key][:-1] == part[1:]).all(tuple(range(1, part.ndim)))
    return follows
