"""What runs on the web runs here: workflows call make targets that exist, with least permissions and pinned actions."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_run_make_targets_that_exist(path):
    lines = re.findall(r"^ +(?:- )?run: (.*)$", path.read_text(), re.MULTILINE)
    assert lines
    for line in lines:
        program, *words = line.split()
        assert program == "make", line
        assert {word for word in words if re.fullmatch(r"[a-z-]+", word)} <= TARGETS, line


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_pin_actions_and_ask_for_little(path):
    text = path.read_text()
    assert re.search(r"^permissions:\n  contents: read\n", text, re.MULTILINE)
    assert "secrets." not in text
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v1)", action) for action in re.findall(r"uses: (\S+)", text))


def test_every_extra_for_users_has_tests_of_its_own():
    extras = re.search(r"extra: \[(.*)\]", (ROOT / ".github" / "workflows" / "checks.yml").read_text())
    makefile = (ROOT / "Makefile").read_text()
    pyproject = (
        (ROOT / "pyproject.toml").read_text().partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    )
    named = set(re.findall(r"^([a-z]+) = \[", pyproject, re.MULTILINE))
    assert set(extras.group(1).split(", ")) == named - {"cuda", "test", "dev"}  # no runner has a GPU
    for extra in named - {"cuda", "test", "dev"}:
        files = re.search(rf"^TESTS_{extra} := (.*)$", makefile, re.MULTILINE).group(1).split()
        assert all((ROOT / file).exists() for file in files)


def test_locked_files_name_versions_only():
    for path in (ROOT / "requirements").glob("*.txt"):
        assert all(re.match(r"[\w.-]+==[\w.]+( ;.*)?$", line) for line in path.read_text().splitlines()), path.name
