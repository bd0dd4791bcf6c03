"""A worker in a process of its own: what the scheduler has it do, call by call. Ray starts it, but it imports no Ray.

Only names travel, so each node has to find the files that the driver finds, under the same paths. A node that does not
would make failed rows of good images, and one that finds other files rows of other weights or data. Therefore each
actor looks, before it works, for what the driver sees and hashes what it loads (`jobs/sameness.py`); what is missing
or different ends the run with a message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config.method_entry import MethodEntry
from harness.config.parts import Plugin, label
from harness.config.wording import Text
from harness.interrupts import tell_apart
from harness.jobs.jobs import Shard
from harness.jobs.worker import Outcome, Worker
from harness.plugins import files
from harness.plugins.failures import DeviceLost, contained, described
from harness.plugins.interfaces import Dataset
from harness.storage.store import Store
from harness.structures import UserError

REMEDY = (
    "Wanted it under the same path on every node: put it on a disk that all nodes share (HARNESS_DATA names the "
    "folder of the data), copy it to this node, or keep this node out of the run."
)


@dataclass(frozen=True)
class Lost:
    """An answer: the actor's GPU is lost, so that it has to be ended like one that died."""

    reason: str


@dataclass(frozen=True)
class Unopened:
    """An answer: the shard's first sample cannot be opened here. The driver finds out whether that is so everywhere."""

    reason: str


class Actor:
    """A process that works for a run.

    `load` builds the worker, not the constructor: of what an actor's constructor raises, Ray keeps only the text.
    """

    def load(
        self,
        method: MethodEntry,
        wanted: frozenset[str],
        store: Store,
        threads: int,
        weights: Mapping[str, str] | None = None,
    ) -> None:
        """Build the worker.

        Args:
            method: What it loads.
            wanted: Which of the method's paths the driver finds, as `visible_paths` gives them.
            store: Where it writes.
            threads: How many threads it may use.
            weights: The hashes of the method's files when the run was planned.

        Raises:
            UserError: This node does not find them or finds others, or the method's constructor says so.
        """
        tell_apart()
        check_paths("methods", method, wanted)
        self.worker = Worker(method, store, threads, weights)
        self.accepted: set[str] = set()

    def open(
        self,
        dataset: Plugin,
        wanted: frozenset[str],
        data: Mapping[str, Any] | None = None,
        texts: Sequence[Text] = (),
    ) -> str:
        """Build a data set.

        Args:
            dataset: The config's entry.
            wanted: Which of its paths the driver finds.
            data: Its fingerprint when the run was planned.
            texts: How the jobs on it say its names.

        Returns:
            What `read` will do with the names first; "" if nothing that takes long.

        Raises:
            UserError: This node does not find them or finds other data, or the data set's constructor says so.
        """
        check_paths("datasets", dataset, wanted)
        built = self.worker.dataset(dataset, data)
        self.reading = self.worker.read_names(built, texts)
        return next(self.reading, "")

    def read(self) -> str:
        """Do what `open`, or this one, has announced.

        Returns:
            As `open`.
        """
        return next(self.reading, "")

    def accept(self, dataset: str) -> None:
        """Take a data set as it is: what cannot be opened here cannot be opened anywhere."""
        self.accepted.add(dataset)

    def run(self, shard: Shard) -> list[Outcome] | Lost | Unopened:
        """Evaluate a shard, as far as its time goes, and write it: one outcome a job.

        The first sample of each data set is opened beforehand, so that files that are missing here alone make no rows.
        """
        name = label(shard.dataset)
        if name not in self.accepted:
            if reason := unopened(self.worker.dataset(shard.dataset, shard.data), shard.sample_ids[0]):
                return Unopened(reason)
            self.accept(name)
        try:
            return self.worker.run(shard)
        except DeviceLost as error:
            return Lost(str(error))


def visible_paths(kind: str, entry: Plugin) -> frozenset[str]:
    """The keys of a plugin's paths at which this machine finds something."""
    paths = files.paths(kind, entry.name, entry.params)
    return frozenset(key for key, path in paths.items() if _is_there(path))


def check_paths(kind: str, entry: Plugin, wanted: frozenset[str]) -> None:
    """Look for what the driver finds.

    Args:
        kind: "methods" or "datasets".
        entry: The plugin.
        wanted: The keys that `visible_paths` gives on the driver.

    Raises:
        UserError: Something is not there.
    """
    paths = files.paths(kind, entry.name, entry.params)
    absent = [f"{key}={paths[key]}" for key in sorted(wanted) if not _is_there(paths[key])]
    if absent:
        raise UserError(f"'{label(entry)}': found nothing at {', '.join(absent)}; the driver does. {REMEDY}")


def unopened(dataset: Dataset, sample_id: str) -> str:
    """Why the files of a sample cannot be opened; empty where they can be."""
    try:
        with contained():
            dataset.load(sample_id)
    except OSError as error:  # A damaged image is one too, but without an error of the system's.
        return described(error) if isinstance(error, FileNotFoundError) or error.errno else ""
    except Exception:  # The evaluation makes failed rows of it.
        return ""
    return ""


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False
