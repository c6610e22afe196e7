"""Policies that weft did not train: a model file, somebody's own code, an object of another library, a table.

Each kind is a file in `externals/`; the first that claims a source reads it. An external policy is asked once, at every
observation of a log, and replies in the log's units and choices. What it was trained on nobody knows unless somebody
declares it, and what it computes weft cannot save: `reference` says where it is found again.
"""

import abc
import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from ..core.errors import UserError
from ..core.registry import discover, final
from ..data.dataset import Dataset
from ..data.fingerprints import fingerprints
from ..data.load import check_loaded
from ..data.spec import Spec
from ..data.trace import Trace
from . import python_reference as python

__all__ = [
    "ONLY_LOGGED",
    "External",
    "Question",
    "Reference",
    "Reply",
    "choice_codes",
    "external_policy",
    "is_external",
    "recalled",
]

PACKAGE = "weft.agents.externals"
ONLY_LOGGED = "only the probability of the logged action is known, and not what else the policy would do"
VERSION = 1
PICKLES = (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".d3")
WAYS = (
    "an ONNX model (policy.onnx), your own code (module:function or file.py:function), a table of probabilities by "
    "decision (table.csv or table.parquet), or a column of the log (column:NAME)"
)


@dataclasses.dataclass(frozen=True)
class Question:
    """What an external policy is asked: what it does at every observation of a log.

    observation: `(n, …)` all observations of the log's store, as NumPy in the user's units; logged: those at which
    actions were taken, one per step of the store; action: these actions. Where it draws, it is asked for `samples`
    draws with keys made of `key`.
    """

    data: Dataset
    observation: PyTree
    logged: PyTree
    action: np.ndarray
    key: PRNGKeyArray
    samples: int

    @property
    def spec(self) -> Spec:
        """What the log holds."""
        return self.data.spec


@dataclasses.dataclass(frozen=True)
class Reply:
    """What an external policy says it does. `does`: probabilities `(n, choice)`, choices `(n,)` or actions `(n, act)`
    at every observation; or `draws`, one `(n, act)` per sample. `log_prob` of the logged actions, one per step of the
    store, where no `does` tells it. `lacks`: why values cannot be fitted for the policy, empty where they can.
    """

    does: Any = None
    draws: tuple[Any, ...] = ()
    log_prob: Any = None
    lacks: str = ""


@dataclasses.dataclass(frozen=True)
class Reference:
    """Where an external policy is found again: the words for it, and a digest of the file behind them."""

    words: str
    sha256: str

    @classmethod
    def of(cls, words: str, content: bytes) -> "Reference":
        """Return the reference to a file by its content."""
        return cls(words, hashlib.sha256(content).hexdigest())


