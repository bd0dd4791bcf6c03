import os
import pickle
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import places
from harness.config.click_protocol import Clicks
from harness.config.method_entry import MethodEntry, TrainedOn
from harness.config.parts import Plugin, label
from harness.config.run_config import RunConfig, Workers
from harness.config.wording import Text
from harness.jobs.jobs import Job
from harness.jobs.plan import instances, planned, remaining, shards
from harness.plugins import parameters, registry
from harness.storage.store import Store
from harness.weights.catalogue import catalogue

METHOD = MethodEntry(name="fakes:Steady", label="steady")


def config(**changed: Any) -> RunConfig:
    known: dict[str, Any] = {
        "run": "r",
        "datasets": (Plugin(name="fakes:Toys", label="toys", params={"count": 7}),),
        "methods": (MethodEntry(name="fakes:Steady", label="steady"),),
    }
    return RunConfig(**known | changed)


def parts(changed: RunConfig) -> dict[str, str]:
    (job,) = planned(changed)
    return dict(job.facts.parts)


def the_job(changed: RunConfig) -> Job:
    (job,) = planned(changed)
    return job


def method(**params: Any) -> tuple[MethodEntry, ...]:
    return (MethodEntry(name="fakes:Steady", label="steady", params=params),)


def toys(**params: Any) -> tuple[Plugin, ...]:
    return (Plugin(name="fakes:Toys", label="toys", params={"count": 7} | params),)


def test_every_method_meets_every_data_set() -> None:
    jobs = planned(
        config(
            methods=(*method(), MethodEntry(name="fakes:Steady", label="wide", params={"reach": 9})),
            datasets=(*toys(), Plugin(name="fakes:Toys", params={"count": 2})),
        )
    )
    assert [(job.facts.method, job.facts.dataset, len(job.sample_ids)) for job in jobs] == [
        ("steady", "toys", 7),
        ("steady", "fakes:Toys", 2),
        ("wide", "toys", 7),
        ("wide", "fakes:Toys", 2),
    ]
    names = jobs[1].names
    assert (names.method, names.method_plugin, names.dataset) == ("steady", "fakes:Steady", "fakes:Toys")


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"seed": 1}, "seed"),
        ({"clicks": Clicks(max_clicks=2)}, "clicks"),
        ({"text": Text(rule="none")}, "text"),
        ({"text": Text(template="a {}")}, "text"),
        ({"text": Text(words="")}, "text"),
        ({"metrics": ("iou",)}, "metrics"),
        ({"methods": (METHOD.model_copy(update={"trained_on": TrainedOn(classes=("cup",))}),)}, "trained_classes"),
        ({"methods": method(reach=6)}, "method"),
        ({"datasets": toys(top=4)}, "dataset"),
    ],
)
def test_what_changes_rows_changes_its_part_alone(changed: dict[str, Any], part: str) -> None:
    before, after = parts(config()), parts(config(**changed))
    assert {name for name in before if before[name] != after[name]} == {part}


@pytest.mark.parametrize(
    "changed",
    [
        {"run": "other"},
        {"limit": 2},
        {"max_failures": 1.0},
        {"tables": ("leaderboard",)},
        {"workers": Workers(executor="local", samples_per_shard=3, images_per_batch=4)},
        {"metrics": ("boundary_iou", "iou")},
    ],
)
def test_what_changes_no_row_changes_no_part(changed: dict[str, Any]) -> None:
    assert parts(config(**changed)) == parts(config())


def test_rows_stay_when_a_words_file_gets_words_that_their_rule_does_not_read(tmp_path: Path) -> None:
    found = {}
    for number, row in enumerate(("dot,spot,,", "dot,spot,mark,", "dot,point,mark,")):
        words = tmp_path / f"{number}.csv"  # A process reads a file once.
        words.write_text(f"name,said,synonym,hypernym\n{row}\n")
        for rule in ("given", "wrong_present", "synonym"):
            found[rule, number] = parts(config(text=Text(rule=rule, words=str(words))))["text"]
    assert found["given", 0] == found["given", 1] != found["given", 2]
    assert found["wrong_present", 0] == found["wrong_present", 1] != found["wrong_present", 2]
    assert len({found["synonym", number] for number in range(3)}) == 3


def test_another_version_of_the_code_is_another_part(monkeypatch: pytest.MonkeyPatch) -> None:
    before = parts(config())
    monkeypatch.setattr("harness.__version__", "99")
    assert parts(config()) == before | {"code": "99"}


