"""Counts the files of ours on the way of one task: `python -m benchmarks.ways`, no downloads.

Each of four tasks is done by its command in a process of its own, and every call is noted:

    a  YAML to Parquet    `run` of two images of the quickstart, until a shard is written
    b  one prediction     the same run, from the worker to the method's predict
    c  a table cell       `report --table=1` of the kept example, from the table to where the calls are deepest
    d  a training step    `train` for three steps, until the learner's loss

Three counts show the effort of a reader. `executed` are the files of harness/, methods/ and datasets/ in which a
function ran on the way; `imported` adds those whose top level ran. `way` is the call stack at the decisive moment,
without comprehensions: the calls that must be followed, and the files that must be opened for it.
The counts rest on names of files and functions that every version has; so the script also works on an older checkout:
`cd OTHER && PYTHONPATH=. python .../benchmarks/ways.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import dropwhile
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path.cwd()
OURS = tuple(f"{ROOT / folder}/" for folder in ("harness", "methods", "datasets"))
RUN = ["run", "configs/quickstart.yaml", "--limit=2", "--set=workers.executor=local", "--set=run=ways"]
TRAIN = ["train", "configs/scenes_click_only.yaml", "--force", "--set=steps=3", "--set=batch=2"]

Chooses = Callable[[CodeType], bool]

Calls = list[tuple[str, str]]
"""File and function of each of our frames, the outermost first."""


class Traced:
    """Our code while a command runs: files whose functions ran, and the call stack at the moment that decides.

    Args:
        within: The way starts at the outermost of these calls; what runs outside of it is not counted.
        decides: Whether a call is the one that decides, whose first stack is kept; None keeps the deepest stack.
    """

    def __init__(self, within: Chooses, decides: Chooses | None) -> None:
        self.within, self.decides = within, decides
        self.executed: set[str] = set()
        self.imported: set[str] = set()
        self.way: Calls = []

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        """Called by sys.setprofile at every call and return."""
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(OURS):
            return
        if code.co_name == "<module>":
            self.imported.add(code.co_filename)
            return
        decisive = self.decides is None or (not self.way and self.decides(code))
        if not decisive and code.co_filename in self.executed:
            return  # Most calls end here: walking up the stack is slow.
        stack = self.stack(frame)
        if stack:
            self.executed.add(code.co_filename)
        if decisive and len(stack) > len(self.way):
            self.way = stack

    def stack(self, frame: FrameType | None) -> Calls:
        """Our calls from where the way starts up to this one, none if it has not started."""
        ours = [code for code in outwards(frame) if code.co_filename.startswith(OURS) and code.co_name not in SKIPPED]
        calls = list(dropwhile(lambda code: not self.within(code), reversed(ours)))
        return [(code.co_filename, code.co_name) for code in calls]


SKIPPED = {"<module>", "<genexpr>", "<listcomp>", "<dictcomp>", "<setcomp>"}


def outwards(frame: FrameType | None) -> Iterator[CodeType]:
    """A frame's code, its caller's, and so on."""
    while frame is not None:
        yield frame.f_code
        frame = frame.f_back


def function(name: str, *under: str) -> Chooses:
    """A function of that name in a file whose path has one of these in it."""
    return lambda code: code.co_name == name and any(part in code.co_filename for part in under or ("",))


WAYS: dict[str, tuple[str, list[str], Chooses, Chooses | None]] = {
    "a": ("YAML to Parquet", RUN, lambda _: True, lambda _: False),  # A file that is opened decides: `written`.
    "b": (
        "one prediction",
        RUN,
        lambda code: code.co_filename.endswith("worker.py"),
        lambda code: code.co_name in ("predict", "segment") and code.co_filename.startswith(OURS[1]),
    ),
    "c": ("a table cell", ["report", "docs/example_report/run", "--table=1"], function("build_table"), None),
    "d": (
        "a training step",
        TRAIN,
        function("train", "harness/training.py", "running/"),
        function("loss", "learners/"),
    ),
}


def trace(way: str, folder: Path) -> dict[str, Any]:
    """Do one thing in this process and count."""
    _, arguments, within, decides = WAYS[way]
    saved = [f"--set=checkpoint={folder / 'x.safetensors'}"] if way == "d" else []
    traced = Traced(within, decides)
    if way == "a":
        sys.addaudithook(lambda event, args: written(traced, event, args))
    sys.path.insert(0, str(ROOT))
    sys.argv = ["harness", *arguments, *saved]
    threading.setprofile(traced)
    sys.setprofile(traced)
    from harness.__main__ import main

    with suppress(SystemExit):
        main()
    sys.setprofile(None)
    return {
        "executed": sorted(traced.executed),
        "imported": sorted(traced.imported | traced.executed),
        "way": traced.way,
    }


def written(traced: Traced, event: str, args: tuple[Any, ...]) -> None:
    """The first file that is opened for writing in the folder of shards decides the way from YAML to Parquet."""
    if event == "open" and not traced.way and "/shards/" in str(args[0]) and (args[2] or 0) & 3:
        traced.way = traced.stack(sys._getframe(1))


def main() -> None:
    """Follow each way in a process of its own; those that are named, or all."""
    with tempfile.TemporaryDirectory() as folder:
        for way in sys.argv[1:] or WAYS:
            env = {**os.environ, "HARNESS_RUNS": str(Path(folder, way))}
            command = [sys.executable, __file__, "--trace", way, folder]
            done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(done.stderr)
            show(way, json.loads(Path(folder, f"{way}.json").read_text()))


def show(way: str, found: dict[str, Any]) -> None:
    """Print one way's counts, and its calls."""
    opened = list(dict.fromkeys(short(file) for file, _ in found["way"]))
    print(
        f"{way}  {WAYS[way][0]}: {len(found['executed'])} files executed, {len(found['imported'])} imported; ", end=""
    )
    print(f"the way: {len(found['way'])} calls in {len(opened)} files")
    print("   " + " > ".join(f"{Path(file).stem}.{name}" for file, name in found["way"]))


def short(file: str) -> str:
    """A file's path in the checkout."""
    return str(Path(file).relative_to(ROOT))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--trace"]:
        way, folder = sys.argv[2:]
        Path(folder, f"{way}.json").write_text(json.dumps(trace(way, Path(folder))))
    else:
        main()
