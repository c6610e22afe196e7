"""What a method is: a frozen dataclass of hyperparameters with three pure functions, `init`, `update`, `policy`.

Float fields are traced, so a sweep over them compiles once; everything else is static. All that changes lives in the
state, a PyTree of arrays only. Optimisers are rebuilt inside `update`. The loop gives the step, so periodic work stays
a real branch under `vmap`.
"""

import abc
import dataclasses
import inspect
import math
import typing
from collections.abc import Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ..core import pytree
from ..core.errors import UserError
from ..data.columns import Columns
from ..data.sampler import Sampler
from ..data.spec import Spec, check_types, fits
from .policy import Policy
from .schedule import Rounds

__all__ = ["Algorithm", "Tick", "algorithm", "algorithms", "applied", "describe", "in_rewards", "rebuild"]

State = PyTree
Metrics = dict[str, Float[Array, ""]]
PACKAGE = "weft.agents.algorithms"
MOST = 3.4028234e38  # of numbers that float32 holds
VALUES = ("mean_q", "mean_value", "advantage")
"""Metrics that are sums of rewards. All others, losses and multipliers among them, are in the method's own scale."""
RANGES = {
    "discount": (0.0, 1.0, "The discount must be between 0 and 1"),
    "inverse_temperature": (0.0, math.inf, "The inverse temperature may not be negative"),
    "pessimism": (0.0, 1.0, "The share of the smaller critic must be between 0 and 1"),
}
"""What numbers of these names must be in every method: the least, the most, and the sentence where they are not."""


class Tick(eqx.Module):
    """What the loop tells an update: a key of its own, the step counted from 0, and the share of training done.

    `opened` is the share done of the steps that the run was first planned for, so that a run that is extended does not
    open again; infinite in a run that goes on from another, which has opened long since. None is `fraction`.
    """

    key: PRNGKeyArray
    step: Int[Array, ""]
    fraction: Float[Array, ""]
    opened: Float[Array, ""] | None = None

    @classmethod
    def at(cls, key: PRNGKeyArray, step: Array, done: Array, total: Array, planned: Array) -> "Tick":
        """Return the tick of a step where so much is `done` of `total`; `planned` first, 0 after another run."""
        opened = jnp.where(planned > 0, _share(done, planned), jnp.inf)
        return cls(key, step, _share(done, total), opened)

    @property
    def opening(self) -> Float[Array, ""]:
        """How far an opening phase has come that is as long as the run."""
        return self.fraction if self.opened is None else self.opened

    def opens(self, length: int | float) -> Bool[Array, ""]:
        """Say whether an opening phase goes on that takes `length` steps, or below 1 that share of the run."""
        if length < 1:
            return self.opening < length
        return (self.step < length) & jnp.isfinite(self.opening)


def _share(done: Array, total: Array) -> Float[Array, ""]:
    return done.astype(jnp.float32) / jnp.maximum(total, 1).astype(jnp.float32)


