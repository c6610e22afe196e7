"""The documentation is true: its code runs, its generated pages are fresh, its commands exist."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from weft.agents.algorithm import algorithms

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(language: str) -> list:
    """Return every fenced block of a language as a test parameter."""
    found = []
    for page in PAGES:
        for number, code in enumerate(re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.S)):
            found.append(pytest.param(code, id=f"{page.name}-{number}"))
    return found


def generator():
    """Import docs/generate.py, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.few(1)
@pytest.mark.parametrize("code", blocks("python"))
def test_python_blocks_run_as_pasted(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "documentation", "exec"), {})


@pytest.mark.parametrize("code", blocks("console"))
def test_commands_in_the_documentation_exist(code):
    import weft.cli.commands

    commands = {path.stem for path in Path(weft.cli.commands.__path__[0]).glob("[a-z]*.py")}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for line in code.splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        if words and words[0] == "weft":
            assert words[1] in commands, line
        if words and words[0] == "make":
            assert words[1] in targets, line


@pytest.mark.parametrize("name", generator().PAGES)
def test_generated_pages_are_fresh(name):
    assert (ROOT / "docs" / name).read_text() == generator().PAGES[name](), "run `make docs`"


def test_every_method_has_a_page_and_no_page_is_left_over():
    pages = {path.stem for path in (ROOT / "docs" / "algorithms").glob("*.md")}
    assert pages == set(algorithms())


def test_every_link_in_the_documentation_leads_somewhere():
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)  # brackets of equations are no links
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
