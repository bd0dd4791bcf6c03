"""One worker: a method loaded once, data sets as the shards want them, finished shards to the store."""

from __future__ import annotations

import os
import resource
import socket
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import cv2

from harness import registry
from harness.config import MethodEntry
from harness.evaluate import Evaluation
from harness.interfaces import Dataset, Method
from harness.plan import Job, Shard
from harness.recipe import Plugin
from harness.store import Store
from harness.structures import Record

SHARD_S = 10.0
"""How long a worker works before it writes what it has: what the death of one may cost."""


@dataclass(frozen=True)
class Outcome:
    """What became of a shard.

    Attributes:
        job: Its key.
        samples: Images done.
        instances: Instances asked for; `failed` of them have no mask.
        error: The most frequent reason, if any failed.
        seconds: Of this worker.
        left: Those of the shard's samples for which the time did not suffice.
        device: Where the method ran.
        worker: Host and process.
        file: The shard that it wrote, within the run's folder.
        memory_mib: The process's peak; `gpu_mib` that of torch on the GPU.
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


class Worker:
    """Evaluates shards of one method in this process.

    Args:
        method: Built now, with its weights.
        store: Where the records go.
        threads: Of torch on the CPU.
    """

    def __init__(self, method: MethodEntry, store: Store, threads: int = 1) -> None:
        # Images are read-only, which torch warns of; no method may write on them.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        self.method: Method = registry.build("methods", method.name, method.params)
        limit_threads(threads)
        self.store = store
        self.datasets: dict[str, Dataset] = {}

    def run(self, shard: Shard, for_s: float = SHARD_S) -> Outcome:
        """Evaluate a shard, or as much of it as the time suffices for, one batch at least, and write it."""
        started = time.monotonic()
        evaluation = Evaluation(self.method, self.dataset(shard.job), shard.job.names, shard.job.protocol)
        done: list[str] = []
        records: list[Record] = []
        with closing(evaluation.batches(shard.sample_ids)) as batches:
            for sample_ids, found in batches:
                done += sample_ids
                records += found
                if time.monotonic() - started >= for_s:
                    break
        file = self.store.write(shard.job.facts, done, records)
        whole = outcome(replace(shard, sample_ids=tuple(done)), records, time.monotonic() - started)
        return replace(whole, left=shard.sample_ids[len(done) :], device=evaluation.device, file=file, **whereabouts())

    def dataset(self, job: Job) -> Dataset:
        """A job's data set, built when it is first asked for."""
        entry: Plugin = job.dataset
        if job.facts.dataset not in self.datasets:
            self.datasets[job.facts.dataset] = registry.build("datasets", entry.name, entry.params)
        return self.datasets[job.facts.dataset]


def run_here(shards: Sequence[Shard], store: Store, threads: int) -> Iterator[Outcome]:
    """Evaluate all shards in this process, one method after the other: `executor: local`."""
    by_method = sorted(shards, key=method_of)
    for _, own in groupby(by_method, key=method_of):
        first, *others = own
        worker = Worker(first.job.method, store, threads)
        for shard in (first, *others):
            while shard.sample_ids:
                done = worker.run(shard)
                shard = replace(shard, sample_ids=done.left)
                yield done


def method_of(shard: Shard) -> str:
    """The label of the method that a shard is for."""
    return shard.job.facts.method


def outcome(shard: Shard, records: Sequence[Record], seconds: float) -> Outcome:
    """Count a shard's records."""
    errors = Counter(record.error for record in records if record.error is not None)
    failed = {record.instance_id for record in records if record.status != "ok"}
    instances = {record.instance_id for record in records}
    error = errors.most_common(1)[0][0] if errors else ""
    return Outcome(shard.job.facts.key, len(shard.sample_ids), len(instances), len(failed), error, seconds)


def whereabouts() -> dict[str, Any]:
    """This process and its memory, as `Outcome` has them."""
    torch = sys.modules.get("torch")
    on_gpu = torch.cuda.max_memory_allocated() >> 20 if torch and torch.cuda.is_initialized() else 0
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if sys.platform == "darwin":  # bytes there
        peak_kib >>= 10
    return {"worker": f"{socket.gethostname()}:{os.getpid()}", "memory_mib": peak_kib >> 10, "gpu_mib": on_gpu}


def limit_threads(threads: int) -> None:
    """Keep a worker to its cores: torch's and OpenCV's own threads would fight those of the other workers."""
    cv2.setNumThreads(threads)
    if "torch" in sys.modules:  # Importing it takes seconds, which a method without it need not wait for.
        sys.modules["torch"].set_num_threads(threads)
