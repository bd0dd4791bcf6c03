"""Name -> plugin, one way for all nine kinds (`KINDS`). The only file that imports plugins.

A config names a plugin in one of three ways:

- by the name that its decorator gives it, in a file that comes with the harness: `register_method("sam")` in
  methods/sam/sam.py, `register_metric("iou")` in harness/masks/metrics.py;
- by an entry point of an installed package in the group `harness.<kind>`: `harness.methods`, `harness.metrics`, ...;
- as `module:name`, from anywhere on Python's path, where the name is that of the class or the function, or the one that
  its decorator gives it: `my_package.clicks:mine/v1`.

Workers are sent names, not objects, and look each plugin up themselves.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar

from harness.messages import suggest
from harness.places import ROOT
from harness.plugins.failures import blamed
from harness.plugins.interfaces import Saliency
from harness.plugins.kinds import KINDS, Kind
from harness.plugins.scale import Scale
from harness.plugins.sources import Written, written
from harness.structures import UserError

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Entry:
    """A plugin and its name.

    Attributes:
        name: The name that its decorator gives it; without one, its entry point's name or its own.
        thing: The class or the function.
        options: The decorator's other arguments.
        spec: The import system's spec of the module that registered it; each execution of a module has its own.
    """

    name: str
    thing: Any
    options: Mapping[str, Any] = field(default_factory=dict)
    spec: Any = None

    @property
    def place(self) -> str:
        """The file and the line where it is written, for messages."""
        thing = inspect.unwrap(self.thing)
        try:
            file, line = inspect.getsourcefile(thing), inspect.getsourcelines(thing)[1]
        except (OSError, TypeError):
            return f"{thing.__module__}:{thing.__qualname__}"
        path = Path(str(file))
        return f"{path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}, line {line}"


_ENTRIES: dict[str, dict[str, Entry]] = {kind: {} for kind in KINDS}
"""Kind -> name -> the plugin that a decorator has registered in this process."""

_FOUND: set[Entry] = set()
"""The plugins that were found by their bare name and checked. A run looks up the same few names again and again."""


def register_method(name: str) -> Callable[[T], T]:
    """Class decorator: makes a `Method` known as `name`."""
    return _registering("methods", name)


def register_dataset(name: str) -> Callable[[T], T]:
    """Class decorator: makes a `Dataset` known as `name`."""
    return _registering("datasets", name)


def register_saliency(name: str) -> Callable[[T], T]:
    """Class decorator: makes a `Saliency` known as `name`."""
    return _registering("saliency", name)


def register_learner(name: str) -> Callable[[T], T]:
    """Class decorator: makes a `Learner` known as `name`."""
    return _registering("learners", name)


def register_metric(
    name: str, *, higher_is_better: bool = True, bounds: tuple[float, float] = (0.0, 1.0), unit: str = ""
) -> Callable[[T], T]:
    """Function decorator: makes a metric of two masks known as `name`, which is also its column in the rows.

    Args:
        name: An identifier: "dice".
        higher_is_better: Whether the larger of two values is the better one.
        bounds: The least and the largest value; a value beyond them is refused, and its row is a failed one.
        unit: The unit of the values, such as "px". Without one, and with bounds 0 and 1, they are printed in percent.

    Raises:
        UserError: The bounds are not two numbers in order.
    """
    try:
        scale = Scale(higher_is_better, bounds, unit)
    except UserError as error:
        raise UserError(f"register_metric({name!r}): {error}") from error
    return _registering("metrics", name, scale=scale)


def register_click_rule(
    name: str, *, pairs: Callable[..., Any] | None = None, replays: Callable[..., Mapping[str, Any]] | None = None
) -> Callable[[T], T]:
    """Function decorator: makes a click rule known as `name`, of the form `<family>/v<number>`; rows keep this name.

    Args:
        name: Its name in configs and rows.
        pairs: For a rule that asks for pairs of objects: (an image's `Objects`, **the rule's options) -> its `Pair`s
            (harness/masks/destinations.py). An instance is asked for once a pair, and not at all without one.
        replays: For a rule that takes its clicks from a file, one a round, and other ones in each draw: (**its options)
            -> the options, with the file's hash; it raises `UserError` if it is not such a file.
    """
    return _registering("clicks", name, pairs=pairs, replays=replays)


def register_text_rule(name: str, *, looks: bool = False) -> Callable[[T], T]:
    """Function decorator: makes a text rule known as `name`.

    Args:
        name: Its name in configs and rows.
        looks: Whether the rule chooses a class by the picture: it is then called after the first click, with
            `Asked.fits`. Only methods with a CLIP can be asked by it, and only with a click.
    """
    return _registering("texts", name, looks=looks)


def register_table(name: str) -> Callable[[T], T]:
    """Function decorator: makes a table known as `name`."""
    return _registering("tables", name)


def register_logger(name: str) -> Callable[[T], T]:
    """Class decorator: makes a `Logger` known as `name`."""
    return _registering("loggers", name)


def _registering(kind: str, name: str, **options: Any) -> Callable[[T], T]:
    if callable(name):  # `@register_metric` without a name: Python passes the function in its place.
        decorator, example = KINDS[kind].decorator, KINDS[kind].form[1]
        raise UserError(f"{Entry('', name).place}: @{decorator} without a name; wanted @{decorator}('{example}').")
    return partial(_register, KINDS[kind], name, options)


def _register(kind: Kind, name: str, options: Mapping[str, Any], thing: T) -> T:
    # A decorator runs while its module is being executed, and each execution of a module has a spec of its own. By it
    # `_same` tells a reload from a second definition.
    module = sys.modules.get(getattr(thing, "__module__", ""))
    new = Entry(name, thing, options, getattr(module, "__spec__", None))
    pattern, example = kind.form
    if not isinstance(name, str) or not re.fullmatch(pattern, name):
        raise UserError(f"{new.place}: {kind.decorator}({name!r}); wanted a name such as '{example}'.")
    if not callable(thing):
        wanted = "class" if kind.base else "function"
        raise UserError(f"{kind.decorator}({name!r}) of {thing!r}; wanted it on a {wanted}.")
    other = _ENTRIES[kind.name].get(name)
    if other and not _same(other, new):
        raise UserError(f"{kind.name}: '{name}' is registered in {other.place} and in {new.place}. Rename one of them.")
    _ENTRIES[kind.name][name] = new
    if kind.base:
        setattr(thing, "name", name)  # noqa: B010 - the five bases declare it, `type` does not
    return thing


def _same(old: Entry, new: Entry) -> bool:
    """Whether a name is registered again for the same thing, rather than for two different things.

    A module that is executed again (a reload, a notebook's cell) creates its classes and functions anew. One file may
    also be two modules: `__main__`, if it was started as a script, and the module of its own name.
    """
    #    same module, same class name, another spec    a reload, or a notebook's cell, without any spec: the newer
    # counts
    #    same module, same class name, same spec       written twice in one file: refused
    #    another module, same file and line            a script that is also imported: the same thing
    #    another module, another place                 two plugins of one name: refused
    if old.thing is new.thing:
        return True
    if old.thing.__module__ != new.thing.__module__:
        return old.place == new.place
    return old.thing.__qualname__ == new.thing.__qualname__ and (old.spec is not new.spec or new.spec is None)


def find(kind: str, name: str, where: str = "") -> Any:
    """The class or the function behind a name.

    Args:
        kind: One of `KINDS`: "methods", "metrics", ...
        name: The name as in a config.
        where: The place where the name was written, for the message: `configs/a.yaml, methods[1].name`.

    Raises:
        UserError: No such name, or two of them, or the thing of that name is no such plugin or cannot be imported.
    """
    return entry(kind, name, where).thing


def entry(kind: str, name: str, where: str = "") -> Entry:
    """A plugin by its name, with its decorator's arguments; arguments and errors as those of `find`."""
    # The search below looks into every file of the kind, for a name that was given twice. Once it has found a plugin,
    # only a package on another path can add a second one to this process.
    known = _ENTRIES[kind].get(name)
    if known and known in _FOUND and all(point.name != name for point in installed_plugins(kind)):
        return known
    at = f"{where}: " if where else ""
    found = _imported(KINDS[kind], name, at + name) if ":" in name else _named(KINDS[kind], name, at)
    _check(KINDS[kind], found.thing, at, name)
    if KINDS[kind].base and "name" not in vars(found.thing):
        found.thing.name = name
    if found is _ENTRIES[kind].get(name):
        _FOUND.add(found)
    return found


def check_at_hand(name: str) -> None:
    """Refuse a plugin's name, found in a run's folder, if another module would have to be imported for it.

    The folder may come from anybody, and `module:name` may be a file in that very folder, so importing it would run a
    stranger's code. A plugin is safe if it comes with the harness or an installed package, or if its module is loaded
    already because the user's own command or config names it.

    Raises:
        UserError: The module is not loaded.
    """
    module, colon, _ = name.partition(":")
    if colon and module not in sys.modules:
        raise UserError(
            f"{name}: found this code named in the run's folder; wanted only code of the harness or of an installed "
            "package, since reading a run must not execute other code. If it is yours, name it yourself: `report RUN "
            "--table` for a table, `page RUN --data CONFIG` with a config that has it for pictures."
        )


def name_of(kind: str, thing: type) -> str:
    """A class's name in a config: the name under which it is registered here, or `module:Class`."""
    known = str(vars(thing).get("name", ""))
    if ":" in known or known in names(kind):
        return known
    return f"{thing.__module__}:{thing.__qualname__}"


def fits_texts(saliency: Mapping[str, Any] | str | None) -> bool:
    """Whether a saliency, given as in a config, can score how texts fit around a click (`Saliency.text_fits`)."""
    if not saliency:
        return False
    name = saliency if isinstance(saliency, str) else saliency["name"]
    return find("saliency", name).text_fits is not Saliency.text_fits


def names(kind: str) -> list[str]:
    """Every name that a config may use for a plugin of this kind, `module:name` aside; none is imported."""
    own = {one.name for one in own_plugins(kind)}
    return sorted(own | {point.name for point in installed_plugins(kind)})


def own_plugins(kind: str, name: str | None = None) -> list[Written]:
    """The plugins of a kind that come with the harness, read from their files' text; all, or those with a name."""
    found = [one for file in KINDS[kind].files for one in written(file, KINDS[kind].decorator, name)]
    return [one for one in found if name in (None, one.name)]


def installed_plugins(kind: str) -> tuple[EntryPoint, ...]:
    """The entry points of a kind in the installed packages."""
    return _points(kind, tuple(sys.path))


@lru_cache
def _points(kind: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:  # noqa: ARG001
    """The entry points of the packages on a path; cached by path, since each search takes 10 ms."""
    return tuple(entry_points(group=f"harness.{kind}"))


def _named(kind: Kind, name: str, at: str) -> Entry:
    """A plugin that comes with the harness or has an entry point."""
    # All places of a name are found before anything is imported: were the first one taken, an installed package could
    # replace a plugin of the harness without anybody noticing.
    own = own_plugins(kind.name, name)
    points = {point.value for point in installed_plugins(kind.name) if point.name == name}
    places = sorted({f"{kind.shown(one.file)}, line {one.line}" for one in own} | points)
    if len(places) > 1:
        raise UserError(
            f"{at}'{name}' is defined several times: {' and '.join(places)}. Rename one, or write the one that you "
            "mean as module:name."
        )
    if points:
        return _imported(kind, places[0], f"{at}{name}, the entry point {places[0]}", name)
    # A decorator may compute its name, `register_method(PREFIX + "a")`, and then the file's text does not show it. If
    # the file has the plugin's name it is therefore imported, which registers what it has.
    files = [one.file for one in own] or [file for file in kind.files if file.stem == name]
    for file in files:
        with blamed(f"{at}{kind.shown(file)} cannot be imported"):
            importlib.import_module(kind.module(file))
    found = _ENTRIES[kind.name].get(name)
    # `files` may be empty for a plugin that is loaded: Ray may have removed the copy of the checkout from which a
    # worker's modules were imported.
    if found and (files or found.thing.__module__.startswith("harness.")):
        return found
    lacks = f"no {kind.folder}/{name}.py" if kind.base else f"no {kind.noun} '{name}'"
    lacks = f"{kind.shown(files[0])} registers no '{name}'" if files else lacks
    elsewhere = f" {found.place} registers it: write {found.thing.__module__}:{name}." if found else ""
    raise UserError(f"{at}{lacks}.{elsewhere}{in_this_folder(name)} {suggest(name, names(kind.name))}")


def in_this_folder(name: str) -> str:
    """A hint for a name without its class, `grow` or `grow.py`; "" if the current folder has no grow.py."""
    module = name.removesuffix(".py")
    there = module.isidentifier() and Path(f"{module}.py").is_file()
    said = f" Did you mean {module}.py in this folder? Write {module}:NAME, where NAME is its class or function."
    return said if there else ""


def _imported(kind: Kind, name: str, what: str, own_name: str = "") -> Entry:
    """The plugin that `module:name` names.

    Args:
        kind: The plugin's kind.
        name: The module, and the plugin's name there or the one that its decorator gives it.
        what: The start of a message.
        own_name: The plugin's name if no decorator gives it one.
    """
    module, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in module.split(".")) or not re.fullmatch(r"[^\W\d][^\s:]*", attribute):
        raise UserError(f"{what}: wanted module:name, such as my_package.my_module:mine.")
    with blamed(f"{what} cannot be imported"):
        loaded = importlib.import_module(module)
    registered = _ENTRIES[kind.name].values()
    if not hasattr(loaded, attribute):
        known = {one.name: one for one in registered if one.thing.__module__ == module}
        if attribute not in known:
            there = [*known, *(name for name, thing in vars(loaded).items() if _may_be(kind, thing, module))]
            raise UserError(f"{what}: module {module} has no {kind.noun} '{attribute}'. {suggest(attribute, there)}")
        return known[attribute]
    thing = getattr(loaded, attribute)
    fallback = own_name or getattr(thing, "__name__", attribute)
    return next((one for one in registered if one.thing is thing), Entry(fallback, thing))


def _may_be(kind: Kind, thing: Any, module: str) -> bool:
    """Whether something in a module looks like a plugin of a kind that is written there."""
    like = isinstance(thing, type) and issubclass(thing, kind.base) if kind.base else inspect.isfunction(thing)
    return like and thing.__module__ == module and not thing.__name__.startswith("_")


def _check(kind: Kind, thing: Any, at: str, name: str) -> None:
    """Refuse a thing that is no plugin of this kind."""
    for other, registered in _ENTRIES.items():
        if other != kind.name and any(one.thing is thing for one in registered.values()):
            raise UserError(f"{at}{name} is a {KINDS[other].noun}; wanted a {kind.noun}.")
    if kind.base is None:
        _check_function(kind, thing, f"{at}{name}")
    elif not (isinstance(thing, type) and issubclass(thing, kind.base)):
        raise UserError(f"{at}{name} is {thing!r}; wanted a subclass of harness.{kind.base.__name__}.")
    elif inspect.isabstract(thing):
        unwritten = ", ".join(sorted(getattr(thing, "__abstractmethods__", ())))
        raise UserError(f"{at}{thing.__module__}:{thing.__name__} must write {unwritten}.")


def _check_function(kind: Kind, function: Any, what: str) -> None:
    wanted = f"a function of ({', '.join(kind.takes)}{', and its options' if kind.options else ''})"
    if not callable(function) or isinstance(function, type):
        raise UserError(f"{what} is {function!r}; wanted {wanted}.")
    try:
        signature = inspect.signature(function)
    except ValueError:  # A function of an extension module, which has no readable signature.
        return
    try:
        (signature.bind_partial if kind.options else signature.bind)(*kind.takes)
    except TypeError as error:
        raise UserError(f"{what}{signature} cannot be called ({error}); wanted {wanted}.") from error
