"""The published counts: each belongs to certain parameters, and names what exists."""

from __future__ import annotations

from typing import Any

import pytest
from harness.datasets.refcoco.listing import SPLITS

from harness.config.parts import Plugin
from harness.plugins import parameters, registry
from harness.running.published_counts import lines, published


@pytest.mark.parametrize(
    ("name", "params", "wanted"),
    [
        ("coco", {"split": "val2017"}, (36335, 0.5678)),
        ("coco", {"split": "val2017", "min_area": 0.0}, (36335, 0.5678)),
        ("coco", {"split": "val2017", "seen": "coco_15"}, (36335, None)),
        ("coco", {"split": "val2017", "min_area": 100}, None),
        ("coco", {"split": "train2017", "seen": None}, (849949, None)),
        ("voc", {"seen": "voc_15", "void": "background"}, (3422, 0.8185)),
        ("voc", {"seen": "zs3_2"}, (3422, None)),
        ("refcoco", {"text": "class_name"}, (3811, 0.693)),
        ("refcoco", {"text": "phrase"}, (3811, 0.693)),
        ("refcoco", {"text": "all_phrases"}, (10834, None)),
        ("refcoco", {"dataset": "refcoco+", "text": "all_phrases"}, (10758, None)),
        ("refcoco", {"dataset": "refcoco+", "split": "testB"}, (1798, None)),
        ("refcoco", {"dataset": "refcocog", "split_by": "umd", "split": "test", "text": "phrase"}, (5023, None)),
        ("refcoco", {"dataset": "refcocog", "split_by": "umd", "split": "test", "text": "all_phrases"}, None),
        ("openimages", {}, (24730, 0.239)),
        ("openimages", {"seen": None}, (24730, None)),
        ("openimages", {"drop_inside": True}, None),
        ("davis585", {"initial": "sp"}, (585, None)),
    ],
)
def test_a_count_is_of_those_parameters_alone(name: str, params: dict[str, Any], wanted: Any) -> None:
    counts = published(Plugin(name=name, params=parameters.resolve("datasets", name, {"root": "x"} | params)))
    assert (counts and (counts.instances, counts.w)) == wanted


def test_every_split_of_referred_objects_has_its_counts_and_they_add_up() -> None:
    objects: dict[tuple[str, str], int] = {}
    for (dataset, author), splits in SPLITS.items():
        for split in splits:
            params = {"root": "x", "dataset": dataset, "split_by": author, "split": split}
            counts = published(Plugin(name="refcoco", params=parameters.resolve("datasets", "refcoco", params)))
            assert counts and counts.images and counts.instances, (dataset, author, split)
            objects[dataset, author] = objects.get((dataset, author), 0) + counts.instances
    # Two authors divide the same objects, all of them.
    assert objects["refcoco", "unc"] == objects["refcoco", "google"] == 50_000
    assert objects["refcocog", "umd"] == objects["refcocog", "google"] == 49_822
    assert objects["refcoco+", "unc"] == 49_856


def test_every_published_count_names_a_plugin_and_its_parameters() -> None:
    for line in lines():
        wanted = dict(part.split("=") for part in line["params"].split())
        known = parameters.parameters_of(registry.find("datasets", line["dataset"]))
        assert set(wanted) <= set(known) and line["source"]
    assert {line["dataset"]: line["w"] for line in lines() if line["w"]} == {
        "voc": "0.8185",
        "coco": "0.5678",
        "refcoco": "0.693",
        "openimages": "0.239",
    }
