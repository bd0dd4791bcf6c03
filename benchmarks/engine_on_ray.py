"""Measures a run's cost and gain by Ray: `python -m benchmarks.engine_on_ray`, no downloads, no network.

Every measure is a whole run by `harness.running.one_run.run`, as `python -m harness run` does it, in a folder of
its own:

- throughput: 100,000 instances of a null method on one actor, in CPU time of that actor from its first answer to its
  last, so that neither its start nor other processes count. Also the growth of this process, the driver, at the end of
  any shard and of the run, and its largest growth at any moment.
- scaling: sleeps instead of work, so that two actors share no core, on one actor and on two.
- idle: many actors on sleeps of half a second; the share of the time between an actor's first and last shard in which
  it works on one.
- share: a method that computes (the embedded Text+Click on scenes), on Ray and in this process, by turns, wall time
  from the first shard's start to the last one's end. Other processes change this one.
"""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import cv2
import numpy as np
import pyarrow as pa
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.engine import SPLIT, generate
from benchmarks.goals import verdict
from harness import places
from harness.config.run_config import RunConfig, load_run
from harness.jobs.jobs import Job
from harness.jobs.worker import Outcome
from harness.plugins.interfaces import Dataset, Method
from harness.running.one_run import run
from harness.running.one_training import Progress
from harness.structures import Click, Image, Instance, Prediction, Sample

GOAL_RATE, GOAL_GROWTH_MB, GOAL_SCALING, GOAL_BUSY, GOAL_SHARE = 700, 200, 1.8, 0.9, 0.02
DRAWN = 40
"""Images with annotations of their own; the others repeat them."""
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
EMBEDDED = places.ROOT / "configs" / "quickstart.yaml"
"""The config of the embedded method that computes, Text+Click: its first one."""


class Blank(Dataset):
    """Black images of 24 x 32 with one box."""

    classes = ("box",)

    def __init__(self, count: int) -> None:
        self.count = count

    def sample_ids(self) -> list[str]:
        return [str(number) for number in range(self.count)]

    def load(self, sample_id: str) -> Sample:
        mask = np.zeros((24, 32), bool)
        mask[4:20, 4:28] = True
        return Sample(sample_id, np.zeros((24, 32, 3), np.uint8), (Instance(sample_id, mask, "box"),))

    def fingerprint(self) -> Mapping[str, Any]:
        return {"count": self.count}


class Sleeper(Method):
    """Sleeps for each prompt."""

    def __init__(self, for_s: float) -> None:
        self.for_s = for_s

    def predict(self, image: Image, click: Click | Sequence[Click], text: str | None) -> Prediction:  # noqa: ARG002
        time.sleep(self.for_s)
        return Prediction(np.ones((1, *image.shape[:2]), bool))


@dataclass(eq=False)
class Watch:
    """Notes when each actor answered, what CPU time it had taken by then, and how large this process is."""

    answers: dict[str, list[tuple[float, float, Outcome]]] = field(default_factory=lambda: defaultdict(list))
    sizes_mb: list[float] = field(default_factory=list)

    def begins(self, what: str) -> None:
        """Do nothing: steps are not measured."""

    def training(self, method: str, progress: Progress) -> None:
        """Do nothing: no training is run here."""

    def planned(self, jobs: Sequence[Job], done: Mapping[str, int]) -> None:  # noqa: ARG002
        Path("/proc/self/clear_refs").write_text("5")  # Resets the peak, which so far includes making the data set.
        self.sizes_mb.append(resident_mb())

    def outcome(self, outcome: Outcome) -> None:
        self.sizes_mb.append(resident_mb())
        cpu_s = cpu_seconds(int(outcome.worker.rpartition(":")[2]))
        self.answers[outcome.worker].append((time.monotonic(), cpu_s, outcome))

    def wall_s(self) -> float:
        """The seconds from the first shard's start to the last one's end."""
        flat = [one for answers in self.answers.values() for one in answers]
        return max(at for at, _, _ in flat) - min(at - outcome.seconds for at, _, outcome in flat)

    def rate(self) -> float:
        """Instances a second of an actor's CPU time, its first answer left out."""
        (answers,) = self.answers.values()
        return sum(one.instances for _, _, one in answers[1:]) / (answers[-1][1] - answers[0][1])

    def busy(self) -> float:
        """The share of its time that an actor has a shard at work, the mean over the actors."""
        shares = []
        for answers in self.answers.values():
            began, ended = answers[0][0] - answers[0][2].seconds, answers[-1][0]
            shares.append(sum(one.seconds for _, _, one in answers) / (ended - began))
        return float(np.mean(shares))


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def peak_mb() -> float:
    """The most that this process held since its peak was reset."""
    said = Path("/proc/self/status").read_text().partition("VmHWM:")[2]
    return int(said.split()[0]) * 1.024e-3


