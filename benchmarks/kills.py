"""Kills runs and trainings at random moments, which they must survive: `python -m benchmarks.kills`, no network.

Every kind begins with an undisturbed start. Then others are killed again and again, each after a random number of
shards or steps and another random moment, and started again until they end. Their result must equal the undisturbed
one's: for a run every byte of all columns except times, for a training the weights.

- local: SIGKILL of a run in one process.
- locks: the same, while a second start is refused by the first, which is stopped; the next one takes the lock over.
- disk: the disk, a small tmpfs, is full; the run ends with a message. Only for users who may mount one.
- merge: SIGKILL of `merge` of two runs.
- training: SIGKILL of a training in one process.
- parts: SIGKILL of the processes of a run that is cut into parts, all at work at once; prompts that were done twice are
  counted, too. They must be at most 2 % of all prompts.
- ray: SIGKILL of a run's driver on a Ray of one node, or of one of its workers.
- nodes: the same on three nodes, or the loss of a node, whose place another one takes.

A start is a process of its own, forked from one that has imported everything, so that it takes a moment and most kills
happen during work, not imports. The seed is printed; with it the same moments are drawn again, though the work at these
moments may differ.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any
from uuid import uuid4

import pyarrow.parquet as pq
import typer
import yaml
from rich.console import Console
from rich.table import Table
from safetensors.numpy import load_file

from benchmarks.noting import NOTES
from harness import places
from harness.structures import UserError

WEIGHTS = "methods/weights"
METHODS: list[dict[str, Any]] = [
    {"name": "click_only", "label": label, "params": {"checkpoint": f"{WEIGHTS}/scenes_click_only.safetensors"} | more}
    for label, more in (("one", {}), ("other", {"prompts_per_batch": 4}))
]
CONFIG: dict[str, Any] = {
    "run": "kills",
    "datasets": [{"name": "scenes", "params": {"split": "val", "count": 24}}],
    "methods": METHODS,
    "tables": ["leaderboard"],
}
STEPS = 40
JITTER_S = 0.2
IMAGES_A_PART = 40
LOST_AT_MOST = 0.02
MARK = "HARNESS_KILLS"
"""A variable in the environment of the nodes and their workers, by which no other Ray of this machine is harmed."""
IMPORTED = [
    "harness.running.one_run",
    "harness.running.one_part",
    "harness.running.one_training",
    "harness.storage.merge",
    "harness.cluster.scheduler",
    "harness.methods.click_only",
    "harness.methods.learners.prompted_deeplab",
    "harness.datasets.scenes",
]

processes = multiprocessing.get_context("forkserver")


class Kind(StrEnum):
    """The kinds of work that are killed."""

    local = "local"
    locks = "locks"
    disk = "disk"
    merge = "merge"
    training = "training"
    parts = "parts"
    ray = "ray"
    nodes = "nodes"


class Quiet:
    """Watches a run and prints nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


def as_command(log: str, work: Callable[[], object]) -> None:
    """Do the work like a command, with output to a file: exit code 2 for a mistake of the user, 1 for a bug."""
    with Path(log).open("w") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
        try:
            work()
        except UserError as error:
            print(error)
            sys.exit(2)
        except Exception:
            traceback.print_exc()
            sys.exit(1)


def run_once(config: str, runs: str, address: str | None) -> None:
    """A run's start."""
    from harness.config.run_config import load_run
    from harness.running.one_run import run

    run(load_run(Path(config)), Quiet(), address, runs)


def merge_once(sources: Sequence[str], into: str) -> None:
    """A merge."""
    from harness.storage.folder import Folder
    from harness.storage.merge import merged
    from harness.storage.store import Store

    merged([Store(source) for source in sources], Store(Folder.at(into)))


def part_once(config: str, runs: str, part: str, notes: str) -> None:
    """Start a part, with a method that notes each prompt."""
    from harness.config.run_config import load_run
    from harness.running.one_part import run_part
    from harness.storage.parts import Part

    os.environ[NOTES] = notes
    run_part(load_run(Path(config)), Part.said(part), Quiet(), None, runs)


def train_once(recipe: Mapping[str, Any], runs: str, step: Any) -> None:
    """Start a training, which reports its step."""
    from harness.config.recipe import Recipe
    from harness.running.one_training import Progress, train

    def report(progress: Progress) -> None:
        step.value = progress.step

    train(Recipe.model_validate(recipe), report, report_every=1, runs=runs)


