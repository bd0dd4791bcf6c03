"""How a run goes, live: bars in a terminal, a line now and then where there is none."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from harness.plan import Job
from harness.training import Progress as TrainingProgress
from harness.worker import Outcome

LINE_EVERY_S = 10


class Live:
    """One bar a job: images done, instances a second, time to go, failures."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[failures]}", style="red"),
            console=console,
            disable=not console.is_terminal,
        )
        self.tasks: dict[str, TaskID] = {}
        self.counts: dict[str, tuple[int, int]] = {}
        self.started = self.said = time.monotonic()

    def __enter__(self) -> Live:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()

    def training(self, method: str, progress: TrainingProgress) -> None:
        """A method's training has come this far."""
        facts = f"loss {progress.loss:.3f}"
        self._bar(f"training {method}", progress.steps, progress.step, facts)
        self._line(
            f"training {method}: step {progress.step}/{progress.steps}, {facts}, {clock(progress.remaining_s)} to go"
        )

    def planned(self, jobs: Sequence[Job], done: Mapping[str, int]) -> None:
        """These jobs will run; of each so many samples are done already."""
        for job in jobs:
            name = f"{job.facts.method} on {job.facts.dataset}"
            self._bar(name, len(job.sample_ids), done[job.facts.key], "", key=job.facts.key)
            if done[job.facts.key]:
                self._say(f"{name}: {done[job.facts.key]} of {len(job.sample_ids)} images are done already.")
        self.started = time.monotonic()

    def outcome(self, outcome: Outcome) -> None:
        """A shard is done."""
        instances, failed = self.counts.get(outcome.job, (0, 0))
        instances, failed = instances + outcome.instances, failed + outcome.failed
        self.counts[outcome.job] = (instances, failed)
        rate = f"{instances / (time.monotonic() - self.started):.1f} instances/s"
        task = self.tasks[outcome.job]
        failures = f"{failed} failed" if failed else ""
        self.bars.update(task, advance=outcome.samples, rate=rate, failures=failures)
        shown = self.bars.tasks[task]
        self._line(f"{shown.description}: {shown.completed:.0f}/{shown.total:.0f} images, {rate}, {failed} failed")
        if outcome.failed and failed == outcome.failed:
            self._say(f"First failure of {shown.description}: {outcome.error}", style="red")

    def _bar(self, name: str, total: int, completed: int, facts: str, key: str = "") -> None:
        key = key or name
        if key not in self.tasks:
            self.tasks[key] = self.bars.add_task(name, total=total, rate="", failures="")
        self.bars.update(self.tasks[key], completed=completed, rate=facts)

    def _line(self, text: str) -> None:
        """Where no bars can be drawn."""
        if not self.console.is_terminal and time.monotonic() - self.said >= LINE_EVERY_S:
            self.said = time.monotonic()
            self._say(text)

    def _say(self, text: str, style: str | None = None) -> None:
        """A name may hold [brackets], which are not rich's."""
        self.console.print(text, style=style, markup=False, emoji=False, soft_wrap=True)


def clock(seconds: float) -> str:
    """`0:01:30`."""
    return str(timedelta(seconds=round(seconds)))
