"""What is searched: ranges and lists of hyperparameters by name, and the optimiser that says what to try next.

A range (`Span`) is for numbers that are traced, so that a whole batch of trials is one compiled program; everything
else (widths, counts, flags, words) is a list (`Choice`), of which each value compiles anew. The optimiser is Optuna's
tree-structured Parzen estimator (Bergstra et al. 2011), an extra that is imported when it is first used. It is asked
like a function: the trials so far and a seed decide what comes next, so that a search goes on after any interruption.
"""

import contextlib
import dataclasses
import json
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import equinox as eqx

from ..agents.algorithm import Algorithm, applied
from ..core import pytree
from ..core.errors import UserError, nearest

__all__ = ["Choice", "Space", "Span", "ask", "checked", "listed", "own"]


@dataclasses.dataclass(frozen=True)
class Span:
    """All numbers from `low` to `high`, evenly in their logarithm where `log` is true. Raises UserError for none."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise UserError(f"A range goes from a lower to a higher number, got {self.low:g} to {self.high:g}.")
        if self.log and self.low <= 0:
            raise UserError(f"A range in logarithms begins above 0, got {self.low:g}.")

    def __contains__(self, value: Any) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{'log:' if self.log else ''}{self.low:g}:{self.high:g}"


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of some values."""

    values: tuple[Any, ...]

    def __contains__(self, value: Any) -> bool:
        return value in self.values

    def __str__(self) -> str:
        return "/".join(",".join(map(str, one)) if isinstance(one, tuple) else str(one) for one in self.values)


Space = Mapping[str, Span | Choice]
Settings = dict[str, Any]


def checked(request: Any, method: Algorithm) -> Space:
    """Return a checked space: by the (dotted) name of a hyperparameter a `Span`, a list, or words.

    Words are `0.6:0.95` (a range), `log:0.5:20` (evenly in the logarithm) or `64,64/256,256` (a choice). Raises
    UserError for no name at all, an unknown one, a range of what is no traced number, and whatever the method refuses.
    """
    numbers = pytree.floats(method)
    if not request:
        raise UserError(
            f"Say what to search, as --space NAME=LOW:HIGH (or log:LOW:HIGH, or A/B); numbers of {method.title} are "
            f"{', '.join(numbers)}."
        )
    if not isinstance(request, Mapping):
        raise UserError(f'A space is a dictionary, such as {{"learning_rate": "log:1e-4:1e-2"}}, got {request!r}.')
    space: dict[str, Span | Choice] = {}
    for name, text in request.items():
        part = _part(name, text, _own(method, name))
        if isinstance(part, Choice) and len(set(map(repr, part.values))) < max(2, len(part.values)):
            raise UserError(f"A choice of '{name}' needs at least two values, all different, got '{part}'.")
        if isinstance(part, Span) and name not in numbers:
            raise UserError(
                f"'{name}' of {method.title} is no number that can be searched in a range; list the values: {name}=A/B."
            )
        for value in (part.low, part.high) if isinstance(part, Span) else part.values:
            applied(method, {name: value})  # its own checks speak
        space[name] = part
    return space


def _part(name: str, values: Any, own: Any) -> Span | Choice:
    """Return a range or a choice as it is, read from words, or made of a list of values."""
    if isinstance(values, Span | Choice):
        return values
    if isinstance(values, str):
        return _read(name, values, own)
    if not isinstance(values, Iterable):
        raise UserError(f"A space of '{name}' is a range, a list of values or words such as 0.1:0.9, got {values!r}.")
    return Choice(tuple(tuple(value) if isinstance(value, list) else value for value in values))


def listed(method: Algorithm, name: str, text: str) -> list[Any]:
    """Return the values of a (dotted) hyperparameter that words list: `0.7/0.9`, `64,64`, each as its default is.

    Raises UserError for a name that the method does not have and for words that are no value of it.
    """
    own = _own(method, name)
    try:
        return [_like(word, own) for word in text.split("/")]
    except ValueError:
        example = ",".join(map(str, own)) if isinstance(own, tuple) else str(own).lower()
        form = "which no word can hold; set it in Python" if isinstance(own, eqx.Module) else f"written as {example}"
        raise UserError(f"'{name}' of {method.title} is {form}, got '{text}'.") from None


