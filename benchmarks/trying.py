"""Times a click on `try`'s page: `python -m benchmarks.trying`, embedded methods, no downloads.

A server runs in a process of its own, as `python -m harness try` starts it, and gets the same HTTP requests as from the
page. For each method three clicks are timed: a first click, which encodes the picture; another click elsewhere, on a
new object; and a further click on the same object, which starts from the last mask. Each has two numbers: the time by
the clock, which other programs on the same cores lengthen, and the server's processor time, which they hardly change.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

CONFIG, SOURCE = "sam_vs_ours_scenes", "scenes"
MOST_MS = 300.0
"""The most that another click may take with any method."""

FIRST, OTHER, FURTHER = [96, 96, True], [40, 120, True], [100, 90, False]


@contextmanager
def served(config: str = CONFIG) -> Iterator[tuple[str, int]]:
    """The command as a user starts it; gives the page's address and the process's id."""
    command = [sys.executable, "-m", "harness", "try", config, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        assert process.stdout
        found = next(line for line in process.stdout if "http://" in line)
        yield re.findall(r"http://\S+", found)[0], process.pid
    finally:
        process.terminate()
        process.wait()


def asked(address: str, path: str, **body: Any) -> tuple[Any, float]:
    """A reply and the milliseconds that it took, connection included."""
    started = time.perf_counter()
    connection = http.client.HTTPConnection(urlsplit(address).netloc)
    kind = {"Content-Type": "application/json"}
    connection.request("POST" if body else "GET", f"/api/{path}", json.dumps(body) if body else None, kind)
    reply = json.loads(connection.getresponse().read())
    connection.close()
    return reply, (time.perf_counter() - started) * 1000


def processor_ms(process: int) -> float:
    """The processor time of a process so far, all its threads together, in steps of 10 ms; on Linux only."""
    user, system = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
    return 1000 * (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def measured(address: str, process: int, label: str, pictures: int) -> dict[str, list[tuple[float, float]]]:
    """Kind of click -> milliseconds by the clock and of processors, one a picture; none for a click that is refused."""
    found: dict[str, list[tuple[float, float]]] = {"first": [], "another": [], "further": []}
    for number in range(pictures):
        name = f"val-{number:05d}"
        for kind, clicks in (("first", [FIRST]), ("another", [OTHER]), ("further", [FIRST, FURTHER])):
            question = {"source": SOURCE, "name": name, "clicks": clicks, "text": "person", "method": label}
            before = processor_ms(process)
            reply, took_ms = asked(address, "predict", **question)
            if not reply["error"]:
                found[kind].append((took_ms, processor_ms(process) - before))
    return found


def said(took: list[tuple[float, float]]) -> str:
    """`313 (95)`: milliseconds by the clock, the median, and of processors' time, the mean."""
    if not took:
        return "takes one click"
    clock, processor = zip(*took, strict=True)
    return f"{statistics.median(clock):.0f} ({statistics.fmean(processor):.0f})"


def main(pictures: Annotated[int, typer.Option(min=1)] = 20) -> None:
    """Print a table; exit code 1 if another click takes too long."""
    slow = []
    with served() as (address, process):
        about, _ = asked(address, "about")
        print("| method | first click | another click | further click |\n| :-- | --: | --: | --: |")
        for facts in about["methods"]:
            found = measured(address, process, facts["label"], pictures)
            print(f"| {facts['label']} | {' | '.join(map(said, found.values()))} |", flush=True)
            again = (own for kind, own in found.items() if kind != "first" and own)
            slow += [own for own in again if statistics.fmean(processor for _, processor in own) > MOST_MS]
    print(f"\nMilliseconds, medians over {pictures} pictures of {SOURCE}; in parentheses the server's processor time.")
    print(f"Wanted: another and a further click under {MOST_MS:.0f} ms of a processor.", end=" ")
    print(f"Meanwhile {os.getloadavg()[0]:.1f} processes wanted one of {os.cpu_count()} cores.")
    if slow:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
