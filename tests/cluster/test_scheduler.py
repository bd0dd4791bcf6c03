import importlib
import pickle
import re
import time
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import ray

from harness import UserError
from harness.cluster import capacity
from harness.cluster import scheduler as cluster
from harness.cluster import slot as slots
from harness.cluster.actor import Actor
from harness.cluster.scheduler import Cluster
from harness.cluster.slot import Phase, Slot
from harness.config.method_entry import MethodEntry
from harness.config.parts import Plugin
from harness.config.run_config import RunConfig, Workers
from harness.jobs import queue as waiting
from harness.jobs.jobs import Job
from harness.jobs.plan import planned, remaining
from harness.jobs.worker import Outcome, run_here
from harness.storage.folder import Folder
from harness.storage.forgetting import forget_given_up
from harness.storage.rows import MEASURED
from harness.storage.store import Store

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("shared_ray")]

COUNT = 6


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "run")


def jobs(*methods: dict[str, Any], **params: Any) -> list[Job]:
    entries = tuple(entry for method in methods for entry in MethodEntry(**method).expanded())
    toys = Plugin(name="fakes:Toys", label="toys", params={"count": COUNT} | params)
    return planned(RunConfig(run="r", datasets=(toys,), methods=entries))


STEADY = {"name": "fakes:Steady", "label": "steady"}
WIDE = {"name": "fakes:Steady", "label": "wide", "params": {"reach": 8}}


VARIANTS: list[dict[str, Any]] = [
    {"label": "plain", "text": "class_name"},
    {"label": "one", "text": {"rule": "class_name", "template": "one {}"}},
    {"label": "grid", "clicks": {"strategy": "grid/v1", "options": {"cell": 4}}},
]


def fragile(how: str, at: int, once: Path | None = None) -> dict[str, Any]:
    return {"name": "fakes:Fragile", "label": "fragile", "params": {"how": how, "at": at, "once": once and str(once)}}


def ran(made: list[Job], store: Store, count: int = 1, size: int = 2, timeout_s: float = 600) -> list[Outcome]:
    workers = Workers(count=count, cpus=0.5, gpus=0, timeout_s=timeout_s)
    return list(Cluster(workers, store).run(remaining(made, store, size)))


def rows(made: list[Job], store: Store) -> pd.DataFrame:
    found = store.rows([job.facts for job in made], {job.facts.dataset: job.sample_ids for job in made}, masks=True)
    return found.drop(columns=[*MEASURED])


def check_all_ok(made: list[Job], store: Store) -> None:
    found = rows(made, store)
    assert (found["status"] == "ok").all()
    assert len(found) == len(made) * COUNT * 2 * 3


def test_one_actor_two_actors_and_no_ray_write_the_same_rows(tmp_path: Path) -> None:
    made = jobs(STEADY, unreadable=[4])
    local, one, two = (Store(tmp_path / name) for name in ("local", "one", "two"))
    list(run_here(remaining(made, local, 4), local, 1))
    ran(made, one, count=1, size=5)
    outcomes = ran(made, two, count=2, size=2)
    assert sum(outcome.instances for outcome in outcomes) == 10 + 1
    assert len(rows(made, local)) == 10 * 3 + 1
    pd.testing.assert_frame_equal(rows(made, local), rows(made, one))
    pd.testing.assert_frame_equal(rows(made, local), rows(made, two))


def test_variants_share_actors_and_encodings_and_write_the_rows_of_methods_of_their_own(
    store: Store, tmp_path: Path
) -> None:
    noted = {"name": "fakes:Noted", "label": "noted", "params": {"notes": str(tmp_path / "notes")}}
    made = jobs(noted | {"variants": VARIANTS}, unreadable=[4])
    outcomes = ran(made, store, count=2, size=1)
    notes = (tmp_path / "notes").read_text().split("\n")
    assert sorted(line for line in notes if "image" in line) == [f"image {n}" for n in range(COUNT) if n != 4]
    assert notes.count("built") in (1, 2)  # the second worker may find nothing left
    assert sum(outcome.instances for outcome in outcomes) == 3 * (10 + 1)
    assert {outcome.job for outcome in outcomes} == {job.facts.key for job in made}
    own = [noted | one | {"label": f"noted, {one['label']}"} for one in VARIANTS]
    apart, alone = jobs(*own, unreadable=[4]), Store(tmp_path / "alone")
    assert [job.facts for job in apart] == [job.facts for job in made]
    assert len(list(run_here(remaining(apart, alone, 2), alone, 1))) == 9
    pd.testing.assert_frame_equal(rows(made, store), rows(apart, alone))


