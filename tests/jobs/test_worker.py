from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import pandas as pd
import pytest
import torch

from harness import Dataset, Method, Sample, UserError
from harness.config.click_protocol import Clicks
from harness.config.method_entry import MethodEntry
from harness.config.parts import Plugin
from harness.config.run_config import RunConfig
from harness.jobs import worker
from harness.jobs.jobs import Job
from harness.jobs.plan import planned, remaining
from harness.jobs.worker import Worker, run_here
from harness.plugins import registry
from harness.plugins.failures import DeviceLost
from harness.storage.manifest import JobFacts
from harness.storage.rows import MEASURED
from harness.storage.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def jobs(methods: list[dict[str, Any]], **params: Any) -> list[Job]:
    entries = tuple(entry for method in methods for entry in MethodEntry(**method).expanded())
    toys = Plugin(name="fakes:Toys", label="toys", params={"count": 4} | params)
    other = Plugin(name="fakes:Toys", label="other", params={"count": 1})
    return planned(RunConfig(run="r", datasets=(toys, other), methods=entries, clicks=Clicks(max_clicks=2)))


STEADY: dict[str, Any] = {"name": "fakes:Steady", "label": "steady"}
VARIANTS: list[dict[str, Any]] = [
    {"label": "plain", "text": "class_name", "clicks": {"max_clicks": 3}},
    {"label": "wordless", "text": "synonym"},  # of which nobody knows any
    {"label": "grid", "text": "none", "clicks": {"strategy": "grid/v1", "options": {"cell": 4}}},
]
IN_VARIANTS = STEADY | {"variants": VARIANTS}
ONCE = {"toy-0": 2, "toy-1": 1, "toy-2": 1, "toy-3": 1, "encoded": 5, "built": 1}
"""What a run counts; the one image of the other data set is named as the first of the toys."""
APART = [STEADY | one | {"label": f"steady, {one['label']}"} for one in VARIANTS]