def rows_of(run: Path) -> str:
    """The hash of a run's rows, all columns but times."""
    from harness.storage.rows import MEASURED

    table = pq.read_table(run / "results.parquet").drop_columns([*MEASURED])
    digest = hashlib.sha256(str(table.schema.remove_metadata()).encode())
    for name, column in zip(table.column_names, table.columns, strict=True):
        digest.update(repr((name, column.to_pylist())).encode())
    return digest.hexdigest()


def weights_of(checkpoint: Path) -> str:
    """The hash of a checkpoint's tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(load_file(checkpoint).items()):
        digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode() + tensor.tobytes())
    return digest.hexdigest()


@dataclass(eq=False)
class Subject:
    """Something that is started, killed and started again.

    Attributes:
        work: The work of one start.
        progress: The number of shards or steps so far, which only grows.
        result: The hash of its result.
        log: The file for a start's output.
    """

    work: Callable[[], object]
    progress: Callable[[], int]
    result: Callable[[], str]
    log: Path

    def start(self) -> Any:
        """A process at work."""
        process = processes.Process(target=as_command, args=(str(self.log), self.work))
        process.start()
        return process

    def ends(self, process: Any, *codes: int) -> int:
        """Wait for a start's end.

        Raises:
            RuntimeError: It ends with another exit code.
        """
        process.join()
        if process.exitcode not in codes:
            raise RuntimeError(f"exit code {process.exitcode}, wanted one of {codes}:\n{self.log.read_text()}")
        return int(process.exitcode)


Strike = Callable[[Subject, Any, random.Random], bool]
"""Does harm to a start at a random moment; whether it was still there to be harmed."""


@dataclass
class Tally:
    """The results of one kind."""

    kills: int = 0
    resumed: int = 0
    identical: int = 0
    began: float = field(default_factory=time.monotonic)
    lost: float = 0.0


def waited(subject: Subject, process: Any, chance: random.Random, most: int, least: int = 0) -> bool:
    """Wait for a random moment, after so many shards or steps; whether the start is still at work then."""
    goal = subject.progress() + chance.randint(least, most)
    while subject.progress() < goal and process.is_alive():
        time.sleep(0.002)
    process.join(chance.uniform(0, JITTER_S))
    return bool(process.is_alive())


def dies(subject: Subject, process: Any, chance: random.Random) -> bool:
    """SIGKILL."""
    waited(subject, process, chance, 4)
    return killed(process)


def killed(process: Any) -> bool:
    """SIGKILL; whether the process was still there."""
    process.kill()
    process.join()
    return bool(process.exitcode == -signal.SIGKILL)


def refuses_another(subject: Subject, process: Any, chance: random.Random) -> bool:
    """A second start is refused while the first exists, though it is stopped; then the first is killed."""
    if waited(subject, process, chance, 4, least=1):  # It has the lock once it has written a shard.
        os.kill(process.pid, signal.SIGSTOP)
        if any(json.loads(lock.read_text())["pid"] == process.pid for lock in subject.log.parent.rglob("lock.json")):
            second = replace(subject, log=subject.log.with_suffix(".second"))
            second.ends(second.start(), 2)
    return killed(process)


def fills(disk: Path, subject: Subject, process: Any, chance: random.Random) -> bool:
    """Another process fills the disk, and makes room once the start has ended."""
    waited(subject, process, chance, 4)
    filler = disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    harmed = subject.ends(process, 0, 2) == 2
    filler.unlink()
    return harmed


def loses(cluster: Any, subject: Subject, process: Any, chance: random.Random) -> bool:
    """The driver dies, or one of its workers or nodes, which it outlives."""
    others = [node for node in cluster.list_all_nodes() if node is not cluster.head_node]
    victim = chance.choice(["driver", "worker", *(["node"] * 3 if others else [])])
    print(f"strikes a {victim}", flush=True)
    if victim == "driver":
        return dies(subject, process, chance)
    harmed = waited(subject, process, chance, 4, least=1)  # It has workers once a shard is written.
    if harmed and victim == "worker":
        harmed = worker_dies(chance)
    elif harmed:
        cluster.remove_node(chance.choice(others), allow_graceful=False)
        cluster.add_node(num_cpus=1)
    subject.ends(process, 0)
    return harmed


def worker_dies(chance: random.Random) -> bool:
    """SIGKILL of a worker on our nodes; whether there was one."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (entry / "cmdline").read_bytes().startswith(b"ray::Actor"):
                found += [int(entry.name)] if os.environ[MARK].encode() in (entry / "environ").read_bytes() else []
    for one in found and [chance.choice(found)]:
        os.kill(one, signal.SIGKILL)
    return bool(found)


