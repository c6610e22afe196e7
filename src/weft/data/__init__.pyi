"""The face of the package: what others may take from it."""

from .columns import Batch as Batch
from .columns import Columns as Columns
from .concatenation import concatenate as concatenate
from .dataset import Dataset as Dataset
from .dataset import Episode as Episode
from .folds import Folds as Folds
from .folds import seal as seal
from .format import Format as Format
from .sampler import Sampler as Sampler
from .spec import ActionSpec as ActionSpec
from .spec import ObservationSpec as ObservationSpec
from .spec import Spec as Spec
from .summary import inspect as inspect
from .transforms import Transform as Transform
from .units import fit_transform as fit_transform
