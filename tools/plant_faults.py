"""Plant single faults in the source and count which the tests of two revisions catch.

    python tools/plant_faults.py --old b857304 --new HEAD --caught 40 --seed 14 --out faults.jsonl

Needs Python, git, and what the tests need. A fault changes one line in one place: another comparison, a constant off by
one, a dropped `not` or term, + for -, min for max, another axis, a dropped call or statement. None is planted in
docstrings, messages, annotations, decorators or imports. Faults are drawn in turn from the packages of the old revision
(`--seed`), and only on lines that stand once in a function of the same name in both revisions, so that the same fault
can be planted in the new one. The old tests run first; a fault that they catch goes to the new ones, until so many are
caught. What fails is run once more without the fault; a test that fails then, too, is left out.

Which tests: `tests/<package>/test_<module>.py` (also `test_<module>_command.py`, and its twin), and what MORE names.
Every result is a line of `--out`; the same command goes on where it was stopped, and `--minutes` stops it.
"""

import argparse
import ast
import dataclasses
import json
import os
import random
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PASSED, NOTHING, LATE = 0, 5, 124
"""Exit codes of pytest (LATE: of nobody); with any other one the suite did not pass."""

COMPARISONS = {
    ast.Lt: ("<", "<=", ">"), ast.LtE: ("<=", "<", ">="), ast.Gt: (">", ">=", "<"), ast.GtE: (">=", ">", "<="),
    ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.In: ("in", "not in"), ast.Is: ("is", "is not"),
    ast.NotIn: ("not in", "in"), ast.IsNot: ("is not", "is"),
}  # fmt: skip
OPERATORS = {ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*"), ast.Mod: ("%", "//")}
NAMES = {
    one: other
    for pair in [
        ("min", "max"), ("minimum", "maximum"), ("argmin", "argmax"), ("any", "all"), ("zeros", "ones"),
        ("zeros_like", "ones_like"), ("floor", "ceil"), ("mean", "sum"), ("log", "exp"), ("cumsum", "cumprod"),
        ("logical_and", "logical_or"), ("sin", "cos"), ("nanmin", "nanmax"),
    ]
    for one, other in (pair, pair[::-1])
}  # fmt: skip
MORE = {
    "agents.algorithm": ["test_algorithm", "test_fit"],
    "agents.algorithms": ["test_behaviour_cloning", "test_support", "test_stitching", "test_bandits"],
    "agents.algorithms.actor_critic": ["test_acting", "test_policy_gradient"],
    "agents.algorithms.awr": ["test_self_loop", "test_stitching"],
    "agents.algorithms.cql": ["test_conservative", "test_cal_ql"],
    "agents.algorithms.dqn": ["test_acting"],
    "agents.algorithms.iql": ["test_implicit"],
    "agents.algorithms.kl_control": ["test_self_loop"],
    "agents.algorithms.reinforce": ["test_acting", "test_policy_gradient"],
    "agents.algorithms.sac": ["test_acting"],
    "agents.parts.baselines": ["test_policy_gradient"],
    "agents.parts.soft": ["test_acting", "test_self_loop"],
    "agents.presets": ["test_preset"],
    "agents.schedule": ["test_acting", "test_finetune"],
    "agents.served": ["test_policy"],
    "cli.command": ["test_main", "test_fit_command", "test_inspect_command"],
    "core.registry": ["test_main", "test_load"],
    "core.storage": ["test_storage", "test_damaged_files"],
    "data.categories": ["test_choices", "test_assemble", "test_table"],
    "data.declarations": ["test_dataset", "test_assemble"],
    "data.format": ["test_load"],
    "data.formats._tables": ["test_table", "test_table_errors"],
    "data.sampler": ["test_transitions"],
    "data.samplers.recent": ["test_acting", "test_policy_gradient"],
    "data.trace": ["test_policy"],
    "data.units": ["test_folds", "test_provenance"],
    "data.validate": ["test_assemble", "test_mutations"],
    "deployment.decision": ["test_certify", "test_stage"],
    "deployment.improvement": ["test_certify", "test_dose_test"],
    "envs.environment": ["test_environment", "test_sample_logs"],
    "envs.vector_simulators": ["test_gymnasium_adapter"],
    "evaluation": ["test_estimate"],
    "evaluation.candidate": ["test_propensities"],
    "evaluation.confounding": ["test_diagnostics"],
    "evaluation.estimators": ["test_oracles", "test_estimator"],
    "evaluation.interval": ["test_interval_oracles"],
    "evaluation.interval_rule": ["test_reported_interval"],
    "evaluation.intervals": ["test_interval_oracles"],
    "evaluation.moments": ["test_interval_oracles", "test_bounded_terms"],
    "evaluation.overlap": ["test_diagnostics"],
    "evaluation.trajectories": ["test_oracles"],
    "evaluation.waves": ["test_diagnostics"],
    "experiments.advice": ["test_recommendation", "test_measurement", "test_advice", "test_prediction"],
    "labs.tabular": ["test_tabular"],
    "nn.actors": ["test_networks", "test_distributions"],
    "nn.critics": ["test_networks"],
    "nn.dense": ["test_networks"],
    "nn.encoder": ["test_networks"],
    "nn.multipliers": ["test_losses"],
    "nn.variational": ["test_networks", "test_denoiser"],
    "reports": ["test_report", "test_runs", "test_study_report", "test_demonstration"],
    "training": ["test_loop", "test_fit", "test_run"],
    "training.acting_loop": ["test_acting", "test_finetune"],
    "training.engines": ["test_acting", "test_finetune"],
}
"""Tests beside the mirror of a module, or of all modules of a package that have no mirror and no entry of their own."""


@dataclasses.dataclass(frozen=True)
class Fault:
    """One change of one line: module (dotted, below weft), function, line number, what it does, the text before and
    after (without indentation).
    """

    module: str
    function: str
    line: int
    kind: str
    before: str
    after: str


# --- drawing --------------------------------------------------------------------------------------------------------


class Lines:
    """A module's source by lines, with the function that each line stands in and which places may not be touched."""

    def __init__(self, path: Path, module: str) -> None:
        self.module = module
        self.text = path.read_text(encoding="utf-8")
        self.lines = self.text.splitlines()
        self.tree = ast.parse(self.text)
        self.functions = [""] * (len(self.lines) + 1)
        for node in ast.walk(self.tree):  # outer functions come first, inner ones overwrite
            if isinstance(node, ast.FunctionDef):
                self.functions[node.lineno : (node.end_lineno or node.lineno) + 1] = [node.name] * (
                    (node.end_lineno or node.lineno) + 1 - node.lineno
                )

    def faults(self) -> Iterator[Fault]:
        """Yield every fault that might be planted; `sensible` says whether Python can read what it leaves."""
        seen = set()
        for node in _code(self.tree):
            for kind, where, words in _changes(node, self):
                first, last = where
                row, start, end = first[0], first[1], last[1]
                if row != last[0]:
                    continue
                line = self.lines[row - 1].encode()
                changed = (line[:start] + words.encode() + line[end:]).decode()
                if (row, changed) in seen:
                    continue
                seen.add((row, changed))
                before = self.lines[row - 1].strip()
                yield Fault(self.module, self.functions[row], row, kind, before, changed.strip())

    def sensible(self, fault: Fault) -> bool:
        """Say whether Python can read the module with a fault, and reads something else than without."""
        line = self.lines[fault.line - 1].replace(fault.before, fault.after)
        source = "\n".join([*self.lines[: fault.line - 1], line, *self.lines[fault.line :]])
        try:
            return ast.dump(ast.parse(source)) != ast.dump(self.tree)
        except SyntaxError:
            return False


def _code(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes whose change is a fault of the program and not of what it says."""
    todo = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, (ast.Raise, ast.Import, ast.ImportFrom, ast.JoinedStr, ast.Assert)):
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("UserError", "warn", "print"):
            continue
        yield node
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "bases"):
                continue
            todo += [part for part in (value if isinstance(value, list) else [value]) if isinstance(part, ast.AST)]


Place = tuple[tuple[int, int], tuple[int, int]]


def _changes(node: Any, lines: Lines) -> Iterator[tuple[str, Place, str]]:
    """Yield `(kind, place, words)`: what to write there instead."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS and len(node.ops) == 1:
        word, *others = COMPARISONS[type(node.ops[0])]
        place = _between(node.left, node.comparators[0], word, lines)
        yield from (("comparison", place, other) for other in others if place)
    elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS and not (_wordy(node.left) or _wordy(node.right)):
        word, other = OPERATORS[type(node.op)]
        if place := _between(node.left, node.right, word, lines):
            yield "operator", place, other
        if isinstance(node.op, (ast.Add, ast.Sub, ast.Mult)):
            yield "dropped term", _whole(node), ast.get_source_segment(lines.text, node.left) or ""
    elif isinstance(node, ast.BoolOp) and len(node.values) == 2:
        word = "and" if isinstance(node.op, ast.And) else "or"
        if place := _between(node.values[0], node.values[1], word, lines):
            yield "and/or", place, "or" if word == "and" else "and"
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub, ast.Invert)):
        kind = "dropped not" if isinstance(node.op, (ast.Not, ast.Invert)) else "dropped sign"
        yield kind, _whole(node), ast.get_source_segment(lines.text, node.operand) or ""
    elif isinstance(node, ast.Constant):
        yield from _constants(node)
    elif isinstance(node, ast.Call):
        yield from _calls(node, lines)
    elif isinstance(node, ast.AugAssign) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        yield "dropped statement", _whole(node), "pass"
    elif isinstance(node, ast.IfExp):
        yield "exchanged branch", _whole(node.test), f"not ({ast.get_source_segment(lines.text, node.test)})"
    elif isinstance(node, ast.If):
        yield "condition never true", _whole(node.test), "False"
    elif isinstance(node, ast.For):
        yield "return early", _whole(node.iter), f"list({ast.get_source_segment(lines.text, node.iter)})[:1]"


