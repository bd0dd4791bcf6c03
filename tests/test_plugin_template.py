"""templates/plugin, copied and installed as a user would, and the steps of its GitHub workflow, as GitHub would."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from environments import environment_of, pip
from harness import places

ROOT = places.ROOT
TEMPLATE = ROOT / "templates" / "plugin"
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "check" / "action.yml").read_text("utf-8"))
WORKFLOW: dict[str, Any] = yaml.safe_load((TEMPLATE / ".github" / "workflows" / "check.yaml").read_text("utf-8"))


def steps() -> list[dict[str, Any]]:
    return list(WORKFLOW["jobs"]["check"]["steps"])


def test_the_workflow_uses_this_action_with_inputs_that_it_has() -> None:
    _, harness, used, _ = steps()
    folder = f"./{harness['with']['path']}/"
    assert used["uses"].startswith(folder) and (ROOT / used["uses"].removeprefix(folder) / "action.yml").is_file()
    required = {name for name, one in ACTION["inputs"].items() if one.get("required")}
    assert required <= set(used["with"]) <= set(ACTION["inputs"])


def test_pip_installs_what_is_there() -> None:
    install = ACTION["runs"]["steps"][1]
    up = install["env"]["HARNESS"].removeprefix("${{ github.action_path }}/")
    assert (ROOT / "deploy" / "check" / up).resolve() == ROOT and (ROOT / "constraints.txt").is_file()
    assert install["run"].splitlines()[1] == 'pip install -c "$HARNESS/constraints.txt" -e .'


@pytest.mark.slow
def test_a_copy_is_installed_checked_tested_and_run(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(TEMPLATE, tmp_path / "copy"))
    python = environment_of(tmp_path / "venv")
    pip("--python", python, "install", "--no-deps", "--no-index", "--no-build-isolation", "-e", copy)
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    clean = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "150", "HARNESS_RUNS": str(copy / "runs")}

    def run(script: str, **given: str) -> str:
        command = ["bash", "-eo", "pipefail", "-c", script]
        done = subprocess.run(command, cwd=copy, env={**clean, **given}, capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    *_, used, tests = steps()
    asks = ACTION["runs"]["steps"][-1]
    given = {name.upper(): str(used["with"][name]) for name in ("plugin", "params")}
    assert set(given) == set(asks["env"])
    assert "method my_disk: no probe failed" in run(asks["run"], **given)
    assert "11 passed, 1 skipped" in run(tests["run"])
    shown = run("python -m harness run run.yaml --limit 2 --set workers.executor=local")
    assert all(label in shown for label in ("Disk 20", "Disk 40", "Click only"))
