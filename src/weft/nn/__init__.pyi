"""The face of the package: what others may take from it."""

from .dense import MLP as MLP
from .distributions import Categorical as Categorical
from .distributions import Deterministic as Deterministic
from .distributions import Distribution as Distribution
from .distributions import Mixture as Mixture
from .distributions import Normal as Normal
from .distributions import TanhNormal as TanhNormal
from .encoder import Encoder as Encoder
from .multipliers import Fixed as Fixed
from .multipliers import Lagrange as Lagrange
from .optimise import Learner as Learner