def test_weights_go_by_their_content_wherever_they_lie(tmp_path: Path) -> None:
    for name, content in (("a", b"one"), ("b", b"one"), ("c", b"two")):
        (tmp_path / name).write_bytes(content)
    first, moved, other = (parts(config(methods=method(checkpoint=str(tmp_path / name)))) for name in "abc")
    assert first == moved
    assert {name for name in first if first[name] != other[name]} == {"weights"}
    os.utime(tmp_path / "a", ns=(1, 1))
    assert parts(config(methods=method(checkpoint=str(tmp_path / "a")))) == first
    (tmp_path / "a").write_bytes(b"two")
    assert parts(config(methods=method(checkpoint=str(tmp_path / "a")))) == other


def test_what_the_authors_print_for_a_checkpoint_goes_to_the_manifest(tmp_path: Path) -> None:
    names = {"sbd_h18_itermask.pth": "theirs", "mine.pth": "mine"}
    for file in names:
        (tmp_path / file).write_bytes(b"weights")
    entries = tuple(
        MethodEntry(name="ritm", label=label, params={"checkpoint": str(tmp_path / file)})
        for file, label in names.items()
    )
    with pytest.MonkeyPatch.context() as patch:
        printed = {"sbd_h18_itermask.pth": {"fakes:Toys": {"NoC@90": 2.0}}}
        patch.setattr(registry.find("methods", "ritm"), "published", printed)
        theirs, mine = (job.facts.about for job in planned(config(methods=entries)))
    assert theirs["published"] == {"NoC@90": 2.0} and "b9b4460" in theirs["published_in"]
    assert "published" not in mine


@pytest.mark.parametrize(("split", "shown"), [({}, True), ({"split": "val"}, True), ({"split": "train"}, False)])
def test_the_authors_numbers_are_of_one_split(tmp_path: Path, split: dict[str, str], shown: bool) -> None:
    (tmp_path / "theirs.pth").write_bytes(b"weights")
    entry = MethodEntry(name="ritm", params={"checkpoint": str(tmp_path / "theirs.pth")})
    data = (Plugin(name="scenes", params={"count": 1, **split}),)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry.find("methods", "ritm"), "published", {"theirs.pth": {"scenes": {"NoC@90": 2.0}}})
        (job,) = planned(config(methods=(entry,), datasets=data))
    assert ("published" in job.facts.about) == shown


def test_ritm_has_the_numbers_of_each_checkpoint_that_can_be_fetched() -> None:
    printed = registry.find("methods", "ritm").published
    assert set(printed) == {known.file for known in catalogue().values() if known.used_by == "ritm"}
    assert all(set(own) == {"grabcut", "berkeley", "sbd", "davis", "coco_mval"} for own in printed.values())


def test_sha256_is_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert places.sha256(tmp_path / "a").startswith("ba7816bf8f01cfea")


def test_shards_hold_what_is_left_in_order_and_once() -> None:
    job = the_job(config())
    cut = list(shards([job], [{"toy-1", "toy-4"}], 2))
    assert [shard.sample_ids for shard in cut] == [("toy-0", "toy-2"), ("toy-3", "toy-5"), ("toy-6",)]
    assert list(shards([job], [set(job.sample_ids)], 2)) == []


def variants(*labels: str, **entry: Any) -> list[MethodEntry]:
    changed = [{"label": one, "text": {"template": f"{one} {{}}"}} for one in labels or WORDINGS]
    known = {"name": "fakes:Steady", "label": "steady", "variants": changed}
    return MethodEntry(**known | entry).expanded()


WORDINGS = ("given", "none", "a")
ALL_THREE = [f"steady, {one} on toys" for one in WORDINGS]


def asked(jobs: Iterable[Job]) -> list[str]:
    return [f"{job.facts.method} on {job.facts.dataset}" for job in jobs]


def test_variants_share_shards_and_other_methods_do_not(tmp_path: Path) -> None:
    wide = MethodEntry(name="fakes:Steady", label="wide", params={"reach": 9})
    few = Plugin(name="fakes:Toys", label="few", params={"count": 2})
    jobs = planned(config(methods=(*variants(), wide), datasets=(*toys(), few)))
    cut = remaining(jobs, Store(tmp_path), 5)
    assert [(asked(shard.jobs), len(shard.sample_ids)) for shard in cut] == [
        (ALL_THREE, 5),
        (ALL_THREE, 2),
        ([f"steady, {one} on few" for one in WORDINGS], 2),
        (["wide on toys"], 5),
        (["wide on toys"], 2),
        (["wide on few"], 2),
    ]
    assert [(label(shard.method), shard.method.text, label(shard.dataset)) for shard in cut[1:4]] == [
        ("steady", None, "toys"),
        ("steady", None, "few"),
        ("wide", None, "toys"),
    ]


