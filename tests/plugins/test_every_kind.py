"""What holds for every kind of plugin alike: where it is found, what it is told, and what it must not be named."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import harness
from harness import UserError
from harness.plugins import registry
from harness.plugins.kinds import KINDS, Kind
from harness.plugins.listing import described

CLASSES = {
    "methods": "class Mine(harness.Method):\n    {doc}\n    def predict(self, image, click, text): ...\n",
    "datasets": "class Mine(harness.Dataset):\n    {doc}\n    classes = ()\n"
    "    def sample_ids(self): ...\n    def load(self, sample_id): ...\n",
    "saliency": "class Mine(harness.Saliency):\n    {doc}\n    def features(self, images): ...\n"
    "    def maps(self, features, texts, vocabulary): ...\n",
    "learners": "class Mine(harness.Learner):\n    {doc}\n"
    "    def example(self, sample, instance, said, rng): ...\n    def loss(self, batch): ...\n",
    "loggers": "class Mine(harness.Logger):\n    {doc}\n",
}


def source(kind: Kind, name: str, thing: str = "Mine", says: str = "Says it.", decorated: bool = True) -> str:
    """A module with one plugin: a class or a function called `thing`, registered as `name`."""
    function = f"def Mine({', '.join(kind.takes)}):\n    {{doc}}\n"
    body = CLASSES.get(kind.name, function).format(doc=f'"""{says}"""').replace("Mine", thing)
    return "import harness\n\n" + (f"@harness.{kind.decorator}({name!r})\n" if decorated else "") + body + "\n"


def named(kind: Kind, name: str) -> str:
    """A name that this kind may have."""
    return f"{name}/v1" if kind.name == "clicks" else name


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture
def no_entries(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is registered, and what the test loads is forgotten."""
    monkeypatch.setattr(registry, "_ENTRIES", {name: {} for name in KINDS})
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def own(kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_entries: None) -> Callable[[str, str], Path]:
    """Writes a file of the folder of the kind, which is empty at first."""
    folder = tmp_path / kind.folder
    folder.mkdir(parents=True)
    monkeypatch.setattr("harness.plugins.kinds.shipped", tmp_path.joinpath)
    monkeypatch.setattr(importlib.import_module(kind.package), "__path__", [str(folder)])

    def write(name: str, text: str) -> Path:
        file = folder / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        importlib.invalidate_caches()
        return file

    return write


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_entries: None) -> Callable[[str, str], Path]:
    """Writes a module of a folder outside the checkout, on Python's path."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)

    def write(name: str, text: str) -> Path:
        (folder / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        return folder / f"{name}.py"

    return write


def entry_points(folder: Path, kind: Kind, *lines: str, package: str = "one") -> None:
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("\n".join([f"[harness.{kind.name}]", *lines]) + "\n")
    registry._points.cache_clear()


# Where a plugin is found


@pytest.mark.slow  # It imports every plugin, torch with them.
def test_those_that_come_with_the_harness_are_found_and_say_what_they_are(kind: Kind) -> None:
    assert registry.names(kind.name)
    assert [name for name, _ in described(kind.name)] == registry.names(kind.name)
    for name, line in described(kind.name):
        found = registry.find(kind.name, name)
        assert line == (found.__doc__ or "").strip().partition("\n")[0] and line, f"{name} has no docstring"
        assert registry.entry(kind.name, name).name == name


def test_the_decorators_are_the_harness_s_own(kind: Kind) -> None:
    assert getattr(harness, kind.decorator) is getattr(registry, kind.decorator)
    assert kind.decorator in harness.__all__


def test_in_the_folder_of_its_kind(kind: Kind, own: Callable[[str, str], Path]) -> None:
    name = named(kind, "mine")
    own("mine", source(kind, name, says="Says mine.\n\n    And more."))
    own("several/several", source(kind, named(kind, "several"), says="Says several."))
    own("several/other", source(kind, named(kind, "other")))
    own("unregistered", source(kind, "", decorated=False))
    assert described(kind.name) == [(name, "Says mine."), (named(kind, "several"), "Says several.")]
    assert f"{kind.package}.mine" not in sys.modules, "listing imports nothing"
    assert registry.find(kind.name, name).__name__ == "Mine"
    assert registry.find(kind.name, named(kind, "several")).__module__ == f"{kind.package}.several.several"


def test_a_decorator_without_a_name_or_on_what_is_no_plugin(kind: Kind) -> None:
    decorator = getattr(harness, kind.decorator)
    with pytest.raises(UserError, match=rf"test_every_kind\.py, line \d+: @{kind.decorator} without a name; wanted @"):
        decorator(named)
    with pytest.raises(UserError, match=rf"{kind.decorator}\('.*'\) of 5; wanted it on a (class|function)\."):
        decorator(named(kind, "five"))(5)


def test_by_module_and_name(kind: Kind, elsewhere: Callable[[str, str], Path]) -> None:
    name = named(kind, "my_own")
    elsewhere("my_plugins", source(kind, name))
    elsewhere("my_others", source(kind, "", "Other", decorated=False))
    found = registry.find(kind.name, "my_plugins:Mine")
    assert registry.find(kind.name, f"my_plugins:{name}") is found
    assert registry.entry(kind.name, "my_plugins:Mine").name == name
    other = registry.entry(kind.name, "my_others:Other")
    assert (other.name, other.thing.__name__, dict(other.options)) == ("Other", "Other", {})
    assert name not in registry.names(kind.name)


@pytest.mark.slow
def test_by_its_entry_point(kind: Kind, elsewhere: Callable[[str, str], Path]) -> None:
    name, other = named(kind, "installed"), named(kind, "plain")
    folder = elsewhere("my_package", source(kind, name) + source(kind, "", "Plain", decorated=False)).parent
    entry_points(folder, kind, f"{name} = my_package:Mine", f"{other} = my_package:Plain")
    assert {name, other} <= set(registry.names(kind.name)) and (name, "Says it.") in described(kind.name)
    assert registry.entry(kind.name, name).name == name
    assert (registry.entry(kind.name, other).name, registry.find(kind.name, other).__name__) == (other, "Plain")


# What is no name of a plugin


def test_did_you_mean(kind: Kind, elsewhere: Callable[[str, str], Path]) -> None:
    elsewhere("my_plugins", source(kind, named(kind, "my_own")))
    right = registry.names(kind.name)[0]
    with pytest.raises(UserError, match=rf"^a\.yaml: no .*{right[:-1]}.*\. Did you mean '{right}'\? There are: "):
        registry.find(kind.name, right[:-1], "a.yaml")
    with pytest.raises(UserError, match=rf"^a\.yaml: my_plugins:Mind: .*has no {kind.noun} 'Mind'\. .*mean 'Mine'\?"):
        registry.find(kind.name, "my_plugins:Mind", "a.yaml")


def test_a_name_that_another_module_registers_is_no_name_of_the_harness(
    kind: Kind, elsewhere: Callable[[str, str], Path]
) -> None:
    """It would be found in this process and in no worker, which imports what its own names lead to."""
    name = named(kind, "my_own")
    elsewhere("my_plugins", source(kind, name))
    importlib.import_module("my_plugins")
    with pytest.raises(UserError, match=rf"my_plugins\.py, line \d registers it: write my_plugins:{name}\."):
        registry.find(kind.name, name)


@pytest.mark.parametrize("name", [":", "..:Mine", "my_plugins:", "my plugins:Mine", ":Mine"])
def test_what_names_no_module_or_nothing_in_it(kind: Kind, name: str) -> None:
    with pytest.raises(UserError, match=rf"^a\.yaml: {name}: wanted module:name, such as"):
        registry.find(kind.name, name, "a.yaml")


@pytest.mark.parametrize("value", ["3", "int", "'text'", "lambda: 0"])
def test_what_is_no_plugin_of_its_kind(kind: Kind, elsewhere: Callable[[str, str], Path], value: str) -> None:
    elsewhere("my_plugins", f"thing = {value}\n")
    wanted = "a subclass of harness" if kind.base else rf"a function of \({', '.join(kind.takes)}"
    with pytest.raises(UserError, match=rf"^a\.yaml: my_plugins:thing.*wanted {wanted}"):
        registry.find(kind.name, "my_plugins:thing", "a.yaml")


@pytest.mark.parametrize("name", ["", "two words", "a:b"])
def test_what_no_decorator_takes(kind: Kind, elsewhere: Callable[[str, str], Path], name: str) -> None:
    elsewhere("my_plugins", source(kind, name))
    with pytest.raises(UserError, match=rf"my_plugins\.py, line 3: {kind.decorator}\('{name}'\); wanted a name such"):
        registry.find(kind.name, "my_plugins:Mine")


# One name used twice


def test_two_files_of_the_folder(kind: Kind, own: Callable[[str, str], Path]) -> None:
    name = named(kind, "twice")
    own("first", source(kind, name))
    own("second", "\n" + source(kind, name))
    said = rf"'{name}' is defined several times: \S*first\.py, line 4 and \S*second\.py, line 5\. Rename one"
    with pytest.raises(UserError, match=said):
        registry.find(kind.name, name)


def test_a_file_of_the_folder_and_an_entry_point(
    kind: Kind, own: Callable[[str, str], Path], elsewhere: Callable[[str, str], Path]
) -> None:
    name = named(kind, "twice")
    own("first", source(kind, name))
    entry_points(elsewhere("my_plugins", source(kind, name)).parent, kind, f"{name} = my_plugins:Mine")
    with pytest.raises(
        UserError,
        match=rf"'{name}' is defined several times: \S*first\.py, line 4 and my_plugins:Mine\. .*as module:name",
    ):
        registry.find(kind.name, name)


def test_two_entry_points(kind: Kind, elsewhere: Callable[[str, str], Path]) -> None:
    name = named(kind, "twice")
    folder = elsewhere("my_plugins", source(kind, name)).parent
    entry_points(folder, kind, f"{name} = my_plugins:Mine")
    entry_points(folder, kind, f"{name} = my_plugins:Other", package="other")
    with pytest.raises(UserError, match=rf"'{name}' is defined several times: my_plugins:Mine and my_plugins:Other\."):
        registry.find(kind.name, name)


def test_two_modules(kind: Kind, elsewhere: Callable[[str, str], Path]) -> None:
    name = named(kind, "twice")
    elsewhere("first", source(kind, name))
    elsewhere("second", "\n" + source(kind, name, "Other"))
    registry.find(kind.name, "first:Mine")
    said = rf"^{kind.name}: '{name}' is registered in \S*first\.py, line 3 and in \S*second\.py, line 4\. Rename one"
    with pytest.raises(UserError, match=said):
        registry.find(kind.name, "second:Other")


@pytest.mark.parametrize("other", ["Mine", "Other"])
def test_one_module_twice(kind: Kind, elsewhere: Callable[[str, str], Path], other: str) -> None:
    name = named(kind, "twice")
    elsewhere("first", source(kind, name) + source(kind, name, other))
    with pytest.raises(UserError, match=rf"'{name}' is registered in \S*first\.py, line \d+ and in \S*first\.py"):
        registry.find(kind.name, "first:Mine")


def test_a_reload_is_no_second_one(kind: Kind, elsewhere: Callable[[str, str], Path]) -> None:
    name = named(kind, "again")
    file = elsewhere("first", source(kind, name))
    before = registry.find(kind.name, "first:Mine")
    file.write_text("# A line more.\n" + source(kind, name))
    importlib.reload(sys.modules["first"])
    assert registry.find(kind.name, "first:Mine") is not before
    assert registry.find(kind.name, f"first:{name}") is sys.modules["first"].Mine


@pytest.mark.slow
@pytest.mark.parametrize("kind", [KINDS["methods"], KINDS["metrics"]], ids=["class", "function"])
def test_a_file_under_two_names_is_no_second_one(kind: Kind, tmp_path: Path) -> None:
    """A script that registers a plugin, and then names it as its own module's, is `__main__` and itself."""
    used = f"from harness.plugins import find; print(find({kind.name!r}, 'script:Mine').__module__)"
    (tmp_path / "script.py").write_text(source(kind, "mine") + f"\nif __name__ == '__main__':\n    {used}\n")
    environment = {**os.environ, "PYTHONPATH": str(Path(harness.__file__).parents[1])}
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout == "script\n", done.stderr