class Algorithm(eqx.Module):
    """A method of learning a policy from logged steps. One final class per file in `algorithms/`.

    Class attributes: `title` (the full name), `paper` (arXiv number or reference), `family`, `actions` (the kinds of
    actions it learns from), `sees` (the kinds of observation components it learns from; None is any), `learns_from` (a
    `log`, a `replay` buffer that its own acting fills, or only what it did since the last update, `fresh`), `single`
    (whether it learns from single decisions only, logs whose episodes have one step), `rounds`
    (how it takes turns with acting by default), `openings` (the static fields that say how long a phase is in which
    the policy does not learn yet: a number of updates, or below 1 a share of the run, see `Tick.opens`), `traits` (what
    it does, in the words of `weft.experiments.advice.recommendation`; none where it does what its family does). Every
    final class has a field `sampler` with the method's own default.
    """

    title: ClassVar[str]
    paper: ClassVar[str]
    family: ClassVar[str]
    actions: ClassVar[frozenset[str]] = frozenset({"continuous", "discrete"})
    sees: ClassVar[frozenset[str] | None] = None
    learns_from: ClassVar[frozenset[str]] = frozenset({"log"})
    single: ClassVar[bool] = False
    rounds: ClassVar[Rounds] = Rounds()
    openings: ClassVar[tuple[str, ...]] = ()
    traits: ClassVar[frozenset[str]] = frozenset()
    refresh_every: ClassVar[int] = 0  # a method that refreshes declares a static field of this name
    sampler: eqx.AbstractVar[Sampler]

    def __check_init__(self) -> None:
        """Check what every method's numbers of these names must be; methods add their own checks."""
        check_types(self)
        for path, value in pytree.named_leaves(self):
            if not isinstance(value, int | float):
                continue
            last = path.rpartition(".")[2]
            pytree.require(-MOST <= value <= MOST, f"{self.title}: {path} must be a finite float32, got {value!r:.40}.")
            if last.endswith("learning_rate"):
                pytree.require(value >= 0, f"{self.title}: {path} may not be negative, got {value}.")
            if last == "target_rate":
                pytree.require(0 <= value <= 1, f"{self.title}: {path} must be between 0 and 1, got {value}.")
            if path in RANGES:
                low, high, sentence = RANGES[path]
                pytree.require(low <= value <= high, f"{sentence}, got {value}.")
        largest, every = getattr(self, "largest_weight", 1.0), getattr(self, "target_every", 1)
        pytree.require(largest > 0, f"The largest weight must be positive, got {largest}.")
        pytree.require(every >= 1, f"Targets must move every so many updates, got {every}.")
        widths = getattr(self, "hidden", ())
        narrow = [width for width in widths if width < 1]
        pytree.require(not narrow, f"{self.title}: the layers in hidden must be at least 1 wide, got {widths}.")

    @abc.abstractmethod
    def init(self, key: PRNGKeyArray, spec: Spec, prior: PyTree = None) -> State:
        """Return the first state for logs of this form. `prior` is what `prefit` or `prepare` returned, or None."""

    @abc.abstractmethod
    def update(self, state: State, batch: PyTree, tick: Tick) -> tuple[State, Metrics]:
        """Learn from one batch; return a state of the same structure and named scalars."""

    @abc.abstractmethod
    def policy(self, state: State) -> Policy:
        """Return the policy that the state stands for."""

    def explore(self, state: State, tick: Tick) -> Policy:
        """Return what collects steps to learn from, drawn and not greedy; by default the policy itself.

        `tick.step` counts environment steps of the run from 0.
        """
        del tick
        return self.policy(state)

    def prefit(self, key: PRNGKeyArray, columns: Columns, spec: Spec) -> PyTree:
        """Optional stage on the host, outside compiled programs: what another library fits of the whole log.

        It takes the place of `prepare`; `columns.unit` is there where the log declares units. What it returns has the
        structure and shapes that `init` makes of None.
        """
        del key, columns, spec
        return None

    def prepare(self, key: PRNGKeyArray, columns: Columns) -> PyTree:
        """Optional stage before `init`: fit what the method needs of the whole log (returns, a dynamics model)."""
        del key, columns
        return None

    def focus(self, columns: Columns) -> Columns:
        """Optional: narrow the rows that may be sampled (`rows`, `count`), inside the compiled program."""
        return columns

    def refresh(self, state: State, columns: Columns, key: PRNGKeyArray) -> State:
        """Optional, every `refresh_every` steps and at step 0: redo what depends on the whole log (λ-returns, model
        roll-outs)."""
        del columns, key
        return state

    def value(self, state: State, observation: PyTree, key: PRNGKeyArray) -> Float[Array, "..."] | None:
        """Return the discounted value that the method itself believes its policy has; None if it believes nothing."""
        del state, observation, key
        return None

    def measure(self, state: State, batch: PyTree, key: PRNGKeyArray) -> Metrics:
        """Return held-out figures of a state on a batch that was not trained on; by default those of an update after
        all opening phases.
        """
        nothing = jnp.zeros(())
        return self.update(state, batch, Tick(key, jnp.zeros((), jnp.int32), nothing, nothing + jnp.inf))[1]

    def check(self, spec: Spec) -> None:
        """Raise UserError when the log's actions or observations are of a kind that the method cannot learn from."""
        if spec.action.kind not in self.actions:
            kinds = " or ".join(sorted(self.actions))
            raise UserError(f"{self.title} learns from {kinds} actions, the log's are {spec.action.kind}.")
        for part in spec.observations:
            if self.sees is not None and part.kind not in self.sees:
                kinds, shown = " or ".join(sorted(self.sees)), f"'{part.name}' is" if part.name else "the log's are"
                raise UserError(f"{self.title} learns from {kinds} observations, {shown} of the kind {part.kind}.")

        if self.single and spec.longest > 1:
            raise UserError(
                f"{self.title} learns from single decisions, and the log has episodes of up to {spec.longest:,} steps."
            )
        if self.single and spec.action.size < 2:
            raise UserError(f"{self.title} chooses among actions, and the log knows one only.")

    def check_rows(self, actions: np.ndarray, rewards: np.ndarray, units: int) -> None:
        """Raise UserError where rows, or the number of independent units, cannot teach the method; few methods ask."""
        del actions, rewards, units

    def check_openings(self, steps: int) -> None:
        """Raise UserError where more than half of a run of so many steps would go by before the policy learns."""
        for name in self.openings:
            length = getattr(self, name)
            pytree.require(length >= 0, f"{self.title}: {name} may not be negative, got {length}.")
            count = length if length >= 1 else length * steps
            if count > steps / 2:
                raise UserError(
                    f"{self.title}: {name}={length:g} takes {count:,.0f} of {steps:,} steps, more than half of the "
                    f"run, before the policy learns; give more steps or a smaller {name} (below 1: a share of the run)."
                )

    @property
    def name(self) -> str:
        """The file name of the method."""
        return type(self).__module__.rpartition(".")[2]