def _constants(node: ast.Constant) -> Iterator[tuple[str, Place, str]]:
    value = node.value
    if isinstance(value, bool):
        yield "constant", _whole(node), str(not value)
    elif isinstance(value, int):
        yield "constant", _whole(node), str(value + 1)
        if value > 0:
            yield "constant", _whole(node), str(value - 1)
    elif isinstance(value, float):
        yield "constant", _whole(node), repr(value * 2 if value else 1.0)


def _calls(node: ast.Call, lines: Lines) -> Iterator[tuple[str, Place, str]]:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name in NAMES and (isinstance(node.func, ast.Attribute) or NAMES[name] in ("min", "max", "any", "all")):
        row, end = node.func.end_lineno or 0, node.func.end_col_offset or 0
        yield "other function", ((row, end - len(name)), (row, end)), NAMES[name]
    for keyword in node.keywords:
        if keyword.arg == "axis" and isinstance(keyword.value, (ast.Constant, ast.UnaryOp)):
            yield "axis", _whole(keyword.value), "0" if ast.unparse(keyword.value) != "0" else "-1"
    casts = ("bool", "float", "int", "str", "tuple", "list", "asarray", "array", "Path", "Text", "float32", "host")
    if len(node.args) == 1 and not (node.keywords or isinstance(node.args[0], ast.Starred) or name in casts):
        yield "dropped call", _whole(node), ast.get_source_segment(lines.text, node.args[0]) or ""


