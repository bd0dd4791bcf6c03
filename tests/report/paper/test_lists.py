"""The paper's lists of instances, and what is told of a run on another one."""

import csv

import pytest
import yaml

from harness.report.paper.lists import LISTS, difference
from harness.running.published_counts import COUNTS


def test_a_run_on_the_papers_list_has_its_numbers() -> None:
    assert difference("voc", "val", 3422, whole=True) == ""
    assert difference("scenes", "val", 25, whole=False) == "", "the paper has none to show"


@pytest.mark.parametrize(
    ("plugin", "split", "objects", "whole", "said"),
    [
        ("voc", "trainval", 25, True, "published: val, 3422 objects; here: trainval, 25"),
        ("coco", "val2017", 25, False, "published: val2017, 36335 objects; here: val2017, 25 (limited)"),
        ("voc", "val", 3422, False, "published: val, 3422 objects; here: val, 3422 (limited)"),
        ("refcoco", "testA", 1975, True, "published: val, 3811 objects; here: testA, 1975"),
    ],
)
def test_another_list_is_told(plugin: str, split: str, objects: int, whole: bool, said: str) -> None:
    assert difference(plugin, split, objects, whole) == said


def test_the_lists_are_those_that_doctor_counts() -> None:
    with COUNTS.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    for plugin, paper in LISTS.items():
        found = [
            line for line in lines if line["dataset"] == plugin and f"split={paper.split}" in line["params"].split()
        ]
        assert str(paper.objects) in {line["instances"] for line in found}, yaml.safe_dump(found)
