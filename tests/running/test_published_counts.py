"""The published counts: each belongs to certain parameters, and names what exists."""

from __future__ import annotations

from typing import Any

import pytest

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
        ("openimages", {}, (24730, 0.239)),
        ("openimages", {"seen": None}, (24730, None)),
        ("openimages", {"drop_inside": True}, None),
    ],
)
def test_a_count_is_of_those_parameters_alone(name: str, params: dict[str, Any], wanted: Any) -> None:
    counts = published(Plugin(name=name, params=parameters.resolve("datasets", name, {"root": "x"} | params)))
    assert (counts and (counts.instances, counts.w)) == wanted


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
