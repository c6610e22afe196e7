"""weft: from logged decisions to a policy, and to an answer whether to deploy it.

The public names are those of `__init__.pyi`. Each is imported when it is first used, so that `import weft` and the
command line start at once.
"""

from ._aliases import ALIASES, install
from .core.face import face

__version__ = "0.1.0"

install(__name__)
__getattr__, __dir__, _names = face(__name__, ALIASES)
__all__ = ["__version__", *_names]  # noqa: PLE0604 # pyright: ignore[reportUnsupportedDunderAll]
