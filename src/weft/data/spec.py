"""What a log holds, in words that survive without it: shapes, kinds, bounds, names, declared ranges.

A `Spec` is enough to rebuild every network and to serve a policy; it is plain JSON on disk.
"""

import dataclasses
import functools
import json
import numbers
import typing
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.errors import UserError

__all__ = ["ActionSpec", "ObservationSpec", "Spec", "check_types", "fits"]

VERSION = 1


@dataclasses.dataclass(frozen=True)
class ObservationSpec:
    """One component of an observation (the whole of it when its name is empty).

    `kind` is `vector` (any numbers, flattened), `image` (uint8, height × width × channels), `category` (an integer
    code) or `tokens` (integers, as long as the longest row, shorter ones end in −1). low, high: declared, or else seen
    in a log; `names` are those of a vector's columns in order, where the log has them. Specs that differ in these alone
    are equal, so that no compiled program depends on a log's extremes or names.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    kind: str = "vector"
    name: str = ""
    low: tuple[float, ...] | None = dataclasses.field(default=None, compare=False)
    high: tuple[float, ...] | None = dataclasses.field(default=None, compare=False)
    count: int = 0
    categories: tuple[str, ...] = ()
    names: tuple[str, ...] = dataclasses.field(default=(), compare=False)

    def __post_init__(self) -> None:
        if self.kind not in ("vector", "image", "category", "tokens"):
            raise UserError(f"Observation '{self.name}' has the unknown kind '{self.kind}'.")

    @property
    def words(self) -> str:
        """The component in a few words: its kind and its size."""
        if self.kind in ("category", "tokens"):
            return f"{self.kind}, {self.count:,} different"
        return f"{self.kind} {'×'.join(map(str, self.shape)) or 'of one number'}"


@dataclasses.dataclass(frozen=True)
class ActionSpec:
    """What can be done: `continuous` (shape `(act,)`), `discrete` (one of `counts[0]`) or `multidiscrete`.

    `names` are those of the columns of several numbers, where the log has them; they make no two specs different.
    """

    kind: str
    shape: tuple[int, ...] = ()
    dtype: str = "float32"
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None
    counts: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()
    names: tuple[str, ...] = dataclasses.field(default=(), compare=False)

    def __post_init__(self) -> None:
        if self.kind not in ("continuous", "discrete", "multidiscrete"):
            raise UserError(f"Actions have the unknown kind '{self.kind}'.")

    @property
    def choices(self) -> tuple[str, ...]:
        """The choices of `discrete` actions by name: their labels, else their numbers from 0."""
        return self.labels or tuple(map(str, range(self.size)))

    @property
    def words(self) -> str:
        """The actions in a few words: their kind and how many there are."""
        if self.kind == "continuous":
            return f"continuous, {self.size} dimension{'s' if self.size > 1 else ''}"
        if self.kind == "discrete":
            return f"one of {self.size:,}"
        return f"{len(self.counts)} choices a step, out of {', '.join(map(str, self.counts))}"

    @property
    def size(self) -> int:
        """Number of dimensions of a continuous action, number of choices of a discrete one."""
        if self.kind == "continuous":
            return int(np.prod(self.shape))
        return self.counts[0] if self.kind == "discrete" else int(sum(self.counts))


@dataclasses.dataclass(frozen=True)
class Spec:
    """Everything about a log but its rows. Ranges, horizon and discount are declared, never read off the data.

    identity: the columns that name a decision for good (`weft.data.identity`). No compiled program depends on them, so
    they make no two specs different.
    """

    observations: tuple[ObservationSpec, ...]
    action: ActionSpec
    rewards: tuple[str, ...] = ("reward",)
    reward_low: tuple[float, ...] | None = None
    reward_high: tuple[float, ...] | None = None
    horizon: int | None = None
    discount: float | None = None
    propensity_low: float | None = None
    unit: str | None = None
    longest: int = 0
    identity: tuple[str, ...] = dataclasses.field(default=(), compare=False)

    @property
    def plain(self) -> bool:
        """Whether an observation is one array and not a dictionary."""
        return len(self.observations) == 1 and self.observations[0].name == ""

    @property
    def discrete(self) -> bool:
        """Whether an action is one choice out of several."""
        return self.action.kind == "discrete"

    @property
    def declared(self) -> dict[str, Any]:
        """What is declared of the log, by the words for it."""
        facts = {
            "reward range": None, "horizon": self.horizon, "discount": self.discount,
            "least propensity": self.propensity_low, "unit": self.unit,
            "identity": ", ".join(self.identity) or None,
        }  # fmt: skip
        if self.reward_low is not None and self.reward_high is not None:
            ends = zip(self.reward_low, self.reward_high, strict=True)
            facts["reward range"] = ", ".join(f"{low:g} to {high:g}" for low, high in ends)
        return {name: fact for name, fact in facts.items() if fact is not None}

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield `(what, how much)` in plain text: observations, actions, rewards, and what is declared."""
        for part in self.observations:
            yield "observation", f"{part.name}: {part.words}" if part.name else part.words
        yield "actions", self.action.words
        yield "rewards", ", ".join(self.rewards)
        for name, fact in self.declared.items():
            yield f"declared {name}", str(fact)

    def observation(self, name: str = "") -> ObservationSpec:
        """Return one component by name."""
        return next(part for part in self.observations if part.name == name)

    def to_json(self) -> str:
        """Return the spec as versioned JSON."""
        fields = dataclasses.asdict(self)
        if not self.identity:  # a spec that declares none is written as it was before there was one
            fields.pop("identity")
        return json.dumps({"version": VERSION, **fields}, indent=1)

    @classmethod
    def from_json(cls, text: str | dict[str, Any]) -> "Spec":
        """Rebuild a spec; raise UserError when a newer weft wrote it."""
        fields = json.loads(text) if isinstance(text, str) else dict(text)
        version = fields.pop("version", None)
        if version != VERSION:
            raise UserError(f"The spec has version {version}, this weft reads version {VERSION}; update weft.")
        fields["observations"] = tuple(_typed(ObservationSpec, part) for part in fields["observations"])
        fields["action"] = _typed(ActionSpec, fields["action"])
        return _typed(cls, fields)


