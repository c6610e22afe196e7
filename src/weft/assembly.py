"""From arrays to the columns of a log: every check of the data, and the bookkeeping of episodes.

`assemble` takes flat arrays and returns the fields of a `Dataset`. Whatever is wrong is raised as one sentence that
names the origin (a file), the column as the user calls it, and the first rows concerned, counted from 0. What was
left out or completed is said in `notes`, never done silently.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .columns import Ragged
from .errors import UserError
from .spec import ActionSpec, ObservationSpec, Spec

__all__ = ["assemble", "join"]


class Naming:
    """How the user calls the parts of a log, for sentences: `name("rewards")` is `column 'click'` of a table."""

    def __init__(self, origin: str, names: Mapping[str, str] | None) -> None:
        self.origin, self.names = origin, dict(names or {})

    def __call__(self, part: str) -> str:
        return f"'{self.names.get(part, part)}'"

    def refuse(self, sentence: str) -> UserError:
        return UserError(f"{self.origin}: {sentence}")


def some(mask: np.ndarray) -> str:
    """Name the first rows of a mask: `3 rows, first 4, 8, 15`."""
    rows = np.flatnonzero(mask)
    first = ", ".join(str(row) for row in rows[:5])
    return f"{len(rows)} row{'s' if len(rows) != 1 else ''}, first {first}" if len(rows) > 1 else f"row {first}"


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
    action_count: int | None = None,
    reward_range: tuple[Any, Any] | None = None,
    horizon: int | None = None,
    discount: float | None = None,
    unit: str | None = None,
    boundaries: Any = None,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Check flat arrays of N steps and return the fields of a `Dataset`.

    observations: `(N, …)` array, dictionary of such, or lists of token sequences. next_observations: the same form;
    without it, the observation after step i is the one of step i + 1, and the last step of an episode that did not
    end in a terminal is kept only as its last observation. actions: `(N, act)` floats, `(N,)` integers or labels,
    `(N, k)` integers. rewards: `(N,)` or a dictionary of components. propensities: probability (discrete) or density
    (continuous). boundaries: True at the last step of an episode; by default `terminals | timeouts`; a terminal that
    is not at a boundary is an error unless `terminal_inside="keep"`. kinds, categories: kind and category names of
    observation components. reward_range: `(low, high)`, numbers or one per component.

    Raises UserError for unequal lengths, values that are not finite, actions outside their bounds or of mixed types,
    propensities outside (0, 1] (discrete) or not positive (continuous), empty logs, terminals inside an episode.
    """
    name = Naming(origin, names)
    count = len(actions)
    if count == 0:
        raise name.refuse("there are no steps; give a log with at least one.")
    reward, reward_names = _rewards(rewards, count, name)
    terminal = _flags(terminals, count, "terminals", name)
    timeout = np.zeros(count, bool) if timeouts is None else _flags(timeouts, count, "timeouts", name)
    both = terminal & timeout
    if both.any():
        notes = (*notes, f"{int(both.sum())} steps are both terminal and timed out; they count as terminal.")
        timeout = timeout & ~terminal
    seen = _observations(observations, count, "observations", name)
    after = None if next_observations is None else _observations(next_observations, count, "next_observations", name)

    last = terminal | timeout if boundaries is None else _flags(boundaries, count, "boundaries", name)
    inside = terminal & ~last
    if inside.any() and terminal_inside != "keep":
        raise name.refuse(
            f"column {name('terminals')} is true inside an episode ({some(inside)}); end the episode there, or pass "
            "terminal_inside='keep' (--terminal-inside keep) if steps after a terminal are meant."
        )
    last = last.copy()
    if not last[-1]:
        last[-1] = True
        notes = (*notes, "The last episode ends with the log; it counts as timed out.")
    timeout = timeout | (last & ~terminal)

    action, action_spec = _actions(actions, count, action_bounds, action_labels, action_count, name)
    log_propensity = _propensities(propensities, count, action_spec, name)
    duration = None if durations is None else _finite(durations, count, "durations", name)
    if duration is not None and (duration <= 0).any():
        raise name.refuse(f"column {name('durations')} must be positive ({some(duration <= 0)}).")

    keep = np.ones(count, bool)
    if after is None:
        keep = ~(timeout & last)
        alone = last & ~keep & np.concatenate([[True], last[:-1]])
        if alone.any():
            raise name.refuse(
                f"an episode of zero length: its only row is a timeout without a next observation ({some(alone)}); "
                "give next observations, or drop the row."
            )
        dropped = int((~keep).sum())
        if dropped:
            notes = (*notes, f"{dropped} timed-out steps without a next observation are kept as last observations only.")
    fields = _place(seen, after, terminal, timeout, last, keep)
    sizes = np.diff(fields["starts"])
    extra = {key: np.asarray(value)[keep] for key, value in (columns or {}).items()}
    for key, value in extra.items():
        if len(value) != keep.sum():
            raise name.refuse(f"column '{key}' has {len(value)} rows, the actions have {count}.")
    low, high = _range(reward_range, len(reward_names), name)
    spec = Spec(
        observations=_observation_specs(seen, kinds or {}, categories or {}),
        action=action_spec,
        rewards=reward_names,
        reward_low=low,
        reward_high=high,
        horizon=horizon,
        discount=discount,
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
        "notes": tuple(notes),
        **fields,
    }


