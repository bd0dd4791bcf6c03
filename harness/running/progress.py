"""Shows the progress of a run: bars in a terminal, lines elsewhere, and a file for `python -m harness watch`.

The file goes to the run's folder and holds the same facts, so that another shell, or another machine that reaches the
folder, can show them. It is written at most every 2 s, on a bucket every 10 s, where each write is a request.
"""

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
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from harness.interrupts import heed
from harness.jobs.jobs import Job
from harness.jobs.worker import Outcome
from harness.storage.folder import Folder
from harness.structures import UserError

if TYPE_CHECKING:
    from harness.running.one_training import Progress as TrainingProgress

LINE_EVERY_S = 10
FILE_EVERY_S = {"disk": 2.0, "bucket": 10.0}

STATUS = "progress.json"
"""The name, in a run's folder, of the file that `watch` reads."""


@dataclass
class JobState:
    """The progress of a method on a data set.

    Attributes:
        images: How many of the `of` images are done, including those of earlier starts.
        instances: How many instances this start has done; `failed` of them have no mask.
        instances_per_s: The rate of this start since its first shard began; None before any time has passed.
        to_go_s: Seconds until all images are done at that rate; None before the first shard.
        devices: The devices it runs on, with the workers seen on each.
        memory_mib: Peak memory of the largest worker; `gpu_mib` is the peak on a GPU.
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
        """Count a worker's shard.

        Args:
            outcome: The worker's result for the shard.
            seconds: Time since the job's first shard of this start began.
            images_before: Images that were done before this start.
        """
        self.images += outcome.samples
        self.instances += outcome.instances
        self.failed += outcome.failed
        if seconds > 0:  # 0 where the driver gives up an image that kills its workers: no worker spent any time.
            self.instances_per_s = self.instances / seconds
            # Images of earlier starts cost this one no time, so they count for neither the rate nor the rest: with 40
            # of 100 done before and 20 more in 60 s, the other 40 will take 120 s.
            self.to_go_s = (self.of - self.images) * seconds / max(1, self.images - images_before)
        workers = self.devices.setdefault(outcome.device, [])
        if outcome.worker not in workers:
            workers.append(outcome.worker)
        self.memory_mib = max(self.memory_mib, outcome.memory_mib)
        self.gpu_mib = max(self.gpu_mib, outcome.gpu_mib)


class Live:
    """Shows a line for each job: images done, instances a second, time to go, devices, memory, failures.

    Args:
        console: The console for the bars, if it is a terminal.
        run: The run's folder, in which the same facts are written for other shells.
        errors: The console for plain lines with a time, if `console` is no terminal; None writes none.
        as_json: Write events to `console` as JSON lines, in place of bars and plain lines.
    """

    def __init__(
        self, console: Console, run: Folder | None = None, errors: Console | None = None, as_json: bool = False
    ) -> None:
        self.console, self.errors, self.as_json = console, errors, as_json
        self.folder = run
        self.draws = console.is_terminal and not as_json
        self.beginning: TaskID | None = None
        self.begun = ""
        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}", markup=False),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[failures]}", style="red"),
            console=console,
            disable=not self.draws,
        )
        self.tasks: dict[str, TaskID] = {}
        self.states: dict[str, JobState] = {}
        self.before: dict[str, int] = {}
        self.began: dict[str, float] = {}
        started = time.monotonic()
        self.line_at: defaultdict[tuple[Any, ...], float] = defaultdict(lambda: started)
        self.file_at = -FILE_EVERY_S["bucket"]

    def __enter__(self) -> Live:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()
        self._write_file(ended=True)

    def begins(self, what: str) -> None:
        """Show a step without a bar of its own, until the next step begins or a first result arrives."""
        if what == self.begun:  # Several workers may load one method; the line is shown once.
            return
        self.begun = what
        if self.draws:
            if self.beginning is None:
                self.beginning = self.bars.add_task(what, total=None, facts="", failures="")
            self.bars.update(self.beginning, description=what, visible=True)
        self._line("begins", what=what)

    def _has_begun(self) -> None:
        self.begun = ""
        if self.beginning is not None:
            self.bars.update(self.beginning, visible=False)

    def part(self, what: str, done: int = 0, of: int = 0) -> None:
        """Show how many of several equal parts are done, such as a page's pictures; `of` is 0 if it is unknown."""
        if not of:
            self.begins(what)
            return
        self._has_begun()
        self._bar(what, of, done, "")
        self._line_now_and_then("part", at_once=done >= of, what=what, done=done, of=of)

    def training(self, method: str, progress: TrainingProgress) -> None:
        """Show how far a method's training is."""
        heed()
        self._has_begun()
        stands = f"loss {progress.loss:.3f}{went_on(progress.since)}"
        self._bar(f"training {method}", progress.steps, progress.step, stands)
        at_once, to_go = progress.step >= progress.steps, round(progress.remaining_s)
        self._line_now_and_then("training", at_once=at_once, method=method, **vars(progress), to_go_s=to_go)

    def planned(self, jobs: Sequence[Job], done: Mapping[str, int]) -> None:
        """Show the jobs that will run, with how many images of each are done already.

        With a budget this is called twice: for the first images, which are measured, and for all that are taken.
        """
        heed()
        self.began.clear()
        for job in jobs:
            key, images = job.facts.key, done[job.facts.key]
            self.before[key] = images
            self.states[key] = JobState(job.facts.method, job.facts.dataset, images, len(job.sample_ids))
            self._bar(f"{job.facts.method} on {job.facts.dataset}", len(job.sample_ids), images, "", key=key)
            if images:
                self._line("resumed", **vars(self.states[key]))
        self._write_file()

    def outcome(self, outcome: Outcome) -> None:
        """Show a shard that is done."""
        heed()
        self._has_begun()
        state, now = self.states[outcome.job], time.monotonic()
        # The driver gets a shard's result at its end. So a job's first shard began as long ago as the worker needed.
        began = self.began.setdefault(outcome.job, now - outcome.seconds)
        state.add(outcome, now - began, self.before[outcome.job])
        failures = f"{state.failed} failed" if state.failed else ""
        self.bars.update(self.tasks[outcome.job], completed=state.images, facts=facts(state), failures=failures)
        self._line_now_and_then("progress", at_once=state.images >= state.of, **vars(state))
        # Only the first failure of a job is shown at once; at the end all are counted by their reasons.
        if outcome.failed and state.failed == outcome.failed:
            self._print_above(f"First failure of {state.method} on {state.dataset}: {outcome.error}")
            self._line("failure", method=state.method, dataset=state.dataset, error=outcome.error)
        if self.folder and time.monotonic() - self.file_at >= FILE_EVERY_S["disk" if self.folder.local else "bucket"]:
            self._write_file()

    def _bar(self, name: str, total: int, completed: int, facts: str, key: str = "") -> None:
        key = key or name
        if key not in self.tasks:
            self.tasks[key] = self.bars.add_task(name, total=total, facts="", failures="")
        self.bars.update(self.tasks[key], total=total, completed=completed, facts=facts)

    def _line_now_and_then(self, event: str, at_once: bool = False, **facts: Any) -> None:
        """Write a line, at most one every LINE_EVERY_S for each job, and at once if the job is complete."""
        job = (event, facts.get("method"), facts.get("dataset"), facts.get("what"))
        if at_once or time.monotonic() - self.line_at[job] >= LINE_EVERY_S:
            self.line_at[job] = time.monotonic()
            self._line(event, **facts)

    def _line(self, event: str, **facts: Any) -> None:
        """Write one line if no bars are drawn: a JSON object, or a time and plain words."""
        if self.as_json:
            self.console.file.write(json.dumps({"event": event, "time": round(time.time(), 1), **facts}) + "\n")
            self.console.file.flush()
        elif self.errors and not self.draws:
            write_plain(self.errors, said_of(event, facts))

    def _print_above(self, text: str) -> None:
        """Print above the bars. A name may hold [brackets], which are not rich's markup."""
        if self.draws:
            self.console.print(text, style="red", markup=False, emoji=False, soft_wrap=True)

    def _write_file(self, ended: bool = False) -> None:
        self.file_at = time.monotonic()
        if self.folder is not None and self.states:
            jobs = [asdict(state) for state in self.states.values()]
            status = {"time": time.time(), "pid": os.getpid(), "host": platform.node(), "ended": ended, "jobs": jobs}
            with suppress(UserError):  # A full disk ends the run when a shard is written, with a message.
                self.folder.write(STATUS, json.dumps(status, indent=1).encode())


