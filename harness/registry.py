"""Name -> class -> object. The only file that imports methods/ and datasets/.

A name is a file's name in its kind's folder (`sam` is methods/sam.py), an entry point in the group
`harness.<kind>` (`harness.methods`, ...), or `my_package.my_module:MyClass`.

The driver checks a plugin's parameters against its constructor (`resolve`), the worker builds it (`build`).
A parameter annotated `Path` counts from the checkout's root; what lies under data/, weights/ or runs/, which
no worker's copy of the checkout holds, is made absolute on the driver, and `HARNESS_DATA` stands for data/.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import pydantic

from harness.interfaces import Dataset, Learner, Method, Saliency
from harness.structures import UserError

ROOT = Path(__file__).resolve().parent.parent
"""The checkout."""

T = TypeVar("T", bound=type)

_FOLDERS = {
    "methods": "methods",
    "datasets": "datasets",
    "saliency": "methods.saliency",
    "learners": "methods.learners",
}
_BASES: dict[str, Any] = {"methods": Method, "datasets": Dataset, "saliency": Saliency, "learners": Learner}
_CLASSES: dict[str, dict[str, type]] = {kind: {} for kind in _FOLDERS}
_ONLY_ON_DRIVER = ("data", "weights", "runs")


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
    """Every name that a config may use for a plugin of this kind ("methods", "datasets", ...)."""
    folder = importlib.import_module(_FOLDERS[kind])
    own = Path(str(folder.__file__)).parent
    files = [module.name for module in pkgutil.iter_modules([str(own)]) if not module.ispkg]
    registering = [name for name in files if f'register_{_one(kind)}("{name}")' in (own / f"{name}.py").read_text()]
    return sorted({*registering, *(point.name for point in entry_points(group=f"harness.{kind}"))})


def find(kind: str, name: str, where: str = "") -> type[Any]:
    """The class behind a name.

    Args:
        kind: "methods", "datasets", "saliency" or "learners".
        name: As a config writes it.
        where: Where the name was written, for the message: `configs/a.yaml, methods[1].name`.

    Raises:
        UserError: No such name, or what it names is not such a plugin.
    """
    if ":" in name:
        cls = _imported(name, where)
    elif (ROOT / _FOLDERS[kind].replace(".", "/") / f"{name}.py").is_file():
        importlib.import_module(f"{_FOLDERS[kind]}.{name}")
        cls = _CLASSES[kind].get(name)
    else:
        points = {point.name: point for point in entry_points(group=f"harness.{kind}")}
        cls = points[name].load() if name in points else _CLASSES[kind].get(name)
    if cls is None:
        folder = _FOLDERS[kind].replace(".", "/")
        raise UserError(f"{_at(where)}no {folder}/{name}.py. {suggest(name, names(kind))}")
    if not (isinstance(cls, type) and issubclass(cls, _BASES[kind])):
        raise UserError(f"{_at(where)}{name} is {cls!r}; wanted a subclass of harness.{_BASES[kind].__name__}.")
    if "name" not in vars(cls):
        cls.name = name  # type: ignore[attr-defined]
    return cls


def resolve(kind: str, name: str, params: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Check parameters against the constructor; what can only be found on this machine becomes absolute.

    Returns:
        JSON values, from which `build` makes the same object in any worker.

    Raises:
        UserError: An unknown, a missing or an ill-typed parameter.
    """
    cls = find(kind, name, where)
    wanted = _parameters(cls)
    at = f"{where.removesuffix('.name')}.params" if where else f"{name}: params"
    for key in params:
        if key not in wanted:
            raise UserError(f"{at}.{key}: {name} takes no such parameter. {suggest(key, wanted)}")
    missing = [key for key, (_, default) in wanted.items() if default is inspect.Parameter.empty and key not in params]
    if missing:
        raise UserError(f"{at}: {name} needs {', '.join(missing)}. It takes: {', '.join(wanted)}.")
    return {key: _resolved(wanted[key][0], value, f"{at}.{key}") for key, value in params.items()}


def build(kind: str, name: str, params: Mapping[str, Any]) -> Any:
    """Construct a plugin from what `resolve` returned."""
    cls = find(kind, name)
    wanted = _parameters(cls)
    return cls(**{key: _built(wanted[key][0], value) for key, value in params.items()})


def files(kind: str, name: str, params: Mapping[str, Any]) -> dict[str, Path]:
    """The files that a plugin's `Path` parameters name, those of a plugin within it included: key -> path."""
    found: dict[str, Path] = {}
    for key, (annotation, _) in _parameters(find(kind, name)).items():
        value = params.get(key)
        if isinstance(value, str) and _wants(annotation, Path) and (ROOT / value).is_file():
            found[key] = ROOT / value
        if isinstance(value, Mapping) and _wants(annotation, Saliency):
            inner = files("saliency", value["name"], value["params"])
            found |= {f"{key}.{inner_key}": path for inner_key, path in inner.items()}
    return found


def located(path: str | Path) -> Path:
    """A config's path on this machine: from the checkout's root, or from HARNESS_DATA for what lies in data/."""
    path = Path(path).expanduser()
    data = os.environ.get("HARNESS_DATA")
    if data and path.parts[:1] == ("data",):
        return Path(data).expanduser().absolute().joinpath(*path.parts[1:])
    return ROOT / path


def suggest(name: str, known: Iterable[str]) -> str:
    """`Did you mean 'sam'? There are: ours, sam.`"""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    meant = f"Did you mean '{close[0]}'? " if close else ""
    return f"{meant}There are: {', '.join(known) or 'none'}."


def _at(where: str) -> str:
    return f"{where}: " if where else ""


def _one(kind: str) -> str:
    return kind.removesuffix("s")


def _imported(name: str, where: str) -> Any:
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"{_at(where)}cannot import '{name}' ({error}). Wanted module:Class, with the module on PYTHONPATH."
        ) from error


def _parameters(cls: type) -> dict[str, tuple[Any, Any]]:
    """Constructor argument -> (annotation, default)."""
    constructor: Any = inspect.getattr_static(cls, "__init__")
    if constructor is object.__init__:
        return {}
    hints = get_type_hints(constructor)
    signature = inspect.signature(cls)
    return {name: (hints.get(name, Any), p.default) for name, p in signature.parameters.items()}


def _wants(annotation: Any, kind: type) -> bool:
    return annotation is kind or kind in get_args(annotation)


def _resolved(annotation: Any, value: Any, where: str) -> Any:
    if value is None:
        return None
    if _wants(annotation, Saliency):
        spec: dict[str, Any] = {"name": value} if isinstance(value, str) else dict(value)
        name = str(spec.get("name", ""))
        return {"name": name, "params": resolve("saliency", name, spec.get("params", {}), f"{where}.name")}
    if _wants(annotation, Path) and isinstance(value, str):
        path = Path(value).expanduser()
        return str(located(path)) if path.is_absolute() or path.parts[:1] in [(f,) for f in _ONLY_ON_DRIVER] else value
    try:
        pydantic.TypeAdapter(annotation).validate_python(value)
    except pydantic.ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise UserError(f"{where}: found {value!r}. {reason}; wanted {_plain(annotation)}.") from error
    except pydantic.PydanticUserError:
        pass  # An annotation that only the plugin understands: its constructor checks.
    return value


def _built(annotation: Any, value: Any) -> Any:
    if value is None:
        return None
    if _wants(annotation, Saliency):
        return build("saliency", value["name"], value["params"])
    if _wants(annotation, Path) and isinstance(value, str):
        return ROOT / value
    return value


def _plain(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")
