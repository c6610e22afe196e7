"""Learning from a log alone: what runs learn from, and the engine that moves them."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from ..agents.algorithm import Algorithm
from ..core import pytree
from ..data.columns import Columns
from ..data.spec import Spec
from . import loop as train
from .session import Engine, Looks, Row

__all__ = ["Lesson", "Logged"]


@dataclasses.dataclass(frozen=True)
class Lesson:
    """What runs on a log learn from: the log in the units of the method, its form there, and for how many steps.

    planned: the number of steps that was planned first, where it was another.
    """

    columns: Columns
    spec: Spec
    steps: int
    planned: int


class Logged(Engine):
    """Runs that learn from a log alone, which lies on the device in the units of the method."""

    def __init__(self, settings: list[Algorithm], seeds: list[int], lesson: Lesson, mapping: str) -> None:
        self.settings = pytree.stack(settings)
        self.keys = jnp.stack([jax.random.key(seed) for seed in seeds])
        self.lesson, self.mapping = lesson, mapping
        self.looks = Looks(len(seeds))
        self.current: PyTree = None

    @property
    def states(self) -> PyTree:
        return self.current

    def begin(self) -> None:
        lesson = self.lesson
        self.current = train.begin(self.settings, self.keys, lesson.columns, lesson.spec, self.mapping)

    def restore(self, states: PyTree, read: Callable[[str, PyTree], PyTree]) -> None:
        del read
        self.current = states

    def advance(self, begin: int, end: int) -> list[Row]:
        lesson = self.lesson
        sums = train.nothing(self.settings, self.current, lesson.columns, self.keys)
        for start, stop in self.looks(begin, end):
            span = train.Span.of(start, stop, lesson.steps, lesson.planned)
            self.current, sums = train.advance(
                self.settings, self.current, lesson.columns, self.keys, span, self.mapping, sums
            )
            jax.block_until_ready(sums)
        return train.means(sums, end - begin, len(self.keys))
