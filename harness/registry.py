"""Name -> class -> object. The only file that imports methods/ and datasets/.

A name is a file's name in its kind's folder (`sam` is methods/sam.py), an entry point in the group
`harness.<kind>` (`harness.methods`, ...), or `my_package.my_module:MyClass`.

The driver checks a plugin's parameters against its constructor (`resolve`), the worker builds it (`build`).
A parameter annotated `Path` counts from the checkout's root; what lies under data/, weights/ or runs/, which
no worker's copy of the checkout holds, is made absolute on the driver, and `HARNESS_DATA` stands for data/.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import inspect
import os
import pkgutil
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import pydantic

from harness.interfaces import Dataset, Learner, Method, Saliency
from harness.structures import UserError

ROOT = Path(__file__).resolve().parent.parent
"""The checkout."""

_HARNESS = str(Path(__file__).parent) + os.sep
_LIBRARIES = tuple(sysconfig.get_path(name) + os.sep for name in ("stdlib", "purelib", "platlib"))
LACKS_MEMORY = re.compile("out of memory|DefaultCPUAllocator")
"""What torch says of a GPU's or the machine's memory that does not suffice."""

_OF_THE_MACHINE = re.compile(f"CUDA error|{LACKS_MEMORY.pattern}")
"""What torch says of a GPU that is lost, or of full memory: no plugin's mistake."""

T = TypeVar("T", bound=type)

_FOLDERS = {
    "methods": "methods",
    "datasets": "datasets",
    "saliency": "methods.saliency",
    "learners": "methods.learners",
}
_BASES: dict[str, Any] = {"methods": Method, "datasets": Dataset, "saliency": Saliency, "learners": Learner}
_CLASSES: dict[str, dict[str, type]] = {kind: {} for kind in _FOLDERS}
_ONLY_ON_DRIVER = (("data",), ("weights",), ("runs",))
_ANY_OTHER = "**"

_WANTED = {
    "missing": "a value",
    "model_type": "a mapping",
    "dict_type": "a mapping",
    "list_type": "a list",
    "tuple_type": "a list",
    "path_type": "a path",
    "too_short": "at least one",
    "invalid_key": "text as every key",
    "dataclass_type": "a mapping",
}
"""pydantic's error type -> what a reader who knows YAML, but not Python, is told to write."""


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
        folder = _FOLDERS[kind].replace(".", "/")
        lacks = f"{folder}/{name}.py registers no '{name}'" if name in _files(kind) else f"no {folder}/{name}.py"
        raise UserError(f"{_at(where)}{lacks}. {suggest(name, names(kind))}")
    if not (isinstance(cls, type) and issubclass(cls, _BASES[kind])):
        raise UserError(f"{_at(where)}{name} is {cls!r}; wanted a subclass of harness.{_BASES[kind].__name__}.")
    if inspect.isabstract(cls):
        unwritten = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
        raise UserError(f"{_at(where)}{cls.__module__}:{cls.__name__} must write {unwritten}.")
    if "name" not in vars(cls):
        cls.name = name  # type: ignore[attr-defined]
    return cls


