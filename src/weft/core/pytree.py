"""What every part of weft is made of: frozen dataclasses that are PyTrees, swept, stacked and discovered.

One rule decides what a compiled program sees: a float field is a traced leaf, everything else is `static`. So every
number that may be swept costs no new compilation, and the tree structure is the key of the compiled program.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .errors import UserError, nearest
from .registry import choose, discover, final, names

__all__ = [
    "as_arrays",
    "choose",
    "discover",
    "final",
    "floats",
    "grid",
    "groups",
    "named_leaves",
    "names",
    "require",
    "run_axis",
    "stack",
    "static",
    "zeros",
]

Module = TypeVar("Module", bound=eqx.Module)


def static(default: Any = dataclasses.MISSING, **options: Any) -> Any:
    """Declare a field that is part of the program and not of its inputs: sizes, counts, periods, flags, names."""
    if default is not dataclasses.MISSING:
        options["default"] = default
    return eqx.field(static=True, **options)


def floats(module: eqx.Module) -> list[str]:
    """Return the dotted names of the sweepable (traced) numbers of a module, nested modules included."""
    return [name for name, _ in named_leaves(module)]


def named_leaves(tree: PyTree) -> list[tuple[str, Any]]:
    """Return `(dotted name, leaf)` for every leaf, in the order of `jax.tree.leaves`."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [(".".join(_key(part) for part in path), leaf) for path, leaf in leaves]


def _key(part: Any) -> str:
    for attribute in ("name", "key", "idx"):
        if hasattr(part, attribute):
            return str(getattr(part, attribute))
    return str(part)


def as_arrays(tree: PyTree) -> PyTree:
    """Turn Python numbers into float32 arrays, so that a number and an array of it share one compiled program."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32) if isinstance(leaf, (int, float)) else leaf, tree)


def grid(module: Module, **choices: Sequence[Any]) -> list[Module]:
    """Return one real instance per combination of the given choices, each checked by its own `__check_init__`.

    Dots in a name reach nested modules when given through a dictionary: `grid(cql, **{"weight.value": [1.0, 5.0]})`.
    Raises UserError for a field that the module does not have.
    """
    settings = [module]
    for name, values in choices.items():
        settings = [replace(setting, name, value) for setting, value in itertools.product(settings, values)]
    return settings


def replace(module: Module, name: str, value: Any) -> Module:
    """Return the module with one (possibly dotted) field changed and every check of the class run again."""
    head, _, rest = name.partition(".")
    fields = [field.name for field in dataclasses.fields(module)]
    if head not in fields:
        raise UserError(f"{type(module).__name__} has no hyperparameter '{head}'.{nearest(head, fields)}")
    if rest:
        value = replace(getattr(module, head), rest, value)
    return dataclasses.replace(module, **{head: value})


def groups(settings: Sequence[Module]) -> list[list[int]]:
    """Group the indices of settings that share one tree structure, that is, one compiled program."""
    by_structure: dict[Any, list[int]] = {}
    for index, setting in enumerate(settings):
        by_structure.setdefault(jax.tree.structure(setting), []).append(index)
    return list(by_structure.values())


def stack(trees: Sequence[PyTree]) -> PyTree:
    """Stack equal structures leaf by leaf along a new leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *trees)


def run_axis(tree: PyTree, index: int) -> PyTree:
    """Take one entry of the leading axis of every leaf."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


def require(condition: bool | np.bool_, sentence: str) -> None:
    """Raise UserError with the sentence unless the condition holds."""
    if not condition:
        raise UserError(sentence)


def zeros(shapes: PyTree) -> PyTree:
    """Return zeros of the shapes and types that `jax.eval_shape` found: the start of a sum."""
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


def host(tree: PyTree) -> PyTree:
    """Copy every leaf to the host as a NumPy array."""
    return jax.tree.map(np.array, tree)  # a copy: the original may be donated


def all_equal(values: Iterable[Any]) -> bool:
    """Say whether all values are the same (true for none)."""
    values = list(values)
    return all(value == values[0] for value in values)