def _typed(kind: type, fields: dict[str, Any]) -> Any:
    """Return a dataclass of the fields, lists as tuples; raise UserError for a value of another type than declared."""
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    hints = typing.get_type_hints(kind)
    for name, value in fields.items():
        if name in hints and not fits(value, hints[name]):
            raise UserError(f"{kind.__name__} cannot take {value!r:.80} for '{name}'.")
    return kind(**fields)


def check_types(module: Any) -> None:
    """Raise UserError where a setting is of another type than its field declares, in nested modules, too.

    Only plain values are looked at: an array in the place of a number is what a sweep made of it.
    """
    for name, hint in _hints(type(module)).items():
        value = getattr(module, name)
        if dataclasses.is_dataclass(value):
            check_types(value)
        elif _plain(value) and not fits(value, hint):
            wanted = getattr(hint, "__name__", str(hint)) if not typing.get_args(hint) else str(hint)
            raise UserError(f"{type(module).__name__}: {name} must be of type {wanted}, got {value!r:.80}.")


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    """Return the declared types of the settings of a class, those of arrays and what cannot be told left out."""
    try:
        hints = typing.get_type_hints(kind)
    except NameError:  # a class made inside a function
        return {}
    return {field.name: hints[field.name] for field in dataclasses.fields(kind) if _settles(hints[field.name])}


def _settles(hint: Any) -> bool:
    """Say whether a declared type is one of settings: plain values, tuples of them, modules."""
    parts = [part for part in typing.get_args(hint) if part not in (..., type(None))]
    return all(map(_settles, parts)) if parts else hint in (int, float, bool, str) or dataclasses.is_dataclass(hint)


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, str | bytes | bool | int | float | list | dict | set | tuple)


def fits(value: Any, hint: Any) -> bool:
    """Say whether a plain value is of a declared type; whole numbers are fractions, too, truth values are neither."""
    parts = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(fits(part, parts[0]) for part in value)
    if parts:
        return any(fits(value, part) for part in parts)
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, {int: numbers.Integral, float: numbers.Real}.get(hint, hint))
