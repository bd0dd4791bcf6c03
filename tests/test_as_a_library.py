"""A program that imports the harness stays as it is: its answer to Ctrl-C and to SIGTERM, and Arrow's memory pool."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from harness import places

PROGRAM = """
import signal
import sys
from pathlib import Path

import pyarrow as pa


def state():
    handlers = [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    return [*handlers, pa.default_memory_pool().backend_name]


class Quiet:
    def __getattr__(self, name):
        return lambda *given: None


before = state()
import harness
import harness.cli
from harness.config.run_config import load_run
from harness.running.one_run import run

assert harness.Method and harness.load and harness.compare
run(load_run(Path(sys.argv[1])), Quiet(), runs=sys.argv[2])
assert state() == before, (before, state())
try:
    print("ready", flush=True)
    signal.pause()
except KeyboardInterrupt:
    print("my own answer")
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "a.yaml"
    entry = {"datasets": [{"name": "far_away:Boxes"}], "methods": [{"name": "far_away:Pool"}]}
    path.write_text(yaml.safe_dump({"run": "r", "workers": {"executor": "local"}, "tables": ["leaderboard"], **entry}))
    return path


@pytest.fixture
def environment(elsewhere: Path) -> dict[str, str]:
    """Finds this checkout and a method that notes Arrow's memory pool."""
    pool = """
import pyarrow


class Pool(Disc):
    def predict(self, image, click, text):
        print("pool:", pyarrow.default_memory_pool().backend_name)
        return super().predict(image, click, text)
"""
    with (elsewhere / "far_away.py").open("a") as file:
        file.write(pool)
    return {**os.environ, "PYTHONPATH": f"{places.ROOT}{os.pathsep}{elsewhere}"}


@pytest.mark.slow
def test_a_program_that_runs_a_config_keeps_its_handlers_and_its_memory_pool(
    config: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    process = subprocess.Popen(
        [sys.executable, "-m", "program", config, tmp_path / "runs"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout
    assert "ready\n" in iter(process.stdout.readline, "")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "my own answer\n")


@pytest.mark.slow
def test_the_command_line_returns_memory_to_the_system(
    config: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "harness", "run", config, "--runs", tmp_path / "runs"]
    done = subprocess.run(command, cwd=places.ROOT, env=environment, capture_output=True, text=True, check=True)
    assert "pool: system" in done.stdout
