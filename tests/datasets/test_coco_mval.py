"""COCO_MVal: read as DAVIS is, but another data set, so that DAVIS's published numbers are not beside its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
from harness.datasets.coco_mval import CocoMVal

from harness.config.parts import Plugin
from harness.plugins import registry
from harness.running.published_counts import published
from harness.structures import Listed
from toy_files import picture

H, W = 12, 17


def _write(root: Path, *names: str) -> Path:
    mask = np.zeros((H, W), np.uint8)
    mask[3:6, 3:9], mask[8, 2] = 128, 1
    for folder in ("img", "gt"):
        (root / folder).mkdir(parents=True)
    for name in names:
        picture(H, W, 3).save(root / "img" / f"{name}.jpg")
        PIL.Image.fromarray(mask).save(root / "gt" / f"{name}.png")
    return root


def test_whatever_is_not_black_is_the_object(tmp_path: Path) -> None:
    data = CocoMVal(_write(tmp_path, "a"))
    assert data.sample_ids() == ["a"] and data.list_instances("a") == [Listed("a")]
    (instance,) = data.load("a").instances
    assert (instance.id, instance.category, int(instance.mask.sum())) == ("a", "", 3 * 6 + 1)


def test_pictures_with_a_name_of_cocos_are_cocos(tmp_path: Path) -> None:
    names = ("000000000139", "COCO_val2014_000000000285", "139")
    data = CocoMVal(_write(tmp_path, *names))
    assert [data.image_key(name) for name in names] == ["coco/139", "coco/285", "coco_mval/139"]


def test_what_is_published_for_it_is_its_own() -> None:
    counts = published(Plugin(name="coco_mval", params={"root": "a"}))
    assert counts is not None and (counts.images, counts.instances) == (800, 800)
    ritm = registry.find("methods", "ritm").published["coco_lvis_h32_itermask.pth"]
    assert (ritm["coco_mval"]["NoC@90"], ritm["davis"]["NoC@90"]) == (2.97, 5.34)
    assert ritm["coco_mval"]["mIoU@1"] == 76.70
    focal = registry.find("methods", "focalclick").published
    assert focal["focalclick_segformerb3_s2_coco_lvis.pth"]["coco_mval"] == {"NoC@85": 2.32, "NoC@90": 3.12}
    assert {name: own["coco_mval"]["mIoU@1"] for name, own in focal.items() if "mIoU@1" in own["coco_mval"]} == {
        "focalclick_segformerb0_s1_coco_lvis.pth": 63.97,
        "focalclick_segformerb0_s2_coco_lvis.pth": 68.85,
    }
