"""The face of the package: what others may take from it."""

from .candidate import Candidate as Candidate
from .diagnostics import diagnose as diagnose
from .estimate import estimate_fitted_q as estimate_fitted_q
from .estimator import Estimator as Estimator
from .interval import Interval as Interval
from .propensities import estimate_propensities as estimate_propensities
from .reported_interval import Answer as Answer
from .reported_interval import answer as answer
