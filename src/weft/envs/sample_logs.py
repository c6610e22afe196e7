"""Samples: logs made in seconds from a seed by a weft environment's own behaviour, such as `sample:maze`.

Every file in `worlds/` is a sample, so a further one is one file there. The same name, seed, number of episodes
and settings of the world always give the same log. Propensities are those of the behaviour, which is known.
"""

import dataclasses
from typing import Any, ClassVar

from ..core.errors import UserError, nearest
from ..data.dataset import Dataset
from ..data.format import SHARED, Format
from .environment import Environment, environment, environments, log

__all__ = ["Sample"]


class Sample(Format):
    """`sample:NAME`, where NAME is a weft environment."""

    schemes: ClassVar[tuple[str, ...]] = ("sample",)

    def read(
        self, uri: Any, /, *, seed: int = 0, episodes: int | None = None, gigabytes: float | None = None, **shared: Any
    ) -> Dataset:
        """Return the log of a world's behaviour: `episodes` of them (the world's own number if None) from a seed.

        Fields of the world are options, too: `weft.load("sample:notifications", hidden=True)`. Raises UserError for a
        name that no environment has, a field that this world lacks or cannot take, and for fewer than one episode.
        """
        del gigabytes  # no file is unpacked
        name = str(uri).partition(":")[2]
        world = environment(name)
        fields = {option: shared.pop(option) for option in list(shared) if option not in SHARED}
        world = dataclasses.replace(world, **_checked(str(uri), world, fields))
        return log(world, world.logged if episodes is None else episodes, seed, **shared)

    @classmethod
    def options(cls) -> tuple[str, ...]:
        """Return the names of the options, the fields of every world last."""
        shared = super().options()
        fields = {field.name for world in environments().values() for field in dataclasses.fields(world)}
        return (*shared, *sorted(fields - set(shared)))


def _checked(uri: str, world: Environment, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the changed fields of a world, each of the type that it has by default (whole numbers pass as numbers)."""
    defaults = {field.name: getattr(world, field.name) for field in dataclasses.fields(world)}
    changed = {}
    for option, value in fields.items():
        if option not in defaults:
            names = ", ".join(defaults) or "none"
            raise UserError(f"{uri}: this world has no '{option}'.{nearest(option, defaults)} Known: {names}.")
        kind = type(defaults[option])
        number = kind is float and type(value) is int
        if not (type(value) is kind or number):
            raise UserError(f"{uri}: {option} is of the type {kind.__name__}, got {value!r}.")
        changed[option] = float(value) if number else value
    return changed
