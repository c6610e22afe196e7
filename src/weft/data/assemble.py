"""From arrays to the columns of a log: every check of the data, and the bookkeeping of episodes.

`assemble` takes flat arrays and returns the fields of a `Dataset`. Whatever is wrong is raised as one sentence that
names the origin (a file), the column as the user calls it, and the first rows concerned, counted from 0. What was
left out or completed is said in `notes`, never done silently.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.errors import UserError, nearest
from .categories import categories_of
from .choices import action_columns
from .columns import Ragged
from .narrow import named
from .spec import ObservationSpec, Spec
from .validate import (
    Naming,
    flags,
    log_propensities,
    observation_columns,
    observation_specs,
    reward_bounds,
    reward_columns,
    single,
)

__all__ = ["ENDS_ASSUMED", "assemble", "join"]

ENDS_ASSUMED = (
    "No column says how episodes end; each is taken to end in a terminal; pass terminal=COLUMN or ends='timeout' if "
    "they were cut."
)
"""The note of a log whose ends nobody has told; `inspect` warns where it stands."""


def assemble(
    observations: Any,
    actions: Any,
    rewards: Any,
    terminals: Any,
    timeouts: Any = None,
    *,
    next_observations: Any = None,
    propensities: Any = None,
    durations: Any = None,
    sources: Any = None,
    columns: Mapping[str, Any] | None = None,
    origin: str = "arrays",
    names: Mapping[str, str] | None = None,
    kinds: Mapping[str, str] | None = None,
    categories: Mapping[str, Sequence[str]] | None = None,
    terminal_inside: str = "error",
    action_bounds: tuple[Any, Any] | None = None,
    action_labels: Sequence[str] = (),
    action_count: int | Sequence[int] | None = None,
    reward_range: tuple[Any, Any] | None = None,
    horizon: int | None = None,
    discount: float | None = None,
    propensity_low: float | None = None,
    unit: str | None = None,
    boundaries: Any = None,
    row_numbers: Any = None,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Check flat arrays of N steps and return the fields of a `Dataset`.

    observations: `(N, …)` array, dictionary of such, or lists of token sequences. next_observations: the same form;
    without it, the observation after step i is the one of step i + 1, and the last step of an episode that did not
    end in a terminal is kept only as its last observation. actions: `(N, act)` floats, `(N,)` integers or labels,
    `(N, k)` integers. action_count: how many choices there are (one number a column, where there are several); with
    it, whole floats are choices, and with action_bounds integers are continuous. rewards: `(N,)` or a dictionary of
    components. propensities: probability (discrete) or density (continuous). boundaries: True at the last step of an
    episode; by default `terminals | timeouts`; a terminal that is not at a boundary is an error unless
    `terminal_inside="keep"`. kinds, categories: kind and category names of observation components. reward_range:
    `(low, high)`, numbers or one per component. propensity_low: the least chance that any choice had in any decision,
    those that were never made too. row_numbers: how the user counts the rows, for sentences, where a reader has sorted
    them.

    Raises UserError for unequal lengths, values that are not finite, actions outside their bounds or of mixed types,
    propensities outside (0, 1] (discrete) or not positive (continuous), empty logs, terminals inside an episode.
    """
    name = Naming(origin, names, row_numbers)
    if not isinstance(actions, (list, tuple)) and np.ndim(actions) == 0:
        raise name.refuse(f"column {name('actions')} is one value; give one action a step.")
    count = len(actions)
    if count == 0:
        raise name.refuse("there are no steps; give a log with at least one.")
    reward, reward_names = reward_columns(rewards, count, name)
    terminal = flags(terminals, count, "terminals", name)
    timeout = np.zeros(count, bool) if timeouts is None else flags(timeouts, count, "timeouts", name)
    both = terminal & timeout
    if both.any():
        notes = (*notes, f"{int(both.sum())} steps are both terminal and timed out; they count as terminal.")
        timeout = timeout & ~terminal
    kinds = dict(kinds or {})
    seen = observation_columns(observations, count, "observations", name, kinds)
    parts = list(seen) if isinstance(seen, dict) else [""]
    for key in kinds:
        if key not in parts:
            raise name.refuse(f"a kind is given for '{key}', which is no observation.{nearest(key, parts)}")
    after = None
    if next_observations is not None:
        after = observation_columns(next_observations, count, "next_observations", name, kinds)
        after = _same_form(seen, after, name)
    seen, after, categories = categories_of(seen, after, kinds, categories or {}, name)

    last = terminal | timeout if boundaries is None else flags(boundaries, count, "boundaries", name)
    inside = terminal & ~last
    if inside.any() and terminal_inside != "keep":
        raise name.refuse(
            f"column {name('terminals')} is true inside an episode ({name.some(inside)}); end the episode there, "
            "or pass terminal_inside='keep' (--terminal-inside keep) if steps after a terminal are meant."
        )
    cut = timeout & ~last
    if cut.any():
        raise name.refuse(f"column {name('timeouts')} is true inside an episode ({name.some(cut)}); end it there.")
    last = last.copy()
    if not last[-1]:
        last[-1] = True
        notes = (*notes, "The last episode ends with the log; it counts as timed out.")
    timeout = timeout | (last & ~terminal)

    action, action_spec = action_columns(actions, count, action_bounds, action_labels, action_count, name)
    log_propensity = log_propensities(propensities, count, action_spec, name)
    duration = None if durations is None else single(durations, count, "durations", name)
    if duration is not None and (duration <= 0).any():
        raise name.refuse(f"column {name('durations')} must be positive ({name.some(duration <= 0)}).")

    keep = np.ones(count, bool)
    if after is None:
        keep = ~(timeout & last)
        alone = last & ~keep & np.concatenate([[True], last[:-1]])
        if alone.any():
            raise name.refuse(
                f"an episode of zero length: its only row is a timeout without a next observation "
                f"({name.some(alone)}); give next observations, or drop the row."
            )
        dropped = int((~keep).sum())
        if dropped:
            notes = (
                *notes,
                f"{dropped} timed-out steps without a next observation are kept as last observations only.",
            )
    fields = _place(seen, after, terminal, timeout, last, keep, name)
    sizes = np.diff(fields["starts"])
    for key, value in (columns or {}).items():
        if len(value) != count:
            raise name.refuse(f"column '{key}' has {len(value)} rows, the actions have {count}.")
        if unit == key and (refused := named(value, f"column '{key}', the unit,", name.some)):
            raise name.refuse(refused)
        if np.ma.is_masked(value):
            raise name.refuse(f"column '{key}' has no value ({name.some(np.ma.getmaskarray(value))}); fill it.")
    if sources is not None and np.shape(sources) != (count,):
        raise name.refuse(f"column {name('sources')} has the shape {np.shape(sources)}; give one a step, of {count}.")
    if sources is not None and unit == "source" and (refused := named(sources, f"column {name('sources')}", name.some)):
        raise name.refuse(refused)
    extra = {key: np.asarray(value)[keep] for key, value in (columns or {}).items()}
    low, high = reward_bounds(reward_range, len(reward_names), name)
    spec = Spec(
        observations=observation_specs(fields["store_observations"], kinds, categories, origin),
        action=action_spec,
        rewards=reward_names,
        reward_low=low,
        reward_high=high,
        horizon=horizon,
        discount=discount,
        propensity_low=propensity_low,
        unit=unit,
        longest=int(sizes.max()),
    )
    return {
        "spec": spec,
        "store_actions": action[keep],
        "store_rewards": reward[keep],
        "chosen": np.arange(len(sizes)),
        "store_durations": None if duration is None else duration[keep],
        "store_log_propensities": None if log_propensity is None else log_propensity[keep],
        "store_sources": None if sources is None else np.asarray(sources)[keep],
        "columns": extra,
        "origin": origin,
        "notes": (*notes, *name.notes),
        **fields,
    }


