"""The door of a policy: what it may be shown, by whom, and where it may act.

Whatever comes from outside (a caller, a log, a simulator) is looked at here on the host, and what would mean something
else to the policy than what it was trained on is refused in one sentence. Compiled programs are not touched.
"""

import functools
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, PyTree

from ..core.errors import UserError, nearest
from ..data.spec import ActionSpec, ObservationSpec, Spec

__all__ = [
    "admitted",
    "aligned",
    "check_action",
    "check_columns",
    "check_observation",
    "check_reach",
    "check_same",
    "limits_of",
    "slack",
]


def check_same(trained: Spec, shown: Spec, where: str) -> None:
    """Raise UserError when observations or actions of another spec would mean something else to a policy than those
    that it was trained on. Labels and names of columns are compared where both sides have them; observed columns may
    come in another order (`aligned`). Where one side has no names its columns go by place, which is said once.
    """
    here, there = (sorted(_form(part) for part in spec.observations) for spec in (shown, trained))
    if here != there:
        raise UserError(f"{where} shows observations {here}, the policy was trained on {there}.")
    for part in shown.observations:
        alike = trained.observation(part.name)
        _check_labels(alike.categories, part.categories, f"{where}: observation '{part.name}'")
        check_columns(alike.names, part.names, where, "observation")
    theirs, ours = shown.action, trained.action
    if (theirs.kind, theirs.size) != (ours.kind, ours.size):
        raise UserError(
            f"{where} takes {theirs.kind} actions of size {theirs.size}, the policy gives {ours.kind} ones of size "
            f"{ours.size}."
        )
    _check_labels(ours.labels, theirs.labels, f"{where}: the action")
    check_columns(ours.names, theirs.names, where, "action")
    if ours.names and theirs.names and ours.names != theirs.names:
        raise UserError(
            f"{where} has the action's columns in the order {_listed(theirs.names)}, the policy was trained on "
            f"{_listed(ours.names)}; load the log with them in that order."
        )


def admitted(trained: Spec, shown: Spec, observation: PyTree, where: str) -> PyTree:
    """Return the observations of a log in the order of columns that a policy was trained on.

    Raises UserError where they, or the log's actions, would mean something else to it, and for values that it cannot
    take.
    """
    check_same(trained, shown, where)
    observation = aligned(trained, shown, observation)
    try:
        check_observation(trained, observation)
    except UserError as problem:
        raise UserError(f"{where}: {problem}") from None
    return observation


def _form(part: ObservationSpec) -> tuple[str, str, tuple[int, ...]]:
    return part.name, part.kind, () if part.kind == "tokens" else part.shape


def _check_labels(trained: tuple[str, ...], shown: tuple[str, ...], what: str) -> None:
    if trained and shown and trained != shown:
        theirs, ours = (", ".join(labels) for labels in (shown, trained))
        raise UserError(f"{what} is coded as {theirs}, the policy was trained on {ours}.")


def check_columns(trained: tuple[str, ...], shown: tuple[str, ...], where: str, what: str) -> None:
    """Raise UserError for columns of other names; say where one side has none, so that they go by place."""
    if trained and shown:
        _check_names(trained, shown, f"The {what} of {where}")
    elif trained:
        _say(
            f"{where} has no names of its {what}'s columns; they are taken in the order in which the policy was "
            f"trained: {_listed(trained)}."
        )
    elif shown:
        _say(
            f"The policy knows no names of the {what}'s columns (its log had none, or an older weft wrote it); those "
            f"of {where} are taken by place: {_listed(shown)}."
        )


@functools.cache
def _say(sentence: str) -> None:
    """Say once what nobody should miss."""
    logging.getLogger("weft").warning("%s", sentence)


def _listed(names: Iterable[str], most: int = 12) -> str:
    words = [str(name) for name in names]
    return ", ".join(words) if len(words) <= most else f"{', '.join(words[:most])}, … ({len(words)})"


def _check_names(trained: Sequence[str], shown: Iterable[str], what: str) -> None:
    """Raise UserError that names what is missing and what is too much."""
    have = list(shown)
    missing, further = [name for name in trained if name not in have], [name for name in have if name not in trained]
    if missing or further:
        words = [f"has no '{_listed(missing)}'"] if missing else []
        words += [f"has '{_listed(further)}', which the policy was not trained on"] if further else []
        hint = nearest(further[0], missing) if missing and further else ""
        raise UserError(f"{what} {' and '.join(words)}; it takes {_listed(trained)}.{hint}")