def cpu_seconds(pid: int) -> float:
    """The CPU time of a process, all its threads together, to a tick, mostly 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def watched(dataset: Mapping[str, Any], method: Mapping[str, Any], **workers: Any) -> Watch:
    config = {
        "run": "benchmark",
        "datasets": [dataset],
        "methods": [method],
        "clicks": {"strategy": "paper/v1", "max_clicks": 1},
        "tables": ["leaderboard"],
        "workers": {"gpus": 0, **workers},
    }
    watch = Watch()
    with TemporaryDirectory() as runs:
        finished = run(RunConfig.model_validate(config), watch, runs=runs)
        watch.sizes_mb.append(resident_mb())
    assert not finished.failed and not finished.missing
    return watch


def repeated(root: Path, images: int) -> None:
    """A COCO folder of so many images: links to a few files, whose annotations they repeat under ids of their own."""
    generate(root, min(images, DRAWN))
    path = root / "annotations" / f"instances_{SPLIT}.json"
    document = json.loads(path.read_text())
    pictures, annotations = list(document["images"]), list(document["annotations"])
    for number in range(DRAWN + 1, images + 1):
        like = (number - 1) % DRAWN
        name = f"{number}.jpg"
        (root / SPLIT / name).hardlink_to(root / SPLIT / pictures[like]["file_name"])
        pictures.append(pictures[like] | {"id": number, "file_name": name})
        own = (one for one in document["annotations"] if one["image_id"] == pictures[like]["id"])
        annotations += [one | {"id": one["id"] % 100 + 100 * number, "image_id": number} for one in own]
    path.write_text(json.dumps(document | {"images": pictures, "annotations": annotations}))


def throughput(images: int) -> list[tuple[str, str, str, bool]]:
    with TemporaryDirectory() as folder:
        repeated(Path(folder), images)
        coco = {"name": "coco", "params": {"root": folder, "split": SPLIT, "seen": None}}
        watch = watched(coco, {"name": "benchmarks.engine:Null"}, count=1)
    rate, growth = watch.rate(), max(watch.sizes_mb) - watch.sizes_mb[0]
    peak = peak_mb() - watch.sizes_mb[0]
    found = f"{7 * images} instances of a null method"
    return [
        (f"instances/s of an actor's CPU, {found}", f"{rate:.0f}", f"at least {GOAL_RATE}", rate >= GOAL_RATE),
        ("the driver's growth", f"{growth:.0f} MB", f"under {GOAL_GROWTH_MB} MB", growth < GOAL_GROWTH_MB),
        ("its peak, as it writes the results", f"{peak:.0f} MB", f"under {GOAL_GROWTH_MB} MB", peak < GOAL_GROWTH_MB),
    ]


def asleep(count: int, for_s: float, actors: int) -> Watch:
    sleeper = {"name": "benchmarks.engine_on_ray:Sleeper", "params": {"for_s": for_s}}
    blank = {"name": "benchmarks.engine_on_ray:Blank", "params": {"count": count}}
    return watched(blank, sleeper, count=actors, cpus=0.01, samples_per_shard=1)


def scaling(sleeps: int) -> list[tuple[str, str, str, bool]]:
    gain = asleep(sleeps, 0.5, 1).wall_s() / asleep(sleeps, 0.5, 2).wall_s()
    return [(f"{sleeps} sleeps on 2 actors", f"{gain:.2f}x", f"at least {GOAL_SCALING}x", gain >= GOAL_SCALING)]


def idle(actors: int) -> list[tuple[str, str, str, bool]]:
    busy = asleep(20 * actors, 0.5, actors).busy()
    return [(f"{actors} actors without a CPU, busy", f"{busy:.1%}", f"at least {GOAL_BUSY:.0%}", busy >= GOAL_BUSY)]


def share(images: int, rounds: int) -> list[tuple[str, str, str, bool]]:
    scenes = {"name": "scenes", "params": {"split": "val", "count": images}}
    embedded = load_run(EMBEDDED).methods[0].model_dump()
    executors: tuple[Literal["ray", "local"], ...] = ("local", "ray")
    walls: dict[str, list[float]] = {executor: [] for executor in executors}
    for _ in range(rounds):
        for executor in executors:
            walls[executor].append(watched(scenes, embedded, executor=executor, count=1).wall_s())
    more = median(walls["ray"]) / median(walls["local"]) - 1
    return [("Ray's share, the embedded Text+Click", f"{more:.1%}", f"at most {GOAL_SHARE:.0%}", more <= GOAL_SHARE)]


def main(
    only: Annotated[list[str] | None, typer.Option(help="throughput, scaling, idle, share; all by default.")] = None,
    instances: Annotated[int, typer.Option(min=700, help="Instances of the throughput, about.")] = 100_000,
    actors: Annotated[int, typer.Option(min=1, help="Actors that sleep at once; each takes about 200 MB.")] = 32,
    images: Annotated[int, typer.Option(min=1, help="Scenes of one run of the embedded method.")] = 200,
    rounds: Annotated[int, typer.Option(min=1, help="Runs of it, on Ray and here.")] = 2,
) -> None:
    """Measure whole runs on Ray and print which goals are met."""
    cv2.setNumThreads(1)
    pa.set_memory_pool(pa.system_memory_pool())  # as the command line does for its own process (harness/cli/run.py)
    measures: dict[str, Callable[[], list[tuple[str, str, str, bool]]]] = {
        "throughput": lambda: throughput(-(-instances // 7)),
        "scaling": lambda: scaling(40),
        "idle": lambda: idle(actors),
        "share": lambda: share(images, rounds),
    }
    listing = Table("measure", "found", "goal", title="Runs on Ray")
    for name in only or measures:
        for row in measures[name]():
            name, found, goal, reached = row
            listing.add_row(name, found, verdict(reached, goal))
    Console().print(listing)


if __name__ == "__main__":
    typer.run(main)
