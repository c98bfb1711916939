"""The layers of the package: no import circles, and which folder may import which."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "jina_data"

TASKS = ("negation", "mining", "publish", "evaluate", "train", "labels", "clean", "cli")
"""The folders that belong to a command."""

FORBIDDEN = {
    "kernels": (*TASKS, "stages", "engines", "forecast", "run", "llm", "english", "read"),
    "read": (*TASKS, "stages", "engines", "forecast", "run", "llm", "english"),
    "stages": (*TASKS, "engines", "forecast", "llm", "english"),
    "engines": ("negation", "mining", "publish", "evaluate", "train", "cli", "stages", "forecast", "llm", "english"),
    "run": (*TASKS, "stages", "engines", "forecast", "llm", "english", "embed", "encoder"),
    "llm": (*TASKS, "stages", "engines", "forecast", "english"),
    "english": (*TASKS, "stages", "engines", "forecast", "llm", "run"),
    "languages": (*TASKS, "stages", "engines", "forecast", "run", "llm", "english", "read"),
    "html": (*TASKS, "stages", "engines", "forecast", "llm", "english", "run"),
    "encoder": (*TASKS, "stages", "engines", "forecast", "llm", "english", "kernels", "read"),
    "embed": (*TASKS, "stages", "engines", "forecast", "llm", "english"),
    "train": ("clean", "negation", "mining", "publish", "evaluate", "cli", "stages", "engines", "forecast", "llm"),
}
"""The folders that a folder must not import."""


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(module: str) -> Iterator[str]:
    """Yield the modules of the package that a module imports, anywhere in its code."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = module.split(".")[: -node.level]
                base = ".".join([*parent, *([node.module] if node.module else [])])
            for alias in node.names:
                target = f"{base}.{alias.name}"
                if target in MODULES or base in MODULES:
                    yield target if target in MODULES else base


GRAPH = {module: set(imports(module)) - {module} for module in MODULES}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the strongly connected components of more than one module (Tarjan)."""
    found: list[list[str]] = []
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for target in sorted(graph[module]):
            if target not in index:
                visit(target)
                low[module] = min(low[module], low[target])
            elif target in stack:
                low[module] = min(low[module], index[target])
        if low[module] == index[module]:
            component = [stack.pop()]
            while component[-1] != module:
                component.append(stack.pop())
            if len(component) > 1:
                found.append(sorted(component))

    for module in sorted(graph):
        if module not in index:
            visit(module)
    return found


def test_circles_are_detected() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == []


def test_no_import_circles() -> None:
    # The package's own __init__ only hands names on, lazily.
    assert circles({module: targets - {"jina_data"} for module, targets in GRAPH.items()}) == []


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_layers(folder: str) -> None:
    members = [module for module in MODULES if module.startswith(f"jina_data.{folder}.")]
    assert members
    wrong: dict[str, list[str]] = defaultdict(list)
    for module in members:
        for target in GRAPH[module]:
            if target.split(".")[1:2] and target.split(".")[1] in FORBIDDEN[folder]:
                wrong[module].append(target)
    assert not wrong, f"{folder}/ must not import these: {dict(wrong)}"


def test_the_package_root_is_small() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 8


def test_no_folder_dominates() -> None:
    sizes: dict[Path, int] = defaultdict(int)
    for path in MODULES.values():
        sizes[path.parent] += len(path.read_text(encoding="utf-8").splitlines())
    total = sum(sizes.values())
    largest = max(sizes, key=lambda folder: sizes[folder])
    assert sizes[largest] < total / 10, f"{largest} holds {sizes[largest]:,} of {total:,} lines"


def test_tests_do_not_import_tests() -> None:
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests."):
                assert not (node.module or "").rpartition(".")[2].startswith("test_"), f"{path}: {node.module}"