def test_a_worker_that_imports_other_code_than_the_driver_s_ends_the_run(store: Store) -> None:
    made = jobs(STEADY)
    other = [replace(job, facts=replace(job.facts, code=job.facts.code | {"data set fakes:Toys": "0"})) for job in made]
    with pytest.raises(UserError, match=r"^the data set fakes:Toys: its code has changed since the run was planned"):
        ran(other, store)
    assert store.done(made[0].facts) == set()


@pytest.mark.parametrize(("failures", "goes_on"), [(2, True), (3, False)])
def test_a_node_on_which_three_processes_in_a_row_cannot_start_ends_the_run(
    failures: int, goes_on: bool, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = tmp_path / "tries"

    class Delicate(Actor):
        def __init__(self) -> None:
            with tries.open("a") as noted:
                noted.write("x")
            if tries.stat().st_size <= failures:
                raise OSError("the node is busy")

    monkeypatch.setattr(cluster, "Actor", Delicate)
    if goes_on:
        ran(jobs(STEADY), store)
        check_all_ok(jobs(STEADY), store)
    else:
        with pytest.raises(UserError, match=r"^cluster: a process for 'steady' cannot start on node .* is busy\. W"):
            ran(jobs(STEADY), store)
    assert tries.stat().st_size == 3


def test_a_process_that_cannot_import_what_it_needs_ends_the_run_with_the_reason(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here.py").write_text("class Actor:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)  # of this process, not of workers
    lacking = importlib.import_module("only_here").Actor
    for module in (cluster, capacity):
        monkeypatch.setattr(module, "Actor", lacking)
    said = r"^cluster: a process for {} cannot start on node \S+: ModuleNotFoundError: No module named 'only_here'\."
    with pytest.raises(UserError, match=said.format("'steady'")):
        ran(jobs(STEADY), store)
    toys = RunConfig(run="r", datasets=(Plugin(name="fakes:Toys"),), methods=(MethodEntry(**STEADY),))
    with pytest.raises(UserError, match=said.format("a worker")):
        capacity.resources(toys, None)


def test_an_image_and_a_variant_that_kill_their_worker_fail_alone(store: Store) -> None:
    deadly = fragile("exit", 3)
    made = jobs(deadly | {"params": deadly["params"] | {"text": "one small"}, "variants": VARIANTS})
    outcomes = ran(made, store, count=2, size=COUNT)
    found = rows(made, store)
    failed = found[found["status"] == "failed"]
    assert [*zip(failed["method"], failed["instance_id"], failed["category"], strict=True)] == [
        ("fragile, one", "3a", "small"),
        ("fragile, one", "3b", "large"),
    ]
    assert failed["error"].str.startswith("two workers died on this image alone").all()
    assert len(found) == (3 * COUNT - 1) * 2 * 3 + 2
    assert sum(outcome.failed for outcome in outcomes) == 2
    assert sum(outcome.samples for outcome in outcomes) == 3 * COUNT
    (one,) = (job for job in made if job.facts.method == "fragile, one")
    assert {outcome.file for outcome in outcomes} == {
        f"shards/{job.facts.key}/{name}" for job in made for name in store.own(job.facts)
    }
    assert forget_given_up(store, one.facts, one.sample_ids) == 1, "the next start tries it again"
    again = [([job.facts.method for job in shard.jobs], shard.sample_ids) for shard in remaining(made, store, 2)]
    assert again == [(["fragile, one"], ("toy-3",))]


def test_an_image_that_kills_whoever_decodes_it_does_not_kill_the_driver(store: Store) -> None:
    made = jobs(STEADY, deadly=[1])
    ran(made, store, size=1)
    found = rows(made, store)
    assert list(found.loc[found["status"] == "failed", "instance_id"]) == ["toy-1 (not listed)"]
    assert len(found) == (COUNT - 1) * 2 * 3 + 1


def test_a_file_that_shows_late_is_waited_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    there = Folder.exists

    def late(folder: Folder, name: str) -> bool:
        looks.append(name)
        return len(looks) > 3 and there(folder, name)

    monkeypatch.setattr(Folder, "exists", late)
    made = jobs(STEADY)
    ran(made, store)
    check_all_ok(made, store)
    assert len(looks) == 4 and len(set(looks)) == 1, "only the first file is looked for"


def test_a_worker_killed_once_while_it_loads_or_works_and_one_whose_gpu_is_lost_cost_nothing(
    store: Store, tmp_path: Path
) -> None:
    made = jobs({"name": "fakes:Unlucky", "label": "unlucky", "params": {"folder": str(tmp_path)}})
    ran(made, store, size=2)
    assert all((tmp_path / name).exists() for name in ("kill-1", "kill1", "lost3"))
    check_all_ok(made, store)


def test_a_hung_image_is_ended_and_fails_alone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "SHARD_S", 1.0)
    monkeypatch.setattr(waiting, "FIRST_SUSPECTED", 1)
    made = jobs(fragile("hang", 3))
    workers = Workers(count=1, cpus=0.5, gpus=0, timeout_s=2, samples_per_shard=1)
    list(Cluster(workers, store).run(remaining(made, store, None)))
    found = rows(made, store)
    failed = found[found["status"] == "failed"]
    assert list(failed["instance_id"]) == ["3a", "3b"]
    assert failed["error"].str.contains("no answer within 2 s").all()
    assert len(found) == (COUNT - 1) * 2 * 3 + 2


