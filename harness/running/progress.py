"""How a run goes: bars in a terminal, JSON lines where there is none, and a file for `python -m harness watch`."""

from __future__ import annotations

import json
import os
import platform
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from harness.jobs.jobs import Job
from harness.jobs.worker import Outcome
from harness.running.train import Progress as TrainingProgress
from harness.storage.folder import Folder
from harness.structures import UserError

LINE_EVERY_S = 10
FILE_EVERY_S = {"disk": 2.0, "bucket": 10.0}

STATUS = "progress.json"
"""The file's name in a run's folder."""


@dataclass
class JobState:
    """How far a method is on a data set.

    Attributes:
        images: Done, earlier starts included, of `of`.
        instances: Done by this start; `failed` of them have no mask.
        instances_per_s: Since this start began with its first shard; None until that took any time.
        to_go_s: At that rate of images; None before the first.
        devices: Where it runs, with the workers seen on each.
        memory_mib: The largest worker's peak, and `gpu_mib` that on a GPU.
    """

    method: str
    dataset: str
    images: int
    of: int
    instances: int = 0
    failed: int = 0
    instances_per_s: float | None = None
    to_go_s: float | None = None
    devices: dict[str, list[str]] = field(default_factory=dict)
    memory_mib: int = 0
    gpu_mib: int = 0

    def add(self, outcome: Outcome, seconds: float, images_before: int) -> None:
        """Count what a worker did; `seconds` ago its first shard of this start began, after `images_before`."""
        self.images += outcome.samples
        self.instances += outcome.instances
        self.failed += outcome.failed
        if seconds > 0:  # The driver itself gives up an image that kills its workers, in no time.
            self.instances_per_s = self.instances / seconds
            self.to_go_s = (self.of - self.images) * seconds / max(1, self.images - images_before)
        workers = self.devices.setdefault(outcome.device, [])
        if outcome.worker not in workers:
            workers.append(outcome.worker)
        self.memory_mib = max(self.memory_mib, outcome.memory_mib)
        self.gpu_mib = max(self.gpu_mib, outcome.gpu_mib)


class Live:
    """One line a job: images done, instances a second, time to go, devices, memory, failures.

    Args:
        console: Where it is shown.
        run: The run's folder, where the same is kept for other shells.
    """

    def __init__(self, console: Console, run: Folder | None = None) -> None:
        self.console = console
        self.folder = run
        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}", markup=False),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[failures]}", style="red"),
            console=console,
            disable=not console.is_terminal,
        )
        self.tasks: dict[str, TaskID] = {}
        self.states: dict[str, JobState] = {}
        self.before: dict[str, int] = {}
        self.began: dict[str, float] = {}
        started = time.monotonic()
        self.said: defaultdict[tuple[Any, ...], float] = defaultdict(lambda: started)
        self.kept = -FILE_EVERY_S["bucket"]

    def __enter__(self) -> Live:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()
        self._keep(ended=True)

    def training(self, method: str, progress: TrainingProgress) -> None:
        """A method's training has come this far."""
        self._bar(f"training {method}", progress.steps, progress.step, f"loss {progress.loss:.3f}")
        self._line("training", method=method, **vars(progress), to_go_s=round(progress.remaining_s))

    def planned(self, jobs: Sequence[Job], done: Mapping[str, int]) -> None:
        """These jobs will run; of each so many samples are done already."""
        for job in jobs:
            key, images = job.facts.key, done[job.facts.key]
            self.before[key] = images
            self.states[key] = JobState(job.facts.method, job.facts.dataset, images, len(job.sample_ids))
            self._bar(f"{job.facts.method} on {job.facts.dataset}", len(job.sample_ids), images, "", key=key)
            if images:
                self._say("resumed", **vars(self.states[key]))
        self._keep()

    def outcome(self, outcome: Outcome) -> None:
        """A shard is done."""
        state, now = self.states[outcome.job], time.monotonic()
        began = self.began.setdefault(outcome.job, now - outcome.seconds)
        state.add(outcome, now - began, self.before[outcome.job])
        failures = f"{state.failed} failed" if state.failed else ""
        self.bars.update(self.tasks[outcome.job], completed=state.images, facts=facts(state), failures=failures)
        self._line("progress", **vars(state))
        if outcome.failed and state.failed == outcome.failed:
            self._tell(f"First failure of {state.method} on {state.dataset}: {outcome.error}")
            self._say("failure", method=state.method, dataset=state.dataset, error=outcome.error)
        if self.folder and time.monotonic() - self.kept >= FILE_EVERY_S["disk" if self.folder.local else "bucket"]:
            self._keep()

    def _bar(self, name: str, total: int, completed: int, facts: str, key: str = "") -> None:
        key = key or name
        if key not in self.tasks:
            self.tasks[key] = self.bars.add_task(name, total=total, facts="", failures="")
        self.bars.update(self.tasks[key], completed=completed, facts=facts)

    def _line(self, event: str, **said: Any) -> None:
        """Now and then, of each job."""
        of = (event, said["method"], said.get("dataset"))
        if time.monotonic() - self.said[of] >= LINE_EVERY_S:
            self.said[of] = time.monotonic()
            self._say(event, **said)

    def _say(self, event: str, **said: Any) -> None:
        """One JSON object on a line, where no bars can be drawn."""
        if not self.console.is_terminal:
            self.console.file.write(json.dumps({"event": event, "time": round(time.time(), 1), **said}) + "\n")
            self.console.file.flush()

    def _tell(self, text: str) -> None:
        """Above the bars; a name may hold [brackets], which are not rich's."""
        if self.console.is_terminal:
            self.console.print(text, style="red", markup=False, emoji=False, soft_wrap=True)

    def _keep(self, ended: bool = False) -> None:
        self.kept = time.monotonic()
        if self.folder is not None and self.states:
            states = [asdict(state) for state in self.states.values()]
            said = {"time": time.time(), "pid": os.getpid(), "host": platform.node(), "ended": ended, "jobs": states}
            with suppress(UserError):  # What the shards cannot survive they will say.
                self.folder.write(STATUS, json.dumps(said, indent=1).encode())


def facts(state: JobState) -> str:
    """`12.1 instances/s · 2 workers on cpu · 812 MiB`."""
    where = ", ".join(f"{len(workers)} on {device}" for device, workers in state.devices.items())
    memory = f"{state.memory_mib} MiB" + (f", GPU {state.gpu_mib} MiB" if state.gpu_mib else "")
    rate = "" if state.instances_per_s is None else f"{state.instances_per_s:.1f} instances/s"
    return " · ".join(filter(None, (rate, where, memory)))


def clock(seconds: float) -> str:
    """`0:01:30`."""
    return str(timedelta(seconds=round(seconds)))
