"""What a reader hands over: the columns of a log one row a step, what is declared of them, and how they are called.

Nothing here is checked; `weft.data.assemble` does that, and makes the fields of a `Dataset` of the three.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["NEEDED", "Facts", "Source", "StepColumns", "sort_arguments"]

NEEDED = ("observations", "actions", "rewards", "terminals")
"""The columns that every log has."""


@dataclasses.dataclass(frozen=True)
class StepColumns:
    """The columns of N steps, in the order of time and with the steps of an episode together.

    observations: `(N, …)` array, dictionary of such, or lists of token sequences. next_observations: the same form;
    without it, the observation after step i is the one of step i + 1, and the last step of an episode that did not
    end in a terminal is kept only as its last observation. actions: `(N, act)` floats, `(N,)` integers or labels,
    `(N, k)` integers. rewards: `(N,)` or a dictionary of components. propensities: probability (discrete) or density
    (continuous). durations: the time that each step took. sources: where each step came from, in words. boundaries:
    True at the last step of an episode; by default `terminals | timeouts`. columns: whatever else is known of each
    step, to split by.
    """

    observations: Any
    actions: Any
    rewards: Any
    terminals: Any
    timeouts: Any = None
    next_observations: Any = None
    propensities: Any = None
    durations: Any = None
    sources: Any = None
    boundaries: Any = None
    columns: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Facts:
    """What somebody says about a log and its rows do not say themselves.

    kinds, categories: kind and category names of observation components. terminal_inside: `keep` allows a terminal
    that is not the last step of its episode, which is an `error` otherwise. action_bounds: `(low, high)`; with them,
    integers are continuous. action_count: how many choices there are (one number a column, where there are several);
    with it, whole floats are choices. reward_range: `(low, high)`, numbers or one per component. propensity_low: the
    least chance that any choice had in any decision, those that were never made too. unit: the column that names the
    unit (a user, a device) that an episode belongs to. identity: the column or columns that name a decision for good
    (an id, a time stamp), in every export the same; `weft.data.identity`.
    """

    kinds: Mapping[str, str] = dataclasses.field(default_factory=dict)
    categories: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    terminal_inside: str = "error"
    action_bounds: Any = None
    action_labels: Any = ()
    action_count: Any = None
    reward_range: Any = None
    horizon: int | None = None
    discount: float | None = None
    propensity_low: float | None = None
    unit: str | None = None
    identity: Any = ()

    @classmethod
    def of(cls, declared: Mapping[str, Any]) -> "Facts":
        """Return the facts of a dictionary, where None declares nothing."""
        return cls(**{name: fact for name, fact in declared.items() if fact is not None})


@dataclasses.dataclass(frozen=True)
class Source:
    """Where the columns come from, and how the user calls them and counts their rows, for sentences.

    names: what the user calls a field of `StepColumns` or one column of it (`observations[2]`). row_numbers: the user's
    number of each row, where a reader has sorted them. notes: what the reader has to say about them.
    """

    origin: str = "arrays"
    names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    row_numbers: Any = None
    notes: Sequence[str] = ()


def sort_arguments(arguments: Mapping[str, Any]) -> tuple[StepColumns, Facts, Source]:
    """Sort the keyword arguments of `Dataset.from_arrays` into what they are; None is what is not given.

    Raises TypeError for a name that is none of theirs.
    """
    parts: dict[type, dict[str, Any]] = {StepColumns: {}, Facts: {}, Source: {}}
    owners = {field.name: kind for kind in parts for field in dataclasses.fields(kind)}
    for name, value in arguments.items():
        if name not in owners:
            raise TypeError(f"Dataset.from_arrays() got an unexpected keyword argument '{name}'")
        if value is not None or name in NEEDED:
            parts[owners[name]][name] = value
    return StepColumns(**parts[StepColumns]), Facts(**parts[Facts]), Source(**parts[Source])