def test_what_only_some_variants_lack_is_asked_of_them_alone(tmp_path: Path) -> None:
    jobs, store = planned(config(methods=tuple(variants()))), Store(tmp_path)
    given, none, _ = (job.facts for job in jobs)
    store.write(given, ("toy-0", "toy-1", "toy-2"), [])
    store.write(none, ("toy-1", "toy-2", "toy-6"), [])
    cut = remaining(jobs, store, None)
    assert [([job.facts.method[8:] for job in shard.jobs], shard.sample_ids) for shard in cut] == [
        (["none", "a"], ("toy-0",)),
        (["a"], ("toy-1", "toy-2")),
        (["given", "none", "a"], ("toy-3", "toy-4", "toy-5")),
        (["given", "a"], ("toy-6",)),
    ]
    for shard in cut:
        for job in shard.jobs:
            store.write(job.facts, shard.sample_ids, [])
    assert remaining(jobs, store, None) == []


def test_a_variant_on_one_data_set_alone_shares_nothing_there(tmp_path: Path) -> None:
    few = Plugin(name="fakes:Toys", label="few", params={"count": 2})
    more = variants("far", datasets=("few",))
    jobs = planned(config(methods=(*variants("given"), *more), datasets=(*toys(), few)))
    assert [asked(shard.jobs) for shard in remaining(jobs, Store(tmp_path), None)] == [
        ["steady, given on toys"],
        ["steady, given on few", "steady, far on few"],
    ]


def test_a_shard_stays_small_however_long_the_list() -> None:
    job = replace(the_job(config()), sample_ids=tuple(f"image-{number}" for number in range(100_000)))
    (first, *_) = shards([job], [set()], 16)
    assert len(pickle.dumps(first)) < 5000


def test_limit_takes_the_first_samples_and_a_full_run_the_rest(tmp_path: Path) -> None:
    store = Store(tmp_path)
    limited, full = planned(config(limit=3)), planned(config())
    assert limited[0].sample_ids == ("toy-0", "toy-1", "toy-2")
    store.write(limited[0].facts, limited[0].sample_ids, [])
    assert remaining(limited, store, 4) == []
    assert [shard.sample_ids for shard in remaining(full, store, 4)] == [("toy-3", "toy-4", "toy-5", "toy-6")]


def test_instances_are_counted_even_where_an_image_does_not_load() -> None:
    job = the_job(config(datasets=toys(unreadable=[2])))
    assert instances(job) == 6 * 2 + 1
    assert instances(job, ["toy-0"]) == 2
    assert instances(the_job(config())) == 14


def test_plugins_of_the_checkout_are_planned_too() -> None:
    scenes = (Plugin(name="scenes", params={"count": 3}),)
    job = the_job(config(datasets=scenes))
    dataset = parameters.build("datasets", "scenes", {"count": 3})
    assert job.sample_ids == tuple(dataset.sample_ids())
    assert instances(job) == sum(len(dataset.load(one).instances) for one in job.sample_ids)
    assert job.facts.about["dataset_fingerprint"] == dataset.fingerprint()
    assert np.unique([job.facts.key, the_job(config()).facts.key]).size == 2


def test_images_with_the_most_instances_come_first() -> None:
    (job,) = planned(config(datasets=(Plugin(name="scenes", params={"count": 5}),)))
    assert job.weights == {}  # a scene has to be drawn to be known
    weighed = replace(job, weights={"val-00003": 9, "val-00001": 4})
    (shard,) = shards([weighed], [{"val-00002"}], None)
    assert shard.sample_ids == ("val-00003", "val-00001", "val-00000", "val-00004")
    assert dict(shard.jobs[0].weights) == {}


def test_a_listing_that_knows_its_instances_weighs_them() -> None:
    (job,) = planned(config(datasets=(Plugin(name="fakes:Known", params={"count": 3}),)))
    assert job.weights == {"toy-0": 2, "toy-1": 2, "toy-2": 2}


def test_a_split_shard_is_all_of_it() -> None:
    (shard,) = shards([the_job(config())], [set()], None)
    head, rest = shard.split(3)
    assert rest is not None and head.sample_ids + rest.sample_ids == shard.sample_ids and len(head.sample_ids) == 3
    assert shard.split(7) == (shard, None)


def test_the_manifest_says_the_click_rule_s_options_and_the_split_that_the_config_leaves_to_them() -> None:
    job = the_job(config(clicks=Clicks(options={})))
    assert job.facts.about["click_options"] == {"margin": 0.35} and job.facts.about["dataset_split"] == ""
    assert job.facts.parts == the_job(config(clicks=Clicks(options={}))).facts.parts
    scenes = the_job(config(datasets=(Plugin(name="scenes"),), limit=1))
    assert scenes.facts.about["dataset_split"] == "val"


def test_the_manifest_says_what_a_data_set_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    before = the_job(config()).facts
    monkeypatch.setattr(registry.find("datasets", "fakes:Toys"), "left_out", lambda self: {"broken toys": 3})
    after = the_job(config()).facts
    assert (before.about["left_out"], after.about["left_out"]) == ({}, {"broken toys": 3})
    assert before.parts == after.parts
