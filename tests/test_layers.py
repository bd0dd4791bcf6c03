"""Who imports whom: a package of harness/ only what stands above it, and a few doors that one package each may open."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.metadata import packages_distributions
from inspect import ismodule
from pathlib import Path

import pytest

from docs import rooms

ROOT = Path(__file__).resolve().parents[1]
HARNESS = ROOT / "harness"

GROUND = {
    "cropping",
    "structures",
    "messages",
    "lazily",
    "places",
    "environment",
    "atomic",
    "interrupts",
    "methods",
    "datasets",
    "__init__",
}
"""The files that stand in no package: whoever wants may import them."""

FLOORS = [
    "images",
    "plugins",
    "masks",
    "weights",
    "clicks",
    "config",
    "evaluation",
    "storage",
    "jobs",
    "training",
    "statistics",
    "cluster",
    "report",
    "results",
    "running",
    "figures",
    "trying",
    "checking",
    "page",
    "serving",
    "cli",
    "__main__",
]
"""The packages of harness/, from the ground up; imports go up this list only, those within functions too."""

FOR_PLUGINS = {"images", "masks", "plugins", "clicks", "weights", *GROUND}
"""What methods/ and datasets/ may import of harness."""


def _rooms_imported(file: Path) -> set[str]:
    names = (name.split(".") for name in rooms.imported(file))
    found = {own[1] for own in names if own[0] == "harness" and len(own) > 1}
    return {room if room in FLOORS or room in GROUND else "__init__" for room in found}


def _room(file: Path) -> str:
    return file.relative_to(HARNESS).with_suffix("").parts[0]


FILES = sorted(HARNESS.rglob("*.py"))
PLUGINS = sorted([*(ROOT / "methods").rglob("*.py"), *(ROOT / "datasets").rglob("*.py")])


def test_every_file_has_its_place() -> None:
    assert {_room(file) for file in FILES} <= {*FLOORS, *GROUND}
    assert {folder.name for folder in HARNESS.iterdir() if (folder / "__init__.py").is_file()} == {*FLOORS[:-1]}


@pytest.mark.slow
def test_imports_go_up() -> None:
    own = {file: FLOORS.index(_room(file)) for file in FILES if _room(file) in FLOORS}
    below = [
        f"{file.relative_to(ROOT)} imports {room}"
        for file, floor in own.items()
        for room in sorted(_rooms_imported(file) - GROUND)
        if FLOORS.index(room) > floor
    ]
    assert not below


def test_the_ground_imports_the_ground() -> None:
    for file in FILES:
        if _room(file) in GROUND - {"__init__"}:
            assert _rooms_imported(file) <= GROUND, file


@pytest.mark.slow
def test_packages_import_each_other_on_no_circle() -> None:
    assert rooms.circles(rooms.graph()) == []


def test_a_circle_is_found() -> None:
    arrows = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": {"d"}, "f": {"a"}}
    assert rooms.circles(arrows) == [["a", "b", "c"], ["d", "e"]]


def test_the_picture_leaves_out_what_follows() -> None:
    arrows = {
        "page": {"results", "storage"},
        "results": {"storage", rooms.GROUND},
        "storage": set(),
        rooms.GROUND: set(),
    }
    assert rooms.drawn(arrows) == {"page": {"results"}, "results": {"storage"}, "storage": set()}
    assert rooms.floors(arrows) == {rooms.GROUND: 0, "storage": 0, "results": 1, "page": 2}


@pytest.mark.slow
def test_the_picture_is_of_todays_code() -> None:
    assert rooms.PICTURE.read_text("utf-8") == rooms.svg(), "Call: make graph"


def test_plugins_import_little() -> None:
    for file in PLUGINS:
        assert _rooms_imported(file) <= FOR_PLUGINS, f"{file} imports {_rooms_imported(file) - FOR_PLUGINS}"


@pytest.mark.parametrize("package", FLOORS[:-1])
def test_a_package_says_what_it_is_for_and_offers_two_to_six_names(package: str) -> None:
    face = import_module(f"harness.{package}")
    assert face.__doc__ and 2 <= len(face.__all__) <= 6
    assert [name for name in face.__all__ if ismodule(getattr(face, name))] == [], "a module hides the name"


def _rooms_importing(*packages: str) -> set[str]:
    return {_room(file) for file in FILES if any(name.partition(".")[0] in packages for name in rooms.imported(file))}


def test_only_the_cluster_imports_ray() -> None:
    assert _rooms_importing("ray") == {"cluster"}


WRITERS = {"write_text", "write_bytes", "touch", "copyfile", "copy2", "copytree", "move"}
"""Methods and functions of a module that write or move a file."""

MAKERS = {"savefig", "save", "write_table", "ParquetWriter", "savez", "dump"}
"""Calls of libraries that take a path or an open file; given an open file or a sink they write through it."""


def _writes(call: ast.Call) -> bool:
    """Whether a call opens a file for writing, or has a library open one."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    texts = [one.value for one in ast.walk(call) if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    if name == "open":
        return any(set(text) & set("wax+") and len(text) <= 3 for text in texts)
    on = ast.unparse(call.func).rpartition(".")[0]
    if name in MAKERS and on not in ("", "writer", "safetensors.torch"):
        return not {"file", "sink", "folder"} & {ast.unparse(argument) for argument in call.args}
    return (name in WRITERS and on not in ("", "self.folder")) or (name in ("replace", "rename") and on == "os")


