"""weft: from logged decisions to a policy, and to an answer whether to deploy it.

Everything here is imported when it is first used, so that `import weft` and the command line start at once.
"""

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .advice import advise
    from .algorithm import Algorithm
    from .algorithms.awr import AWR
    from .algorithms.bc import BC
    from .algorithms.cql import CQL
    from .algorithms.filtered_bc import FilteredBC
    from .algorithms.iql import IQL
    from .algorithms.naive import Naive
    from .algorithms.td3_bc import TD3BC
    from .answer import answer
    from .behaviour import estimate_propensities
    from .certify import certify
    from .dataset import Dataset, concatenate
    from .decision import Decision
    from .diagnostics import diagnose
    from .errors import UserError
    from .estimate import estimate, estimate_fitted_q
    from .fit import fit
    from .folds import seal
    from .inspection import inspect
    from .ledger import Ledger
    from .load import load
    from .policy import Policy
    from .pytree import grid
    from .rollout import collect, rollout
    from .run import Run, load_policy, load_run
    from .spec import Spec
    from .stage import stage
    from .staged import Outcomes
    from .study import study
    from .triage import triage
    from .tune import tune

__version__ = "0.1.0"

_HOME = {
    "AWR": "algorithms.awr",
    "BC": "algorithms.bc",
    "CQL": "algorithms.cql",
    "FilteredBC": "algorithms.filtered_bc",
    "IQL": "algorithms.iql",
    "Naive": "algorithms.naive",
    "TD3BC": "algorithms.td3_bc",
    "Algorithm": "algorithm",
    "advise": "advice",
    "answer": "answer",
    "certify": "certify",
    "Decision": "decision",
    "Dataset": "dataset",
    "concatenate": "dataset",
    "UserError": "errors",
    "estimate": "estimate",
    "estimate_fitted_q": "estimate",
    "fit": "fit",
    "inspect": "inspection",
    "load": "load",
    "Policy": "policy",
    "grid": "pytree",
    "collect": "rollout",
    "rollout": "rollout",
    "Run": "run",
    "load_policy": "run",
    "load_run": "run",
    "Spec": "spec",
    "diagnose": "diagnostics",
    "estimate_propensities": "behaviour",
    "Ledger": "ledger",
    "seal": "folds",
    "triage": "triage",
    "study": "study",
    "stage": "stage",
    "Outcomes": "staged",
    "tune": "tune",
}

__all__ = [
    "AWR",
    "BC",
    "CQL",
    "IQL",
    "TD3BC",
    "Algorithm",
    "Dataset",
    "Decision",
    "FilteredBC",
    "Ledger",
    "Naive",
    "Outcomes",
    "Policy",
    "Run",
    "Spec",
    "UserError",
    "__version__",
    "advise",
    "answer",
    "certify",
    "collect",
    "concatenate",
    "diagnose",
    "estimate",
    "estimate_fitted_q",
    "estimate_propensities",
    "fit",
    "grid",
    "inspect",
    "load",
    "load_policy",
    "load_run",
    "rollout",
    "seal",
    "stage",
    "study",
    "triage",
    "tune",
]


class _Package(types.ModuleType):
    """Keeps `weft.fit` the function whichever is imported first: Python would put the module `weft/fit.py` there."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"weft has no '{name}'")
    value = getattr(importlib.import_module(f"weft.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
