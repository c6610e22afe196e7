"""Measure how the source hangs together; needs Python alone: `python tools/structure.py [src/weft]`.

`python tools/structure.py --picture` prints the picture of the packages in ARCHITECTURE.md.

Counted are imports of weft's own modules, those inside functions included, those under TYPE_CHECKING not. An *entry* is
a file or a folder directly below the package; an *arrow* is a pair of entries of which one imports from the other.
Complexity is one plus the branches of a function (if, for, while, except, assert, case, boolean operators,
comprehensions and their conditions), functions inside it not counted.
"""

import ast
import re
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

PARTICIPLES = ["found", "known", "given", "made", "kept", "told", "asked", "shown"]
BRANCHES = (ast.If, ast.IfExp, ast.For, ast.While, ast.ExceptHandler, ast.Assert, ast.match_case, ast.comprehension)
LONG, WIDE, COMPLEX = 60, 8, 15
ORDER = [
    ["core"], ["data"], ["nn"], ["agents"], ["envs"], ["training", "labs"], ["evaluation"], ["deployment"],
    ["experiments"], ["reports"], ["cli"],
]  # fmt: skip
"""Packages from the lowest to the highest; those of one row do not see each other."""

OUTSIDE = {"_aliases", "__main__"}
"""Files beside the packages: how the whole is entered."""


VARIANTS = {"an algorithm": "agents.algorithms", "an estimator": "evaluation.estimators", "a format": "data.formats"}
"""Kinds of which a further one is a file in a folder of its own."""


class Tree:
    """The modules of a package: their files, syntax trees and imports of one another."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = {self.name(path): path for path in sorted(root.rglob("*.py"))}
        self.trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in self.files.items()}
        self.imports = {name: sorted(set(self._imports(name))) for name in self.files}

    def name(self, path: Path) -> str:
        """Return a module's dotted name below the package; the package itself is empty."""
        parts = path.relative_to(self.root).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def _imports(self, name: str) -> Iterator[str]:
        tree, package = self.trees[name], self.root.name
        here = name.split(".") if name else []
        if self.files[name].name != "__init__.py":
            here = here[:-1]
        ignored = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            for inner in ast.walk(node)
        }
        for node in ast.walk(tree):
            if id(node) in ignored:
                continue
            if isinstance(node, ast.Import):
                modules = [alias.name.split(".") for alias in node.names]
                yield from (".".join(parts[1:]) for parts in modules if parts[0] == package)
            elif isinstance(node, ast.ImportFrom):
                parts = node.module.split(".") if node.module else []
                if node.level:
                    parts = here[: len(here) - node.level + 1] + parts
                elif parts[:1] == [package]:
                    parts = parts[1:]
                else:
                    continue
                for alias in node.names:
                    inner = ".".join([*parts, alias.name])
                    yield inner if inner in self.files else ".".join(parts)

    def closure(self, name: str) -> set[str]:
        """Return the modules that are opened when one is imported, packages' own files included."""
        reached, todo = set(), [name]
        while todo:
            if (module := todo.pop()) in reached or not module:
                continue
            reached.add(module)
            todo += self.imports[module]
            todo.append(module.rpartition(".")[0])
        return reached


def opened(tree: Tree, package: str) -> tuple[float, float]:
    """Return how many of weft's modules a variant of a kind imports itself, and the entries that they lie in: medians
    over the variants that there are. Who adds one has to know these. Files with an underscore are no variants.
    """
    variants = [name for name in tree.files if re.fullmatch(rf"{re.escape(package)}\.[^._][^.]*", name)]
    modules = [{target for target in tree.imports[name] if target} for name in variants]
    entries = [{entry(target) for target in targets} for targets in modules]
    return statistics.median(map(len, modules)), statistics.median(map(len, entries))


def entry(name: str) -> str:
    """Return the part of a module's name that lies directly below the package."""
    return name.partition(".")[0]