def test_a_batch_may_take_its_time_for_each_variant(store: Store) -> None:
    shard, *_ = remaining(jobs(STEADY | {"variants": VARIANTS}), store, None)
    slot = Slot(None, "steady", {}, Phase.WORKING, setup=None, loads="")
    assert len(shard.jobs) == 3 and not slot.hangs(0)
    slot.busy_since -= slots.SHARD_S + 70
    assert not slot.hangs(0)
    slot.calls["call"] = shard
    assert (slot.hangs(20), slot.hangs(30)) == (True, False)
    for phase in (Phase.LOADING, Phase.OPENING):
        slot.phase = phase
        assert (slot.hangs(75), slot.hangs(85)) == (True, False)
    for phase in (Phase.PLACING, Phase.ARRIVING):
        slot.phase = phase
        assert not slot.hangs(0)


def limited(patch: pytest.MonkeyPatch, where: Callable[[Slot], bool]) -> None:
    """Let actors hang only there: elsewhere importing takes as long as the machine needs."""
    hangs = Slot.hangs
    patch.setattr(Slot, "hangs", lambda slot, timeout_s: where(slot) and hangs(slot, timeout_s))


def test_a_method_that_hangs_once_while_it_loads_is_replaced(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once, seen = tmp_path / "once", list[Slot]()
    # The first that is looked at is the one that hangs, and it does once the file is there.
    limited(monkeypatch, lambda slot: seen.append(slot) or (slot is seen[0] and once.exists()))
    made = jobs({**fragile("hang", -1, once)})
    ran(made, store, size=COUNT, timeout_s=1)
    assert once.exists()
    check_all_ok(made, store)


def test_a_data_set_that_always_hangs_while_it_loads_ends_the_run(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "DEATHS_LOADING", 1)
    limited(monkeypatch, lambda slot: slot.phase is Phase.OPENING)
    made = jobs(STEADY)
    hung = [replace(job, dataset=Plugin(name="fakes:Hung", label="toys")) for job in made]
    with pytest.raises(UserError, match=r"died while they loaded 'toys' for 'steady' \(no answer within .*\)"):
        ran(hung, store, size=COUNT, timeout_s=1)
    assert store.done(made[0].facts) == set()


def test_an_image_on_which_gpus_are_lost_fails_alone(store: Store) -> None:
    made = jobs(fragile("lost", 2))
    ran(made, store, size=2)
    failed = rows(made, store).query("status == 'failed'")
    assert list(failed["instance_id"]) == ["2a", "2b"]
    assert failed["error"].str.contains("CUDA error: device-side assert").all()


def test_a_long_shard_is_divided_among_the_actors(store: Store) -> None:
    made = jobs({"name": "fakes:Sleepy", "label": "sleepy"}, count=24)
    (whole,) = remaining(made, store, None)
    assert len(whole.sample_ids) == 24
    outcomes = list(Cluster(Workers(count=2, cpus=0.25, gpus=0), store).run([whole]))
    assert sum(outcome.samples for outcome in outcomes) == 24
    assert [max(o.samples for o in outcomes), min(o.samples for o in outcomes)] == [6, 1]
    assert len(rows(made, store)) == 24 * 2 * 3


def test_an_actor_that_would_load_longer_than_there_is_work_is_not_started(store: Store) -> None:
    """The other method ends when one image of 0.5 s waits, and a second actor would load for 2 s."""
    late = {"name": "fakes:Leisurely", "label": "late", "params": {"loads_s": 2.0, "image_s": 0.5}}
    other = {"name": "fakes:Leisurely", "label": "other", "params": {"loads_s": 0.0, "image_s": 0.6}}
    begun: list[str] = []
    running = Cluster(Workers(count=2, cpus=0.5, gpus=0), store, begins=begun.append)
    made = jobs(late, other)
    assert sum(outcome.samples for outcome in running.run(remaining(made, store, 1))) == 2 * COUNT
    check_all_ok(made, store)
    assert begun.count("starting a process for late") == 1


@pytest.mark.parametrize(
    ("actors", "loading_s", "starts"), [(1, 5.9, True), (1, 6.0, False), (2, 2.9, True), (2, 3.0, False)]
)
def test_an_actor_is_started_if_it_comes_before_the_others_are_done(
    store: Store, actors: int, loading_s: float, starts: bool
) -> None:
    (shard,) = remaining(jobs(STEADY), store, COUNT)
    running = Cluster(Workers(count=4, cpus=0.25, gpus=0), store)
    queue = running.queues["steady"] = waiting.Waiting(1)
    queue.shards.append(shard)
    running.entries["steady"] = shard.method
    assert running._neediest() == "steady"
    working = Slot(None, "steady", {"CPU": 0.25, "GPU": 0}, Phase.WORKING, setup=None, loads="", calls={"call": shard})
    running.slots += [working] * actors
    running.loading_s["steady"] = loading_s
    assert running._neediest() == "steady", "nothing is done yet, so nobody knows how long the rest takes"
    queue.samples, queue.spent_s = 10, 10.0  # and six images wait
    assert running._neediest() == ("steady" if starts else None)


def test_what_a_method_asks_for_itself_is_asked(store: Store) -> None:
    greedy = STEADY | {"resources": {"A100": 1.0}}
    with pytest.raises(
        UserError, match=r"'steady' asks for 0.5 CPU, 0 GPU, 1 A100; the cluster has \d+ CPU, 0 GPU, but no single node"
    ):
        ran(jobs(greedy), store)
    running = Cluster(Workers(cpus=0.25, gpus=0), store)
    most = 0
    for _ in running.run(remaining(jobs(STEADY | {"count": 2, "cpus": 0.125}), store, 1)):
        most = max(most, len(running.slots))
        assert all(slot.asked == {"CPU": 0.125, "GPU": 0} for slot in running.slots)
    assert most == 2


def test_workers_that_die_while_they_load_end_the_run(store: Store) -> None:
    with pytest.raises(UserError, match="3 workers died while they loaded 'fragile'"):
        ran(jobs(fragile("exit", -1)), store)


def test_a_mistake_in_a_constructor_is_its_own_message(store: Store) -> None:
    with pytest.raises(UserError) as error:
        ran(jobs(fragile("mistake", -1)), store)
    assert str(error.value) == "method 'fragile': fakes: found nothing; wanted something. Mend it."


def test_a_bug_in_a_constructor_is_one_message_that_says_where(store: Store) -> None:
    built = r"^method 'fragile': methods: 'fakes:Fragile' cannot be built\."
    with pytest.raises(UserError, match=built + r" RuntimeError: a bug in a plugin \(\S*fakes\.py, line \d+\)\.$"):
        ran(jobs(fragile("bug", -1)), store)


def test_a_bug_while_it_works_keeps_its_traceback(store: Store) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)fakes\.py.*a bug in a plugin"):
        ran(jobs(fragile("bug", -2)), store)