def rows(made: list[Job], store: Store) -> pd.DataFrame:
    samples = {job.facts.dataset: job.sample_ids for job in made}
    return store.rows([job.facts for job in made], samples, masks=True)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What is built, loaded and encoded."""
    counts = Counter[str]()
    steady, toys = registry.find("methods", "fakes:Steady"), registry.find("datasets", "fakes:Toys")
    build, encode, load = steady.__init__, steady.encode, toys.load

    def builds(self: Method, **params: Any) -> None:
        counts["built"] += 1
        build(self, **params)

    def encodes(self: Method, images: list[Any]) -> list[Any]:
        counts["encoded"] += len(images)
        return encode(self, images)

    def loads(self: Dataset, sample_id: str) -> Sample:
        counts[sample_id] += 1
        return load(self, sample_id)

    monkeypatch.setattr(steady, "__init__", builds)
    monkeypatch.setattr(steady, "encode", encodes)
    monkeypatch.setattr(toys, "load", loads)
    return counts


@pytest.mark.slow
def test_variants_decode_and_encode_an_image_once_and_write_the_rows_of_methods_of_their_own(
    store: Store, tmp_path: Path, counted: Counter[str]
) -> None:
    made, apart, alone = jobs([IN_VARIANTS]), jobs(APART), Store(tmp_path / "alone")
    outcomes = list(run_here(remaining(made, store, 2), store, 1))
    assert counted == ONCE
    assert [(o.job, o.samples, o.failed) for o in outcomes] == [
        (job.facts.key, samples, 2 * samples * (job.facts.method == "steady, wordless"))
        for dataset, samples in (("toys", 2), ("toys", 2), ("other", 1))
        for job in made
        if job.facts.dataset == dataset
    ]
    list(run_here(remaining(apart, alone, 2), alone, 1))
    assert counted["toy-3"] == 1 + 3 and [job.facts for job in apart] == [job.facts for job in made]
    found = rows(made, store)
    assert len(found) == 5 * 2 * (3 * 3 + 1 + 3)
    pd.testing.assert_frame_equal(found.drop(columns=[*MEASURED]), rows(apart, alone).drop(columns=[*MEASURED]))
    ok = found[found["status"] == "ok"]
    assert (ok.groupby(["dataset", "image_id"])["encode_ms"].nunique() == 1).all()
    files = {job.facts.key: len(store.headers(job.facts.key)) for job in made}
    assert files == {job.facts.key: len(alone.headers(job.facts.key)) for job in made}


@pytest.mark.slow
def test_what_a_variant_has_done_is_not_done_again(store: Store, tmp_path: Path, counted: Counter[str]) -> None:
    before, made, whole = jobs(APART[:1]), jobs([IN_VARIANTS]), Store(tmp_path / "whole")
    first, *_ = remaining(before, store, 3)
    list(run_here([first], store, 1))
    kept = {name: store.read(before[0].facts.key, name) for name in store.headers(before[0].facts.key)}
    counted.clear()
    outcomes = list(run_here(remaining(made, store, None), store, 1))
    assert sum(outcome.samples for outcome in outcomes) == 3 * 5 - 3
    assert counted == ONCE
    assert {name: store.read(made[0].facts.key, name) for name in kept} == kept
    list(run_here(remaining(made, whole, None), whole, 1))
    pd.testing.assert_frame_equal(
        rows(made, store).drop(columns=[*MEASURED]), rows(made, whole).drop(columns=[*MEASURED])
    )


def test_a_disk_that_is_full_between_the_files_of_two_variants_loses_no_more(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, write = jobs([IN_VARIANTS]), Store.write

    def full(self: Store, job: JobFacts, *rest: Any, **more: Any) -> str:
        if job.method == "steady, wordless" and "toy-2" in rest[0]:
            raise UserError("full")
        return write(self, job, *rest, **more)

    monkeypatch.setattr(Store, "write", full)
    with pytest.raises(UserError, match="full"):
        list(run_here(remaining(made, store, 2), store, 1))
    monkeypatch.setattr(Store, "write", write)
    left = remaining(made, store, 2)
    assert [([job.facts.method for job in shard.jobs], shard.sample_ids) for shard in left[:1]] == [
        (["steady, wordless", "steady, grid"], ("toy-2", "toy-3"))
    ]
    list(run_here(left, store, 1))
    found = rows(made, store)
    assert len(found) == 5 * 2 * (3 * 3 + 1 + 3)
    assert not found.duplicated(["dataset", "method", "instance_id", "click_index", "ranking"]).any()


def test_a_shard_is_evaluated_and_written(store: Store) -> None:
    made = jobs([STEADY])
    outcomes = list(run_here(remaining(made, store, 3), store, 1))
    assert [(o.job, o.samples, o.instances, o.failed, o.error) for o in outcomes] == [
        (made[0].facts.key, 3, 6, 0, ""),
        (made[0].facts.key, 1, 2, 0, ""),
        (made[1].facts.key, 1, 2, 0, ""),
    ]
    assert all(outcome.seconds > 0 for outcome in outcomes)
    assert remaining(made, store, 3) == []
    rows = store.rows([job.facts for job in made], {job.facts.dataset: job.sample_ids for job in made})
    assert len(rows) == 5 * 2 * 2 * 3  # images, instances, clicks, rankings
    assert set(rows["dataset"]) == {"toys", "other"} and (rows["status"] == "ok").all()


def test_a_shard_ends_when_its_time_is_over_and_says_what_is_left(store: Store) -> None:
    made = jobs([STEADY])
    (shard, _) = remaining(made, store, None)
    assert len(shard.sample_ids) == 4
    (one,) = Worker(MethodEntry(**STEADY), store).run(shard, for_s=0)
    assert (one.samples, one.instances, one.left) == (1, 2, shard.sample_ids[1:])
    assert store.done(made[0].facts) == {shard.sample_ids[0]}
    assert remaining(made, store, None)[0].sample_ids == one.left


def test_alone_a_process_writes_what_it_has_again_and_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Worker.run, "__defaults__", (0.0,))
    made = jobs([STEADY])
    assert [outcome.samples for outcome in run_here(remaining(made, store, None), store, 1)] == [1] * 5
    assert remaining(made, store, None) == []


def test_a_lost_gpu_ends_the_worker_and_makes_no_rows(store: Store) -> None:
    lost = {"name": "fakes:Fragile", "label": "fragile", "params": {"how": "lost", "at": 2}}
    made = jobs([lost])
    with pytest.raises(DeviceLost, match="CUDA error"):
        list(run_here(remaining(made, store, 2), store, 1))
    assert store.done(made[0].facts) == {"toy-0", "toy-1"}


def test_ids_that_each_image_counts_anew_end_the_run_at_the_second_image(store: Store) -> None:
    entry = Plugin(name="fakes:Counted", label="toys")
    made = [replace(job, dataset=entry) for job in jobs([STEADY])]
    with pytest.raises(UserError, match=r"^data set 'toys': load\(\) gives the instance '0' twice; wanted ids"):
        list(run_here(remaining(made, store, 2), store, 1))
    assert not store.done(made[0].facts)


def test_failures_are_counted_by_instance_with_the_commonest_reason(store: Store) -> None:
    bug = {"name": "fakes:Fragile", "label": "fragile", "params": {"how": "bug", "at": 1}}
    first, *_ = run_here(remaining(jobs([bug], unreadable=[3]), store, 4), store, 1)
    assert (first.samples, first.instances, first.failed) == (4, 7, 3)
    assert first.error.startswith("segment: RuntimeError: a bug in a plugin (fakes.py, line ")


def test_each_method_is_built_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    build = worker.parameters.build
    monkeypatch.setattr(worker.parameters, "build", lambda *args: built.append(args[0:2]) or build(*args))
    made = jobs([STEADY, STEADY | {"label": "again", "params": {"reach": 7}}])
    left = remaining(made, store, 1)
    mixed = [left[index] for index in (0, 9, 1, 8, 2, 7, 3, 6, 4, 5)]
    built.clear()
    assert len(list(run_here(mixed, store, 1))) == 10
    assert built.count(("methods", "fakes:Steady")) == 2
    assert built.count(("datasets", "fakes:Toys")) == 4


def test_a_mistake_in_a_constructor_stays_a_message(store: Store) -> None:
    mistake = {"name": "fakes:Fragile", "label": "fragile", "params": {"how": "mistake", "at": -1}}
    with pytest.raises(UserError, match="^method 'fragile': fakes: found nothing"):
        list(run_here(remaining(jobs([mistake]), store, 1), store, 1))


def test_threads_are_limited(store: Store) -> None:
    before = torch.get_num_threads(), cv2.getNumThreads()
    try:
        Worker(MethodEntry(**STEADY), store, threads=2)
        assert (torch.get_num_threads(), cv2.getNumThreads()) == (2, 2)
        Worker(MethodEntry(**STEADY), store, threads=1)
        assert (torch.get_num_threads(), cv2.getNumThreads()) == (1, 1)
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])
