"""The face of the package: what others may take from it."""

from .benchmark_files import Benchmark as Benchmark
from .benchmark_files import load_benchmark as load_benchmark
from .study import Study as Study
from .tune import Tuned as Tuned
