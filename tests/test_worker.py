from pathlib import Path
from typing import Any

import cv2
import pytest
import torch

from harness import UserError, worker
from harness.config import Clicks, MethodEntry, RunConfig
from harness.evaluate import DeviceLost
from harness.plan import Job, planned, remaining
from harness.recipe import Plugin
from harness.store import Store
from harness.worker import Worker, run_here


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def jobs(methods: list[dict[str, Any]], **params: Any) -> list[Job]:
    entries = tuple(MethodEntry(**method) for method in methods)
    toys = Plugin(name="fakes:Toys", label="toys", params={"count": 4} | params)
    other = Plugin(name="fakes:Toys", label="other", params={"count": 1})
    return planned(RunConfig(run="r", datasets=(toys, other), methods=entries, clicks=Clicks(max_clicks=2)))


STEADY = {"name": "fakes:Steady", "label": "steady"}


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
    one = Worker(MethodEntry(**STEADY), store).run(shard, for_s=0)
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


def test_failures_are_counted_by_instance_with_the_commonest_reason(store: Store) -> None:
    bug = {"name": "fakes:Fragile", "label": "fragile", "params": {"how": "bug", "at": 1}}
    first, *_ = run_here(remaining(jobs([bug], unreadable=[3]), store, 4), store, 1)
    assert (first.samples, first.instances, first.failed) == (4, 7, 3)
    assert first.error == "segment: RuntimeError: a bug in a plugin"


def test_each_method_is_built_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    build = worker.registry.build
    monkeypatch.setattr(worker.registry, "build", lambda *args: built.append(args[0:2]) or build(*args))
    made = jobs([STEADY, STEADY | {"label": "again", "params": {"reach": 7}}])
    left = remaining(made, store, 1)
    mixed = [left[index] for index in (0, 9, 1, 8, 2, 7, 3, 6, 4, 5)]
    built.clear()
    assert len(list(run_here(mixed, store, 1))) == 10
    assert built.count(("methods", "fakes:Steady")) == 2
    assert built.count(("datasets", "fakes:Toys")) == 4


def test_a_mistake_in_a_constructor_stays_a_message(store: Store) -> None:
    mistake = {"name": "fakes:Fragile", "label": "fragile", "params": {"how": "mistake", "at": -1}}
    with pytest.raises(UserError, match="^fakes: found nothing"):
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