def _whole(node: Any) -> Place:
    return (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)


def _between(left: Any, right: Any, word: str, lines: Lines) -> Any:
    """Return the place of an operator between two nodes of one line; None if there is none."""
    if left.end_lineno != right.lineno:
        return None
    row = left.end_lineno
    gap = lines.lines[row - 1].encode()[left.end_col_offset : right.col_offset]
    if gap.count(word.encode()) != 1:
        return None
    start = left.end_col_offset + gap.index(word.encode())
    return (row, start), (row, start + len(word))


def _wordy(node: ast.AST) -> bool:
    """Say whether a node is text or a list, which is no number to add."""
    return isinstance(node, (ast.JoinedStr, ast.List, ast.Tuple, ast.ListComp)) or (
        isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes))
    )


def modules(tree: Path) -> dict[str, Path]:
    """Return the modules of a revision by dotted name below weft; faces and aliases are none."""
    root = tree / "src" / "weft"
    files = [path for path in sorted(root.rglob("*.py")) if path.parent != root and path.stem != "__init__"]
    return {".".join(path.relative_to(root).with_suffix("").parts): path for path in files}


def drawn(old: Path, new: Path, seed: int) -> Iterator[tuple[Fault, Path, int]]:
    """Yield faults in a random order, a package after the other, each with its file and line in the new revision."""
    generator = random.Random(seed)
    here = {name: Lines(path, name) for name, path in modules(old).items()}
    there = {name: (path, Lines(path, name)) for name, path in modules(new).items()}
    targets: dict[tuple[str, str], list[tuple[Path, int]]] = {}
    for path, lines in there.values():
        for row, line in enumerate(lines.lines, 1):
            targets.setdefault((lines.functions[row], line.strip()), []).append((path, row))
    sources: dict[tuple[str, str], int] = {}
    for lines in here.values():
        for row, line in enumerate(lines.lines, 1):
            sources[lines.functions[row], line.strip()] = sources.get((lines.functions[row], line.strip()), 0) + 1
    packages: dict[str, list[str]] = {}
    for name in here:
        packages.setdefault(name.split(".")[0], []).append(name)
    drawn_before: set[Fault] = set()
    plantable: dict[str, list[Fault]] = {}
    while True:
        order = sorted(packages)
        generator.shuffle(order)
        for package in order:
            for _ in range(100):  # a module without a line that stands in both revisions
                name = generator.choice(packages[package])
                if name not in plantable:
                    plantable[name] = [
                        fault
                        for fault in here[name].faults()
                        if sources[fault.function, fault.before] == 1
                        and len(targets.get((fault.function, fault.before), [])) == 1
                    ]
                usable = [fault for fault in plantable[name] if fault not in drawn_before]
                if not usable:
                    continue
                kind = generator.choice(sorted({fault.kind for fault in usable}))
                fault = generator.choice([fault for fault in usable if fault.kind == kind])
                drawn_before.add(fault)
                if here[name].sensible(fault):
                    yield (fault, *targets[fault.function, fault.before][0])
                    break