@dataclasses.dataclass(frozen=True, eq=False)
class External(abc.ABC):
    """A policy that weft did not train. One final class per file in `externals/`.

    source: the function, object or model that is asked; name: what sentences call it; trained_on: what is declared to
    have taught it; reference: where it is found again, None for an object of this process alone.
    """

    source: Any
    name: str
    trained_on: Trace = dataclasses.field(default_factory=Trace)
    reference: Reference | None = None

    general: ClassVar[bool] = False
    """Whether it claims only what no other kind does."""

    @property
    def title(self) -> str:
        """The name at the beginning of a sentence."""
        return f"T{self.name[1:]}" if self.name.startswith("the ") else self.name

    def ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return what somebody's own code answers. Code that was found by words has its mistakes told in one sentence;
        what was passed as an object keeps its trace, for who runs Python wants to see it.
        """
        if self.reference is None:
            return function(*arguments)
        return python.called(self.title, function, *arguments)

    @classmethod
    @abc.abstractmethod
    def claims(cls, source: Any) -> bool:
        """Say whether a source, words or an object, is one of this kind."""

    @classmethod
    @abc.abstractmethod
    def read(cls, source: Any) -> Self:
        """Return the policy of a source that this kind claims. Raises UserError where there is none."""

    @abc.abstractmethod
    def answer(self, question: Question) -> Reply:
        """Return what the policy does. Raises UserError where it cannot say."""

    def record(self) -> dict[str, Any]:
        """Return what a folder keeps of the policy: its name and where it is found again, which is no copy of it."""
        place = {} if self.reference is None else dataclasses.asdict(self.reference)
        return {"version": VERSION, "name": self.name, **place}

    def remarks(self, data: Dataset) -> Iterator[str]:
        """Yield what a judge of the policy on a log should know."""
        del data
        yield from ()


def external_policy(source: Any, trained_on: Dataset | None = None) -> External:
    """Return a policy that weft did not train, to be judged by `weft.estimate`, `answer`, `certify`, `study`, `stage`.

    source: an ONNX model (`policy.onnx`, or `policy.onnx:output`); the user's own code (`module:name` or
    `path/file.py:name`: a function of a batch of observations, or an object as below); a table of probabilities by
    decision (`table.parquet`, `table.csv:id`, or a data frame); a column of the log (`column:NAME`); in Python also a
    function, a scikit-learn classifier, a d3rlpy algorithm, or an object with `sample` and `log_prob`. trained_on: the
    log that taught it, if that is known, so that it is not judged by what it has seen.

    Raises UserError for anything else. weft opens no pickle: the user's own code may.
    """
    policy = source if isinstance(source, External) else _read(source)
    if trained_on is None:
        return policy
    check_loaded(trained_on, "trained_on")
    return dataclasses.replace(policy, trained_on=Trace(fingerprints(trained_on)))


def recalled(record: Mapping[str, Any]) -> External:
    """Return the policy that `External.record` refers to.

    Raises UserError where it was an object of another process, or its file is not what it was.
    """
    name, words = record.get("name"), record.get("words")
    if not isinstance(words, str):
        raise UserError(
            f"The study is about {name}, an object of the process that made it, which nothing refers to; pass it as "
            "policy=."
        )
    policy = external_policy(words)
    if policy.reference is None or policy.reference.sha256 != record.get("sha256"):
        raise UserError(
            f"{name} is not what it was when it was judged: its file has changed; put the old one back, or judge the "
            "new one."
        )
    return dataclasses.replace(policy, name=name)


def _read(source: Any) -> External:
    """Read a policy by the kind that claims it; words that lead to Python code stand for what is found there."""
    if not isinstance(source, str | os.PathLike):
        return _claimant(source).read(source)
    words = os.fspath(source)
    if kind := _claiming(words):
        return kind.read(words)
    if words.lower().endswith(PICKLES):
        raise UserError(
            f"{words}: weft opens no pickle, which could run anything; let your own code open it, and name the "
            "function that answers: module:function or file.py:function."
        )
    if not python.refers(words):
        raise UserError(f"There is no policy '{words}': give a run, a file that weft saved, {WAYS}.")
    thing, file = python.located(words)
    content = b"" if file is None else file.read_bytes()
    reference = Reference.of(python.lasting(words), content)
    return dataclasses.replace(_claimant(thing).read(thing), name=words, reference=reference)


def is_external(words: str) -> bool:
    """Say whether words mean an external policy by their form, whether there is one or not."""
    return _claiming(words) is not None or python.refers(words) or words.lower().endswith(PICKLES)


def _claiming(source: Any) -> type[External] | None:
    """Return the kind that claims a source, the general ones last; None if there is none."""
    kinds = sorted(discover(PACKAGE, final(External)).values(), key=lambda kind: kind.general)
    return next((kind for kind in kinds if kind.claims(source)), None)


def _claimant(thing: Any) -> type[External]:
    kind = _claiming(thing)
    if kind is None:
        raise UserError(
            f"A {type(thing).__name__} is no policy: pass that of a run (run.policy()), a function of observations, a "
            f"classifier with predict_proba, a d3rlpy algorithm, an object with sample and log_prob, or {WAYS}."
        )
    return kind


def choice_codes(spec: Spec, names: Any) -> list[int | None]:
    """Return the codes of choices by the names that others have for them; None for what is no choice of the log.

    A log's choices are called by their labels, else by their numbers from 0; 3, 3.0 and "3" mean the same.
    """
    code = {label: number for number, label in enumerate(spec.action.choices)}
    return [code.get(_word(name)) for name in names]


def _word(name: Any) -> str:
    value = name.item() if isinstance(name, np.generic) else name
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value.decode() if isinstance(value, bytes) else str(value)
