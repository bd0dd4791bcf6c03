"""Name -> class. The only file that imports methods/ and datasets/.

A name is a file's name in its kind's folder (`click_only` is methods/click_only.py), or a folder's with such a file in
it (`sam` is methods/sam/sam.py), an entry point in the group `harness.<kind>` (`harness.methods`, ...), or
`my_package.my_module:MyClass`.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar

from harness.messages import suggest
from harness.places import shipped
from harness.plugins.failures import blamed
from harness.plugins.interfaces import Dataset, Learner, Method, Saliency
from harness.structures import UserError

T = TypeVar("T", bound=type)

_FOLDERS = {kind: kind for kind in ("methods", "datasets")} | {
    kind: f"methods/{kind}" for kind in ("saliency", "learners")
}
"""Kind -> its folder in the checkout."""

BASES: dict[str, Any] = {"methods": Method, "datasets": Dataset, "saliency": Saliency, "learners": Learner}
_CLASSES: dict[str, dict[str, type]] = {kind: {} for kind in _FOLDERS}


def register_method(name: str) -> Callable[[T], T]:
    """Class decorator: makes a Method known as `name`, which is also its file's name."""
    return _register("methods", name)


def register_dataset(name: str) -> Callable[[T], T]:
    """Class decorator: makes a Dataset known as `name`, which is also its file's name."""
    return _register("datasets", name)


def register_saliency(name: str) -> Callable[[T], T]:
    """Class decorator: makes a Saliency known as `name`, which is also its file's name."""
    return _register("saliency", name)


def register_learner(name: str) -> Callable[[T], T]:
    """Class decorator: makes a Learner known as `name`, which is also its file's name."""
    return _register("learners", name)


def _register(kind: str, name: str) -> Callable[[T], T]:
    def add(cls: T) -> T:
        other = _CLASSES[kind].setdefault(name, cls)
        if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
            raise UserError(
                f"{kind}: '{name}' is registered by {other.__module__}:{other.__qualname__} "
                f"and by {cls.__module__}:{cls.__qualname__}. Rename one of them."
            )
        _CLASSES[kind][name] = cls
        setattr(cls, "name", name)  # noqa: B010 - the three bases declare it, `type` does not
        return cls

    return add


def names(kind: str) -> list[str]:
    """Every name that a config may use for a plugin of this kind ("methods", "datasets", ...); none is imported."""
    registers = f"register_{kind.removesuffix('s')}"
    own = [file.stem for file in _files(kind).values() if _mentions(file, registers)]
    return sorted({*own, *(point.name for point in _points(kind, tuple(sys.path)))})


def find(kind: str, name: str, where: str = "") -> type[Any]:
    """The class behind a name.

    Args:
        kind: "methods", "datasets", "saliency" or "learners".
        name: As a config writes it.
        where: Where the name was written, for the message: `configs/a.yaml, methods[1].name`.

    Raises:
        UserError: No such name, or two of them, or what it names is not such a plugin or cannot be imported.
    """
    cls = _loaded(kind, name, where)
    if cls is None:
        folder = _FOLDERS[kind]
        lacks = f"{folder}/{name}.py registers no '{name}'" if name in _files(kind) else f"no {folder}/{name}.py"
        raise UserError(f"{at(where)}{lacks}. {suggest(name, names(kind))}")
    if not (isinstance(cls, type) and issubclass(cls, BASES[kind])):
        raise UserError(f"{at(where)}{name} is {cls!r}; wanted a subclass of harness.{BASES[kind].__name__}.")
    if inspect.isabstract(cls):
        unwritten = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
        raise UserError(f"{at(where)}{cls.__module__}:{cls.__name__} must write {unwritten}.")
    if "name" not in vars(cls):
        cls.name = name  # type: ignore[attr-defined]
    return cls


def at(where: str) -> str:
    """A place as the start of a message."""
    return f"{where}: " if where else ""


def _files(kind: str) -> dict[str, Path]:
    """The files of a kind's folder that may be plugins, by name: NAME.py, or NAME/NAME.py."""
    files = sorted(shipped(_FOLDERS[kind]).glob("*.py")) + sorted(shipped(_FOLDERS[kind]).glob("*/*.py"))
    folder = shipped(_FOLDERS[kind])
    return {file.stem: file for file in files if file.parent in (folder, folder / file.stem)}


def _mentions(file: Path, decorator: str) -> bool:
    """Whether a file registers a plugin of its own name, as far as its text tells."""
    return re.search(rf"""@(\w+\.)*{decorator}\(\s*["']{file.stem}["']""", file.read_text("utf-8")) is not None


def _loaded(kind: str, name: str, where: str) -> Any:
    """What a name stands for; None if nothing."""
    if ":" in name:
        return _imported(name, f"{at(where)}{name}")
    own = _files(kind).get(name)
    points = {point.value for point in _points(kind, tuple(sys.path)) if point.name == name}
    shown = str(own.relative_to(shipped(_FOLDERS[kind].partition("/")[0]).parent)) if own else ""
    meanings = sorted([*points, *([shown] if own else [])])
    if len(meanings) > 1:
        raise UserError(f"{at(where)}'{name}' is {' and '.join(meanings)}. Name the one that is meant as module:Class.")
    if points:
        return _imported(meanings[0], f"{at(where)}{name}, the entry point {meanings[0]}")
    if own:
        with blamed(f"{at(where)}{meanings[0]} cannot be imported"):
            importlib.import_module(".".join(["harness", *Path(shown).with_suffix("").parts]))
    return _CLASSES[kind].get(name)


@lru_cache
def _points(kind: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:  # noqa: ARG001
    """What the packages on a path offer; every look at them takes 10 ms."""
    return tuple(entry_points(group=f"harness.{kind}"))


def _imported(name: str, what: str) -> Any:
    """The attribute that `module:Class` names."""
    module, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), attribute)):
        raise UserError(f"{what}: wanted module:Class, such as my_package.my_module:MyMethod.")
    with blamed(f"{what} cannot be imported"):
        return getattr(importlib.import_module(module), attribute)