def write_plain(console: Console, text: str) -> None:
    """Write `12:04:31 text`, on one line however long."""
    console.file.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    console.file.flush()


def said_of(event: str, about: Mapping[str, Any]) -> str:
    """An event in plain words."""
    if event == "begins":
        return str(about["what"])
    if event == "part":
        return f"{about['what']}: {about['done']} of {about['of']}"
    if event == "training":
        step = f"step {about['step']} of {about['steps']}{went_on(about['since'])}, loss {about['loss']:.3f}"
        return f"training {about['method']}: {step}, {clock(about['to_go_s'])} to go"
    job = f"{about['method']} on {about['dataset']}"
    if event == "failure":
        return f"{job}: the first failure: {about['error']}"
    state = JobState(**about)
    failures = f"{state.failed} failed" if state.failed else ""
    to_go = "" if state.to_go_s is None else f"{clock(state.to_go_s)} to go"
    before = "resumed at " if event == "resumed" else ""
    return ", ".join(
        filter(None, (f"{job}: {before}{state.images} of {state.of} images", facts(state), failures, to_go))
    )


def went_on(since: int) -> str:
    """The step from which a resumed training went on; "" for a new one."""
    return f" (resumed at step {since})" if since else ""


def facts(state: JobState) -> str:
    """`12.1 instances/s · 2 workers on cpu · 812 MiB`."""
    where = ", ".join(f"{len(workers)} on {device}" for device, workers in state.devices.items())
    memory = f"{state.memory_mib} MiB" + (f", GPU {state.gpu_mib} MiB" if state.gpu_mib else "")
    rate = "" if state.instances_per_s is None else f"{state.instances_per_s:.1f} instances/s"
    return " · ".join(filter(None, (rate, where, memory)))


def clock(seconds: float) -> str:
    """`0:01:30`."""
    return str(timedelta(seconds=round(seconds)))
