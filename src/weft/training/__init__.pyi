"""The face of the package: what others may take from it."""

from .finetune import switch as switch
from .run import Run as Run
from .run import load_policy as load_policy
from .run import load_run as load_run