def _place(seen: Any, after: Any, terminal: np.ndarray, timeout: np.ndarray, last: np.ndarray, keep: np.ndarray) -> dict:
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
    return np.concatenate([first, second])


def _equal_rows(after: Any, seen: Any) -> np.ndarray:
    parts = [(after[key], seen[key]) for key in seen] if isinstance(seen, dict) else [(after, seen)]
    same = None
    for following, current in parts:
        if isinstance(current, Ragged):
            equal = np.array([np.array_equal(following[i], current[i + 1]) for i in range(len(current) - 1)] + [False])
        else:
            equal = np.zeros(len(current), bool)
            equal[:-1] = (following[:-1] == current[1:]).reshape(len(current) - 1, -1).all(1)
        same = equal if same is None else same & equal
    assert same is not None
    return same


def _finite(values: Any, count: int, part: str, name: Naming) -> np.ndarray:
    try:
        found = np.asarray(values, np.float32)
    except (TypeError, ValueError):
        raise name.refuse(f"column {name(part)} holds values that are not numbers.") from None
    if len(found) != count:
        raise name.refuse(f"column {name(part)} has {len(found)} rows, the actions have {count}.")
    bad = ~np.isfinite(found).reshape(count, -1).all(1)
    if bad.any():
        raise name.refuse(f"column {name(part)} is NaN or infinite ({some(bad)}); mend or drop these rows.")
    return found


def _rewards(rewards: Any, count: int, name: Naming) -> tuple[np.ndarray, tuple[str, ...]]:
    if isinstance(rewards, Mapping):
        if not rewards:
            raise name.refuse("there is no reward component.")
        made = [_finite(values, count, key if key in name.names else str(key), name) for key, values in rewards.items()]
        return np.stack(made, 1), tuple(rewards)
    made = _finite(rewards, count, "rewards", name)
    if made.ndim > 2 or (made.ndim == 2 and made.shape[1] != 1):
        raise name.refuse(f"{name('rewards')} has shape {made.shape}; give several rewards as a dictionary of columns.")
    return made.reshape(count, 1), ("reward",)


def _flags(values: Any, count: int, part: str, name: Naming) -> np.ndarray:
    found = np.asarray(values)
    if found.dtype != bool:
        good = np.isin(found, [0, 1]) if found.dtype.kind in "iuf" else np.zeros(len(found), bool)
        if not good.all():
            raise name.refuse(f"column {name(part)} must hold true or false, 0 or 1 ({some(~good)}).")
        found = found.astype(bool)
    found = found.reshape(-1)
    if len(found) != count:
        raise name.refuse(f"column {name(part)} has {len(found)} rows, the actions have {count}.")
    return found


def _observations(values: Any, count: int, part: str, name: Naming) -> Any:
    if isinstance(values, Mapping):
        return {str(key): _observation(value, count, str(key), name) for key, value in values.items()}
    return _observation(values, count, part, name)


def _observation(values: Any, count: int, part: str, name: Naming) -> Any:
    if isinstance(values, Ragged):
        found: Any = values
    elif isinstance(values, (list, tuple)) and len({np.shape(value) for value in values}) > 1:
        found = Ragged.from_rows(values)
    else:
        found = np.asarray(values)
    if len(found) != count:
        raise name.refuse(f"column {name(part)} has {len(found)} rows, the actions have {count}.")
    if isinstance(found, Ragged):
        return found
    if found.dtype == object or found.dtype.kind in "USOmM":
        raise name.refuse(f"column {name(part)} holds {found.dtype} values; observations must be numbers.")
    if found.dtype.kind == "f":
        bad = ~np.isfinite(found).reshape(count, -1).all(1)
        if bad.any():
            raise name.refuse(f"column {name(part)} is NaN or infinite ({some(bad)}); mend or drop these rows.")
        found = found.astype(np.float32, copy=False)
    elif found.dtype == bool:
        found = found.astype(np.float32)
    elif found.dtype != np.uint8 or found.ndim < 3:
        found = found.astype(np.int32)
    return found


