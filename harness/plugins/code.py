"""Hashes a plugin's code, so that a run notices when it was edited.

The code is the module that contains the plugin and all modules by the same author that it imports, directly or not:

    my_repo/mine.py  imports  my_repo.parts       followed: the same package, wherever it is installed
                              beside              followed: a module outside the installed libraries
                              harness.methods.sam followed: methods/ and datasets/ hold plugins
                              harness.images      followed: it decodes the pixels that data sets load
                              harness.structures  not followed: the harness, whose commit the manifest has
                              torch               not followed: a library, whose version the manifest has

A plugin in harness/clicks, harness/masks or harness/config is followed within its own package. No module is imported
for this: the import statements are read from the text, also those within functions. Comments, docstrings and layout do
not change the hash.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import Any

from harness.plugins.kinds import KINDS
from harness.plugins.parameters import parameters_of, plugin_kind
from harness.plugins.registry import find

_FOLLOWED = ("harness.methods", "harness.datasets", "harness.images")
_INSTALLED = {"site-packages", "dist-packages"}
_STANDARD = Path(sysconfig.get_path("stdlib"))


def code_of(kind: str, name: str, params: Mapping[str, Any]) -> dict[str, str]:
    """The hash of a plugin's code, and of each plugin's among its parameters: "saliency maskclip" -> 16 digits.

    A plugin that has no file, as in a notebook's cell, is left out.

    Args:
        kind: One of `KINDS`.
        name: The name as in a config.
        params: The parameters, from `parameters.resolve`; empty for a function.

    Raises:
        UserError: No such plugin.
    """
    thing = find(kind, name)
    found = {f"{KINDS[kind].noun} {name}": digest} if (digest := _digest(thing)) else {}
    for key, (annotation, _) in parameters_of(thing).items() if isinstance(thing, type) else ():
        inner, value = plugin_kind(annotation), params.get(key)
        if inner and value is not None:
            found |= code_of(inner, value["name"], value["params"])
    return found


def present(plugins: Iterable[str]) -> dict[str, str]:
    """The hashes of plugins' code as this process finds it now, by the names that `code_of` gives: "method sam".

    All of them are imported. A plugin that has no file is "".

    Raises:
        UserError: No such plugin.
    """
    kinds = {kind.noun: kind.name for kind in KINDS.values()}
    found = {}
    # Classes first, since the module of a method or a data set may register the metrics and rules of its author.
    for plugin in sorted(plugins, key=lambda one: not one.startswith(("method ", "data set "))):
        noun = next(noun for noun in kinds if plugin.startswith(f"{noun} "))
        found[plugin] = _digest(find(kinds[noun], plugin.removeprefix(f"{noun} ")))
    return found


def _digest(thing: Any) -> str:
    """The hash of all modules that an object's code is made of; "" where it has no file."""
    module = getattr(inspect.unwrap(thing), "__module__", None) or ""
    states = sorted((name, _content(file, file.stat().st_mtime_ns)[0]) for name, file in _modules(module))
    return hashlib.sha256(repr(states).encode()).hexdigest()[:16] if states else ""


def _modules(start: str) -> Iterator[tuple[str, Path]]:
    """A module and all that it imports of its author's, by name and file."""
    # A walk over the imports, each module once: modules that import each other would otherwise go on for ever.
    due, known = [start], {start}
    while due:
        name = due.pop()
        file = _file(name)
        if file is None:
            continue
        yield name, file
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        new = set()
        for dots, base, inner in _content(file, file.stat().st_mtime_ns)[1]:
            module = _absolute(dots, base, package)
            if _is_followed(f"{module}.{inner}".strip("."), start):
                new.add(_named(module, inner))
        due += sorted(new - known)
        known |= new


def _is_followed(name: str, start: str) -> bool:
    scope = _scope(name)
    return scope in (_scope(start), *_FOLLOWED) or not (scope.startswith("harness") or _is_library(scope))


def _scope(module: str) -> str:
    """The package that one author wrote: a module's first part, or the first two parts of the harness's own modules."""
    # "my_repo.models.parts" -> "my_repo", "harness.clicks.centre" -> "harness.clicks".
    parts = module.split(".")
    return ".".join(parts[: 2 if parts[0] == "harness" else 1])


@lru_cache
def _is_library(package: str) -> bool:
    """Whether a package is installed or comes with Python; one without any file (built in) counts as well."""
    spec = _spec(package)
    places = [spec.origin or "", *(spec.submodule_search_locations or ())] if spec else []
    found = [Path(place) for place in places if Path(place).exists() and place]
    return not found or any(_INSTALLED & {*one.parts} or one.is_relative_to(_STANDARD) for one in found)


def _absolute(dots: int, base: str, package: str) -> str:
    """The module after `from`: `..a` in the package `p.q` is `p.a`; "" for more dots than there are packages."""
    try:
        return resolve_name("." * dots + base, package) if dots else base
    except ImportError:
        return ""


def _named(module: str, name: str) -> str:
    """The module that an import statement reads: for `from a import b`, `a.b` if that is a module, or else `a`."""
    inner = f"{module}.{name}".strip(".")
    return inner if _file(inner) else module


def _file(module: str) -> Path | None:
    """The file with a module's code; None if the module is built in, has no file or does not exist."""
    loaded = sys.modules.get(module)
    place = getattr(loaded, "__file__", None) if loaded else getattr(_spec(module), "origin", None)
    return Path(place) if place and Path(place).is_file() else None


def _spec(module: str) -> ModuleSpec | None:
    """The spec by which Python would find a module. `find_spec("a.b")` would import `a`; this imports nothing."""
    parent = module.rpartition(".")[0]
    try:
        if not parent:
            return getattr(sys.modules.get(module), "__spec__", None) or find_spec(module)
        above = sys.modules.get(parent)
        folders = above.__path__ if above else getattr(_spec(parent), "submodule_search_locations", None)
        return PathFinder.find_spec(module, folders) if folders else None
    except (ImportError, ValueError, AttributeError):  # A module that is no package, or has no spec.
        return None


@lru_cache(maxsize=1024)
def _content(file: Path, changed_ns: int) -> tuple[str, tuple[tuple[int, str, str], ...]]:
    """The hash of a file's code, and its imports as `_imports` gives them; a file that changed is read anew."""
    del changed_ns
    content = file.read_bytes()
    try:
        tree = ast.parse(content) if file.suffix == ".py" else ast.Module([], [])
    except (SyntaxError, ValueError):
        tree = ast.Module([], [])
    imports = tuple(_imports(tree))
    # An extension module, an empty file and one that Python refuses count by their bytes.
    told = ast.unparse(_bare(tree)).encode() if tree.body else content
    return hashlib.sha256(told).hexdigest(), imports


def _imports(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    """Dots, module and name: `from ..a import b` is (2, "a", "b"), `import a.b` is (0, "", "a.b")."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, "", alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.level, node.module or "", alias.name) for alias in node.names)


def _bare(tree: ast.Module) -> ast.Module:
    """The tree without its docstrings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            documented = ast.get_docstring(node, clean=False) is not None
            node.body = (node.body[1:] or [ast.Pass()]) if documented else node.body
    return tree
