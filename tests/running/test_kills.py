"""The script that kills runs at random moments: `benchmarks/kills.py`."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from harness import places


@pytest.mark.slow
def test_runs_and_parts_that_are_killed_at_random_moments_end_with_the_rows_of_an_undisturbed_run() -> None:
    command = [sys.executable, "-m", "benchmarks.kills", "--kind", "local", "--kind", "parts", "--count", "3"]
    command += ["--images", "8", "--parts", "3", "--seed", "7"]
    done = subprocess.run(command, cwd=places.ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "seed 7" in done.stdout, done
    killed, ended, identical = map(int, re.findall(r"local: (\d+) kills, (\d+) ended, (\d+) identical", done.stdout)[0])
    assert killed == 3 and ended == identical >= 1
    assert "parts: 3 kills, 1 ended, 1 identical" in done.stdout
