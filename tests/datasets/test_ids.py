"""Ids made of files' words: none is taken for a second text of another object."""

from __future__ import annotations

import json
from pathlib import Path

import PIL.Image
import pytest
from harness.datasets.coco.coco import Coco
from harness.datasets.grabcut import GrabCut
from harness.datasets.shared.ids import plain

from toy_files import noise, picture


def test_plain_ids_hold_no_tilde_and_stay_different() -> None:
    ids = ["a", "a~b", "a%7Eb", "a%b", "a~", "~"]
    assert [plain(one) for one in ids] == ["a", "a%7Eb", "a%257Eb", "a%25b", "a%7E", "%7E"]


@pytest.fixture
def coco(tmp_path: Path) -> Coco:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "val").mkdir()
    picture(32, 48, 3).save(tmp_path / "val" / "a.png")
    box = [[4, 3, 20, 3, 20, 15, 4, 15]]
    annotations = [{"id": f"cup~{n}", "image_id": 1, "category_id": 1, "segmentation": box} for n in (1, 2)]
    images = [{"id": 1, "file_name": "a.png", "height": 32, "width": 48}]
    parts = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cup"}]}
    (tmp_path / "annotations" / "instances_val.json").write_text(json.dumps(parts))
    return Coco(tmp_path, "val", seen=None)


def test_annotations_with_a_tilde_are_objects_of_their_own(coco: Coco) -> None:
    instances = coco.load("1").instances
    assert [one.id for one in instances] == [one.id for one in coco.list_instances("1")] == ["cup%7E1", "cup%7E2"]
    assert len({one.object_id for one in instances}) == 2


def test_files_with_a_tilde_are_objects_of_their_own(tmp_path: Path) -> None:
    for folder in ("data_GT", "boundary_GT"):
        (tmp_path / folder).mkdir()
        for name in ("IMG~1", "IMG~2"):
            PIL.Image.fromarray(noise(32, 48) // 128 * 255).save(tmp_path / folder / f"{name}.png")
    grabcut = GrabCut(tmp_path)
    assert grabcut.sample_ids() == ["IMG~1", "IMG~2"]
    loaded = [grabcut.load(name).instances[0] for name in grabcut.sample_ids()]
    assert [one.id for one in loaded] == [grabcut.list_instances(name)[0].id for name in grabcut.sample_ids()]
    assert [one.object_id for one in loaded] == ["IMG%7E1", "IMG%7E2"]
