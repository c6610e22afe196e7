"""Worlds to act in: weft's own, Gymnasium's and Atari's, and the logs that are made in them."""

from ..core.face import face

__getattr__, __dir__, __all__ = face(__name__)  # pyright: ignore[reportUnsupportedDunderAll]
