"""The picture of the package: which module is on which floor, what it imports, what it says."""

import ast
import importlib
import inspect
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest
from fsspec.asyn import AsyncFileSystem

import storage_manager

ROOT = Path(storage_manager.__file__).parent

# From the ground up. A module imports what is below, and of its own floor what does not import it.
FLOORS = (
    {"errors", "aio", "arguments", "credentials"},
    {"config", "defaults", "encoding", "layout", "redaction", "s3_settings"},
    {"backends"},
    {"storage"},
    {
        "importers",
        "integrations",
        "integrity",
        "inventory",
        "live",
        "manifest",
        "overlap",
        "protocol",
        "recorder",
        "session_fields",
        "testing",
        "transfer",
        "transitions",
    },
    {"catalog", "cli", "export", "sync", "viewer"},
    {"", "__main__"},  # the package itself, and the process
)
# What the core may import when it is imported; anything else, only inside of what needs it.
GROUND = {"fsspec", "pydantic", "pydantic_core", "typing_extensions", "storage_manager"}
HEAVY = {"aiohttp", "aiobotocore", "botocore", "click", "dask", "jinja2", "obstore", "pandas", "playwright", "pyarrow"}
HEAVY |= {"browser_use", "deltalake", "duckdb", "pydantic", "pydantic_core", "pytest", "rich", "s3fs"}


def name_of(path: Path) -> str:
    """The module below the package, with dots; "" for the package itself."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): ast.parse(path.read_text()) for path in sorted(ROOT.rglob("*.py"))}


PATHS = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def floor_of(module: str) -> int:
    [floor] = [number for number, names in enumerate(FLOORS) if module.partition(".")[0] in names]
    return floor


def imported(tree: ast.AST) -> set[str]:
    """All modules that are imported anywhere in the code."""
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}


def imported_of_ours(module: str) -> set[str]:
    ours = {name for name in imported(MODULES[module]) if name.partition(".")[0] == "storage_manager"}
    return {name.removeprefix("storage_manager").removeprefix(".") for name in ours}


def imported_at_once(tree: ast.Module) -> set[str]:
    """The packages that importing a module imports; what is for type checkers alone does not count."""
    nodes = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    return {name.partition(".")[0] for node in nodes for name in imported(ast.Module([node], []))}


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module: str) -> None:
    if module:
        assert {name for name in imported_of_ours(module) if name and floor_of(name) > floor_of(module)} == set()


def test_no_module_imports_itself_through_others() -> None:
    TopologicalSorter({module: imported_of_ours(module) - {module} for module in MODULES}).prepare()


@pytest.mark.parametrize("module", [module for module in MODULES if floor_of(module) in (0, 1, 3)])
def test_the_core_imports_nothing_heavy(module: str) -> None:
    assert imported_at_once(MODULES[module]) - GROUND - sys.stdlib_module_names == set()


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, storage_manager; print(*{name.partition('.')[0] for name in sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert HEAVY & set(run.stdout.split()) == set()


# Attributes with an underscore that other libraries leave no other way for, by module, with the reason.
ALLOWED = {
    # aiohttp and asyncio can close a connection only through its loop, which is closed already or of another process
    "backends.client": {"_conns", "_retry_connection", "_sock"},
    # documented in Python's library reference, module sys
    "backends.obstore": {"_current_frames"},
}
# Documented methods of a namedtuple (Python's library reference, module collections).
NAMEDTUPLE = {"_asdict", "_fields", "_replace"}


def is_fsspec_protocol(name: str) -> bool:
    """Return True for fsspec's own protocol: the coroutines of every asynchronous filesystem, and `_url` of some."""
    return hasattr(AsyncFileSystem, name) or name == "_url"


