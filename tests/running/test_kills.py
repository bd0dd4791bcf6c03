"""The script that kills runs at random moments: `benchmarks/kills.py`."""

from __future__ import annotations

import subprocess
import sys

import pytest

from harness import places


@pytest.mark.slow
def test_a_run_that_is_killed_at_a_random_moment_ends_with_the_same_rows() -> None:
    command = [sys.executable, "-m", "benchmarks.kills", "--kind", "local", "--count", "1", "--seed", "7"]
    command += ["--images", "8"]
    done = subprocess.run(command, cwd=places.ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "seed 7" in done.stdout, done
    assert "local: 1 kills, 1 ended, 1 identical" in done.stdout


@pytest.mark.slow
def test_parts_that_are_killed_at_random_moments_end_with_the_rows_of_one_run() -> None:
    cut = ["--kind", "parts", "--parts", "3", "--count", "3", "--seed", "7"]
    command = [sys.executable, "-m", "benchmarks.kills", *cut]
    done = subprocess.run(command, cwd=places.ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "parts: 3 kills, 1 ended, 1 identical" in done.stdout, done
