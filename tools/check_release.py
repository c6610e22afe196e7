"""Say whether the version may be released under a tag: `python tools/check_release.py v0.2.0`. Needs Python alone.

The tag is `v` and the version of pyproject.toml, `weft.__version__` is the same, and the first section of CHANGELOG.md
is about it and no longer called unreleased.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def complaints(tag: str, root: Path = ROOT) -> list[str]:
    """Return what is not as a release needs it, a sentence each."""
    version = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    source = (root / "src" / "weft" / "__init__.py").read_text(encoding="utf-8")
    section = re.search(r"^## (.*)$", (root / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    heading = section.group(1) if section else ""
    sentences = []
    if tag != f"v{version}":
        sentences.append(f"The tag is {tag}, and pyproject.toml has the version {version}: tag v{version}.")
    if f'__version__ = "{version}"' not in source:
        sentences.append(f"weft.__version__ is not {version}, which pyproject.toml has: make them the same.")
    if heading.split(" ")[0] != version:
        sentences.append(f"The first section of CHANGELOG.md is '{heading}': write one for {version}.")
    if "unreleased" in heading:
        sentences.append(f"CHANGELOG.md calls {version} unreleased: write the date instead.")
    return sentences


if __name__ == "__main__":
    problems = complaints(sys.argv[1])
    print("\n".join(problems) or f"{sys.argv[1]} may be released.")
    sys.exit(bool(problems))