def resolve(kind: str, name: str, params: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Check parameters against the constructor; what can only be found on this machine becomes absolute.

    Returns:
        JSON values of the annotated types, from which `build` makes the same object in any worker.

    Raises:
        UserError: An unknown, a missing or an ill-typed parameter.
    """
    at = f"{where.removesuffix('.name')}.params" if where else f"{name}: params"
    return arguments(find(kind, name, where), name, params, at)


def arguments(taker: Callable[..., Any], name: str, given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check keyword arguments of a class, or those of a function beyond its first; JSON values, as `resolve` says.

    Args:
        taker: The class or the function.
        name: How messages call it.
        given: What is to be passed.
        where: Where they were written: `configs/a.yaml, clicks.options`.
    """
    wanted = _parameters(taker)
    for key in given:
        if key not in wanted and _ANY_OTHER not in wanted:
            raise UserError(f"{where}.{key}: {name} takes no such parameter. {suggest(key, wanted)}")
    missing = [key for key, (_, default) in wanted.items() if default is inspect.Parameter.empty and key not in given]
    if missing:
        raise UserError(f"{where}: {name} needs {', '.join(missing)}. It takes: {', '.join(wanted)}.")
    return {key: _resolved(_annotation(wanted, key), value, f"{where}.{key}") for key, value in given.items()}


def build(kind: str, name: str, params: Mapping[str, Any]) -> Any:
    """Construct a plugin from what `resolve` returned.

    Raises:
        UserError: Its constructor raised; but what a lost or full GPU, or full memory, raises stays as it is.
    """
    cls = find(kind, name)
    wanted = _parameters(cls)
    arguments = {key: _built(_annotation(wanted, key), value) for key, value in params.items()}
    with blamed(f"{kind}: '{name}' cannot be built"):
        return cls(**arguments)


def paths(kind: str, name: str, params: Mapping[str, Any]) -> dict[str, Path]:
    """What a plugin's `Path` parameters name, those of a plugin within it included, there or not: key -> path."""
    found: dict[str, Path] = {}
    for key, (annotation, _) in _parameters(find(kind, name)).items():
        value, inner_kind = params.get(key), _plugin_kind(annotation)
        if inner_kind and value is not None:
            inner = paths(inner_kind, value["name"], value["params"])
            found |= {f"{key}.{inner_key}": path for inner_key, path in inner.items()}
        elif value is not None:
            found |= dict(_paths(key, _built(annotation, value)))
    return found


def files(kind: str, name: str, params: Mapping[str, Any]) -> dict[str, Path]:
    """Those of a plugin's `paths` that are files."""
    return {key: path for key, path in paths(kind, name, params).items() if path.is_file()}


def hashes(kind: str, name: str, params: Mapping[str, Any]) -> dict[str, str]:
    """The SHA-256 of each of a plugin's `files`, by the same keys."""
    found = files(kind, name, params)
    return {key: sha256(path, path.stat().st_mtime_ns) for key, path in sorted(found.items())}


@lru_cache
def sha256(path: Path, changed_ns: int) -> str:
    """A file's SHA-256; `changed_ns` is its modification time, so that a changed file is hashed anew."""
    del changed_ns
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def portable(kind: str, name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters less the places of files and folders, which may move while what they hold stays the same."""
    kept: dict[str, Any] = {}
    for key, (annotation, _) in _parameters(find(kind, name)).items():
        value, inner_kind = params.get(key), _plugin_kind(annotation)
        if inner_kind and value is not None:
            kept[key] = {"name": value["name"], "params": portable(inner_kind, value["name"], value["params"])}
        elif key in params and not list(_paths(key, _built(annotation, value))):
            kept[key] = value
    return kept


def located(path: str | Path) -> Path:
    """A config's path on this machine: from the checkout's root, or from HARNESS_DATA for what lies in data/."""
    path = Path(path).expanduser()
    data = os.environ.get("HARNESS_DATA")
    if data and path.parts[:1] == ("data",):
        return Path(data).expanduser().absolute().joinpath(*path.parts[1:])
    return ROOT / path


def class_names(names: str | Sequence[str]) -> tuple[str, ...]:
    """The classes of a split in datasets/class_splits, by its name; names as they are.

    Raises:
        UserError: There is no such split.
    """
    return importlib.import_module("datasets.seen").seen_names(names)


def suggest(name: str, known: Iterable[str]) -> str:
    """`Did you mean 'sam'? There are: ours, sam.`"""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    meant = f"Did you mean '{close[0]}'? " if close else ""
    return f"{meant}There are: {', '.join(known) or 'none'}."


def complaint(mistakes: Sequence[Mapping[str, Any]]) -> str:
    """What pydantic says of one value, in the words of this project: `found 'four'; wanted a valid integer.`"""
    absent = mistakes[0]["type"] == "missing" or mistakes[0]["input"] is None
    found = "nothing" if absent else repr(mistakes[0]["input"])
    wanted = [_WANTED.get(mistake["type"]) or mistake["msg"].removeprefix("Input should be ") for mistake in mistakes]
    return f"found {found}; wanted {', or '.join(dict.fromkeys(wanted))}."


@contextmanager
def blamed(what: str) -> Iterator[None]:
    """Whatever a plugin's own code raises becomes a message to its author that says where.

    Args:
        what: The message's start: `methods/ours.py cannot be imported`.

    Raises:
        UserError: In place of what was raised; but what a lost or full GPU, or full memory, raises stays as it is.
    """
    try:
        yield
    except (UserError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        if _OF_THE_MACHINE.search(str(error)):
            raise
        at = _own_line(error)
        hint = " Is its folder on PYTHONPATH?" if isinstance(error, ModuleNotFoundError) and not at else ""
        told = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{what}. {told}{at}.{hint}") from error


def _at(where: str) -> str:
    return f"{where}: " if where else ""


def _files(kind: str) -> dict[str, Path]:
    """The modules of a kind's folder, by name; not all of them are plugins."""
    folder = ROOT / _FOLDERS[kind].replace(".", "/")
    package = importlib.import_module(_FOLDERS[kind])
    if Path(str(package.__file__)).resolve().parent != folder:
        raise UserError(
            f"Python found another `{_FOLDERS[kind]}` first, {package.__file__}; wanted {folder}. "
            f"Run from the checkout: cd {ROOT} && python -m harness ..."
        )
    found = (module.name for module in pkgutil.iter_modules([str(folder)]) if not module.ispkg)
    return {name: folder / f"{name}.py" for name in found}


def _mentions(file: Path, decorator: str) -> bool:
    """Whether a file registers a plugin of its own name, as far as its text tells."""
    return re.search(rf"""@(\w+\.)*{decorator}\(\s*["']{file.stem}["']""", file.read_text("utf-8")) is not None


def _loaded(kind: str, name: str, where: str) -> Any:
    """What a name stands for; None if nothing."""
    if ":" in name:
        return _imported(name, f"{_at(where)}{name}")
    own = _files(kind).get(name)
    points = {point.value for point in _points(kind, tuple(sys.path)) if point.name == name}
    meanings = sorted([*points, *([str(own.relative_to(ROOT))] if own else [])])
    if len(meanings) > 1:
        raise UserError(
            f"{_at(where)}'{name}' is {' and '.join(meanings)}. Name the one that is meant as module:Class."
        )
    if points:
        return _imported(meanings[0], f"{_at(where)}{name}, the entry point {meanings[0]}")
    if own:
        with blamed(f"{_at(where)}{meanings[0]} cannot be imported"):
            importlib.import_module(f"{_FOLDERS[kind]}.{name}")
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


def _own_line(error: BaseException) -> str:
    """Where a plugin's code was when it raised, ` (file, line 3)`."""
    at = own_line(error)
    return f" ({at[0]}, line {at[1]})" if at else ""


def own_line(error: BaseException) -> tuple[Path, int] | None:
    """Where a plugin's code was when it raised: its last line before a library's or the harness'."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _imports(frame.filename)]
    written = [frame for frame in frames if not frame.filename.startswith(_LIBRARIES)]
    own = [frame for frame in written if not frame.filename.startswith(_HARNESS)]
    at = (own or written or frames)[-1:]  # A click rule is in the harness' own folder.
    return next(((Path(frame.filename), frame.lineno or 0) for frame in at), None)


def _imports(filename: str) -> bool:
    """Whether code is this file's, the import system's or generated: of no interest to who wrote a plugin."""
    return filename == __file__ or filename.startswith("<") or "importlib" in filename


def _parameters(taker: Callable[..., Any]) -> dict[str, tuple[Any, Any]]:
    """Argument -> (annotation, default), the first one (`self`, or a function's subject) left out."""
    function: Any = inspect.getattr_static(taker, "__init__") if isinstance(taker, type) else taker
    if function is object.__init__:
        return {}
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError as error:
        raise UserError(
            f"{taker.__module__}:{taker.__qualname__}: {error}; an annotation needs it at run time."
        ) from error
    _, *own = inspect.signature(function).parameters.values()
    named = {
        p.name: (hints.get(p.name, Any), p.default) for p in own if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    }
    return named | ({_ANY_OTHER: (Any, None)} if any(p.kind is p.VAR_KEYWORD for p in own) else {})


def _annotation(wanted: Mapping[str, tuple[Any, Any]], key: str) -> Any:
    return wanted[key][0] if key in wanted else Any


def _plugin_kind(annotation: Any) -> str | None:
    """The kind of plugin that a parameter is itself, as in `saliency: Saliency | None`."""
    options = (annotation, *get_args(annotation))
    return next((kind for kind, base in _BASES.items() if base in options), None)


def _resolved(annotation: Any, value: Any, where: str) -> Any:
    kind = _plugin_kind(annotation)
    if kind:
        optional = type(None) in get_args(annotation)
        return None if value is None and optional else _nested(kind, value, where)
    adapter = _adapter(annotation)
    try:
        return adapter.dump_python(_on_paths(adapter.validate_python(value), _findable), mode="json")
    except pydantic.ValidationError as error:
        _check_keys(annotation, error.errors(), where)
        whole = [{**mistake, "input": value} for mistake in error.errors()]
        raise UserError(f"{where}: {complaint(whole)}") from error


def _check_keys(annotation: Any, mistakes: Iterable[Mapping[str, Any]], where: str) -> None:
    """Refuse a key that a dataclass or a TypedDict lacks or does not have, wherever it is in a parameter."""
    for mistake in mistakes:
        if mistake["type"] in ("missing", "unexpected_keyword_argument", "extra_forbidden"):
            known, place = _fields(annotation), where
            *parents, key = mistake["loc"]
            for part in parents:
                place += f"[{part}]" if isinstance(part, int) else f".{part}"
                known = _fields(known[part]) if part in known else known
            said = "found nothing; wanted a value." if key in known else f"no such key. {suggest(str(key), known)}"
            raise UserError(f"{place}.{key}: {said}")


def _fields(annotation: Any) -> dict[Any, Any]:
    """Key -> annotation, of the dataclass or TypedDict that an annotation is or holds: `list[Crop]`, `Crop | None`."""
    if isinstance(annotation, type) and is_dataclass(annotation):
        hints = get_type_hints(annotation, include_extras=True)
        return {field.name: hints[field.name] for field in fields(annotation)}
    if hasattr(annotation, "__required_keys__"):
        return get_type_hints(annotation, include_extras=True)
    return {key: value for inner in get_args(annotation) for key, value in _fields(inner).items()}


def _nested(kind: str, value: Any, where: str) -> dict[str, Any]:
    spec = {"name": value} if isinstance(value, str) else value
    name, params = (spec.get("name"), spec.get("params", {})) if isinstance(spec, Mapping) else (None, None)
    if not isinstance(name, str) or not isinstance(params, Mapping):
        raise UserError(f"{where}: found {value!r}; wanted a name, or {{name: ..., params: {{...}}}}.")
    for key in spec:
        if key not in ("name", "params"):
            raise UserError(f"{where}.{key}: no such key. {suggest(str(key), ('name', 'params'))}")
    return {"name": name, "params": resolve(kind, name, params, f"{where}.name")}


def _built(annotation: Any, value: Any) -> Any:
    kind = _plugin_kind(annotation)
    if kind:
        return None if value is None else build(kind, value["name"], value["params"])
    return _on_paths(_adapter(annotation).validate_python(value), ROOT.__truediv__)


def _adapter(annotation: Any) -> pydantic.TypeAdapter[Any]:
    try:
        return pydantic.TypeAdapter(annotation)
    except pydantic.PydanticUserError:  # A type that only the plugin understands: its constructor checks.
        return pydantic.TypeAdapter(Any)


def _findable(path: Path) -> Path:
    """A path that leads workers to the same file: absolute, unless their copy of the checkout holds it."""
    path = path.expanduser()
    return located(path) if path.is_absolute() or path.parts[:1] in _ONLY_ON_DRIVER else path


def _on_paths(value: Any, change: Callable[[Path], Path]) -> Any:
    """The value with every path in it changed, in lists, tuples and mappings too."""
    if isinstance(value, Path):
        return change(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_on_paths(item, change) for item in value)
    if isinstance(value, dict):
        return {key: _on_paths(item, change) for key, item in value.items()}
    return value


def _paths(key: str, value: Any) -> Iterator[tuple[str, Path]]:
    """Every path in a value, by its place: `checkpoint`, `folds[1]`."""
    if isinstance(value, Path):
        yield key, value
    elif isinstance(value, (list, tuple, dict)):
        for place, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _paths(f"{key}[{place}]", item)