def in_rewards(metrics: Mapping[str, float], unit: float) -> dict[str, float]:
    """Return metrics with values in the rewards of the log, of which `unit` is 1 for the method."""
    return {name: value * unit if name in VALUES else value for name, value in metrics.items()}


def algorithms() -> dict[str, type[Algorithm]]:
    """Return every method by file name."""
    return pytree.discover(PACKAGE, pytree.final(Algorithm))


def algorithm(name: str) -> type[Algorithm]:
    """Return one method by file name; raise UserError that names the nearest one if there is none."""
    return pytree.choose(PACKAGE, name.lower().replace("-", "_"), "algorithm", pytree.final(Algorithm))


def applied(method: Algorithm, settings: Mapping[str, Any]) -> Algorithm:
    """Return the method with some hyperparameters by (dotted) name; a list stands for a tuple. Its class checks them.

    Raises UserError for a name that it does not have and for values that it refuses.
    """
    for name, value in settings.items():
        method = pytree.replace(method, name, tuple(value) if isinstance(value, list) else value)
    return method


def describe(setting: Algorithm) -> dict[str, Any]:
    """Return the resolved settings of a method as plain JSON values, nested modules as dictionaries."""
    return {"algorithm": setting.name, **_plain(setting)}


def _plain(module: eqx.Module) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for field in dataclasses.fields(module):  # type: ignore[arg-type]
        value = getattr(module, name := field.name)
        if isinstance(value, eqx.Module):
            value = {"kind": type(value).__name__, **_plain(value)}
        elif hasattr(value, "item"):
            value = value.item()
        settings[name] = list(value) if isinstance(value, tuple) else value
    return settings


def rebuild(described: Any) -> Algorithm:
    """Return the instance that `describe` described, from classes and values of the declared types alone.

    Raises UserError for a method, a hyperparameter or a module that this weft does not know, and for a value of
    another type.
    """
    if not isinstance(described, dict) or not isinstance(described.get("algorithm"), str):
        raise UserError("This describes no method: it names no algorithm.")
    return _instance(algorithm(described["algorithm"]), {k: v for k, v in described.items() if k != "algorithm"})


def _instance(kind: type, described: dict[str, Any]) -> Any:
    hints, values = typing.get_type_hints(kind), {}
    fields = {field.name for field in dataclasses.fields(kind)}
    for name, setting in described.items():
        if name not in fields:
            raise UserError(f"{kind.__name__} has no '{name}' here: another version of weft wrote its settings.")
        value = tuple(setting) if isinstance(setting, list) else setting
        if isinstance(setting, dict):
            word, choices = setting.get("kind"), _modules(hints[name])
            if not isinstance(word, str) or word not in choices:
                names = ", ".join(choices) or "none"
                raise UserError(f"This weft has no '{word}' for '{name}' of {kind.__name__}; known: {names}.")
            value = _instance(choices[word], {k: v for k, v in setting.items() if k != "kind"})
        elif not fits(value, hints[name]):
            raise UserError(f"{kind.__name__} cannot take {setting!r:.80} for '{name}'.")
        values[name] = value
    try:
        return kind(**values)
    except TypeError as problem:
        raise UserError(
            f"The settings of {kind.__name__} were written by another version of weft: {problem}."
        ) from None


def _modules(hint: Any) -> dict[str, type]:
    """Return the modules that a field of a declared type may hold, by the names that `describe` gives them."""
    if Sampler in (hints := typing.get_args(hint) or (hint,)):
        pytree.discover("weft.data.samplers", pytree.final(Sampler))
    kinds = [kind for kind in hints if isinstance(kind, type) and issubclass(kind, eqx.Module)]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return {kind.__name__: kind for kind in kinds if not inspect.isabstract(kind)}
