"""The face of the package: what others may take from it."""

from .decision import Decision as Decision
from .ledger import Ledger as Ledger
from .outcomes import Outcomes as Outcomes
