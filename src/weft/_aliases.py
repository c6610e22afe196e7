"""Old places of public modules: they stay importable, and are the same modules as at the new places."""

import importlib
import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Iterable

__all__ = ["ALIASES", "install"]

ALIASES: dict[str, str | tuple[str, ...]] = {
    "distributions": "nn.distributions",
    "environments": "envs.worlds",
    "errors": "core.errors",
    "games": "labs.games",
    "multipliers": "nn.multipliers",
    "online": "training.finetune",
    "policy": ("agents.policy", "agents.served", "agents.parts.candidates"),
    "scores": "experiments.scores",
    "selfplay": "labs.selfplay",
    "tabular": "labs.tabular",
}


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a module of the table, and modules inside it, at its new place; what became several is one of ours."""

    def __init__(self, package: str) -> None:
        self.package = package
        self.specs: dict[str, importlib.machinery.ModuleSpec | None] = {}

    def find_spec(
        self, fullname: str, path: Iterable[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return a spec of ours for an old name, None for any other."""
        del path, target
        top, _, rest = fullname.partition(".")
        if top != self.package or rest.partition(".")[0] not in ALIASES:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package="." not in rest)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """Return the module at the new place."""
        old, _, inner = spec.name.partition(".")[2].partition(".")
        places = ALIASES[old]
        if isinstance(places, str):
            module = importlib.import_module(".".join(filter(None, (self.package, places, inner))))
        else:
            module = types.ModuleType(spec.name, f"What `{spec.name}` was: {', '.join(places)}.")
            for part in (importlib.import_module(f"{self.package}.{place}") for place in places):
                vars(module).update({name: value for name, value in vars(part).items() if not name.startswith("__")})
        self.specs[spec.name] = module.__spec__ or spec
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        """Give the module its own spec back, which importing by an old name has replaced."""
        assert module.__spec__ is not None
        module.__spec__ = self.specs.pop(module.__spec__.name)


def install(package: str) -> None:
    """Let the old names of a package's modules be imported."""
    if not any(isinstance(finder, Finder) and finder.package == package for finder in sys.meta_path):
        sys.meta_path.insert(0, Finder(package))  # before the one of paths, which would load modules of a package twice
