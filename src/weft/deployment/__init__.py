"""Whether, how far and in which form a policy may go live."""

from ..core.face import face

__getattr__, __dir__, __all__ = face(__name__)  # pyright: ignore[reportUnsupportedDunderAll]
