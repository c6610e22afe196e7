"""Import every module of weft and look up every public name: `python tools/import_everything.py`."""

import importlib
import pkgutil

import weft


def main() -> None:
    """Import all that there is; whatever cannot be imported ends it with its trace."""
    modules = [part.name for part in pkgutil.walk_packages(weft.__path__, "weft.") if part.name != "weft.__main__"]
    for name in modules:
        importlib.import_module(name)
    for name in weft.__all__:
        getattr(weft, name)
    print(f"weft {weft.__version__}: {len(modules)} modules, {len(weft.__all__)} public names.")


if __name__ == "__main__":
    main()
