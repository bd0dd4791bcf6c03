"""A worker in a process of its own, told what to do call by call. Knows no Ray, which only starts it."""

from __future__ import annotations

from dataclasses import dataclass

from harness.cluster import sight
from harness.config.parts import Plugin, label
from harness.config.run_config import MethodEntry
from harness.jobs.jobs import Shard
from harness.jobs.worker import Outcome, Worker
from harness.plugins.failures import DeviceLost
from harness.storage.store import Store


@dataclass(frozen=True)
class Lost:
    """An actor's last word: its GPU is lost, and it has to be ended like one that died."""

    reason: str


@dataclass(frozen=True)
class Unopened:
    """The first sample of a data set cannot be opened here: perhaps none can, on this node alone."""

    reason: str


class Actor:
    """What a process does for a run. It is built by a call: of what a constructor raises, Ray keeps only the text."""

    def load(self, method: MethodEntry, visible: frozenset[str], store: Store, threads: int) -> None:
        """Build the worker; `visible` says which of the method's paths the driver finds.

        Raises:
            UserError: This node does not find them, or the method's constructor says so.
        """
        sight.check("methods", method, visible)
        self.worker = Worker(method, store, threads)
        self.accepted: set[str] = set()

    def open(self, dataset: Plugin, visible: frozenset[str]) -> None:
        """Build a data set; `visible` says which of its paths the driver finds.

        Raises:
            UserError: This node does not find them, or the data set's constructor says so.
        """
        sight.check("datasets", dataset, visible)
        self.worker.dataset(dataset)

    def accept(self, dataset: str) -> None:
        """Take a data set as it is: what cannot be opened here cannot be opened anywhere."""
        self.accepted.add(dataset)

    def run(self, shard: Shard) -> list[Outcome] | Lost | Unopened:
        """Evaluate a shard, as far as its time goes, and write it: an outcome a job.

        Nothing is made of a data set before one sample has been opened: files that are missing here alone make no rows.
        """
        name = label(shard.dataset)
        if name not in self.accepted:
            if reason := sight.unopened(self.worker.dataset(shard.dataset), shard.sample_ids[0]):
                return Unopened(reason)
            self.accept(name)
        try:
            return self.worker.run(shard)
        except DeviceLost as error:
            return Lost(str(error))