# What cannot be imported


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("import nowhere\n", r"ModuleNotFoundError: No module named 'nowhere' \(\S*broken\.py, line 1\)"),
        ("from nowhere.deep import x\n", r"ModuleNotFoundError: No module named 'nowhere.*' \(\S*broken\.py, line 1\)"),
        ("x = (\n", r"SyntaxError: '\(' was never closed \(\S*broken\.py, line 1\)"),
        ("from .beside import x\n", r"ModuleNotFoundError: No module named 'nowhere' \(\S*beside\.py, line 1\)"),
    ],
    ids=["import", "from", "syntax", "beside"],
)
def test_a_broken_file_is_listed_with_its_error(
    kind: Kind, own: Callable[[str, str], Path], broken: str, reason: str
) -> None:
    name = named(kind, "broken")
    own("broken", broken + source(kind, name))
    own("beside", "import nowhere\n")
    own("fine", "try:\n    import nowhere\nexcept ImportError:\n    pass\n" + source(kind, named(kind, "fine")))
    (_, told), fine = described(kind.name)
    assert re.match(rf"broken: \S*broken\.py cannot be imported\. {reason}\.$", told), told
    assert fine == (named(kind, "fine"), "Says it.")
    with pytest.raises(UserError, match=r"^here: \S*broken\.py cannot be imported\. "):
        registry.find(kind.name, name, "here")
    assert registry.find(kind.name, named(kind, "fine"))