def aligned(trained: Spec, shown: Spec, observation: PyTree) -> PyTree:
    """Return observations of one spec with their columns in the order of another, which `check_same` has accepted."""

    def one(part: ObservationSpec, values: Any) -> Any:
        names = trained.observation(part.name).names
        if not names or not part.names or names == part.names:
            return values
        return values[..., np.array([part.names.index(name) for name in names])]

    if shown.plain:
        return one(shown.observations[0], observation)
    return {part.name: one(part, observation[part.name]) for part in shown.observations}


def check_reach(reach: tuple[np.ndarray, np.ndarray] | None, limits: tuple[Any, Any] | None, where: str) -> None:
    """Raise UserError where a policy can take actions that an environment does not."""
    if reach is None or limits is None:
        return
    (low, high), (lowest, highest) = reach, (np.asarray(end, np.float64).reshape(-1) for end in limits)
    room = slack(lowest, highest)
    beyond = np.flatnonzero((low < lowest - room) | (high > highest + room))
    if len(beyond):
        number = beyond[0]
        raise UserError(
            f"{where} takes actions in [{lowest[number]:g}, {highest[number]:g}] (number {number}), the policy's are "
            f"in [{low[number]:.6g}, {high[number]:.6g}]; rescale the log's actions to the environment's and train "
            "again, or wrap the environment in gymnasium.wrappers.ClipAction if it is to clip them."
        )


def limits_of(action: ActionSpec) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the lowest and the highest action of a spec; None where it declares none."""
    return None if action.low is None else (np.asarray(action.low), np.asarray(action.high))


def slack(lowest: np.ndarray, highest: np.ndarray) -> np.ndarray:
    """Return how far beyond bounds float32 rounding may lead."""
    return 1e-5 * np.maximum(1e-6, np.where(np.isfinite(highest - lowest), highest - lowest, 1.0)) + 1e-6 * np.where(
        np.isfinite(lowest), np.abs(lowest), 0.0
    )


# --- the door: what a policy may be shown -------------------------------------------------------------------------


def check_observation(spec: Spec, observation: Any) -> Any:
    """Return an observation, or a batch of them, as a policy of this spec takes it: labels as codes, columns in order.

    Columns with names (of a log that was a table) may be given by name: as a dictionary or a data frame. Raises
    UserError for wrong or missing names, another shape or type, numbers that are not finite, codes that the log never
    had, pixels that are not 0 to 255 and an empty batch. Inside a compiled program nothing is looked at, and who
    compiles answers for the form.
    """
    if type(observation) is np.ndarray and observation.dtype.char in "fd" and spec.plain:
        part = spec.observations[0]  # what most calls are, in a few microseconds
        if part.kind == "vector" and observation.shape == part.shape and np.abs(observation).max() < 3e38:
            return observation
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(observation)):
        return observation
    parts = _components(spec, observation)
    checked = {part.name: _component(part, parts[part.name]) for part in spec.observations}
    if spec.plain:
        return checked[""]
    batches = {part.name: _batch_of(part, checked[part.name]) for part in spec.observations}
    if len(set(batches.values())) > 1:
        shapes = ", ".join(f"'{name}' {batch}" for name, batch in batches.items())
        raise UserError(f"The components of an observation differ in their leading shape: {shapes}.")
    return checked


def _components(spec: Spec, observation: Any) -> Mapping[str, Any]:
    """Return the components by name; columns of a table may lie beside them."""
    if not isinstance(observation, (np.ndarray, jax.Array, list, tuple, Mapping)):
        observation = _columns_of(spec, observation)
    if spec.plain:
        return {"": observation}
    wanted = [part.name for part in spec.observations]
    if not isinstance(observation, Mapping):
        raise UserError(f"An observation of this policy is a dictionary with {', '.join(wanted)}.")
    components = {str(name): values for name, values in observation.items()}
    for part in spec.observations:
        inside = {
            name: components.pop(name) for name in part.names if part.name not in components and name in components
        }
        if inside:
            components[part.name] = inside
    _check_names(wanted, components, "The observation")
    return components


def _columns_of(spec: Spec, table: Any) -> Any:
    """Return a data frame, or a row of one, as a dictionary of columns; anything else as it is."""
    named = not spec.plain or bool(spec.observations[0].names)
    if hasattr(table, "columns") and hasattr(table, "__getitem__"):
        if named:
            return {str(name): np.asarray(table[name]) for name in table.columns}
        _say(
            "The policy knows no names of the observation's columns (its log had none, or an older weft wrote it); "
            f"those of a data frame are taken by place: {_listed(table.columns)}."
        )
    elif named and hasattr(table, "to_dict") and all(isinstance(name, str) for name in getattr(table, "index", [0])):
        return table.to_dict()
    return table


def _component(part: ObservationSpec, component: Any) -> Any:
    """Return one component as an array of a type that networks take."""
    what = f"Observation '{part.name}'" if part.name else "The observation"
    values = _array(_by_name(part, component, what) if isinstance(component, Mapping) else component, what)
    coded = isinstance(values, jax.Array)  # no array on a device holds words, so its numbers are codes
    if part.categories and values.dtype.kind in "UO":
        values, coded = _codes(part, np.asarray(values)), True
    _check_form(part, values, what)
    if part.kind == "vector":
        return values if _whole(values) and values.itemsize <= 4 else _finite(part, values, what)
    return _counted(part, values, coded, what)


def _array(values: Any, what: str) -> Any:
    """Return values as an array, one of JAX as it is."""
    if isinstance(values, np.ma.MaskedArray) and np.ma.getmaskarray(values).any():
        raise UserError(f"{what} has masked values; give finite numbers.")
    if isinstance(values, jax.Array):
        return values
    try:
        return np.asarray(values)
    except ValueError:
        raise UserError(f"{what} has rows of different shapes.") from None


def _check_form(part: ObservationSpec, values: Any, what: str) -> None:
    """Raise UserError for an array of another type or shape than a component's."""
    if not (_whole(values) or jnp.issubdtype(values.dtype, jnp.floating)):
        kind = "words" if values.dtype.kind in "US" else f"{values.dtype} values"
        raise UserError(f"{what} holds {kind}; give {_wanted(part)}.")
    if part.kind != "tokens" and values.shape[values.ndim - len(part.shape) :] != part.shape:
        raise UserError(f"{what} has shape {values.shape}, the log's have {part.shape}.")
    if part.kind == "tokens" and values.ndim == 0:
        raise UserError(f"{what} is one number; give {_wanted(part)}.")
    if 0 in _batch_of(part, values):
        raise UserError(f"{what} is an empty batch of shape {values.shape}; give at least one.")