def _same_form(seen: Any, after: Any, name: Naming) -> Any:
    """Return next observations in the order of the observations; raise UserError where their forms differ."""
    if isinstance(seen, dict) != isinstance(after, dict) or (isinstance(seen, dict) and set(seen) != set(after)):
        shown = [", ".join(part) if isinstance(part, dict) else "one array" for part in (seen, after)]
        raise name.refuse(f"the observations are {shown[0]}, the next observations {shown[1]}; give the same.")
    pairs = {key: (seen[key], after[key]) for key in seen} if isinstance(seen, dict) else {"": (seen, after)}
    for key, (here, there) in pairs.items():
        forms = [None if isinstance(part, Ragged) else part.shape[1:] for part in (here, there)]
        if forms[0] != forms[1]:
            shown = ["tokens" if form is None else f"of the shape {form}" for form in forms]
            what = f"{name(key)} is" if key else "the observations are"
            raise name.refuse(f"{what} {shown[0]}, after the step {shown[1]}; give the same form.")
    return {key: after[key] for key in seen} if isinstance(seen, dict) else after


def _place(
    seen: Any,
    after: Any,
    terminal: np.ndarray,
    timeout: np.ndarray,
    last: np.ndarray,
    keep: np.ndarray,
    name: Naming,
) -> dict:
    """Lay observations out once: T + 1 rows an episode where the last one is known."""
    count = len(last)
    position = np.arange(count)
    successor = np.minimum(position + 1, count - 1)
    if after is None:
        successor = np.where(last, position, successor)
        rows, stored = keep, seen
        # a kept step right before a dropped timeout leads to the dropped step's observation
    else:
        follows = _equal_rows(after, seen)  # next observation of i is the observation of i + 1
        broken = ~follows & ~(terminal & last)
        extra = np.flatnonzero(broken)
        if (broken & ~last).any():
            name.note(
                f"The next observation differs from the observation of the following row inside episodes "
                f"({name.some(broken & ~last)}); both are kept. Check the order of rows and the ends of episodes."
            )
        successor = np.where(last & terminal & ~broken, position, successor)
        successor[extra] = count + np.arange(len(extra))
        ended = np.flatnonzero(last & terminal)
        successor[ended] = count + len(extra) + np.arange(len(ended))
        added = np.concatenate([extra, ended])
        stored = _map(lambda a, b: _append(a, b[added]), seen, after)
        rows = keep
    terminal, timeout, last = terminal.copy(), timeout.copy(), last.copy()
    dropped = np.flatnonzero(~rows)
    last[dropped - 1] = True
    timeout[dropped - 1] = True
    ends = np.flatnonzero(last[rows]) + 1
    return {
        "store_observations": stored,
        "store_terminals": terminal[rows],
        "store_timeouts": timeout[rows],
        "position": position[rows].astype(np.int64),
        "successor": successor[rows].astype(np.int64),
        "starts": np.concatenate([[0], ends]).astype(np.int64),
    }


