"""The harness as `pip install .` leaves it: one package, run from an empty folder, beside Hugging Face's `datasets`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import harness
from environments import environment_of, pip
from harness import places

pytestmark = pytest.mark.ray

ROOT = places.ROOT
FOLDERS = ("harness", "methods", "datasets", "configs")
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "-w", folder, ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment in which the wheel is installed."""
    found = environment_of(tmp_path_factory.mktemp("installed"))
    pip("--python", found, "install", "--no-deps", "--no-index", wheel)
    return found


@pytest.fixture
def installed(python: Path, tmp_path: Path) -> Command:
    """Runs a command of that environment in an empty folder; keywords are added to the environment's variables."""
    here = tmp_path / "here"
    here.mkdir()

    def run(command: str, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "HARNESS_COMMIT")}
        environment = {**clean, "OMP_NUM_THREADS": "1", "COLUMNS": "200", **variables}
        given = [python.parent / command, *map(str, arguments)]
        return subprocess.run(given, cwd=here, env=environment, capture_output=True, text=True, timeout=400)

    return run


SEVERAL = """
import json, sys
from harness.cli import main

for command in json.loads(sys.argv[1]):
    sys.argv = ["harness", *command]
    try:
        main()
    except SystemExit as ended:
        assert not ended.code, command
"""


def several(installed: Command, *commands: list[str]) -> subprocess.CompletedProcess[str]:
    """Commands one after the other in one process, which imports once; it fails at the first that fails."""
    return installed("python", "-c", SEVERAL, json.dumps(commands))


@pytest.mark.slow
def test_the_wheel_holds_every_file_in_one_package(wheel: Path) -> None:
    files = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*") if file.is_file()]
    names = [str(file.relative_to(ROOT)) for file in files if file.parent.name != "__pycache__"]
    wanted = {name if name.startswith("harness/") else f"harness/{name}" for name in names}
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert wanted <= held and {name.partition("/")[0] for name in held} == {"harness"}


@pytest.mark.slow
def test_the_quickstart_runs_by_name_from_an_empty_folder(installed: Command, tmp_path: Path) -> None:
    by_name = ["run", "quickstart", "--limit", "2", "--set", "workers.executor=local"]
    done = several(installed, by_name, ["run", "configs/quickstart.yaml", "--limit", "2", "--set", "run=on_ray"])
    assert done.returncode == 0, done.stderr
    assert "runs/quickstart/report.md, runs/quickstart/results.parquet" in done.stdout
    rows = pd.read_parquet(tmp_path / "here" / "runs" / "quickstart" / "results.parquet")
    assert set(rows["method"]) == {"Text+Click", "Click only"} and (rows["status"] == "ok").all()
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["runs"]
    manifest = (tmp_path / "here" / "runs" / "quickstart" / "manifest.json").read_text()
    assert f'"commit": "v{harness.__version__}"' in manifest and "site-packages" not in manifest
    on_ray = pd.read_parquet(tmp_path / "here" / "runs" / "on_ray" / "results.parquet")
    assert on_ray["iou"].tolist() == rows["iou"].tolist() and set(on_ray["status"]) == {"ok"}


@pytest.mark.slow
def test_it_stands_beside_hugging_face_s_datasets(installed: Command) -> None:
    code = (
        "import datasets, harness.datasets as ours; print(datasets.Dataset.from_dict({'a': [1]})[0], ours.__path__[0])"
    )
    done = installed("python", "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("{'a': 1} ") and done.stdout.endswith("/site-packages/harness/datasets\n")
    assert installed("harness", "--version").stdout == f"harness {harness.__version__} (v{harness.__version__})\n"
    known = {
        "methods": "text_click",
        "datasets": "scenes",
        "saliency": "maskclip",
        "clicks": "paper/v1",
        "tables": "table1",
    }
    done = several(installed, *(["list", kind] for kind in known))
    assert done.returncode == 0 and "broken" not in done.stdout, done.stderr
    assert all(re.search(rf"│ {name} +│ \w", done.stdout) for name in known.values())


@pytest.mark.slow
def test_a_user_s_repository_runs_in_ray_workers_and_may_then_go(
    installed: Command, repository: Path, elsewhere: Path, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    shutil.copytree(repository, here, dirs_exist_ok=True)
    shutil.copytree(elsewhere, here / "plugins")
    methods = "methods=[{name: 'my_repo.methods:Disk', label: Disk}, {name: 'far_away:Disc', label: Disc}]"
    given = ["run.yaml", "--set", methods, "--set", "workers.executor=ray"]
    done = installed("harness", "run", *given, PYTHONPATH="plugins")
    assert done.returncode == 0, done.stderr
    rows = pd.read_parquet(here / "runs" / "mine" / "results.parquet")
    assert set(rows["method"]) == {"Disk", "Disc"} and (rows["status"] == "ok").all() and "dice" in rows

    for name in ("my_repo", "plugins", "run.yaml"):
        shutil.rmtree(here / name) if (here / name).is_dir() else (here / name).unlink()
    run = "runs/mine"
    commands = [
        ["report", run],
        ["leaderboard", run],
        ["audit", run],
        ["claims", run],
        ["compare", f"{run}:Disk", "Disc", "--run", run],
    ]
    done = several(installed, *commands, ["page", run, "--no-figures"], ["verify", run])
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_no_training_changes_the_installed_weights(installed: Command) -> None:
    done = installed("python", "-m", "harness", "train", "scenes_text_click", "--force")
    assert done.returncode == 2 and "belongs to the installed harness" in done.stderr


@pytest.mark.slow
def test_an_editable_install_runs_its_checkout_but_not_from_within_another(tmp_path: Path) -> None:
    python = environment_of(tmp_path / "editable")
    pip("--python", python, "install", "--no-deps", "--no-index", "--no-build-isolation", "-e", ROOT)
    assert not list(tmp_path.glob("editable/lib/*/site-packages/harness"))  # no copy that would grow old
    other = tmp_path / "other"
    (other / "harness").mkdir(parents=True)
    (other / "pyproject.toml").touch()
    (other / "harness" / "places.py").touch()

    def version(folder: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([python.parent / "harness", "--version"], cwd=folder, capture_output=True, text=True)

    for folder in (ROOT, ROOT / "docs", tmp_path):
        assert version(folder).stdout.startswith(f"harness {harness.__version__} (")
    refused = version(other)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert f"belongs to the checkout {ROOT}, but the current folder lies in {other}" in refused.stderr
