"""Write `storage_manager/sync/__init__.pyi`, the types of the synchronous twins, from the asynchronous source.

    .venv/bin/python scripts/make_sync_stub.py

Run it after a change to a public signature or docstring; tests/sync/test_stub.py fails otherwise. Annotations are
copied from the source, so that an editor shows the names that the source has, such as `Component`.
"""

import ast
import builtins
import copy
import importlib
import inspect
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from storage_manager import recorder, storage, sync
from storage_manager.sync import manager, recording
from storage_manager.sync.table import FUNCTIONS

ROOT = Path(__file__).parent.parent
STUB = Path(sync.__file__).with_suffix(".pyi")
NOTE = """# Written by scripts/make_sync_stub.py from the source of the asynchronous code: do not edit.
# ruff: noqa: UP043 - the full form is that of every version of Python
"""
TWINS = {"StorageManager", "Recorder"}  # classes with a twin of the same name
Function = ast.FunctionDef | ast.AsyncFunctionDef
Declared = tuple[ast.ClassDef | ast.FunctionDef, set[str]]  # with the imports that it needs


class Module:
    """The source of a module: its definitions, and where its names come from."""

    def __init__(self, name: str) -> None:
        self.name = name
        tree = ast.parse(inspect.getsource(importlib.import_module(name)))
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        self.definitions = {node.name: node for node in tree.body if isinstance(node, kinds)}
        self.aliases = {
            target.id: node.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        self.origins = {alias.name: node.module or "" for node in imports for alias in node.names}


class Twin(ast.NodeTransformer):
    """Turns a function of asynchronous code into the declaration of its twin.

    Attributes:
        imports: lines for the names that its annotations use.
    """

    def __init__(self, module: Module) -> None:
        self.module = module
        self.imports = set[str]()

    def declaration(self, node: Function, name: str, doc: str | None, *, indent: int) -> ast.FunctionDef:
        """Return a function with a docstring and without code."""
        body: list[ast.stmt] = [ast.Expr(ast.Constant(_doc(doc, indent)))] if doc else []
        returns = self.visit(node.returns) if node.returns else ast.Constant(None)
        body.append(ast.Expr(ast.Constant(...)))
        return ast.FunctionDef(name, self._arguments(node.args), body, node.decorator_list, returns)

    def _arguments(self, arguments: ast.arguments) -> ast.arguments:
        for node in ast.walk(arguments):
            if isinstance(node, ast.arg) and node.annotation:
                node.annotation = self.visit(node.annotation)
        arguments.defaults = [_default(node) for node in arguments.defaults]
        arguments.kw_defaults = [node and _default(node) for node in arguments.kw_defaults]
        return arguments

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        """Return what a quoted annotation says."""
        return self.visit(ast.parse(node.value, mode="eval").body) if isinstance(node.value, str) else node

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        """Turn an asynchronous generator into a plain one."""
        match node:
            case ast.Subscript(ast.Name("Literal")):
                self.visit(node.value)
                return node
            case ast.Subscript(ast.Name("AsyncGenerator"), ast.Tuple([item, sent])):
                self.imports.add("from collections.abc import Generator")
                slices = ast.Tuple([self.visit(item), sent, ast.Constant(None)])
                return ast.Subscript(ast.Name("Generator"), slices)
        self.generic_visit(node)
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """Note the import of a name. A private alias is replaced by what it stands for."""
        if node.id.startswith("_"):
            meaning: ast.AST = self.visit(copy.deepcopy(self.module.aliases[node.id]))
            return meaning
        if node.id not in TWINS and not hasattr(builtins, node.id):
            self.imports.add(f"from {self.module.origins.get(node.id, self.module.name)} import {node.id}")
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """Note the import of a module."""
        name = ast.unparse(node.value)
        origin = self.module.origins.get(name)
        self.imports.add(f"from {origin} import {name}" if origin else f"import {name}")
        return node


def _default(node: ast.expr) -> ast.expr:
    return node if isinstance(node, (ast.Constant, ast.Tuple)) else ast.Constant(...)


def _doc(doc: str, indent: int) -> str:
    """Return a docstring as it is written at this indentation, whether or not Python has removed the first one."""
    shown = inspect.cleandoc(doc)
    return textwrap.indent(shown, " " * indent).strip() + ("\n" + " " * indent if "\n" in shown else "")


def _doc_of(member: Any) -> str | None:
    doc: str | None = getattr(member, "__func__", member).__doc__
    return doc


def _methods(module: Module, name: str) -> dict[str, Function]:
    node = module.definitions[name]
    assert isinstance(node, ast.ClassDef)
    return {each.name: each for each in node.body if isinstance(each, Function)}


def _is_shown(name: str) -> bool:
    return not name.startswith("_") or (name.endswith("__") and name != "__init__")


def class_stub(name: str, own: Module, asynchronous: Module, of_twin: frozenset[str] = frozenset()) -> Declared:
    """Return the declaration of a class, and its imports.

    Parameters:
        own, asynchronous: where the class and its twin are defined.
        of_twin: methods of its own with the signature of the twin's method.
    """
    node, cls = own.definitions[name], getattr(importlib.import_module(own.name), name)
    assert isinstance(node, ast.ClassDef)
    mine, others = Twin(own), Twin(asynchronous)
    chosen = {key: (others, each) for key, each in _methods(asynchronous, name).items() if key in vars(cls)}
    chosen = {key: pair for key, pair in chosen.items() if not key.startswith("_") or key in of_twin}
    chosen |= {key: (mine, each) for key, each in _methods(own, name).items() if _is_shown(key) and key not in of_twin}
    fields = [field for field in node.body if isinstance(field, ast.AnnAssign)]
    for field in fields:
        field.annotation = mine.visit(field.annotation)
    methods = [twin.declaration(each, key, _doc_of(vars(cls)[key]), indent=8) for key, (twin, each) in chosen.items()]
    body = [ast.Expr(ast.Constant(_doc(cls.__doc__, 4))), *fields, *methods]
    return ast.ClassDef(name, [], [], body, []), mine.imports | others.imports


def function_stub(name: str, own: Module) -> Declared:
    """Return the declaration of a function, and its imports."""
    twin, node = Twin(own), own.definitions[name]
    assert isinstance(node, Function)
    return twin.declaration(node, name, getattr(sync, name).__doc__, indent=4), twin.imports


def declarations() -> Iterator[Declared]:
    """Yield the declaration of everything in the stub, with its imports."""
    of_storage, of_recorder = Module(storage.__name__), Module(recorder.Recorder.__module__)
    own = Module(recording.__name__)
    yield class_stub("StorageManager", Module(manager.__name__), of_storage, frozenset({"__init__", "from_url"}))
    yield class_stub("Recorder", own, of_recorder)
    yield function_stub("record", own)
    for name, module in sorted(FUNCTIONS.items()):
        function = getattr(importlib.import_module(module), name)
        yield function_stub(name, Module(function.__module__))


def stub() -> str:
    """Return the text of the stub, as ruff formats it."""
    parts, imports = list[str](), set[str]()
    for declared, needed in declarations():
        parts.append(ast.unparse(ast.fix_missing_locations(declared)))
        imports |= needed
    doc = f'"""{sync.__doc__}"""'
    text = "\n".join([doc, NOTE, *sorted(imports), "", *parts, ""])
    return _ruff("format", _ruff("check", text, "--quiet", "--fix", "--select", "I"))


def _ruff(command: str, text: str, *options: str) -> str:
    run = [sys.executable, "-m", "ruff", command, *options, "--stdin-filename", str(STUB), "-"]
    return subprocess.run(run, input=text, capture_output=True, text=True, check=True, cwd=ROOT).stdout


if __name__ == "__main__":
    STUB.write_text(stub())
