"""One worker: it loads one method, opens data sets when shards need them, and writes finished shards to the store."""

from __future__ import annotations

import os
import resource
import socket
import sys
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import cv2

from harness.config.method_entry import MethodEntry
from harness.config.parts import Plugin, label
from harness.config.wording import Text, Wording
from harness.evaluation import chance
from harness.evaluation.evaluate import Evaluation
from harness.evaluation.probe import Probe, says_uses_text
from harness.jobs.jobs import Job, Shard
from harness.jobs.listing import check_own_ids
from harness.jobs.sameness import FilesAsOpened, check_dataset, same_weights
from harness.jobs.words import words_asked
from harness.plugins import parameters
from harness.plugins.interfaces import Dataset, Method
from harness.storage.store import Store
from harness.structures import Record, UserError

SHARD_S = 10.0
"""The time that a worker works before it writes: the most work that its death may cost."""

IDS_LOOKED_AT = 1000
"""How many ids of instances a worker compares: a plugin that repeats them does so from its second image on."""


@dataclass(frozen=True)
class Outcome:
    """The result of a shard for one of its jobs.

    Attributes:
        job: The job's key.
        samples: Images done.
        instances: Instances done, with and without a mask.
        failed: How many of them have no mask.
        error: The most frequent reason, if any failed.
        seconds: The worker's time for the shard, all its jobs together.
        left: The shard's samples for which the time was too short.
        device: The device on which the method ran.
        worker: The worker's host and process.
        file: The shard's file that was written, within the run's folder.
        memory_mib: The process's peak memory.
        gpu_mib: torch's peak memory on the GPU.
        reads_text: Whether the probe found that the method reads the text without declaring it.
    """

    job: str
    samples: int
    instances: int
    failed: int
    error: str
    seconds: float
    left: tuple[str, ...] = ()
    device: str = ""
    worker: str = ""
    file: str = ""
    memory_mib: int = 0
    gpu_mib: int = 0
    reads_text: bool = False


class Worker:
    """Evaluates shards of one method in this process.

    Args:
        method: The entry of the method, which is built at once.
        store: The run's store, to which it writes.
        threads: How many threads torch and OpenCV may use on the CPU.
        weights: The hashes of the method's files when the run was planned; None compares nothing.
        as_opened: The files of data sets that earlier workers of this process opened, by label; new ones are added.

    Raises:
        UserError: The method's constructor raises it, or a file has changed since the run was planned.
    """

    def __init__(
        self,
        method: MethodEntry,
        store: Store,
        threads: int = 1,
        weights: Mapping[str, str] | None = None,
        as_opened: dict[str, FilesAsOpened] | None = None,
    ) -> None:
        self.method = load_method(method, weights, threads)
        self.store = store
        unsaid = method.uses_text is None and not says_uses_text(type(self.method))
        self.probe = Probe() if unsaid else None
        self.datasets: dict[str, Dataset] = {}
        self.as_opened = {} if as_opened is None else as_opened
        self.image_of: defaultdict[str, dict[str, str]] = defaultdict(dict)

    def run(self, shard: Shard, for_s: float = SHARD_S) -> list[Outcome]:
        """Evaluate a shard, or as much of it as the time allows, and write a file for each of its jobs.

        Args:
            shard: A shard of this worker's method.
            for_s: No batch is begun after this many seconds, but the first one always is.
        """
        started = time.monotonic()
        ways = [(job.names, job.protocol) for job in shard.jobs]
        dataset = self.dataset(shard.dataset, shard.data)
        as_opened = self.as_opened[label(shard.dataset)]
        evaluation = Evaluation(self.method, dataset, ways, self.probe)
        done: list[str] = []
        records: list[list[Record]] = [[] for _ in shard.jobs]
        for sample_ids, found in evaluation.batches(shard.sample_ids, started + for_s):
            # The check comes after the batch is computed and before anything is written, so that a file which was
            # replaced in between leaves no row.
            as_opened.check(dataset, sample_ids)
            done += sample_ids
            for own, new in zip(records, found, strict=True):
                own += new
            self._check_ids(label(shard.dataset), dataset, found[0])
        files = []
        for job, own in zip(shard.jobs, records, strict=True):
            files.append(self.store.write(job.facts, done, own, words=words_asked(self.method, own)))
        seconds, left = time.monotonic() - started, shard.sample_ids[len(done) :]
        facts = {"left": left, "device": evaluation.device, **whereabouts()}
        return [
            replace(outcome(job, done, own, seconds), file=file, reads_text=self.reads_text(job), **facts)
            for job, own, file in zip(shard.jobs, records, files, strict=True)
        ]

    def _check_ids(self, name: str, dataset: Dataset, records: Sequence[Record]) -> None:
        """As `check_own_ids`, for the first records, and if no listing has shown it before the run."""
        known = self.image_of[name]
        if type(dataset).list_instances is Dataset.list_instances and len(known) <= IDS_LOOKED_AT:
            check_own_ids(f"data set '{name}'", records, known)

    def reads_text(self, job: Job) -> bool:
        """Whether the probe found that the method reads the text without declaring it."""
        return self.probe is not None and job.facts.method in self.probe.found

    def dataset(self, entry: Plugin, wanted: Mapping[str, Any] | None = None) -> Dataset:
        """A data set, built at the first call.

        Args:
            entry: The config's entry.
            wanted: Its fingerprint when the run was planned; None compares nothing.

        Raises:
            UserError: The data set's constructor raises it, or the data have changed since the run was planned.
        """
        if label(entry) not in self.datasets:
            dataset: Dataset = parameters.build("datasets", entry.name, entry.params)
            if label(entry) not in self.as_opened:
                self.as_opened[label(entry)] = FilesAsOpened(entry, dataset)
            check_dataset(entry, dataset, wanted)
            self.datasets[label(entry)] = dataset
        return self.datasets[label(entry)]

    def read_names(self, dataset: Dataset, texts: Sequence[Text]) -> Iterator[str]:
        """Let the method read a data set's names, once for each way of saying them; yields as `Method.read_names`."""
        try:
            for names in dict.fromkeys(Wording(text, dataset.classes).vocabulary for text in texts):
                yield from self.method.read_names(names)
        except Exception:  # A name cannot be read. Its instances become failed rows when they are prompted.
            return