def disturbed(
    make: Callable[[Path], Subject], strike: Strike, count: int, chance: random.Random, folder: Path
) -> Tally:
    """Strike `count` times, in as many runs as needed; each is started again until one start is left in peace."""
    tally = Tally()
    calm = make(folder / "calm")
    calm.ends(calm.start(), 0)
    tally.began = time.monotonic()
    while tally.kills < count:
        subject = make(folder / f"round{tally.resumed}")
        while tally.kills < count and strike(subject, subject.start(), chance):
            tally.kills += 1
        subject.ends(subject.start(), 0)
        tally.resumed += 1
        tally.identical += subject.result() == calm.result()
    return tally


def a_run(
    folder: Path,
    methods: Sequence[Mapping[str, Any]] = METHODS,
    address: str | None = None,
    shard: int = 2,
    **changed: Any,
) -> Subject:
    """A run in a folder of its own, in one process or on a cluster."""
    folder.mkdir(parents=True)
    workers = {"executor": "ray" if address else "local", "cpus": 1, "gpus": 0, "samples_per_shard": shard}
    config, run = folder / "kills.yaml", folder / "kills"
    config.write_text(yaml.safe_dump(CONFIG | {"methods": list(methods), "workers": workers} | changed))
    work = partial(run_once, str(config), str(folder), address)
    return Subject(work, partial(shards_in, run), partial(rows_of, run), folder / "said.txt")


def shards_in(run: Path) -> int:
    """How many shards a run has written."""
    return len(list(run.glob("shards/*/*.parquet")))


def parts_killed(of: int, count: int, chance: random.Random, folder: Path) -> Tally:
    """Kill `count` processes of a run of `of` parts, each at a random moment, and start each again at once."""
    noting = {"name": "benchmarks.noting:Noting", "label": "noting"}
    size = {"datasets": [{"name": "scenes", "params": {"split": "val", "count": IMAGES_A_PART * of, "size": 64}}]}
    calm = a_run(folder / "calm", [noting], shard=1, **size)
    calm.ends(calm.start(), 0)
    cut, notes = a_run(folder / "cut", [noting], shard=1, **size), folder / "notes"
    notes.touch()
    config = str(cut.log.with_name("kills.yaml"))

    def subject(number: int) -> Subject:
        work = partial(part_once, config, str(cut.log.parent), f"{number}/{of}", str(notes))
        return replace(cut, work=work, log=cut.log.with_suffix(f".{number}"))

    tally, parts = Tally(), {number: subject(number) for number in range(1, of + 1)}
    at_work = {number: part.start() for number, part in parts.items()}
    while tally.kills < count and (living := [number for number, one in at_work.items() if one.is_alive()]):
        number = chance.choice(living)
        at_work[number].join(chance.uniform(0, 2 * JITTER_S))
        tally.kills += killed(at_work[number])
        at_work[number] = parts[number].start()
    for number, part in parts.items():
        part.ends(at_work[number], 0)
    tally.resumed, tally.identical = 1, int(cut.result() == calm.result())
    asked, rows = len(notes.read_bytes().split()), pq.read_metadata(calm.log.parent / "kills/results.parquet").num_rows
    tally.lost = asked / rows - 1
    return tally


def a_merge(sources: Sequence[str], folder: Path) -> Subject:
    """A merge into its own folder."""
    folder.mkdir(parents=True)
    run = folder / "kills"
    work = partial(merge_once, sources, str(run))
    return Subject(work, partial(shards_in, run), partial(rows_of, run), folder / "said.txt")