@pytest.mark.slow
def test_only_two_files_write_files() -> None:
    """harness/atomic.py on a disk, harness/storage/folder.py in a bucket; plugins through the first of them."""
    allowed = {HARNESS / "atomic.py", HARNESS / "storage" / "folder.py"}
    writing = [
        f"{file.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)[:80]}"
        for file in {*FILES, *PLUGINS} - allowed
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Call) and _writes(node)
    ]
    assert not writing, "write through harness.atomic, or through a Folder:\n" + "\n".join(writing)


def test_only_the_registry_imports_plugins() -> None:
    plugins = {"harness.methods", "harness.datasets"}
    importing = {_room(file) for file in FILES for name in rooms.imported(file) if name.startswith(tuple(plugins))}
    assert _rooms_importing("methods", "datasets") == set() and importing == set()


@pytest.mark.slow
def test_what_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = [line for name, lines in project["optional-dependencies"].items() if name != "dev" for line in lines]
    names = [re.split(r"[\[<>=!~; ]", line)[0] for line in [*project["dependencies"], *extras]]
    declared, known = {_plain(name) for name in names}, {"mlflow": ["mlflow-skinny"], **packages_distributions()}
    imported = {name.partition(".")[0]: file for file in [*FILES, *PLUGINS] for name in rooms.imported(file)}
    for name, file in imported.items():
        if name not in sys.stdlib_module_names and name != "harness":
            assert declared & {_plain(one) for one in [name, *known.get(name, ())]}, f"{file} imports {name}"


def _plain(name: str) -> str:
    """A package's name as its index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _loaded_by(statement: str, *packages: str) -> set[str]:
    """Which of the packages a fresh process has loaded after the statement."""
    code = f"{statement}; import sys; print(*{{name.partition('.')[0] for name in sys.modules}} & {set(packages)})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.slow
def test_what_an_import_costs() -> None:
    heavy = ("torch", "ray", "pandas", "pyarrow")
    assert _loaded_by("import harness; harness.load, harness.summarise, harness.compare", "torch", "ray") == set()
    assert _loaded_by("import harness", "numpy", *heavy) == set()
    assert _loaded_by("import harness.evaluation.evaluate", *heavy) == set()
    assert _loaded_by("import harness.cli", "pydantic", *heavy) == set()


@pytest.mark.slow
def test_transformers_are_imported_by_what_loads_a_snapshot_alone() -> None:
    listing = "; ".join(f"described('{kind}')" for kind in ("methods", "saliency"))
    assert _loaded_by(f"from harness.plugins.listing import described; {listing}", "transformers", "torch") == set()
    report = "import harness.results, harness.report.build; harness.load('docs/example_report/run')"
    assert _loaded_by(report, "transformers") == set()
    assert _loaded_by("import harness.methods.saliency.clipseg", "transformers") == set()
