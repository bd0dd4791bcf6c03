"""Runs a command and fails where it takes longer than a limit: `python tests/within.py 90 python -m pytest -n 2`.

The limit holds for a machine that does nothing else. Of what /proc/stat says the processors did meanwhile, all but the
command's own share is other programs' work; where that is more than a tenth, the time says nothing of the command, and
a run over the limit is only told.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

STAT = Path("/proc/stat")
OTHERS_MAY = 0.1
"""Share of all processors' time that other programs may take."""


def main(limit_s: float, command: list[str]) -> int:
    """The command's exit code; 1 where it passed and took too long."""
    before, start = busy_s(), time.perf_counter()
    code = subprocess.run(command).returncode
    took_s = time.perf_counter() - start
    own = resource.getrusage(resource.RUSAGE_CHILDREN)
    others = (busy_s() - before - own.ru_utime - own.ru_stime) / (took_s * (os.cpu_count() or 1))
    print(f"{took_s:.0f} s of at most {limit_s:.0f} s; other programs took {max(0.0, others):.0%} of the processors.")
    if took_s <= limit_s or code:
        return code
    if others > OTHERS_MAY:
        print("That is over the limit, on a machine with other work: measure it again when the machine is idle.")
        return 0
    print("That is over the limit: shorten the slowest tests, or mark them slow (tests/README.md).")
    return 1


def busy_s() -> float:
    """Seconds that all processors together have worked since the machine started; 0 where the system does not say."""
    if not STAT.is_file():
        return 0.0
    user, nice, system, _idle, _wait, *interrupts = map(int, STAT.read_text().split("\n")[0].split()[1:8])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
