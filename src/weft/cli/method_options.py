"""A method's hyperparameters as options of the command line: several values sweep, a dot reaches a nested module.

The dataclass of the method is the only source: names, types and defaults are read off its fields. A tuple is written
`64,64`. Where a field may hold one of several modules, `--weight.kind` chooses.
"""

import dataclasses
import itertools
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, Union

import equinox as eqx
import tyro

from ..core.errors import UserError
from .command import pairs

__all__ = ["build", "listed_methods", "options", "shared_units"]


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.strip("()").split(",") if part and text != "none")
    except ValueError:
        raise ValueError(f"a tuple of whole numbers is written 64,64 (or none), got '{text}'") from None


Sizes = Annotated[
    tuple[int, ...],
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="N,N",
        instance_from_str=lambda words: _numbers(words[0]),
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda value: [",".join(map(str, value)) or "none"],
    ),
]


@dataclasses.dataclass(frozen=True)
class Option:
    """One hyperparameter on the line: its dotted name, what kind of value it takes, and the default, if any."""

    name: str
    kind: Any
    default: tuple
    remark: str

    @property
    def field(self) -> str:
        """The name as an attribute."""
        return self.name.replace(".", "__")


def options(method: type, default: Any = None) -> type:
    """Return a dataclass for tyro with one field per hyperparameter; each holds all values that were given.

    Values that are not given are those of the method, or of the instance `default` of it.
    """
    fields = []
    for option in _options(method, default, ""):
        named = tyro.conf.arg(name=option.name.replace("_", "-"), help=option.remark)
        fields.append((option.field, Annotated[tuple[option.kind, ...], named], option.default))
    return dataclasses.make_dataclass("Hyperparameters", fields, frozen=True)


def build(method: type, line: Any, default: Any = None) -> list[Any]:
    """Return one instance per combination of the given values, each checked by its class. Raises UserError."""
    return _build(method, default, "", line)


def _options(module: type, default: Any, prefix: str) -> Iterator[Option]:
    for name, hint, value in _fields(module, default):
        kinds = _kinds(hint, value)
        if not kinds:
            remark = "" if hint is float else "each value is compiled separately"
            kind = Sizes if typing.get_origin(hint) is tuple else hint
            yield Option(prefix + name, kind, () if value is dataclasses.MISSING else (value,), remark)
            continue
        inner: dict[str, Option] = {}
        if len(kinds) > 1:
            words = Literal[tuple(_word(kind) for kind in kinds)]  # type: ignore[valid-type]
            yield Option(f"{prefix}{name}.kind", words, (_word(type(value)),), "each kind is compiled separately")
        for kind in sorted(kinds, key=lambda kind: kind is not type(value)):  # the default's own values come first
            of = f"of {_word(kind)}" if len(kinds) > 1 else ""
            for option in _options(kind, value if kind is type(value) else None, f"{prefix}{name}."):
                remark = "; ".join(filter(None, (of, option.remark)))
                inner.setdefault(option.name, dataclasses.replace(option, remark=remark))
        yield from inner.values()


def _build(module: type, default: Any, prefix: str, line: Any) -> list[Any]:
    choices = {}
    for name, hint, value in _fields(module, default):
        kinds = _kinds(hint, value)
        if kinds:
            choices[name] = _alternatives(kinds, value, f"{prefix}{name}", line)
        else:
            choices[name] = list(getattr(line, f"{prefix}{name}".replace(".", "__")))
            if not choices[name]:
                raise UserError(f"{module.__name__} needs a value for --{prefix}{name.replace('_', '-')}.")
    return [module(**dict(zip(choices, values, strict=True))) for values in itertools.product(*choices.values())]


def _alternatives(kinds: Sequence[type], value: Any, place: str, line: Any) -> list[Any]:
    """Return every wanted instance of the modules that a field may hold."""
    words = getattr(line, f"{place}__kind".replace(".", "__")) if len(kinds) > 1 else [_word(kinds[0])]
    chosen = [kind for kind in kinds if _word(kind) in words]
    used = {option.name for kind in chosen for option in _options(kind, None, f"{place}.")}
    for kind in kinds:
        for option in _options(kind, value if kind is type(value) else None, f"{place}."):
            if option.name not in used and getattr(line, option.field) != option.default:
                flag, word = option.name.replace("_", "-"), _word(kind)
                raise UserError(f"--{flag} belongs to {word}; add --{place.replace('_', '-')}.kind {word}.")
    return [made for kind in chosen for made in _build(kind, value if kind is type(value) else None, f"{place}.", line)]


def _fields(module: type, default: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield name, type and default of every field; defaults are those of an instance, if there is one."""
    hints = typing.get_type_hints(module)
    for field in dataclasses.fields(module):
        value = field.default
        if field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        yield field.name, hints[field.name], value if default is None else getattr(default, field.name)


def _kinds(hint: Any, value: Any) -> list[type]:
    """Return the modules that a field may hold; none if it holds a plain value."""
    if typing.get_origin(hint) in (Union, types.UnionType):
        return [kind for kind in typing.get_args(hint) if isinstance(kind, type) and issubclass(kind, eqx.Module)]
    return [type(value)] if isinstance(value, eqx.Module) else []


def _word(kind: type) -> str:
    return kind.__name__.lower()


def listed_methods(caller: str, names: Sequence[str], words: Sequence[str], preset: str | None) -> list[Any]:
    """Return methods by name, by a preset's numbers or their defaults, with METHOD.FIELD=VALUE set.

    Several values (`iql.expectile=0.7/0.9`) make a method of each combination. Raises UserError.
    """
    from ..agents import preset as families
    from ..core.pytree import grid
    from ..experiments.candidates import instance
    from ..experiments.search_space import listed

    family = None if preset is None else families.preset(preset)
    methods = {method.name: method for method in (instance(name, caller, family=family) for name in names)}
    choices: dict[str, dict[str, list[Any]]] = {name: {} for name in methods}
    for head, text in pairs("set", words):
        word, _, field = head.partition(".")
        name = word.lower().replace("-", "_")
        if name not in methods or not field:
            raise UserError(
                f"--set is written METHOD.FIELD=VALUE with one of {', '.join(methods)}, got '{head}={text}'."
            )
        choices[name][field] = listed(methods[name], field, text)
    return list(itertools.chain.from_iterable(grid(method, **choices[name]) for name, method in methods.items()))


def shared_units(preset: str, methods: Sequence[Any]) -> dict[str, Any]:
    """Return the units of measure that a preset's methods share. Raises UserError where they differ."""
    from ..agents import preset as families

    family = families.preset(preset)
    first, *others = methods
    units = family.units_for(first.name)
    for method in others:
        if family.units_for(method.name) != units:
            raise UserError(
                f"The preset '{family.name()}' measures {method.name} and {first.name} in other units; compare them in "
                "benchmarks of their own, or without --preset."
            )
    return units
