"""Where to begin: settings and units of measure that have served a family of tasks, by method.

A preset changes numbers, never code: what it says can be said by hand, and what is said by hand beside it wins. The
units (how observations and rewards are brought to scale) become the `Transform` of the run, so that they are kept with
the run, carried over to fine-tuning, and undone by the policy.
"""

import dataclasses
from typing import Any, ClassVar

from ..core import pytree
from ..core.errors import UserError
from .algorithm import Algorithm, algorithm

__all__ = ["Preset", "preset", "presets"]

PACKAGE = "weft.agents.presets"
UNITS = {"observations": "standardise", "rewards": "size", "reward_shift": 0.0}


class Preset:
    """A family of tasks. One final class per file in `presets/`.

    Class attributes: `title`; `units` (what `weft.fit` is told, where it is not its default); `settings` (by method,
    the fields that differ from the method's defaults); `own_units` (by method, units that differ from the family's).
    """

    title: ClassVar[str]
    units: ClassVar[dict[str, Any]] = {}
    settings: ClassVar[dict[str, dict[str, Any]]]
    own_units: ClassVar[dict[str, dict[str, Any]]] = {}

    @classmethod
    def setting(cls, method: str, **changes: Any) -> Algorithm:
        """Return a method with the preset's numbers, and with `changes` on top of them.

        Raises UserError for a method that there is not, or for which the preset has no numbers, and for a field that
        the method does not have.
        """
        kind = algorithm(method)
        name = method.lower().replace("-", "_")
        if name not in cls.settings:
            names = ", ".join(sorted(cls.settings))
            raise UserError(f"The preset '{cls.name()}' has no numbers for {kind.title}; it has them for {names}.")
        fields = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
        unknown = [word for word in changes if word not in fields]
        if unknown:
            raise UserError(f"{kind.title} has no field '{unknown[0]}'; it has {', '.join(sorted(fields))}.")
        return kind(**{**cls.settings[name], **changes})

    @classmethod
    def units_for(cls, method: str) -> dict[str, Any]:
        """Return the words for `weft.fit` (`observations`, `rewards`, `reward_shift`) that go with a method."""
        return {**UNITS, **cls.units, **cls.own_units.get(method.lower().replace("-", "_"), {})}

    @classmethod
    def name(cls) -> str:
        """Return the file name of the preset."""
        return cls.__module__.rpartition(".")[2]


def presets() -> dict[str, type[Preset]]:
    """Return every preset by file name."""
    return pytree.discover(PACKAGE, pytree.final(Preset))


def preset(name: str) -> type[Preset]:
    """Return one preset by file name; raise UserError that names the nearest one if there is none.

    family = weft.preset("sparse_goal")
    run = weft.fit(family.setting("iql"), data, **family.units_for("iql"))
    """
    return pytree.choose(PACKAGE, name.lower().replace("-", "_").replace(" ", "_"), "preset", pytree.final(Preset))