def _observation_specs(seen: Any, kinds: Mapping[str, str], categories: Mapping[str, Sequence[str]]) -> tuple:
    parts = seen if isinstance(seen, dict) else {"": seen}
    made = []
    for key, part in parts.items():
        if isinstance(part, Ragged):
            longest = int(np.diff(part.offsets).max(initial=0))
            vocabulary = int(part.values.max(initial=0)) + 1
            made.append(ObservationSpec((longest,), "int32", "tokens", key, count=vocabulary))
            continue
        kind = kinds.get(key, "image" if part.dtype == np.uint8 and part.ndim in (3, 4) else "vector")
        count = int(part.max(initial=0)) + 1 if kind in ("category", "tokens") else 0
        labels = tuple(str(label) for label in categories.get(key, ()))
        low = high = None
        if kind == "vector" and part.dtype.kind == "f" and part.ndim == 2:
            low, high = tuple(part.min(0).tolist()), tuple(part.max(0).tolist())
        made.append(ObservationSpec(part.shape[1:], str(part.dtype), kind, key, low, high, max(count, len(labels)), labels))
    return tuple(made)


def _actions(
    actions: Any, count: int, bounds: Any, labels: Sequence[str], number: int | None, name: Naming
) -> tuple[np.ndarray, ActionSpec]:
    found = np.asarray(actions)
    if found.dtype.kind in "USO":
        kinds = {type(value).__name__ for value in found.reshape(-1).tolist()}
        kinds = {"text" if kind == "str" else kind for kind in kinds}
        if len(kinds) > 1:
            odd = np.array([not isinstance(value, type(found.reshape(-1)[0])) for value in found.reshape(-1).tolist()])
            raise name.refuse(
                f"column {name('actions')} mixes action types ({', '.join(sorted(kinds))}; {some(odd)} differ from "
                "the first row); make them all numbers or all labels."
            )
        if kinds == {"text"}:
            known = tuple(labels) or tuple(np.unique(found.astype(str)).tolist())
            code = {label: index for index, label in enumerate(known)}
            strange = np.array([label not in code for label in found.astype(str).tolist()])
            if strange.any():
                raise name.refuse(f"column {name('actions')} holds labels that are not declared ({some(strange)}).")
            found = np.array([code[label] for label in found.astype(str).tolist()])
            return found.astype(np.int32), ActionSpec("discrete", (), "int32", counts=(len(known),), labels=known)
        found = np.asarray(found.tolist())
    if found.dtype == bool:
        found = found.astype(np.int32)
    if found.dtype.kind in "iu":
        return _integer_actions(found, labels, number, name)
    if found.dtype.kind != "f":
        raise name.refuse(f"column {name('actions')} holds {found.dtype} values; actions must be numbers or labels.")
    found = _finite(found, count, "actions", name).reshape(count, -1)
    low, high = (None, None) if bounds is None else (np.broadcast_to(np.asarray(b, np.float32), found.shape[1:]) for b in bounds)
    if low is not None and high is not None:
        outside = ((found < low - 1e-6) | (found > high + 1e-6)).any(1)
        if outside.any():
            raise name.refuse(f"column {name('actions')} is outside its bounds [{low.tolist()}, {high.tolist()}] ({some(outside)}).")
    return found, ActionSpec(
        "continuous",
        found.shape[1:],
        "float32",
        None if low is None else tuple(low.tolist()),
        None if high is None else tuple(high.tolist()),
    )