# --- running --------------------------------------------------------------------------------------------------------


class Suite:
    """The tests of one revision: its files in a folder, and which tests fail there without a fault."""

    def __init__(self, revision: str, place: Path, seconds: float, options: list[str]) -> None:
        self.root, self.seconds, self.options = place, seconds, options
        archive = subprocess.run(["git", "archive", revision], cwd=ROOT, capture_output=True, check=True).stdout
        with tarfile.open(fileobj=BytesIO(archive)) as files:
            files.extractall(place, filter="data")
        self.sound: dict[str, bool] = {}

    def tests(self, module: str) -> list[str]:
        """Return the test files of a module."""
        *packages, stem = module.split(".")
        stem = stem.lstrip("_")
        folder = self.root / "tests"
        files = [folder.joinpath(*packages, f"test_{stem}{end}.py") for end in ("", "_command")]
        files = [path for path in [*files, folder / "twins" / f"test_{stem}.py"] if path.exists()]
        keys = [module] if files or module in MORE else [".".join(packages), packages[0]]
        for name in next((MORE[key] for key in keys if key in MORE), []):
            files += sorted(folder.rglob(f"{name}.py"))
        return list(dict.fromkeys(path.relative_to(self.root).as_posix() for path in files))

    def run(self, tests: list[str]) -> tuple[int, str]:
        """Run tests until the first failure; return pytest's exit code and its words."""
        left_out = [word for test, sound in self.sound.items() if not sound for word in ("--deselect", test)]
        line = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--tb=line", *self.options]
        environment = {**os.environ, "PYTHONPATH": str(self.root / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
        environment.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # compiling is most of the tests' time
        try:
            ended = subprocess.run(
                [*line, *tests, *left_out],
                cwd=self.root, env=environment, capture_output=True, text=True, check=False, timeout=self.seconds,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return LATE, f"not done after {self.seconds:.0f} s"
        return ended.returncode, ended.stdout.strip()

    def verdict(self, fault: Fault, path: Path, row: int, module: str) -> dict[str, Any]:
        """Plant a fault, run the module's tests, take it out again, and see that what failed passes without it."""
        tests = self.tests(module)
        if not tests:
            return {"caught": None, "words": "no tests"}
        begun = time.monotonic()
        while True:
            code, words = self._planted(fault, path, row, tests)
            failed = next(iter(re.findall(r"^(?:FAILED|ERROR) ([^\[\s]+)", words, re.MULTILINE)), None)
            suspects = [failed] if failed else tests
            if code in (PASSED, NOTHING) or self._passes(suspects):
                break
            if not failed:  # they are too slow, or fail at once, without a fault, too
                return {"caught": None, "words": f"no verdict without the fault: {words[-200:]}", "tests": tests}
        return {
            "caught": code not in (PASSED, NOTHING), "by": failed, "words": " / ".join(words.splitlines()[-2:])[:300],
            "tests": tests, "seconds": round(time.monotonic() - begun),
        }  # fmt: skip

    def _planted(self, fault: Fault, path: Path, row: int, tests: list[str]) -> tuple[int, str]:
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines(keepends=True)
        assert lines[row - 1].strip() == fault.before
        lines[row - 1] = lines[row - 1].replace(fault.before, fault.after)
        try:
            path.write_text("".join(lines), encoding="utf-8")
            return self.run(tests)
        finally:
            path.write_text(text, encoding="utf-8")

    def _passes(self, tests: list[str]) -> bool:
        """Say whether tests pass as they are; those that do not are left out from now on."""
        for test in tests:
            if test not in self.sound:
                self.sound[test] = self.run([test])[0] == PASSED
        return all(self.sound[test] for test in tests)


def summary(rows: list[dict[str, Any]]) -> str:
    """Return what was caught and what was missed, one line for each that the new tests missed."""
    judged = [row for row in rows if row["old"]["caught"] is not None]
    caught = [row for row in judged if row["old"]["caught"]]
    missed = [row for row in caught if not row["new"]["caught"]]
    lines = [
        f"missed: {row['module']}:{row['line']} ({row['kind']})  {row['before']}  →  {row['after']}" for row in missed
    ]
    lines.append(
        f"{len(judged)} faults with tests of their own, {len(caught)} caught by the old tests, "
        f"{len(caught) - len(missed)} of these by the new ones."
    )
    return "\n".join(lines)


def main() -> None:
    """Draw faults until so many are caught by the old tests, or the time is over."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--old", required=True, help="revision whose tests say which faults count")
    parser.add_argument("--new", required=True, help="revision whose tests are judged")
    parser.add_argument("--caught", type=int, default=40, help="stop when the old tests have caught so many")
    parser.add_argument("--seed", type=int, default=14)
    parser.add_argument("--seconds", type=float, default=300, help="limit of one run of tests; one over it is caught")
    parser.add_argument("--minutes", type=float, default=1e6, help="begin no fault after so long")
    parser.add_argument("--out", type=Path, required=True, help="a line of JSON for every fault")
    parser.add_argument("--new-options", default="", help="more options of pytest for the new tests")
    how = parser.parse_args()
    begun, rows = time.monotonic(), []
    if how.out.exists():
        rows = [json.loads(line) for line in how.out.read_text(encoding="utf-8").splitlines()]
    done = {(row["module"], row["line"], row["after"]) for row in rows}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if (shared := ROOT.parent / "shared").is_dir():
            (place / "shared").symlink_to(shared)
        old = Suite(how.old, place / "old", how.seconds, [])
        new = Suite(how.new, place / "new", how.seconds, how.new_options.split())
        sources, names = modules(old.root), {path: name for name, path in modules(new.root).items()}
        for fault, path, row in drawn(old.root, new.root, how.seed):
            caught = sum(bool(one["old"]["caught"]) for one in rows)
            if caught >= how.caught or time.monotonic() - begun > 60 * how.minutes:
                break
            if (fault.module, fault.line, fault.after) in done:
                continue
            record: dict[str, Any] = {**dataclasses.asdict(fault), "new_module": names[path]}
            record["old"] = old.verdict(fault, sources[fault.module], fault.line, fault.module)
            record["new"] = new.verdict(fault, path, row, names[path]) if record["old"]["caught"] else {"caught": None}
            rows.append(record)
            with how.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
            verdicts = [
                {True: "caught", False: "survived", None: "–"}[record[side]["caught"]] for side in ("old", "new")
            ]
            print(f"{fault.module}:{fault.line} {fault.kind}: {fault.before}  →  {fault.after}: {verdicts}", flush=True)
    print(summary(rows))


if __name__ == "__main__":
    main()