def a_training(seed: int, folder: Path) -> Subject:
    """A training with a checkpoint of its own."""
    folder.mkdir(parents=True)
    checkpoint = folder / "weights.safetensors"
    params = {"encoder": "tu-regnetx_002", "decoder_channels": 16, "output_stride": 16, "size": 64, "clicks": "fresh"}
    recipe = {
        "checkpoint": str(checkpoint),
        "learner": {"name": "prompted_deeplab", "params": params},
        "datasets": [{"name": "scenes", "params": {"split": "train", "count": 6, "size": 64}}],
        "seed": seed,
        "steps": STEPS,
        "batch": 4,
        "save_every": 4,
        "device": "cpu",
    }
    step = processes.Value("i", 0)
    work = partial(train_once, recipe, str(folder), step)
    return Subject(work, lambda: int(step.value), partial(weights_of, checkpoint), folder / "said.txt")


@contextmanager
def cluster_of(nodes: int) -> Iterator[Any]:
    """A Ray cluster on this machine, of so many nodes with a core each."""
    from ray.cluster_utils import Cluster

    os.environ[MARK] = uuid4().hex
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        for _ in range(nodes - 1):
            cluster.add_node(num_cpus=1)
        yield cluster
    finally:
        cluster.shutdown()


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A tmpfs of 4 MiB.

    Raises:
        UserError: Nobody but root may mount one.
    """
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        raise UserError("disk: no tmpfs can be mounted here; wanted root. Leave it out: --kind local --kind locks ...")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def measured(kind: Kind, count: int, chance: random.Random, folder: Path, parts: int = 16) -> Tally:
    """Strike at one kind so often."""
    if kind is Kind.parts:
        return parts_killed(parts, count, chance, folder)
    if kind is Kind.local:
        return disturbed(a_run, dies, count, chance, folder)
    if kind is Kind.locks:
        return disturbed(a_run, refuses_another, count, chance, folder)
    if kind is Kind.disk:
        with small_disk(folder) as disk:
            return disturbed(a_run, partial(fills, disk), count, chance, disk / "runs")
    if kind in (Kind.ray, Kind.nodes):
        with cluster_of(3 if kind is Kind.nodes else 1) as cluster:
            make = partial(a_run, address=cluster.address)
            return disturbed(make, partial(loses, cluster), count, chance, folder)
    if kind is Kind.merge:
        halves = [a_run(folder / method["label"], [method]) for method in METHODS]
        for half in halves:
            half.ends(half.start(), 0)
        sources = [str(half.log.parent / "kills") for half in halves]
        return disturbed(partial(a_merge, sources), dies, count, chance, folder)
    seed = chance.randrange(1_000_000)
    return disturbed(partial(a_training, seed), dies, count, chance, folder)


def main(
    kind: Annotated[list[Kind], typer.Option(help="What is killed; all of them by default.")] = [],  # noqa: B006
    count: Annotated[int, typer.Option(min=1, help="Kills of each kind.")] = 10,
    seed: Annotated[int | None, typer.Option(help="Draws the moments; a new one by default.")] = None,
    images: Annotated[int, typer.Option(min=8, help="Scenes of each run.")] = 24,
    parts: Annotated[int, typer.Option(min=1, help="Into how many parts the run of the kind `parts` is cut.")] = 16,
) -> None:
    """Kill runs and trainings at random moments, and compare their results."""
    seed = random.SystemRandom().randrange(1_000_000) if seed is None else seed
    CONFIG["datasets"][0]["params"]["count"] = images
    console = Console(width=100)
    console.print(f"seed {seed}")
    processes.set_forkserver_preload(IMPORTED)
    table = Table("Kind", "Kills", "Resumed to the end", "Identical", "Seconds")
    failed = False
    for one in kind or list(Kind):
        with TemporaryDirectory(prefix="kills-") as folder:
            tally = measured(one, count, random.Random(f"{seed} {one}"), Path(folder) / one, parts)
        failed |= tally.identical < tally.resumed or tally.lost > LOST_AT_MOST
        seconds = f"{time.monotonic() - tally.began:.0f}"
        table.add_row(one, *map(str, (tally.kills, tally.resumed, tally.identical)), seconds)
        lost = f", {tally.lost:.2%} of the work done twice" if one is Kind.parts else ""
        ends = f"{tally.kills} kills, {tally.resumed} ended, {tally.identical} identical"
        console.print(f"{one}: {ends}{lost}, {seconds} s")
    console.print(table)
    if failed:
        raise typer.Exit(1)


if __name__ == "__main__":
    os.chdir(places.ROOT)
    typer.run(main)