def private_attributes(tree: ast.AST) -> Iterator[str]:
    """The attributes with an underscore of any object other than self, cls and super(): `x._name`, `x.y._name`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and re.match(r"_(?!_)", node.attr):
            owner = node.value
            is_own = isinstance(owner, ast.Name) and owner.id in ("self", "cls")
            is_super = isinstance(owner, ast.Call) and isinstance(owner.func, ast.Name) and owner.func.id == "super"
            if not is_own and not is_super:
                yield node.attr


def refused(module: str, tree: ast.AST) -> set[str]:
    found = set(private_attributes(tree)) - NAMEDTUPLE - ALLOWED.get(module, set())
    return {name for name in found if not (module.startswith("backends.") and is_fsspec_protocol(name))}


@pytest.mark.parametrize("module", MODULES)
def test_no_module_uses_private_attributes_of_another_object(module: str) -> None:
    assert refused(module, MODULES[module]) == set()


@pytest.mark.parametrize("module", ALLOWED)
def test_every_exception_is_needed(module: str) -> None:
    assert set(private_attributes(MODULES[module])) >= ALLOWED[module]


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("backend._sweep(url)", {"_sweep"}),
        ("storage.async_fs._sweep(url)", {"_sweep"}),
        ("self.backend._sweep(url)", {"_sweep"}),
        ("get()._sweep(url)", {"_sweep"}),
        ("self._sweep(url), cls._sweep(url), super()._sweep(url), x.__class__", set()),
    ],
)
def test_private_attributes_are_found(code: str, found: set[str]) -> None:
    assert refused("integrity", ast.parse(code)) == found


METHODS = (
    "write_files|write_from_path|read_files|read_blocks|iter_names|iter_files|remove_tree|remove_file|link|list_unfinished|"
    "sweep|table_options|close"
)
CALL = re.compile(rf"\bbackend\.({METHODS})\(")
UPPER = [path for module, path in PATHS.items() if floor_of(module) in (4, 5) and CALL.search(path.read_text())]


@pytest.mark.thorough
def test_a_misspelt_backend_method_fails_mypy(tmp_path: Path) -> None:
    """In every module of the upper floors that calls a method of a backend."""
    shutil.copytree(ROOT, tmp_path / "storage_manager", ignore=shutil.ignore_patterns("__pycache__"))
    for path in UPPER:
        copy = tmp_path / "storage_manager" / path.relative_to(ROOT)
        copy.write_text(CALL.sub(r"backend.\1x(", copy.read_text()))
    settings = ["--config-file", ROOT.parent / "setup.cfg", "--cache-dir", tmp_path / "cache"]
    settings += ["--follow-imports", "skip"]  # of other packages: this package is named in setup.cfg
    command = [sys.executable, "-m", "mypy", *settings]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    lines = [line for line in run.stdout.splitlines() if '"Backend" has no attribute' in line]
    assert len(UPPER) >= 3
    assert {ROOT.parent / line.partition(":")[0] for line in lines} == set(UPPER)


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of its body, without the docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_functions_are_short() -> None:
    lengths = {f"{module}.{node.name}": length(node) for module, tree in MODULES.items() for node in functions(tree)}
    assert {name for name, lines in lengths.items() if lines > 25} == set()
    assert sum(lengths.values()) / len(lengths) < 7


def load(module: str) -> Any:
    return importlib.import_module(f"storage_manager.{module}" if module else "storage_manager")


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"__main__"}))
def test_all_names_what_is_public(module: str) -> None:
    """Each module's `__all__` has every function and class without an underscore, and nothing that is not there."""
    tree, loaded = MODULES[module], load(module)
    defined = {
        node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    }
    assert {name for name in defined if not name.startswith("_")} <= set(loaded.__all__)
    assert all(hasattr(loaded, name) for name in loaded.__all__)
    assert list(loaded.__all__) == sorted(
        loaded.__all__, key=lambda name: (not name.isupper(), name[0].islower(), name)
    )


OPEN = (
    "",
    "importers",
    "integrations.browser_use",
    "integrity",
    "inventory",
    "protocol",
    "recorder",
    "transfer",
    "export",
    "catalog",
    "redaction",
    "sync",
    "viewer",
    "cli",
)


def public() -> Iterator[tuple[str, Any]]:
    """Every function, class and method that a user may call."""
    for module in OPEN:
        for name in load(module).__all__:
            thing = getattr(load(module), name)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                yield f"{module}.{name}", thing
            if inspect.isclass(thing):
                methods = inspect.getmembers(thing, inspect.isfunction)
                yield from ((f"{module}.{name}.{key}", method) for key, method in methods if not key.startswith("_"))


PUBLIC = {name: thing for name, thing in public() if thing.__module__.startswith("storage_manager")}


@pytest.mark.parametrize("name", PUBLIC)
def test_a_docstring_begins_with_the_promise(name: str) -> None:
    first = (inspect.getdoc(PUBLIC[name]) or "").partition("\n")[0]
    assert len(first) > 20
    assert first[0].isupper() or first[0] in "`*"


ASYNCHRONOUS = {name: thing for name, thing in PUBLIC.items() if inspect.iscoroutinefunction(thing)}


@pytest.mark.parametrize("name", [name for name in ASYNCHRONOUS if not name.endswith("aclose")])
def test_what_asks_a_storage_says_what_it_raises(name: str) -> None:
    assert "\nRaises:\n" in (inspect.getdoc(ASYNCHRONOUS[name]) or "")


def test_only_errors_catches_every_exception() -> None:
    def catches(tree: ast.AST) -> bool:
        caught = [node.type for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)]
        names = {node.id for type_ in caught if type_ for node in ast.walk(type_) if isinstance(node, ast.Name)}
        return "Exception" in names or None in caught

    assert [module for module, tree in MODULES.items() if catches(tree)] == ["errors"]
