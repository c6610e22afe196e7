"""The face of the package: what others may take from it."""

from .errors import UserError as UserError
from .memory import Allowance as Allowance
from .progress import Progress as Progress
from .pytree import grid as grid
from .registry import discover as discover
