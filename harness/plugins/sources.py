"""Reads from a file's text which plugins it has, without importing it.

Importing every method to print one line on each would load torch and take seconds. The syntax tree has the same facts:
the names in the decorators, the descriptions in the docstrings, and the needed modules in the import statements.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path


@dataclass(frozen=True)
class Written:
    """A plugin as a file's text shows it.

    Attributes:
        name: The name that the decorator gives it.
        file: The file that has it.
        line: The line where the class or the function begins; 0 in a file that cannot be parsed.
        says: The first line of its docstring.
    """

    name: str
    file: Path
    line: int
    says: str


def written(file: Path, decorator: str, name: str | None = None) -> list[Written]:
    """The plugins that a file registers by a decorator, such as `register_method`.

    Args:
        file: The file.
        decorator: The decorator's name.
        name: A file in which this does not stand is not parsed; parsing takes most of the time.
    """
    changed_ns = file.stat().st_mtime_ns
    text = _text(file, changed_ns)
    if decorator not in text or (name or "") not in text:
        return []
    tree = _tree(file, changed_ns)
    if isinstance(tree, SyntaxError):  # Its plugins are listed all the same, with this error.
        return [Written(name, file, 0, "") for name in re.findall(rf"""@.*{decorator}\(\s*["']([^"']+)""", text)]
    found = []
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            says = (ast.get_docstring(node) or "").partition("\n")[0]
            found += [Written(name, file, node.lineno, says) for name in _registered(node, decorator)]
    return found


def failure(file: Path) -> str:
    """The reason why a file cannot be imported, found in its text and in the files it imports by `from .x import y`.

    The reason is a syntax error or a module that is not installed; "" if neither is found. Code that runs at import
    can still fail. A missing import within `try`, `if` or a function does not count: the file itself provides for it.
    """
    # Files that import each other would be read without an end: each is read once.
    seen: set[Path] = set()
    due = [file]
    while due:
        one = due.pop()
        if one in seen:
            continue
        seen.add(one)
        tree = _tree(one, one.stat().st_mtime_ns)
        if isinstance(tree, SyntaxError):
            return f"SyntaxError: {tree.msg} ({one}, line {tree.lineno})"
        for name, line in _modules(tree):
            if _lacks(name):
                return f"ModuleNotFoundError: No module named '{name}' ({one}, line {line})"
        due += _neighbours(one, tree)
    return ""


@lru_cache(maxsize=512)
def _text(file: Path, changed_ns: int) -> str:  # noqa: ARG001
    """A file's text; a file that changed is read anew."""
    return file.read_bytes().decode("utf-8", "replace")


@lru_cache(maxsize=512)
def _tree(file: Path, changed_ns: int) -> ast.Module | SyntaxError:  # noqa: ARG001
    """A file's syntax tree, or the error in its syntax."""
    try:
        return ast.parse(file.read_bytes())
    except SyntaxError as error:
        return error
    except ValueError as error:  # A null byte.
        return SyntaxError(str(error))


def _registered(node: ast.ClassDef | ast.FunctionDef, decorator: str) -> Iterator[str]:
    """The names in `@register_method("name")` or `@harness.register_method("name")` over a class or a function."""
    for one in node.decorator_list:
        if isinstance(one, ast.Call) and ast.unparse(one.func).rpartition(".")[2] == decorator:
            given = one.args[0] if one.args else next((k.value for k in one.keywords if k.arg == "name"), None)
            if isinstance(given, ast.Constant) and isinstance(given.value, str):
                yield given.value


def _modules(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """The packages that a file imports whenever it is imported itself, each with its line."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module).partition(".")[0], node.lineno


def _lacks(package: str) -> bool:
    try:
        return package not in sys.modules and find_spec(package) is None
    except ValueError:  # Some module put itself in the place of another and has no spec.
        return False


def _neighbours(file: Path, tree: ast.Module) -> Iterator[Path]:
    """Files that a file imports relatively: in methods/sam/, `from ..ritm.zoom import x` is methods/ritm/zoom.py."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.level:
            base = file.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            options = [base.with_suffix(".py"), *(base / f"{alias.name}.py" for alias in node.names)]
            yield from (option for option in options if option.is_file())
