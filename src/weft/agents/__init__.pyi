"""The face of the package: what others may take from it."""

from .algorithm import Algorithm as Algorithm
from .policy import Policy as Policy
from .preset import Preset as Preset
from .schedule import Rounds as Rounds
from .served import Served as Served