def own(method: Algorithm, space: Space) -> Settings | None:
    """Return the method's own settings, None if they do not lie in the space."""
    settings = {name: _own(method, name) for name in space}
    return settings if all(settings[name] in part for name, part in space.items()) else None


def ask(
    space: Space, history: Sequence[tuple[Settings, float | None]], count: int, seed: int, first: Settings | None
) -> list[Settings]:
    """Return what to try next, all at once: the same history and seed give the same.

    history: settings tried with their scores, the higher the better; None (training went astray) counts as the worst.
    first: settings to begin with where nothing was tried. Raises UserError where Optuna is not installed.
    """
    with _quiet() as optuna:
        forms = {
            name: optuna.distributions.FloatDistribution(part.low, part.high, log=part.log)
            if isinstance(part, Span)
            else optuna.distributions.CategoricalDistribution([json.dumps(value) for value in part.values])
            for name, part in space.items()
        }
        sampler = optuna.samplers.TPESampler(seed=(seed * 1_000_003 + len(history)) % 2**32, constant_liar=True)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        worst = min((score for _, score in history if score is not None), default=0.0)
        for settings, score in history:
            words = {name: _word(space[name], value) for name, value in settings.items()}
            study.add_trial(
                optuna.trial.create_trial(
                    params=words, distributions=forms, value=worst if score is None else float(score)
                )
            )
        if first is not None and not history:
            study.enqueue_trial({name: _word(space[name], value) for name, value in first.items()})
        trials = [study.ask(forms) for _ in range(count)]
    return [{name: _value(space[name], trial.params[name]) for name in space} for trial in trials]


def _word(part: Span | Choice, value: Any) -> Any:
    return float(value) if isinstance(part, Span) else json.dumps(value)


def _value(part: Span | Choice, word: Any) -> Any:
    if isinstance(part, Span):
        return float(word)
    return next(value for value in part.values if json.dumps(value) == word)


def _own(method: Any, name: str) -> Any:
    """Return the value that a method has under a dotted name; raise UserError that names the nearest."""
    value = method
    for part in name.split("."):
        names = [field.name for field in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else []
        if part not in names:
            raise UserError(f"{method.title} has no hyperparameter '{name}'.{nearest(part, names)}")
        value = getattr(value, part)
    return value


def _read(name: str, text: str, own: Any) -> Span | Choice:
    """Read a range or a list from words; values of a list are read as the default is."""
    parts = text.removeprefix("log:").split(":")
    try:
        if len(parts) == 2:
            return Span(float(parts[0]), float(parts[1]), text.startswith("log:"))
        if ":" not in text:
            return Choice(tuple(_like(word, own) for word in text.split("/")))
    except UserError:
        raise
    except ValueError:
        pass
    raise UserError(
        f"'{name}={text}' is no space; write {name}=0.1:0.9 (a range), {name}=log:0.1:10 (even in the logarithm) or "
        f"{name}=A/B (a choice)."
    )


def _like(word: str, own: Any) -> Any:
    if isinstance(own, tuple):
        return tuple(int(part) for part in word.split(",") if part)
    if isinstance(own, bool):
        if word not in ("true", "false"):
            raise ValueError
        return word == "true"
    return type(own)(word) if isinstance(own, int | float | str) else _unreadable()


def _unreadable() -> Any:
    raise ValueError


@contextlib.contextmanager
def _quiet() -> Iterator[Any]:
    """Import Optuna and keep it from talking."""
    try:
        import optuna
    except ImportError:
        raise UserError("The optimiser is not installed; run: pip install 'weft[tune]'.") from None
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # parts of it call themselves experimental
            yield optuna
    finally:
        optuna.logging.set_verbosity(before)
