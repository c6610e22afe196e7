"""Logs: what a log is, and how it is read, checked, split, recognised and sampled."""

from ..core.face import face

__getattr__, __dir__, __all__ = face(__name__)  # pyright: ignore[reportUnsupportedDunderAll]