def cycles(imports: dict[str, list[str]]) -> list[list[str]]:
    """Return the groups of modules that import one another in a circle (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for target in imports.get(name, ()):
            if target not in index:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], index[target])
        if low[name] == index[name]:
            group = [stack.pop()]
            while group[-1] != name:
                group.append(stack.pop())
            if len(group) > 1:
                groups.append(sorted(group))

    for name in imports:
        if name not in index:
            visit(name)
    return groups


def upward(tree: Tree) -> list[str]:
    """Return what breaks the order of packages: imports that do not go down, and names that it does not have."""
    rank = {name: number for number, row in enumerate(ORDER) for name in row}
    offenders = []
    for name, targets in tree.imports.items():
        here = entry(name)
        if not name or here in OUTSIDE:
            continue
        if here not in rank:
            offenders.append(f"{name}: no package of this name is known")
            continue
        for target in targets:
            there = entry(target)
            if there and there != here and (there not in rank or rank[there] >= rank[here]):
                offenders.append(f"{name} imports {target}")
    return sorted(offenders)


def picture(tree: Tree) -> str:
    """Return the packages and what is in them as a Mermaid flow chart."""
    lines = ["```mermaid", "flowchart BT"]
    for number, row in enumerate(ORDER):
        lines.append(f'  subgraph f{number}[" "]')
        for name in row:
            inside = {part.split(".")[1] for part in tree.files if part.startswith(name + ".")}
            shown = sorted(part for part in inside if not part.startswith("_"))
            shown = [
                part + "/"
                if f"{name}.{part}" in tree.files and tree.files[f"{name}.{part}"].stem == "__init__"
                else part
                for part in shown
            ]
            lines.append(f'    {name}["<b>{name}</b><br/>{" · ".join(shown)}"]')
        lines.append("  end")
    lines.append("  " + " --> ".join(f"f{number}" for number in range(len(ORDER))))
    return "\n".join([*lines, "```"])


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    """Yield every function of a module, those inside classes and functions included."""
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def complexity(function: ast.FunctionDef) -> int:
    """Return one plus the branches of a function, without the functions inside it."""
    total, todo = 1, list(ast.iter_child_nodes(function))
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            continue
        total += isinstance(node, BRANCHES)
        total += len(node.ifs) if isinstance(node, ast.comprehension) else 0
        total += len(node.values) - 1 if isinstance(node, ast.BoolOp) else 0
        todo += ast.iter_child_nodes(node)
    return total


def parameters(function: ast.FunctionDef) -> int:
    """Return how many parameters a function has, `self` and `cls` not counted."""
    every = function.args
    names = [one.arg for one in (*every.posonlyargs, *every.args, *every.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")]) + bool(every.vararg) + bool(every.kwarg)


def lines(function: ast.FunctionDef) -> int:
    """Return how many lines a function has, its docstring not counted."""
    first = function.body[0]
    doc = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    written = first.end_lineno - first.lineno + 1 if doc else 0
    return function.end_lineno - function.lineno + 1 - written


def measure(root: Path) -> Iterator[tuple[str, object]]:
    """Yield figures with their names."""
    tree = Tree(root)
    places = [path for path in root.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    places += [path for path in root.iterdir() if path.is_dir() and any(path.glob("*.py")) and path not in places]
    yield "entries at the top", len(places)
    arrows = {
        (entry(name), entry(target))
        for name, targets in tree.imports.items()
        for target in targets
        if name and target and entry(name) != entry(target)
    }
    outward = [sum(source == place for source, _ in arrows) for place in {entry(name) for name in tree.files if name}]
    yield "arrows between entries", len(arrows)
    yield "fan-out, mean and largest", f"{sum(outward) / len(outward):.1f} / {max(outward)}"
    inside = {name: [target for target in targets if target] for name, targets in tree.imports.items() if name}
    yield "cycles between modules", cycles(inside) or 0
    yield (
        "cycles between entries",
        cycles({place: sorted({b for a, b in arrows if a == place}) for place in {a for a, _ in arrows}}) or 0,
    )
    iql = next(name for name in tree.files if name.endswith("algorithms.iql"))
    closed = tree.closure(iql)
    size = sum(len(tree.files[name].read_text(encoding="utf-8").splitlines()) for name in closed)
    yield f"files and lines that {iql} opens", f"{len(closed)} / {size}"
    for what, package in VARIANTS.items():
        modules, packages = opened(tree, package)
        yield f"modules and packages to know to add {what}", f"{modules:g} / {packages:g}"
    every = [(name, function) for name, module in tree.trees.items() for function in functions(module)]
    for what, value, most in (
        ("lines", lines, LONG),
        ("parameters", parameters, WIDE),
        ("complexity", complexity, COMPLEX),
    ):
        worst = sorted(((value(function), f"{name}.{function.name}") for name, function in every), reverse=True)
        over = [pair for pair in worst if pair[0] > most]
        yield f"functions with more than {most} {what}", f"{len(over)}  {', '.join(f'{b} {a}' for a, b in worst[:5])}"
    text = "\n".join(path.read_text(encoding="utf-8") for path in tree.files.values())
    pattern = rf"^\s*(?:{'|'.join(PARTICIPLES)})(?:: [^=\n]+)? [|&+*-]?= "
    yield "participles as variables", len(re.findall(pattern, text, re.MULTILINE))
    yield "type: ignore", text.count("type: ignore")
    yield "files and lines", f"{len(tree.files)} / {text.count(chr(10))}"


if __name__ == "__main__":
    here = Path(__file__).resolve().parents[1] / "src" / "weft"
    if sys.argv[1:] == ["--picture"]:
        print(picture(Tree(here)))
        sys.exit()
    for what, figure in measure(Path(sys.argv[1]) if len(sys.argv) > 1 else here):
        print(f"{what:<46} {figure}")