def test_a_full_disk_is_one_message_and_the_same_run_again_completes(store: Store, tmp_path: Path) -> None:
    made = jobs(fragile("full disk", 4, tmp_path / "once"))
    with pytest.raises(UserError, match=r"^[^\n]*cannot be written \(File too large\)[^\n]*$"):
        ran(made, store, size=2)
    kept = store.done(made[0].facts)
    assert kept == {f"toy-{number}" for number in range(4)}
    ran(made, store, size=2)
    check_all_ok(made, store)


@pytest.mark.parametrize(
    ("workers", "gpus"), [(Workers(gpus=7), None), (Workers(cpus=999, gpus=0), None), (Workers(gpus=0), 7)]
)
def test_asking_for_more_than_there_is_fails_at_once(store: Store, workers: Workers, gpus: float | None) -> None:
    made = jobs(STEADY | {"gpus": gpus})
    started = time.monotonic()
    with pytest.raises(UserError, match=r"a worker of 'steady' asks for .* the cluster has \d+ CPU, 0 GPU"):
        list(Cluster(workers, store).run(remaining(made, store, 2)))
    assert time.monotonic() - started < 5


def test_what_others_hold_is_waited_for_but_not_for_ever(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "PLACE_TIMEOUT_S", 1)
    holder = ray.remote(num_cpus=ray.cluster_resources()["CPU"])(cluster.Actor).remote()
    ray.get(holder.__ray_ready__.remote())
    try:
        with pytest.raises(
            UserError,
            match=r"no worker of 'steady', which asks for .* 0 GPU, could be started within 1 s.* free are"
            r" .* CPU, 0 GPU",
        ):
            ran(jobs(STEADY), store)
    finally:
        ray.kill(holder)