def _whole(values: Any) -> bool:
    return bool(jnp.issubdtype(values.dtype, jnp.integer)) or values.dtype == bool


def _batch_axes(part: ObservationSpec, values: Any) -> int:
    """Return how many leading axes are a batch's; a row of tokens has one axis, however long."""
    return values.ndim - (1 if part.kind == "tokens" else len(part.shape))


def _batch_of(part: ObservationSpec, values: Any) -> tuple[int, ...]:
    """Return the leading shape of a component, `()` for one observation."""
    return values.shape[: _batch_axes(part, values)]


def _wanted(part: ObservationSpec) -> str:
    """Say what a component holds."""
    if part.kind == "category":
        words = f" or the words {_listed(part.categories)}" if part.categories else ""
        return f"codes from 0 to {part.count - 1}{words}"
    if part.kind == "tokens":
        return f"whole numbers from 0 to {part.count - 1}, −1 where a row is shorter"
    return "whole numbers from 0 to 255 (uint8)" if part.kind == "image" else "finite numbers"


def _by_name(part: ObservationSpec, table: Mapping, what: str) -> np.ndarray:
    """Put named columns beside each other in the order of the log's."""
    if not part.names:
        raise UserError(f"{what} is an array of shape {part.shape}: the policy knows no names of its columns.")
    columns = {str(name): np.asarray(values) for name, values in table.items()}
    _check_names(part.names, columns, what)
    in_order = [columns[name] for name in part.names]
    words = [name for name in part.names if columns[name].dtype.kind not in "biuf"]
    if words:
        raise UserError(f"{what}: column '{words[0]}' holds {columns[words[0]].dtype} values; give {_wanted(part)}.")
    if len({column.shape for column in in_order}) > 1:
        shapes = ", ".join(f"'{name}' {columns[name].shape}" for name in part.names)
        raise UserError(f"{what} has columns of different shapes: {shapes}.")
    return np.stack(in_order, -1)


def _codes(part: ObservationSpec, values: np.ndarray) -> np.ndarray:
    """Turn labels into codes."""
    code = {label: index for index, label in enumerate(part.categories)}
    missing = [label for label in values.reshape(-1).tolist() if label not in code]
    if missing:
        raise UserError(
            f"Observation '{part.name}' has the category {missing[0]!r}, which the log never had."
            f"{nearest(str(missing[0]), code)}"
        )
    return np.vectorize(code.__getitem__, otypes=[np.int32])(values)


@jax.jit
def _all_finite(values: Array) -> Bool[Array, ""]:
    return jnp.isfinite(values).all()


