"""What everything stands on: errors, the registry of variants, trees of arrays, files, memory, compiled programs."""

from .face import face

__getattr__, __dir__, __all__ = face(__name__)  # pyright: ignore[reportUnsupportedDunderAll]
