"""Who imports whom: a file of harness/ only what stands above it, and two doors that one file each may open."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import harness

ROOT = Path(__file__).resolve().parents[1]
HARNESS = ROOT / "harness"

ORDER = [
    "interrupts",
    "structures",
    "interfaces",
    "registry",
    "__init__",
    "metrics",
    "clicks",
    "texts",
    "rle",
    "ambiguity",
    "yaml_file",
    "recipe",
    "config",
    "weights",
    "attempts",
    "scoring",
    "contamination",
    "asking",
    "pictures",
    "evaluate",
    "folder",
    "lock",
    "rows",
    "shards",
    "manifests",
    "differences",
    "store",
    "completeness",
    "repeats",
    "verify",
    "merge",
    "plan",
    "worker",
    "waiting",
    "sight",
    "actor",
    "joining",
    "capacity",
    "cluster",
    "doctor",
    "machine",
    "card",
    "draws",
    "blame",
    "batches",
    "loaders",
    "synchronised_norm",
    "optimisation",
    "fitting",
    "probe",
    "journal",
    "ray_training",
    "training",
    "trainings",
    "resampling",
    "summaries",
    "sequences",
    "paired",
    "report",
    "run",
    "figures",
    "page",
    "results",
    "progress",
    "watch",
    "weights_command",
    "results_command",
    "__main__",
]
"""The rooms of harness/, as data flows; imports go up only, those within functions too."""


def _room(file: Path) -> str:
    return file.relative_to(HARNESS).with_suffix("").parts[0]


def _imports(file: Path) -> Iterator[str]:
    """Every module or attribute of one that a file names in an import, dotted."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _rooms_imported(file: Path) -> set[str]:
    found = set()
    for name in _imports(file):
        package, _, rest = name.partition(".")
        if package == "harness":
            room = rest.partition(".")[0]
            found.add(room if room in ORDER else "__init__")
    return found


FILES = sorted(HARNESS.rglob("*.py"))


def test_every_file_has_its_place() -> None:
    assert {_room(file) for file in FILES} == set(ORDER)


@pytest.mark.parametrize("file", FILES, ids=[str(file.relative_to(HARNESS)) for file in FILES])
def test_imports_go_up(file: Path) -> None:
    own = ORDER.index(_room(file))
    below = [room for room in _rooms_imported(file) - {_room(file)} if ORDER.index(room) > own]
    assert not below, f"{file.name} imports {below}, which stand below it"


def _files_importing(*packages: str) -> set[str]:
    return {
        str(file.relative_to(HARNESS))
        for file in FILES
        if any(name.partition(".")[0] in packages for name in _imports(file))
    }


def test_only_four_files_import_ray() -> None:
    assert _files_importing("ray") == {"capacity.py", "cluster.py", "joining.py", "ray_training.py"}


def test_only_the_registry_imports_plugins() -> None:
    assert _files_importing("methods", "datasets") == set()
    by_name = {str(file.relative_to(HARNESS)) for file in FILES if "import_module(" in file.read_text("utf-8")}
    own = {"report/__init__.py", "clicks/__init__.py"}
    assert by_name <= {"registry.py", "__init__.py", *own}
    assert all(module.startswith("harness.") for module in harness.LATER.values())
    for name in own:
        text = (HARNESS / name).read_text("utf-8")
        assert 'import_module(f"{__name__}.' in text and text.count("import_module(") == 1


def _loaded_by(statement: str, *packages: str) -> set[str]:
    """Which of the packages a fresh process has loaded after the statement."""
    code = f"{statement}; import sys; print(*{{name.partition('.')[0] for name in sys.modules}} & {set(packages)})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_what_an_import_costs() -> None:
    heavy = ("torch", "ray", "pandas", "pyarrow", "methods", "datasets")
    assert _loaded_by("import harness; harness.load, harness.summarise, harness.compare", "torch", "ray") == set()
    assert _loaded_by("import harness", *heavy) == set()
    assert _loaded_by("import harness.evaluate", *heavy) == set()
    assert _loaded_by("import harness.__main__", *heavy) == set()