def test_actors_go_when_a_run_is_given_up(store: Store) -> None:
    made = jobs(STEADY)
    outcomes = Cluster(Workers(count=1, cpus=1, gpus=0), store).run(remaining(made, store, 1))
    next(outcomes)
    outcomes.close()
    deadline = time.monotonic() + 20
    while ray.available_resources().get("CPU", 0) < ray.cluster_resources()["CPU"] and time.monotonic() < deadline:
        time.sleep(0.2)
    assert ray.available_resources()["CPU"] == ray.cluster_resources()["CPU"]


def test_prometheus_counts_instances_at_ray_s_port(store: Store) -> None:
    made = jobs(STEADY | {"label": "counted", "variants": VARIANTS[:2]}, unreadable=[4])
    ran(made, store)
    port = next(node["MetricsExportPort"] for node in ray.nodes() if node["Alive"])
    found: set[tuple[str, str, float]] = set()
    deadline = time.monotonic() + 60
    while len(found) < 4 and time.monotonic() < deadline:
        time.sleep(1)
        with urllib.request.urlopen(f"http://{ray.util.get_node_ip_address()}:{port}/metrics", timeout=5) as page:
            lines = [line for line in page.read().decode().splitlines() if 'method="counted' in line]
        told = re.compile(r'method="counted, (\w+)".*status="(\w+)".* ([\d.]+)$')
        found = {(one[1], one[2], float(one[3])) for one in map(told.search, lines) if one}
    wanted = {"ok": 10.0, "failed": 1.0}.items()
    assert found == {(variant, status, number) for variant in ("plain", "one") for status, number in wanted}


def test_no_more_actors_than_work(store: Store) -> None:
    made = jobs(STEADY, WIDE)
    running = Cluster(Workers(cpus=0.25, gpus=0, samples_per_shard=COUNT), store)
    most = 0
    for _ in running.run(remaining(made, store, COUNT)):
        most = max(most, len(running.slots))
    assert most == 2
    check_all_ok(made, store)


def test_shards_travel_light(store: Store) -> None:
    shard, *_ = remaining(jobs(STEADY), store, 4)
    assert shard.jobs[0].sample_ids == ()
    assert len(pickle.dumps((shard, store))) < 5000
