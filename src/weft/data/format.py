"""What a log format is: which sources it claims, which options it knows, and how it becomes a `Dataset`.

One final class per file in `formats/`, found by file name. A new format is one new file there and nothing else.
Formats import whatever is heavy (h5py, polars) inside `read`, so that naming the known formats stays cheap.
"""

import abc
import inspect
from typing import Any, ClassVar

from .dataset import Dataset

__all__ = ["SHARED", "Format"]

SHARED = (
    "action_bounds",
    "action_count",
    "action_labels",
    "discount",
    "gigabytes",
    "horizon",
    "identity",
    "kinds",
    "propensity_low",
    "reward_range",
    "terminal_inside",
    "unit",
)
"""Options of every format: declared facts (`weft.data.steps.Facts`), and `gigabytes`.

gigabytes: the most that a log from a file may take in memory (`weft.core.memory.Allowance`), for the format itself.
"""


class Format(abc.ABC):
    """One way in which logs are stored.

    schemes: words before the colon of a URI, such as `minari` for `minari:hopper/medium-v0`. suffixes: how file names
    end, with the dot, in lower case. files: names of files, or paths inside a folder, that tell this format from
    others of the same suffix (`data/main_data.hdf5`). `holds` says whether an object in memory is of this format.
    """

    schemes: ClassVar[tuple[str, ...]] = ()
    suffixes: ClassVar[tuple[str, ...]] = ()
    files: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def holds(cls, log: Any) -> bool:
        """Say whether an object that is neither a path nor a URI (a data frame, a dictionary) is of this format."""
        del log
        return False

    @abc.abstractmethod
    def read(self, log: Any, /, **options: Any) -> Dataset:
        """Read a path (`pathlib.Path`), a whole URI (`str`) or an object in memory.

        A final class names its own options and `gigabytes` as keyword-only parameters with defaults and ends with
        `**shared`, of which it makes the `Facts` for `Dataset.from_steps`. Raises UserError, one sentence that names
        the source, for whatever is wrong with it.
        """

    @classmethod
    def options(cls) -> tuple[str, ...]:
        """Return the names of the options that `read` takes: its own first, then the shared ones."""
        parameters = inspect.signature(cls.read).parameters.values()
        own = (part.name for part in parameters if part.kind is inspect.Parameter.KEYWORD_ONLY)
        return *(name for name in own if name not in SHARED), *SHARED