@jax.jit
def _ends(values: Array) -> tuple[Array, Array]:
    return values.min(), values.max()


def _finite(part: ObservationSpec, values: Any, what: str) -> Any:
    """Return numbers as float32 or shorter; raise UserError that names row and column of one that is not finite."""
    if isinstance(values, jax.Array):
        if bool(_all_finite(values)):
            return values
    elif values.dtype.itemsize > 4:
        with np.errstate(over="ignore"):
            values = values.astype(np.float32)
    host = np.asarray(values)
    good = np.isfinite(host)
    if good.all():
        return values
    place = np.argwhere(~good)[0]
    where, value = _place(part, host, place), host[tuple(place)]
    raise UserError(f"{what} is {value}{where}, which no log holds; give {_wanted(part)}.")


def _place(part: ObservationSpec, values: np.ndarray, place: np.ndarray) -> str:
    """Name the place of a value: the column, and the row of a batch."""
    batch = _batch_axes(part, values)
    inside, words = place[batch:], []
    if len(inside):
        number = int(np.ravel_multi_index(tuple(inside), values.shape[batch:]))
        words.append(f"column '{part.names[number]}'" if part.names else f"number {number}")
    if batch:
        words.append(f"row {int(np.ravel_multi_index(tuple(place[:batch]), values.shape[:batch]))}")
    return f" ({', '.join(words)})" if words else ""


def _counted(part: ObservationSpec, values: Any, coded: bool, what: str) -> Any:
    """Return codes, tokens or pixels as whole numbers; raise UserError for those that the log cannot have had."""
    if not values.size or (part.kind == "image" and values.dtype == np.uint8):
        return values
    if not _whole(values):
        _check_whole(part, np.asarray(values), what)
    if part.categories and not coded and values.dtype != bool and _numbers_apart(part.categories):
        words = f"'{part.categories[0]}', '{part.categories[1]}', …" if len(part.categories) > 1 else "a word"
        raise UserError(
            f"{what} is a number, which may be the category {_listed(part.categories)} or a code from 0 to "
            f"{part.count - 1}; give the category as a word ({words})."
        )
    _check_range(part, values, what)
    return values.astype(np.uint8 if part.kind == "image" else np.int32)


def _check_whole(part: ObservationSpec, values: np.ndarray, what: str) -> None:
    """Raise UserError for fractions; images may not be floating point at all, because it may be a share of 255."""
    broken = values % 1 != 0  # NaN and infinity, too
    if part.kind == "image" or broken.any():
        first = np.argwhere(broken)[0] if broken.any() else np.zeros(values.ndim, int)
        raise UserError(f"{what} is {values[tuple(first)]}{_place(part, values, first)}; give {_wanted(part)}.")


def _check_range(part: ObservationSpec, values: Any, what: str) -> None:
    """Raise UserError for a whole number that the log cannot have had; without a declared count none is too large."""
    low = -1 if part.kind == "tokens" else 0
    high = 255 if part.kind == "image" else part.count - 1 if part.count else np.inf
    ends = _ends(values) if isinstance(values, jax.Array) else (values.min(), values.max())
    lowest, highest = (float(end) for end in ends)
    if lowest < low or highest > high:
        host = np.asarray(values)
        first = np.argwhere((host < low) | (host > high))[0]
        raise UserError(
            f"{what} is {host[tuple(first)]:g}{_place(part, host, first)}, which the log never had; give "
            f"{_wanted(part)}."
        )


@functools.cache
def _numbers_apart(categories: tuple[str, ...]) -> bool:
    """Say whether categories are numbers in words other than their codes, so that a number may mean either."""
    try:
        return [float(label) for label in categories] != list(range(len(categories)))
    except ValueError:
        return False


def check_action(form: ActionSpec, action: Any) -> None:
    """Raise UserError for an action that is none: another shape, a choice that there is not, a number not finite."""
    if isinstance(action, Tracer):
        return
    values = np.asarray(action)
    if values.dtype.kind not in "biuf" or values.shape[values.ndim - len(form.shape) :] != form.shape:
        raise UserError(f"An action of this policy has the shape {form.shape}, got {values.dtype} {values.shape}.")
    if form.kind == "continuous" and not np.isfinite(values).all():
        raise UserError("An action that is not finite has no probability.")
    if form.kind == "discrete" and ((values % 1 != 0) | (values < 0) | (values >= form.size)).any():
        wrong = values[(values % 1 != 0) | (values < 0) | (values >= form.size)][0]
        raise UserError(f"The action {wrong:g} is none of the choices 0 to {form.size - 1}.")
