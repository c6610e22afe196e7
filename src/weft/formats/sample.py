"""Samples: logs made in seconds from a seed by a weft environment's own behaviour, such as `sample:maze`.

Every file in `environments/` is a sample, so a further one is one file there. The same name, seed and number of
episodes always give the same log. Propensities are those of the behaviour, which is known.
"""

from typing import Any, ClassVar

from ..dataset import Dataset
from ..environment import environment, log
from ..format import Format

__all__ = ["Sample"]


class Sample(Format):
    """`sample:NAME`, where NAME is a weft environment."""

    schemes: ClassVar[tuple[str, ...]] = ("sample",)

    def read(self, uri: Any, /, *, seed: int = 0, episodes: int | None = None, **shared: Any) -> Dataset:
        """Return the log of a world's behaviour: `episodes` of them (the world's own number if None) from a seed.

        Raises UserError for a name that no environment has and for fewer than one episode.
        """
        world = environment(str(uri).partition(":")[2])
        return log(world, world.logged if episodes is None else episodes, seed, **shared)
