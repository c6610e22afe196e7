"""What a method is, and the policies that it serves."""

from ..core.face import face

__getattr__, __dir__, __all__ = face(__name__)  # pyright: ignore[reportUnsupportedDunderAll]
