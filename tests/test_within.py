"""The limit on the fast tests: it fails a slow command, passes on a failure, and judges no busy machine."""

import subprocess
import sys
from pathlib import Path

import pytest

WITHIN = Path(__file__).parent / "within.py"


def within(limit_s: float, code: str, busy: float) -> tuple[int, str]:
    """Exit code and output on a machine whose processors, as its /proc/stat says, did `busy` seconds of other work."""
    script = (
        f"import runpy, sys; main = runpy.run_path({str(WITHIN)!r})['main']; said = iter([0.0, {busy}]); "
        f"main.__globals__['busy_s'] = lambda: next(said); sys.exit(main({limit_s}, [sys.executable, '-c', {code!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("limit_s", "code", "busy", "wanted", "said"),
    [
        (60, "", 0, 0, "s of at most 60 s; other programs took 0% of the processors."),
        (60, "exit(3)", 0, 3, ""),
        (0, "exit(3)", 0, 3, ""),
        (0, "", 0, 1, "over the limit: shorten the slowest tests"),
        (0, "", 1000, 0, "over the limit, on a machine with other work"),
    ],
)
def test_a_command_over_its_limit_fails(limit_s: float, code: str, busy: float, wanted: int, said: str) -> None:
    found, printed = within(limit_s, code, busy)
    assert (found, said in printed) == (wanted, True)
