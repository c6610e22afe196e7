"""Networks, distributions, losses and one step of gradient descent."""

from ..core.face import face

__getattr__, __dir__, __all__ = face(__name__)  # pyright: ignore[reportUnsupportedDunderAll]