def _map(function: Any, *parts: Any) -> Any:
    if isinstance(parts[0], dict):
        return {key: function(*(part[key] for part in parts)) for key in parts[0]}
    return function(*parts)


def _append(first: Any, second: Any) -> Any:
    if isinstance(first, Ragged):
        return Ragged.from_rows([*(first[i] for i in range(len(first))), *(second[i] for i in range(len(second)))])
    joined = np.concatenate([first, second])
    return joined.astype(np.float32) if joined.dtype == np.float64 else joined  # of whole numbers and floats


def _equal_rows(after: Any, seen: Any) -> np.ndarray:
    parts = [(after[key], seen[key]) for key in seen] if isinstance(seen, dict) else [(after, seen)]
    same = None
    for following, current in parts:
        if isinstance(current, Ragged):
            equal = np.array([np.array_equal(following[i], current[i + 1]) for i in range(len(current) - 1)] + [False])
        else:
            equal = np.zeros(len(current), bool)
            equal[:-1] = (following[:-1] == current[1:]).all(tuple(range(1, current.ndim)))
        same = equal if same is None else same & equal
    assert same is not None
    return same


def join(parts: Sequence[Any], labels: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the fields of one `Dataset` that holds the given ones after one another.

    Durations count as ones where a part has none. What only some parts have (propensities, sources, columns) is left
    out, and `notes` say so.
    """
    if not parts:
        raise UserError("concatenate needs at least one log.")
    if labels is not None and len(labels) != len(parts):
        raise UserError(f"concatenate got {len(labels)} labels for {len(parts)} logs; give one a log.")
    lost: list[str] = []
    spec = _joined_spec(parts, lost)
    rows = [part.rows for part in parts]
    fields: dict[str, Any] = {"origin": " + ".join(part.origin for part in parts)}
    for key in ("store_actions", "store_rewards", "store_terminals", "store_timeouts"):
        fields[key] = np.concatenate([getattr(part, key)[row] for part, row in zip(parts, rows, strict=True)])
    timed = any(part.store_durations is not None for part in parts)
    fields["store_durations"] = np.concatenate([part.durations for part in parts]) if timed else None
    fields["store_log_propensities"] = _shared(parts, [part.log_propensities for part in parts], "propensities", lost)
    fields["store_sources"] = _shared(parts, [part.sources for part in parts], "sources", lost)
    fields["propensities_estimated"] = any(part.propensities_estimated for part in parts)
    if labels is not None:
        if any(part.store_sources is not None for part in parts):
            lost = [*(note for note in lost if not note.startswith("The sources")), "The labels replace the sources."]
        fields["store_sources"] = np.repeat(np.asarray(labels), [part.steps for part in parts])
    every = sorted({key for part in parts for key in part.columns})
    common = [key for key in every if all(key in part.columns for part in parts)]
    if len(common) < len(every):
        lost.append(f"Columns that not every log has are left out: {', '.join(sorted({*every} - {*common}))}.")
    fields["columns"] = {
        key: np.concatenate([np.asarray(part.columns[key])[row] for part, row in zip(parts, rows, strict=True)])
        for key in common
    }
    stores = [part.store_observations for part in parts]
    sizes = [len(next(iter(store.values())) if isinstance(store, dict) else store) for store in stores]
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    for key in ("position", "successor"):
        fields[key] = np.concatenate([getattr(p, key)[r] + o for p, r, o in zip(parts, rows, offsets, strict=True)])
    stored = stores[0]
    for other in stores[1:]:
        stored = _map(_append, stored, other)
    fields["store_observations"] = stored
    lengths = np.concatenate([part.lengths for part in parts])
    fields["starts"] = np.concatenate([[0], np.cumsum(lengths)])
    fields["chosen"] = np.arange(len(lengths))
    if spec.unit is not None and not (spec.unit in fields["columns"] or spec.unit == "source"):
        lost.append(f"The unit '{spec.unit}' is left out: it is no column of the whole.")
        spec = dataclasses.replace(spec, unit=None)
    fields["notes"] = (*dict.fromkeys(note for part in parts for note in part.notes), *lost)
    fields["spec"] = dataclasses.replace(spec, longest=int(lengths.max()))
    return fields


def _shared(parts: Sequence[Any], given: list[Any], what: str, lost: list[str]) -> np.ndarray | None:
    """Join a column that every part has; note it where only some have it."""
    without = [part.origin for part, column in zip(parts, given, strict=True) if column is None]
    if without:
        if len(without) < len(parts):
            lost.append(f"The {what} are left out: not given in {', '.join(dict.fromkeys(without))}.")
        return None
    return np.concatenate(given)


def _joined_spec(parts: Sequence[Any], lost: list[str]) -> Spec:
    """Return what holds for all parts; raise UserError where they mean different things by the same numbers."""
    first = parts[0].spec
    for part in parts[1:]:
        for what, form in FORMS.items():
            here, there = form(first), form(part.spec)
            if here != there:
                shown = f"{_short(here)} and {_short(there)}"
                raise UserError(f"{parts[0].origin} and {part.origin} differ in their {what}: {shown}.")
    for fact in ("horizon", "discount", "propensity_low", "unit"):
        told = list(dict.fromkeys(getattr(part.spec, fact) for part in parts))
        if len(told) > 1:
            lost.append(f"The logs differ in their {fact} ({', '.join(map(str, told))}); the first counts.")
    names = [part.name for part in first.observations]
    seen = tuple(_widest([part.spec.observation(name) for part in parts]) for name in names)
    counts = tuple(max(c) for c in zip(*(part.spec.action.counts for part in parts), strict=True))
    columns = [_joined_names(parts, [part.spec.observation(name) for part in parts], lost) for name in names]
    seen = tuple(dataclasses.replace(part, names=told) for part, told in zip(seen, columns, strict=True))
    acted = _joined_names(parts, [part.spec.action for part in parts], lost)
    action = dataclasses.replace(first.action, counts=counts, names=acted)
    return dataclasses.replace(first, observations=seen, action=action)


def _joined_names(parts: Sequence[Any], specs: Sequence[Any], lost: list[str]) -> tuple[str, ...]:
    """Return the names of a component's or an action's columns in several logs, which must be the same."""
    told = [(part.origin, spec.names) for part, spec in zip(parts, specs, strict=True)]
    first, names = next(((origin, names) for origin, names in told if names), ("", ()))
    for origin, others in told:
        if others and others != names:
            shown = f"{_short(names)} and {_short(others)}"
            raise UserError(f"{first} and {origin} differ in their columns or the order of them: {shown}.")
        if names and not others:
            lost.append(f"The columns of {origin} have no names and are taken by place.")
    return names


def _short(form: Any) -> str:
    text = str(form)
    return text if len(text) <= 200 else f"{text[:199]}…"


def _widest(alike: Sequence[ObservationSpec]) -> ObservationSpec:
    """Return one observation that holds the values of all."""
    first = alike[0]
    lows, highs = [part.low for part in alike], [part.high for part in alike]
    return dataclasses.replace(
        first,
        shape=max(part.shape for part in alike),
        dtype="float32" if len({part.dtype for part in alike}) > 1 else first.dtype,
        low=None if None in lows else tuple(map(min, zip(*lows, strict=True))),
        high=None if None in highs else tuple(map(max, zip(*highs, strict=True))),
        count=max(part.count for part in alike),
    )


FORMS: dict[str, Callable[[Spec], Any]] = {
    "observations": lambda spec: tuple(
        sorted((part.name, part.kind, "any" if part.kind == "tokens" else part.shape) for part in spec.observations)
    ),
    "categories": lambda spec: {part.name: part.categories for part in spec.observations},
    "actions": lambda spec: (spec.action.kind, spec.action.shape),
    "action labels": lambda spec: spec.action.labels,
    "action bounds": lambda spec: (spec.action.low, spec.action.high),
    "rewards": lambda spec: spec.rewards,
    "declared reward ranges": lambda spec: (spec.reward_low, spec.reward_high),
}
"""What logs must have in common to be joined, in the words of the sentence that refuses."""