def _integer_actions(found: np.ndarray, labels: Sequence[str], number: int | None, name: Naming) -> tuple[np.ndarray, ActionSpec]:
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if (found < 0).any():
        below = (found < 0).reshape(len(found), -1).any(1)
        raise name.refuse(f"column {name('actions')} is outside its bounds: a choice is counted from 0 ({some(below)}).")
    if found.ndim == 1:
        size = number or max(int(found.max()) + 1, len(labels))
        if (found >= size).any():
            raise name.refuse(f"column {name('actions')} is outside its bounds [0, {size - 1}] ({some(found >= size)}).")
        return found.astype(np.int32), ActionSpec("discrete", (), "int32", counts=(size,), labels=tuple(labels))
    counts = tuple(int(part) + 1 for part in found.max(0))
    return found.astype(np.int32), ActionSpec("multidiscrete", found.shape[1:], "int32", counts=counts)


def _propensities(values: Any, count: int, action: ActionSpec, name: Naming) -> np.ndarray | None:
    if values is None:
        return None
    found = _finite(values, count, "propensities", name).reshape(-1)
    low = found <= 0
    if low.any():
        raise name.refuse(f"column {name('propensities')} must be positive ({some(low)}); it is a probability or density.")
    if action.kind != "continuous" and (found > 1).any():
        raise name.refuse(
            f"column {name('propensities')} is a probability of a discrete action and may not exceed 1 ({some(found > 1)})."
        )
    return np.log(found).astype(np.float32)


def _range(bounds: Any, size: int, name: Naming) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    if bounds is None:
        return None, None
    low, high = (tuple(np.broadcast_to(np.asarray(bound, float), (size,)).tolist()) for bound in bounds)
    if any(a > b for a, b in zip(low, high, strict=True)):
        raise name.refuse(f"the declared reward range ({low}, {high}) is empty.")
    return low, high


def join(parts: Sequence[Any], labels: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the fields of one `Dataset` that holds the given ones (whole views) after one another."""
    if not parts:
        raise UserError("concatenate needs at least one log.")
    first = parts[0].spec
    for part in parts[1:]:
        for what, here, there in (
            ("observations", _forms(first), _forms(part.spec)),
            ("actions", _action_form(first), _action_form(part.spec)),
            ("rewards", first.rewards, part.spec.rewards),
        ):
            if here != there:
                raise UserError(f"{parts[0].origin} and {part.origin} differ in their {what}: {here} and {there}.")
    fields: dict[str, Any] = {"origin": " + ".join(part.origin for part in parts)}
    rows = [part.rows for part in parts]
    for key in ("store_actions", "store_rewards", "store_terminals", "store_timeouts"):
        fields[key] = np.concatenate([getattr(part, key)[row] for part, row in zip(parts, rows, strict=True)])
    for key in ("store_durations", "store_log_propensities"):
        given = [getattr(part, key) for part in parts]
        fields[key] = None if any(g is None for g in given) else np.concatenate([g[r] for g, r in zip(given, rows, strict=True)])
    sizes = [len(next(iter(p.store_observations.values())) if isinstance(p.store_observations, dict) else p.store_observations) for p in parts]
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    for key in ("position", "successor"):
        fields[key] = np.concatenate([getattr(p, key)[r] + o for p, r, o in zip(parts, rows, offsets, strict=True)])
    stores = [part.store_observations for part in parts]
    stored = stores[0]
    for other in stores[1:]:
        stored = _map(_append, stored, other)
    fields["store_observations"] = stored
    lengths = np.concatenate([part.lengths for part in parts])
    fields["starts"] = np.concatenate([[0], np.cumsum(lengths)])
    fields["chosen"] = np.arange(len(lengths))
    shared = set.intersection(*(set(part.columns) for part in parts))
    fields["columns"] = {k: np.concatenate([np.asarray(p.columns[k])[r] for p, r in zip(parts, rows, strict=True)]) for k in sorted(shared)}
    if labels is not None:
        fields["store_sources"] = np.repeat(np.asarray(labels), [part.steps for part in parts])
    elif all(part.store_sources is not None for part in parts):
        fields["store_sources"] = np.concatenate([p.store_sources[r] for p, r in zip(parts, rows, strict=True)])
    fields["notes"] = tuple(note for part in parts for note in part.notes)
    counts = tuple(max(c) for c in zip(*(part.spec.action.counts for part in parts), strict=True))
    action = dataclasses.replace(first.action, counts=counts)
    fields["spec"] = dataclasses.replace(first, action=action, longest=int(lengths.max()))
    return fields


def _forms(spec: Spec) -> Any:
    return tuple((part.name, part.kind, part.shape if part.kind != "tokens" else "any") for part in spec.observations)


def _action_form(spec: Spec) -> Any:
    return spec.action.kind, spec.action.shape, spec.action.labels
