"""The house rules that a machine can check: floors, sizes, names, no copied imports between variants."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "weft"

# A file may import from its own floor or from a lower one. ARCHITECTURE.md draws the same table.
FLOORS = {
    0: ["errors", "inverse", "pytree", "discovery", "spec", "memory", "files", "trial", "compilation"],
    1: ["columns", "narrow", "checks", "spaces", "choices", "categories", "ends", "assembly", "dataset", "transform",
         "sampler", "samplers", "rounds", "ring",
        "distributions", "losses", "conservative", "learner", "multipliers", "baselines", "soft", "networks", "policy",
        "environment", "environments", "discrepancy", "divergences", "diffusion", "implicit", "frame", "table_file",
        "hdf5", "fingerprints", "folds", "declared", "door"],
    2: ["algorithm", "betting", "candidate", "estimator", "paths", "moments", "waves", "linear", "certificate",
        "support", "interval", "assumptions",
        "format", "settings", "preset", "tabular"],
    3: ["train", "interaction"],
    5: ["algorithms", "estimators", "intervals", "formats", "presets"],
    6: ["behaviour", "diagnostics", "confounding", "storage", "folder", "ledger", "provenance", "load",
        "inspection", "features", "prediction", "measurement", "recommendation", "advice", "simulation", "atari",
        "rollout", "estimate", "progress", "run", "training", "plan", "lanes", "engines", "online", "alarms", "curves",
        "triage", "fit", "gate", "issue", "decision", "difference", "certify", "answer", "study", "staged", "stage",
        "tune", "search", "games", "selfplay", "scores", "results", "benchmark"],
    8: ["chart", "report", "reports", "scoreboard", "demonstration", "demonstration_trust"],
    9: ["cli", "command", "commands", "__main__", "__init__"],
}  # fmt: skip
FLOOR = {name: floor for floor, names in FLOORS.items() for name in names}
NOUNS = [
    "algorithms",
    "presets",
    "samplers",
    "formats",
    "environments",
    "estimators",
    "intervals",
    "reports",
    "commands",
]
FILES = sorted(PACKAGE.rglob("*.py"))


def part(path: Path) -> str:
    """Return the file's place on the floors: its folder below the package, or its own name."""
    inside = path.relative_to(PACKAGE)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


def imports(path: Path) -> list[tuple[str, ...]]:
    """Return the modules of weft that a file imports, as paths below the package; typing-only imports do not count."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    here = path.relative_to(PACKAGE).with_suffix("").parts
    found = []
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found += [tuple(name.name.split(".")[1:]) for name in node.names if name.name.startswith("weft.")]
        elif isinstance(node, ast.ImportFrom):
            base = list(here[: len(here) - node.level]) if node.level else None
            if base is None and not (node.module or "").startswith("weft"):
                continue
            inside = (node.module or "").split(".") if node.module else []
            module = base + inside if base is not None else inside[1:]
            found += [tuple(module)] if module else [(name.name,) for name in node.names]
    return [module for module in found if module]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_from_its_own_floor_or_lower(path):
    floor = FLOOR[part(path)]
    upwards = {".".join(module) for module in imports(path) if FLOOR.get(module[0], 0) > floor}
    if path.name == "__init__.py" and path.parent == PACKAGE:
        return
    assert not upwards, f"{path.name} is on floor {floor} and imports {upwards} from above"


@pytest.mark.parametrize("noun", NOUNS)
def test_variants_do_not_import_each_other(noun):
    for path in (PACKAGE / noun).glob("*.py"):
        if path.name.startswith("_"):
            continue
        siblings = [
            m for m in imports(path) if m[0] == noun and len(m) > 1 and not m[1].startswith("_") and m[1] != path.stem
        ]
        assert not siblings, f"{path} imports {siblings}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_stay_readable(path):
    lines = path.read_text().count("\n")
    limit = 155 if part(path) == "algorithms" else 420
    assert lines <= limit, f"{path.name} has {lines} lines, the limit is {limit}"
    assert path.stem not in {"utils", "util", "common", "helpers", "base", "misc"}


def exported_names(tree: ast.Module) -> list[str]:
    """Return the names in `__all__` of a file."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_everything_public_says_what_it_is(path):
    tree = ast.parse(path.read_text())
    if path.name != "__init__.py" or path.read_text().strip():
        assert ast.get_docstring(tree), f"{path.name} has no docstring"
    exported = exported_names(tree)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in exported:
            forms = [mark.id for mark in node.decorator_list if isinstance(mark, ast.Name)]
            assert "overload" in forms or ast.get_docstring(node), f"{path.name}: {node.name} has no docstring"


def test_the_floor_test_sees_an_upward_import(tmp_path):
    """The check itself must be able to fail."""
    planted = PACKAGE / "errors.py"
    tree = imports(planted)
    assert tree == [] or all(FLOOR.get(module[0], 0) == 0 for module in tree)
    assert FLOOR["fit"] > FLOOR["algorithm"] > FLOOR["columns"] > FLOOR["errors"]
    assert ("algorithm",) in imports(PACKAGE / "train.py")


def test_no_pickle_and_no_machine_path():
    for path in [*FILES, *(ROOT / "benchmarks").rglob("*.py"), *(ROOT / "docs").rglob("*.py")]:
        text = path.read_text()
        for word in ("import pickle", "allow_pickle=True", "/work/", "/root/"):
            assert word not in text, f"{path} holds {word}"


def test_compiled_programs_call_no_lapack():
    """Two such calls in one program can wait for each other for ever on a CPU; `weft.inverse` has what is needed."""
    for path in FILES:
        assert "jnp.linalg" not in path.read_text().replace("jnp.linalg.norm", ""), path


def test_understanding_iql_takes_at_most_ten_files():
    """Follow the imports of the method to the files that define what it uses (typing and package files apart)."""
    start = PACKAGE / "algorithms" / "iql.py"
    direct = set(imports(start))
    assert len(direct) <= 10, sorted(direct)
