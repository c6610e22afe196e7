"""Several logs of one form made one: what they must have in common, what holds for all, and what is left out."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.errors import UserError
from .columns import append_rows, components, like
from .dataset import Dataset
from .spec import ActionSpec, ObservationSpec, Spec

__all__ = ["concatenate"]

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


def concatenate(parts: Sequence[Dataset], labels: Sequence[str] | None = None) -> Dataset:
    """Put logs of one form after one another; `labels` become the `source` of their steps.

    Raises UserError when shapes, kinds, categories, action labels or bounds, reward names or declared reward ranges
    differ, or when the labels are not one a log. Counts of categories and lengths of tokens grow to the largest.
    What only some logs have is left out, and said in `notes`; missing durations are ones.
    """
    if not parts:
        raise UserError("concatenate needs at least one log.")
    if labels is not None and len(labels) != len(parts):
        raise UserError(f"concatenate got {len(labels)} labels for {len(parts)} logs; give one a log.")
    lost: list[str] = []
    spec = _spec(parts, lost)
    lengths = np.concatenate([part.lengths for part in parts])
    fields: dict[str, Any] = {
        **_observations(parts),
        **{f"store_{name}": _rows(parts, f"store_{name}") for name in ("actions", "rewards", "terminals", "timeouts")},
        "starts": np.concatenate([[0], np.cumsum(lengths)]),
        "chosen": np.arange(len(lengths)),
        "store_durations": _durations(parts),
        "store_log_propensities": _shared(parts, [part.log_propensities for part in parts], "propensities", lost),
        "store_sources": _sources(parts, labels, lost),
        "columns": _columns(parts, lost),
        "origin": " + ".join(part.origin for part in parts),
        "propensities_estimated": any(part.propensities_estimated for part in parts),
    }
    if spec.unit is not None and not (spec.unit in fields["columns"] or spec.unit == "source"):
        lost.append(f"The unit '{spec.unit}' is left out: it is no column of the whole.")
        spec = dataclasses.replace(spec, unit=None)
    if not set(spec.identity) <= set(fields["columns"]):
        lost.append(f"The identity ({', '.join(spec.identity)}) is left out: these are no columns of the whole.")
        spec = dataclasses.replace(spec, identity=())
    notes = (*dict.fromkeys(note for part in parts for note in part.notes), *lost)
    return Dataset(spec=dataclasses.replace(spec, longest=int(lengths.max())), notes=notes, **fields)


def _rows(parts: Sequence[Dataset], field: str) -> np.ndarray:
    """Join the rows of a field that each part shows."""
    return np.concatenate([getattr(part, field)[part.rows] for part in parts])


def _durations(parts: Sequence[Dataset]) -> np.ndarray | None:
    """Join the durations, ones where a part has none, unless no part has any."""
    if all(part.store_durations is None for part in parts):
        return None
    return np.concatenate([part.durations for part in parts])


def _observations(parts: Sequence[Dataset]) -> dict[str, Any]:
    """Join the stores of observations, and move the places in them by what lies before."""
    stores = [components(part.store_observations) for part in parts]
    joined = dict(stores[0])
    for store in stores[1:]:
        joined = {key: append_rows(rows, store[key]) for key, rows in joined.items()}
    sizes = [len(next(iter(store.values()))) for store in stores]
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    moved = list(zip(parts, offsets, strict=True))
    return {
        "store_observations": like(parts[0].store_observations, joined),
        "position": np.concatenate([part.position[part.rows] + offset for part, offset in moved]),
        "successor": np.concatenate([part.successor[part.rows] + offset for part, offset in moved]),
    }


def _shared(parts: Sequence[Dataset], columns: list[Any], what: str, lost: list[str]) -> np.ndarray | None:
    """Join a column that every part has; note it where only some have it."""
    without = [part.origin for part, column in zip(parts, columns, strict=True) if column is None]
    if not without:
        return np.concatenate(columns)
    if len(without) < len(parts):
        lost.append(f"The {what} are left out: not given in {', '.join(dict.fromkeys(without))}.")
    return None


def _sources(parts: Sequence[Dataset], labels: Sequence[str] | None, lost: list[str]) -> np.ndarray | None:
    """Return where the steps come from: the labels of the parts, else what the parts themselves say."""
    if labels is None:
        return _shared(parts, [part.sources for part in parts], "sources", lost)
    if any(part.store_sources is not None for part in parts):
        lost.append("The labels replace the sources.")
    return np.repeat(np.asarray(labels), [part.steps for part in parts])


def _columns(parts: Sequence[Dataset], lost: list[str]) -> dict[str, np.ndarray]:
    """Join the columns to split by that every part has; note the others."""
    names = sorted({name for part in parts for name in part.columns})
    common = [name for name in names if all(name in part.columns for part in parts)]
    if len(common) < len(names):
        lost.append(f"Columns that not every log has are left out: {', '.join(sorted({*names} - {*common}))}.")
    return {name: np.concatenate([np.asarray(part.columns[name])[part.rows] for part in parts]) for name in common}


def _spec(parts: Sequence[Dataset], lost: list[str]) -> Spec:
    """Return what holds for all parts; raise UserError where they mean different things by the same numbers."""
    first = parts[0].spec
    for part in parts[1:]:
        _check_forms(parts[0], part)
    for fact in ("horizon", "discount", "propensity_low", "unit", "identity"):
        values = list(dict.fromkeys(getattr(part.spec, fact) for part in parts))
        if len(values) > 1:
            lost.append(f"The logs differ in their {fact} ({', '.join(map(str, values))}); the first counts.")
    alike = [[part.spec.observation(component.name) for part in parts] for component in first.observations]
    widest = [_widest(specs) for specs in alike]
    names = [_names(parts, specs, lost) for specs in alike]
    actions = [part.spec.action for part in parts]
    action = dataclasses.replace(
        first.action,
        counts=tuple(map(max, zip(*(action.counts for action in actions), strict=True))),
        names=_names(parts, actions, lost),
    )
    observations = (dataclasses.replace(spec, names=own) for spec, own in zip(widest, names, strict=True))
    return dataclasses.replace(first, observations=tuple(observations), action=action)


def _check_forms(first: Dataset, other: Dataset) -> None:
    """Raise UserError for the first thing in which two logs have another form."""
    for what, form in FORMS.items():
        here, there = form(first.spec), form(other.spec)
        if here != there:
            raise UserError(
                f"{first.origin} and {other.origin} differ in their {what}: {_short(here)} and {_short(there)}."
            )


def _names(parts: Sequence[Dataset], specs: Sequence[ObservationSpec | ActionSpec], lost: list[str]) -> tuple[str, ...]:
    """Return the names of a component's or an action's columns in several logs, which must be the same."""
    pairs = [(part.origin, spec.names) for part, spec in zip(parts, specs, strict=True)]
    first, names = next(((origin, names) for origin, names in pairs if names), ("", ()))
    for origin, others in pairs:
        if others and others != names:
            raise UserError(
                f"{first} and {origin} differ in their columns or the order of them: {_short(names)} and "
                f"{_short(others)}."
            )
        if names and not others:
            lost.append(f"The columns of {origin} have no names and are taken by place.")
    return names


def _short(form: Any) -> str:
    text = str(form)
    return text if len(text) <= 200 else f"{text[:199]}…"


def _widest(specs: Sequence[ObservationSpec]) -> ObservationSpec:
    """Return one observation that holds the values of all."""
    first = specs[0]
    lows, highs = [spec.low for spec in specs], [spec.high for spec in specs]
    return dataclasses.replace(
        first,
        shape=max(spec.shape for spec in specs),
        dtype="float32" if len({spec.dtype for spec in specs}) > 1 else first.dtype,
        low=None if None in lows else tuple(map(min, zip(*lows, strict=True))),
        high=None if None in highs else tuple(map(max, zip(*highs, strict=True))),
        count=max(spec.count for spec in specs),
    )