def silent(_what: str) -> None:
    """Ignore the announcement."""


def run_here(
    shards: Sequence[Shard], store: Store, threads: int, begins: Callable[[str], None] = silent
) -> Generator[Outcome]:
    """Evaluate all shards in this process, one method after the other: `executor: local`.

    Args:
        shards: The shards, of one method or of several.
        store: The run's store, to which the records are written.
        threads: How many threads each method may use.
        begins: Called before anything that takes a while and has no outcome: "loading SAM".
    """
    as_opened: dict[str, FilesAsOpened] = {}
    # Sorted by method, so that each is loaded once and never two are in memory at a time.
    for _, own in groupby(sorted(shards, key=method_of), key=method_of):
        first, *others = own
        begins(f"loading {method_of(first)}")
        worker = Worker(first.method, store, threads, first.weights, as_opened)
        for shard in (first, *others):
            while shard.sample_ids:
                outcomes = worker.run(shard)
                yield from outcomes
                shard = replace(shard, sample_ids=outcomes[0].left)


def method_of(shard: Shard) -> str:
    """The label of the method that a worker loads for a shard."""
    return label(shard.method)


def outcome(job: Job, sample_ids: Sequence[str], records: Sequence[Record], seconds: float) -> Outcome:
    """Count the records of some samples of a job."""
    errors = Counter(record.error for record in records if record.error is not None)
    failed = {record.instance_id for record in records if record.status != "ok"}
    instances = {record.instance_id for record in records}
    error = errors.most_common(1)[0][0] if errors else ""
    return Outcome(job.facts.key, len(sample_ids), len(instances), len(failed), error, seconds)


def whereabouts() -> dict[str, Any]:
    """This process and its memory, as `Outcome` has them."""
    torch = sys.modules.get("torch")
    on_gpu = torch.cuda.max_memory_allocated() >> 20 if torch and torch.cuda.is_initialized() else 0
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if sys.platform == "darwin":  # bytes there
        peak_kib >>= 10
    return {"worker": f"{socket.gethostname()}:{os.getpid()}", "memory_mib": peak_kib >> 10, "gpu_mib": on_gpu}


def load_method(entry: MethodEntry, weights: Mapping[str, str] | None, threads: int) -> Method:
    """Build a method in this process, with its weights.

    Args:
        entry: The method's entry, as `as_loaded` gives it.
        weights: The hashes of the method's files when the run was planned; None compares nothing.
        threads: How many threads torch and OpenCV may use on the CPU.

    Raises:
        UserError: The method's constructor raises it, or a file has changed since the run was planned.
    """
    # torch warns of read-only arrays, and images are read-only on purpose, since no method may write on them.
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
    # If the constructor draws random weights, they are the same in every worker, and under every label.
    chance.seed("build", entry.name)
    with same_weights(entry, weights):
        try:
            method: Method = parameters.build("methods", entry.name, entry.params)
        except UserError as error:
            raise UserError(f"method '{label(entry)}': {error}") from error
    limit_threads(threads)
    return method


def limit_threads(threads: int) -> None:
    """Limit torch's and OpenCV's own threads, which would take cores from the other workers."""
    cv2.setNumThreads(threads)
    if "torch" in sys.modules:  # Importing it takes seconds, which a method without it need not wait for.
        sys.modules["torch"].set_num_threads(threads)