@pytest.mark.slow
def test_a_broken_entry_point_is_listed_with_its_error(kind: Kind, elsewhere: Callable[[str, str], Path]) -> None:
    name, gone = named(kind, "broken"), named(kind, "gone")
    folder = elsewhere("my_plugins", "1 / 0\n").parent
    entry_points(folder, kind, f"{name} = my_plugins:Mine", f"{gone} = nowhere:Mine")
    told = dict(described(kind.name))
    assert "ZeroDivisionError: division by zero" in told[name] and "my_plugins.py, line 1" in told[name]
    assert told[gone].startswith(f"broken: {gone}, the entry point nowhere:Mine cannot be imported")
    with pytest.raises(UserError, match=rf"^{name}, the entry point my_plugins:Mine cannot be imported\. ZeroDiv"):
        registry.find(kind.name, name)


def test_a_broken_module_is_named(kind: Kind, elsewhere: Callable[[str, str], Path]) -> None:
    elsewhere("my_plugins", "1 / 0\n")
    with pytest.raises(UserError, match=r"^a\.yaml: my_plugins:Mine cannot be imported\. ZeroDivisionError.*line 1\)"):
        registry.find(kind.name, "my_plugins:Mine", "a.yaml")
    with pytest.raises(UserError, match=r"nowhere:Mine cannot be imported\. .*Is its folder on PYTHONPATH\?"):
        registry.find(kind.name, "nowhere:Mine")
