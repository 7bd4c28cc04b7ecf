"""The architecture as a test: which part of selcgi may import which, and who alone may import a foreign package.

The table is the order of the layers; a violation fails with the file and the import. Reads source only.
"""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "selcgi"
VALUES = {"errors", "context", "plan", "settings", "values"}
MAY_IMPORT = {
    "errors": set[str](),
    "values": set[str](),
    "context": {"values"},
    "plan": {"context", "values"},
    "settings": {"plan", "context"},
    "wire": VALUES,
    "mapping": VALUES,
    "policy": VALUES,  # text of policy modules, as pure as wire and mapping
    "system": VALUES | {"wire", "mapping", "policy"},
    "zygote": {"errors", "plan", "context", "system"},  # a process of its own, which loads as little as can be
    "launch": VALUES | {"system", "zygote"},
    "listener": {"errors", "system"},  # a process of its own, which can do next to nothing
    "learn": VALUES | {"policy", "system", "listener"},  # starts programs, as an administrator would
    "diagnose": VALUES | {"wire", "mapping", "policy", "system"},
    "serve": VALUES | {"wire", "mapping", "policy", "system", "launch", "diagnose"},  # its checks before a request
    "cli": VALUES | {"wire", "mapping", "policy", "system", "launch", "learn", "diagnose", "serve"},
    "__main__": {"cli"},
    "__init__": set[str](),
}
FOREIGN = {
    "selinux": {"system/selinux.py"},
    "flup": {"wire/records.py"},
    "click": {"cli"},
    "asyncio": {"serve"},
    "uvloop": {"serve"},
    "logging": {"serve", "cli"},
}
SOURCES = sorted(PACKAGE.rglob("*.py"))


def imports_of(path: Path) -> set[str]:
    """Dotted names of every import in the file, those inside functions included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def layer_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_layer_imports_only_those_above_it(path: Path) -> None:
    own = layer_of(path)
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] == "selcgi" and len(parts) > 1 and parts[1] != own:
            assert parts[1] in MAY_IMPORT[own] | {"VERSION"}, f"{own} must not import {name}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_foreign_package_has_one_door(path: Path) -> None:
    relative = str(path.relative_to(PACKAGE))
    for name in imports_of(path):
        doors = FOREIGN.get(name.split(".")[0])
        if doors is not None:
            assert relative in doors or layer_of(path) in doors, f"{relative} must not import {name}"


def test_no_import_cycle() -> None:
    graph = {module_name(path): own_imports(path) for path in SOURCES}
    seen: set[str] = set()
    for start in graph:
        walk(start, graph, (), seen)


def module_name(path: Path) -> str:
    relative = path.relative_to(PACKAGE.parent).with_suffix("")
    return ".".join(relative.parts).removesuffix(".__init__")


def own_imports(path: Path) -> set[str]:
    known = {module_name(source) for source in SOURCES}
    names = {name for name in imports_of(path) if name.startswith("selcgi")}
    return {name if name in known else name.rpartition(".")[0] for name in names} - {module_name(path)}


def walk(module: str, graph: dict[str, set[str]], trail: tuple[str, ...], seen: set[str]) -> None:
    assert module not in trail, f"import cycle: {' -> '.join((*trail, module))}"
    if module not in seen:
        for target in graph.get(module, set()):
            walk(target, graph, (*trail, module), seen)
        seen.add(module)


def test_no_file_is_over_300_lines() -> None:
    tests = (PACKAGE.parent / "tests").rglob("*.py")
    long = {str(path): lines for path in (*SOURCES, *tests) if (lines := len(path.read_text().splitlines())) > 300}
    assert not long


def test_no_function_is_over_60_lines() -> None:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 60, f"{path}:{node.lineno} {node.name}"
