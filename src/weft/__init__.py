"""weft: from logged decisions to a policy, and to an answer whether to deploy it.

Everything here is imported when it is first used, so that `import weft` and the command line start at once.
"""

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import scores, tabular
    from .advice import advise
    from .algorithm import Algorithm
    from .algorithms.actor_critic import ActorCritic
    from .algorithms.awac import AWAC
    from .algorithms.awr import AWR
    from .algorithms.bc import BC
    from .algorithms.bcq import BCQ
    from .algorithms.bear import BEAR
    from .algorithms.brac import BRAC
    from .algorithms.cql import CQL
    from .algorithms.crr import CRR
    from .algorithms.discrete_bcq import DiscreteBCQ
    from .algorithms.dqn import DQN
    from .algorithms.filtered_bc import FilteredBC
    from .algorithms.idql import IDQL
    from .algorithms.iql import IQL
    from .algorithms.kl_control import KLControl
    from .algorithms.one_step import OneStep
    from .algorithms.ram import RAM
    from .algorithms.reinforce import Reinforce
    from .algorithms.reps import REPS
    from .algorithms.sac import SAC
    from .algorithms.td3_bc import TD3BC
    from .answer import answer
    from .behaviour import estimate_propensities
    from .benchmark import benchmark
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
    from .online import finetune
    from .policy import Policy
    from .preset import preset
    from .pytree import grid
    from .rollout import collect, rollout
    from .rounds import Rounds
    from .run import Run, load_policy, load_run
    from .spec import Spec
    from .stage import stage
    from .staged import Outcomes
    from .study import study
    from .triage import triage
    from .tune import tune

__version__ = "0.1.0"

_HOME = {
    "AWAC": "algorithms.awac",
    "AWR": "algorithms.awr",
    "BC": "algorithms.bc",
    "ActorCritic": "algorithms.actor_critic",
    "CQL": "algorithms.cql",
    "DQN": "algorithms.dqn",
    "FilteredBC": "algorithms.filtered_bc",
    "BCQ": "algorithms.bcq",
    "BEAR": "algorithms.bear",
    "BRAC": "algorithms.brac",
    "CRR": "algorithms.crr",
    "DiscreteBCQ": "algorithms.discrete_bcq",
    "KLControl": "algorithms.kl_control",
    "OneStep": "algorithms.one_step",
    "IDQL": "algorithms.idql",
    "IQL": "algorithms.iql",
    "Reinforce": "algorithms.reinforce",
    "REPS": "algorithms.reps",
    "SAC": "algorithms.sac",
    "RAM": "algorithms.ram",
    "TD3BC": "algorithms.td3_bc",
    "Algorithm": "algorithm",
    "advise": "advice",
    "answer": "answer",
    "benchmark": "benchmark",
    "certify": "certify",
    "Decision": "decision",
    "Dataset": "dataset",
    "concatenate": "dataset",
    "UserError": "errors",
    "estimate": "estimate",
    "estimate_fitted_q": "estimate",
    "fit": "fit",
    "finetune": "online",
    "Rounds": "rounds",
    "inspect": "inspection",
    "load": "load",
    "Policy": "policy",
    "preset": "preset",
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

_MODULES = ("scores", "tabular")

__all__ = [
    "AWAC",
    "AWR",
    "BC",
    "BCQ",
    "BEAR",
    "BRAC",
    "CQL",
    "CRR",
    "DQN",
    "IDQL",
    "IQL",
    "RAM",
    "REPS",
    "SAC",
    "TD3BC",
    "ActorCritic",
    "Algorithm",
    "Dataset",
    "Decision",
    "DiscreteBCQ",
    "FilteredBC",
    "KLControl",
    "Ledger",
    "OneStep",
    "Outcomes",
    "Policy",
    "Reinforce",
    "Rounds",
    "Run",
    "Spec",
    "UserError",
    "__version__",
    "advise",
    "answer",
    "benchmark",
    "certify",
    "collect",
    "concatenate",
    "diagnose",
    "estimate",
    "estimate_fitted_q",
    "estimate_propensities",
    "finetune",
    "fit",
    "grid",
    "inspect",
    "load",
    "load_policy",
    "load_run",
    "preset",
    "rollout",
    "scores",
    "seal",
    "stage",
    "study",
    "tabular",
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
    if name in _MODULES:
        return importlib.import_module(f"weft.{name}")
    if name not in _HOME:
        raise AttributeError(f"weft has no '{name}'")
    value = getattr(importlib.import_module(f"weft.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
