"""From the columns of a log, as a reader hands them over, to the fields of a `Dataset`: every check of the data.

Whatever is wrong is raised as one sentence that names the origin (a file), the column as the user calls it, and the
first rows concerned, counted from 0. What was left out or completed is said in `notes`, never done silently.
"""

from typing import Any

import numpy as np

from ..core.errors import nearest
from .categories import categories_of
from .choices import action_columns
from .columns import Ragged, components, like
from .episodes import Ends, decision_rows, lay_out
from .naming import Naming
from .narrow import named
from .spec import Spec
from .steps import Facts, Source, StepColumns
from .validate import (
    log_propensities,
    observation_columns,
    observation_specs,
    reward_bounds,
    reward_columns,
    single,
)

__all__ = ["ENDS_ASSUMED", "assemble"]

ENDS_ASSUMED = (
    "No column says how episodes end; each is taken to end in a terminal; pass terminal=COLUMN or ends='timeout' if "
    "they were cut."
)
"""The note of a log whose ends nobody has told; `inspect` warns where it stands."""


def assemble(steps: StepColumns, facts: Facts, source: Source) -> dict[str, Any]:
    """Check the columns of a log and return the fields of a `Dataset`.

    Raises UserError for unequal lengths, values that are not finite, actions outside their bounds or of mixed types,
    propensities outside (0, 1] (discrete) or not positive (continuous), empty logs, terminals inside an episode.
    """
    name = Naming(source)
    count = _count(steps.actions, name)
    reward, reward_names = reward_columns(steps.rewards, count, name)
    ends = Ends.flagged(steps, count, name)
    before, after, categories = _observations(steps, facts, count, name)
    ends = ends.divided(steps, facts, name)
    action, action_spec = action_columns(steps.actions, facts, name)
    log_propensity = log_propensities(steps.propensities, count, action_spec, name)
    duration = _durations(steps.durations, count, name)
    # with next observations every row is a step
    rows, notes = decision_rows(ends, name) if after is None else (np.ones(count, bool), ())
    layout = lay_out(before, after, ends, rows, name)
    _check_labels(steps, facts.unit, count, name)
    low, high = reward_bounds(facts.reward_range, len(reward_names), name)
    lengths = np.diff(layout.starts)
    spec = Spec(
        observations=observation_specs(layout.observations, facts.kinds, categories, source.origin),
        action=action_spec,
        rewards=reward_names,
        reward_low=low,
        reward_high=high,
        horizon=facts.horizon,
        discount=facts.discount,
        propensity_low=facts.propensity_low,
        unit=facts.unit,
        longest=int(lengths.max()),
        identity=(facts.identity,) if isinstance(facts.identity, str) else tuple(facts.identity),
    )
    return {
        "spec": spec,
        "store_observations": layout.observations,
        "store_actions": action[rows],
        "store_rewards": reward[rows],
        "store_terminals": layout.terminals,
        "store_timeouts": layout.timeouts,
        "position": layout.position,
        "successor": layout.successor,
        "starts": layout.starts,
        "chosen": np.arange(len(lengths)),
        "store_durations": None if duration is None else duration[rows],
        "store_log_propensities": None if log_propensity is None else log_propensity[rows],
        "store_sources": None if steps.sources is None else np.asarray(steps.sources)[rows],
        "columns": {key: np.asarray(column)[rows] for key, column in steps.columns.items()},
        "origin": source.origin,
        "notes": (*source.notes, *ends.notes, *notes, *name.notes),
    }


def _count(actions: Any, name: Naming) -> int:
    """Return how many steps there are; raise UserError where that cannot be said, or there are none."""
    if not isinstance(actions, (list, tuple)) and np.ndim(actions) == 0:
        raise name.refuse(f"column {name('actions')} is one value; give one action a step.")
    if len(actions) == 0:
        raise name.refuse("there are no steps; give a log with at least one.")
    return len(actions)


def _observations(steps: StepColumns, facts: Facts, count: int, name: Naming) -> tuple[Any, Any, Any]:
    """Return the observations before and after steps (or nothing), and the names of categories."""
    before = observation_columns(steps.observations, count, "observations", facts.kinds, name)
    parts = list(components(before))
    for key in facts.kinds:
        if key not in parts:
            raise name.refuse(f"a kind is given for '{key}', which is no observation.{nearest(key, parts)}")
    after = None
    if steps.next_observations is not None:
        after = observation_columns(steps.next_observations, count, "next_observations", facts.kinds, name)
        after = _of_same_form(before, after, name)
    return categories_of(before, after, facts, name)


def _of_same_form(before: Any, after: Any, name: Naming) -> Any:
    """Return next observations in the order of the observations; raise UserError where their forms differ."""
    here, there = components(before), components(after)
    if isinstance(before, dict) != isinstance(after, dict) or set(here) != set(there):
        names = [", ".join(side) if isinstance(side, dict) else "one array" for side in (before, after)]
        raise name.refuse(f"the observations are {names[0]}, the next observations {names[1]}; give the same.")
    for key, part in here.items():
        if _shape(part) != _shape(there[key]):
            forms = [
                "tokens" if isinstance(one, Ragged) else f"of the shape {_shape(one)}" for one in (part, there[key])
            ]
            what = f"{name(key)} is" if key else "the observations are"
            raise name.refuse(f"{what} {forms[0]}, after the step {forms[1]}; give the same form.")
    return like(before, {key: there[key] for key in here})


def _shape(part: Any) -> tuple[int, ...] | None:
    return None if isinstance(part, Ragged) else part.shape[1:]


def _durations(values: Any, count: int, name: Naming) -> np.ndarray | None:
    if values is None:
        return None
    durations = single(values, count, "durations", name)
    if (durations <= 0).any():
        raise name.refuse(f"column {name('durations')} must be positive ({name.some(durations <= 0)}).")
    return durations


def _check_labels(steps: StepColumns, unit: str | None, count: int, name: Naming) -> None:
    """Raise UserError for columns to split by and sources that are not one value a step, or name units badly."""
    for key, column in steps.columns.items():
        if len(column) != count:
            raise name.refuse(f"column '{key}' has {len(column)} rows, the actions have {count}.")
        if unit == key:
            _check_units(column, f"column '{key}', the unit,", name)
        if np.ma.is_masked(column):
            raise name.refuse(f"column '{key}' has no value ({name.some(np.ma.getmaskarray(column))}); fill it.")
    sources = steps.sources
    if sources is not None:
        if np.shape(sources) != (count,):
            shape = np.shape(sources)
            raise name.refuse(f"column {name('sources')} has the shape {shape}; give one a step, of {count}.")
        if unit == "source":
            _check_units(sources, f"column {name('sources')}", name)


def _check_units(values: Any, what: str, name: Naming) -> None:
    """Raise UserError where what names units leaves some without a name, or makes one of several."""
    if problem := named(values, what, name.some):
        raise name.refuse(problem)
