"""A plugin's parameters: checked against its constructor on the driver (`resolve`), built in the worker (`build`).

A relative path in a parameter annotated `Path`, or in its default, counts from the checkout's root. Workers have a copy
of the checkout without data/, weights/ and runs/, so a path below these is made absolute on the driver. `HARNESS_DATA`
stands for data/.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args, get_type_hints

import pydantic

from harness.messages import complaint, suggest
from harness.places import for_workers, located
from harness.plugins.failures import blamed
from harness.plugins.kinds import KINDS
from harness.plugins.registry import find
from harness.structures import UserError

ANY_OTHER = "**"


def resolve(kind: str, name: str, params: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Check parameters against the constructor; paths that a worker's copy of the checkout lacks become absolute.

    Returns:
        JSON values, from which `build` makes the same object in any worker.

    Raises:
        UserError: An unknown, a missing or an ill-typed parameter.
    """
    at = f"{where.removesuffix('.name')}.params" if where else f"{name}: params"
    return arguments(find(kind, name, where), name, params, at)


def arguments(taker: Callable[..., Any], name: str, given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check keyword arguments of a class, or of a function without its first argument; returns JSON, as `resolve`.

    Args:
        taker: The class or the function.
        name: Its name in messages.
        given: The arguments to pass.
        where: The place where they were written: `configs/a.yaml, clicks.options`.
    """
    wanted = parameters_of(taker)
    for key in given:
        if key not in wanted and ANY_OTHER not in wanted:
            raise UserError(f"{where}.{key}: {name} takes no such parameter. {suggest(key, wanted)}")
    missing = [key for key, (_, default) in wanted.items() if default is inspect.Parameter.empty and key not in given]
    if missing:
        raise UserError(f"{where}: {name} needs {', '.join(missing)}. It takes: {', '.join(wanted)}.")
    # A relative path that is a default counts from the root, too; without this it would count from a worker's folder,
    # and the file's content would not be compared.
    paths = {
        key: default for key, (_, default) in wanted.items() if isinstance(default, Path) and not default.is_absolute()
    }
    named = paths | dict(given)
    return {key: _resolved(_annotation(wanted, key), value, f"{where}.{key}") for key, value in named.items()}


def build(kind: str, name: str, params: Mapping[str, Any]) -> Any:
    """Construct a plugin from what `resolve` returned.

    Raises:
        UserError: Its constructor raised. Errors by a lost GPU or by a lack of memory are raised as they are.
    """
    cls = find(kind, name)
    wanted = parameters_of(cls)
    arguments = {key: built(_annotation(wanted, key), value) for key, value in params.items()}
    with blamed(f"{kind}: '{name}' cannot be built"):
        return cls(**arguments)


@lru_cache(maxsize=512)
def parameters_of(taker: Callable[..., Any]) -> Mapping[str, tuple[Any, Any]]:
    """Argument -> (annotation, default), the first one (`self`, or a function's subject) left out."""
    function: Any = inspect.getattr_static(taker, "__init__") if isinstance(taker, type) else taker
    if function is object.__init__:
        return MappingProxyType({})
    # In a file with `from __future__ import annotations` the signature holds annotations as texts; this makes types.
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
    others = {ANY_OTHER: (Any, None)} if any(p.kind is p.VAR_KEYWORD for p in own) else {}
    return MappingProxyType(named | others)  # Read-only, since the next caller gets the same.


def with_defaults(taker: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that are given, and the defaults of all others."""
    defaults = {key: default for key, (_, default) in parameters_of(taker).items() if key != ANY_OTHER}
    return defaults | dict(given)


def _annotation(wanted: Mapping[str, tuple[Any, Any]], key: str) -> Any:
    return wanted[key][0] if key in wanted else Any


def plugin_kind(annotation: Any) -> str | None:
    """The kind of plugin that a parameter takes, as in `saliency: Saliency | None`; None if it takes no plugin."""
    options = (annotation, *get_args(annotation))
    return next((name for name, kind in KINDS.items() if kind.base and kind.base in options), None)


def _resolved(annotation: Any, value: Any, where: str) -> Any:
    kind = plugin_kind(annotation)
    if kind:
        optional = type(None) in get_args(annotation)
        return None if value is None and optional else _nested(kind, value, where)
    # To Python values and back to JSON: the first step finds mistakes and converts types, the second makes values that
    # can be written into a manifest, hashed, and sent to a worker, which builds the Python values again.
    adapter = _adapter(annotation)
    try:
        valid = adapter.validate_python(value)
        for key in truths_as_numbers(valid, value):
            raise UserError(f"{where}{key and f'.{key}'}: found true or false; wanted a number.")
        _on_paths(valid, lambda path: _with_slashes(path, where))
        return adapter.dump_python(_on_paths(valid, for_workers), mode="json")
    except pydantic.ValidationError as error:
        _check_keys(annotation, error.errors(), where)
        whole = [{**mistake, "input": value} for mistake in error.errors()]
        raise UserError(f"{where}: {complaint(whole)}") from error


def truths_as_numbers(made: Any, raw: Any, key: str = "") -> Iterator[str]:
    """The keys where `true` or `false` was read as the number 1 or 0, as pydantic does: `limit: yes` would mean 1.

    Args:
        made: The value that was made of it.
        raw: The value as YAML has it.
        key: The key of the value, which the results begin with.
    """
    if isinstance(raw, bool):
        if isinstance(made, (int, float)) and not isinstance(made, bool):
            yield key
    elif isinstance(raw, Mapping):
        for name, value in raw.items():
            own = made.get(name) if isinstance(made, Mapping) else getattr(made, str(name), None)
            yield from truths_as_numbers(own, value, f"{key}.{name}".lstrip("."))
    elif isinstance(raw, (list, tuple)) and isinstance(made, (list, tuple)):
        for number, (one, value) in enumerate(zip(made, raw, strict=False)):
            yield from truths_as_numbers(one, value, f"{key}[{number}]")


def _with_slashes(path: Path, where: str) -> Path:
    """Refuse a path with backslashes where they do not separate folders, unless a file has this very name."""
    if os.sep == "/" and "\\" in str(path) and not located(path).exists():
        slashed = str(path).replace("\\", "/")
        raise UserError(f"{where}: found {path}; wanted '/' between folders, which Windows takes too: {slashed}.")
    return path


def _check_keys(annotation: Any, mistakes: Iterable[Mapping[str, Any]], where: str) -> None:
    """Refuse a missing or an unknown key of a dataclass or a TypedDict, however deep in a parameter it is."""
    # pydantic gives a mistake's place as a path: ("crops", 1, "sise") for the key `sise` in the second of a list of
    # crops. The annotation's fields along this path give the keys that are allowed there.
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
    """Key -> annotation, for the dataclass or TypedDict that an annotation is or contains (`list[Crop]`)."""
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


def built(annotation: Any, value: Any) -> Any:
    """A parameter's value in the type of its annotation, made from the JSON that `resolve` returned."""
    kind = plugin_kind(annotation)
    if kind:
        return None if value is None else build(kind, value["name"], value["params"])
    return _on_paths(_adapter(annotation).validate_python(value), located)


def _adapter(annotation: Any) -> pydantic.TypeAdapter[Any]:
    try:
        return pydantic.TypeAdapter(annotation)
    except pydantic.PydanticUserError:  # A type that only the plugin understands: its constructor checks.
        return pydantic.TypeAdapter(Any)


def _on_paths(value: Any, change: Callable[[Path], Path]) -> Any:
    """The value with every path in it changed, in lists, tuples and mappings too."""
    if isinstance(value, Path):
        return change(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_on_paths(item, change) for item in value)
    if isinstance(value, dict):
        return {key: _on_paths(item, change) for key, item in value.items()}
    return value
