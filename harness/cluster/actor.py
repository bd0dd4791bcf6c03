"""A worker in a process of its own, with the calls that the scheduler makes. Ray starts it, but it imports no Ray.

Only names travel, so each node must find the same files as the driver, under the same paths. On a node that lacks them,
good images would become failed rows; on a node with other files, rows would come from other code, weights or data. So
before an actor works, it checks that every file the driver sees is there, and it hashes those it loads
(`jobs/sameness.py`).
If anything is missing or different, the run ends with a message.
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
from harness.jobs.sameness import check_code
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
    """An answer: the actor's GPU is lost, so the scheduler must end the actor, as if it had died."""

    reason: str


@dataclass(frozen=True)
class Unopened:
    """An answer: the shard's first sample cannot be opened here. The driver then tries to open it itself."""

    reason: str


class Actor:
    """A process that works for a run.

    The worker is built in `load`, not in the constructor: if an actor's constructor raises, Ray keeps only the text.
    """

    def load(
        self,
        method: MethodEntry,
        wanted: frozenset[str],
        store: Store,
        threads: int,
        weights: Mapping[str, str] | None = None,
        code: Mapping[str, str] | None = None,
    ) -> None:
        """Build the worker.

        Args:
            method: The config's entry of the method that it loads.
            wanted: The method's paths that the driver finds, as `visible_paths` gives them.
            store: The run's store, to which it writes.
            threads: How many threads it may use.
            weights: The hashes of the method's files when the run was planned.
            code: The hashes of the code of all plugins that its jobs use, when the run was planned.

        Raises:
            UserError: This node lacks the files or has others, or other code, or the method's constructor raises it.
        """
        tell_apart()
        check_code(code or {})
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
            wanted: The data set's paths that the driver finds.
            data: Its fingerprint when the run was planned.
            texts: The `text:` rules by which the jobs on it put its names into words.

        Returns:
            The first step that `read` will do with the names, in words; "" if no step takes long.

        Raises:
            UserError: This node lacks the files or has other data, or the data set's constructor raises it.
        """
        check_paths("datasets", dataset, wanted)
        built = self.worker.dataset(dataset, data)
        self.reading = self.worker.read_names(built, texts)
        return next(self.reading, "")

    def read(self) -> str:
        """Do the step that the last call of `open` or `read` announced.

        Returns:
            The step of the next call, as in `open`.
        """
        return next(self.reading, "")

    def accept(self, dataset: str) -> None:
        """Stop trying to open a data set's samples beforehand: the driver cannot open this one either."""
        self.accepted.add(dataset)

    def run(self, shard: Shard) -> list[Outcome] | Lost | Unopened:
        """Evaluate a shard, or as much of it as the time allows, and write it: one outcome a job.

        The first sample of each data set is opened beforehand. If its files are missing on this node only, the run
        ends, and no good image becomes a failed row.
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
    """Check that this node has every path that the driver finds.

    Args:
        kind: "methods" or "datasets".
        entry: The plugin.
        wanted: The keys that `visible_paths` gives on the driver.

    Raises:
        UserError: A path is not there.
    """
    paths = files.paths(kind, entry.name, entry.params)
    absent = [f"{key}={paths[key]}" for key in sorted(wanted) if not _is_there(paths[key])]
    if absent:
        raise UserError(
            f"'{label(entry)}': found {', '.join(absent)} on the driver's machine, but not on this one. {REMEDY}"
        )


def unopened(dataset: Dataset, sample_id: str) -> str:
    """The reason why the files of a sample cannot be opened; "" if they can be."""
    try:
        with contained():
            dataset.load(sample_id)
    # PIL raises OSError for a damaged image, too, but without the system's error number. A damaged image is the same on
    # every node and becomes a failed row, like everything else that is raised here.
    except OSError as error:
        return described(error) if isinstance(error, FileNotFoundError) or error.errno else ""
    except Exception:
        return ""
    return ""


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False
