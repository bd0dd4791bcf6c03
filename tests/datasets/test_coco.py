"""COCO: generated annotations, sound and broken, and the real ones where they are at hand."""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import pycocotools.mask
import pytest
from harness.datasets.coco.coco import Coco
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

import real_data
from harness import Sample, UserError
from harness.masks.segmentations import decode
from harness.plugins import parameters, registry
from harness.plugins.class_splits import seen_names
from harness.structures import Listed
from toy_files import picture

H, W = 32, 48
BOX = [[4, 3, 20, 3, 20, 15, 4, 15]]
"""Columns 4 to 19, rows 3 to 14."""
CATEGORIES = [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}, {"id": 27, "name": "backpack"}]


def _box_mask() -> np.ndarray:
    mask = np.zeros((H, W), dtype=bool)
    mask[3:15, 4:20] = True
    return mask


def _compressed(mask: np.ndarray) -> dict[str, Any]:
    encoded = pycocotools.mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode()}


def _uncompressed(mask: np.ndarray) -> dict[str, Any]:
    flat = np.concatenate([[False], mask.T.ravel()])
    edges = np.flatnonzero(np.diff(flat))
    counts = np.diff(np.concatenate([[0], edges, [mask.size]]))
    return {"size": list(mask.shape), "counts": counts.tolist()}


def _annotation(id: Any = 1, segmentation: Any = BOX, **fields: Any) -> dict[str, Any]:
    return {"id": id, "image_id": 7, "category_id": 1, "iscrowd": 0, "area": 192, "segmentation": segmentation} | fields


def _json(annotations: list[Any], **parts: Any) -> dict[str, Any]:
    images = [{"id": 7, "file_name": "000000000007.jpg", "height": H, "width": W}]
    return {"info": {}, "images": images, "annotations": annotations, "categories": CATEGORIES} | parts


def _write(root: Path, content: Any, pictures: tuple[int, ...] = (7,)) -> Path:
    (root / "annotations").mkdir(parents=True)
    (root / "val2017").mkdir()
    text = content if isinstance(content, str) else json.dumps(content)
    (root / "annotations" / "instances_val2017.json").write_text(text, encoding="utf-8")
    for number in pictures:
        picture(H, W, 3).save(root / "val2017" / f"{number:012d}.jpg")
    return root


def _coco(root: Path, annotations: list[Any], **params: Any) -> Coco:
    return Coco(_write(root, _json(annotations)), **{"seen": ["person"], **params})


def _only(root: Path, annotations: list[Any], **params: Any) -> Sample:
    return _coco(root, annotations, **params).load("7")


# Sound annotations


@pytest.mark.parametrize("form", ["polygon", "string", "list"])
def test_each_form_gives_the_same_mask(tmp_path: Path, form: str) -> None:
    segmentation = {"polygon": BOX, "string": _compressed(_box_mask()), "list": _uncompressed(_box_mask())}[form]
    (instance,) = _only(tmp_path, [_annotation(5, segmentation)]).instances
    assert (instance.id, instance.category, instance.seen, instance.same_class_count) == ("5", "person", True, 1)
    assert instance.mask.dtype == np.bool_ and instance.mask.flags.c_contiguous
    np.testing.assert_array_equal(instance.mask, _box_mask())


def test_polygons_of_one_annotation_are_united(tmp_path: Path) -> None:
    far = [[30, 20, 40, 20, 40, 30, 30, 30]]
    (instance,) = _only(tmp_path, [_annotation(segmentation=BOX + far)]).instances
    assert instance.mask.sum() == 16 * 12 + 10 * 10


def test_a_polygon_a_little_outside_is_cut_at_the_border(tmp_path: Path) -> None:
    (instance,) = _only(tmp_path, [_annotation(segmentation=[[-5, -5, 8, -5, 8, 6, -5, 6]])]).instances
    assert instance.mask[:6, :8].all() and instance.mask.sum() == 48


@pytest.mark.slow
@given(st.lists(st.lists(st.booleans(), min_size=7, max_size=7), min_size=5, max_size=5))
def test_run_lengths_are_decoded_as_pycocotools_does(rows: list[list[bool]]) -> None:
    mask = np.array(rows)
    mask[2, 3] = True
    for form in (_compressed, _uncompressed):
        np.testing.assert_array_equal(decode(form(mask), 5, 7), mask)


def test_long_runs_survive_the_string() -> None:
    mask = np.zeros((700, 900), dtype=bool)
    mask[100:650, 20:880] = np.random.default_rng(0).random((550, 860)) > 0.001
    np.testing.assert_array_equal(decode(_compressed(mask), 700, 900), mask)


def test_listing_agrees_with_loading(tmp_path: Path) -> None:
    coco = _coco(tmp_path, [_annotation(3), _annotation(1, category_id=90), _annotation(2, [[1, 2, 3]])])
    assert coco.list_instances("7") == [
        Listed("3", "person", True),
        Listed("1", "toothbrush", False),
        Listed("2", "person", True),
    ]
    sample = coco.load("7")
    assert [instance.id for instance in sample.instances] == ["3", "1"] and list(sample.broken) == ["2"]


def test_listing_needs_no_picture(tmp_path: Path) -> None:
    root = _write(tmp_path, _json([_annotation()]), pictures=())
    coco = Coco(root, seen=None)
    assert coco.sample_ids() == ["7"] and coco.list_instances("7") == [Listed("1", "person", None)]


def test_images_come_in_the_order_of_their_ids_and_only_with_instances(tmp_path: Path) -> None:
    images = [{"id": n, "file_name": f"{n:012d}.jpg", "height": H, "width": W} for n in (100, 9, 20, 3, 4)]
    of = [(100, 0), (9, 0), (20, 0), (3, 1)]  # 3 holds a crowd only, 4 nothing
    annotations = [_annotation(n, image_id=image, iscrowd=crowd) for n, (image, crowd) in enumerate(of)]
    coco = Coco(_write(tmp_path, _json(annotations, images=images)), seen=None)
    assert coco.sample_ids() == ["9", "20", "100"]
    assert [coco.list_instances(sample)[0].id for sample in coco.sample_ids()] == ["1", "2", "0"]


def test_an_images_instances_keep_the_files_order(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).permutation(400).tolist()
    coco = _coco(tmp_path, [_annotation(n, image_id=n % 3) for n in numbers])
    for image in range(3):
        listed = [int(listed.id) for listed in coco.list_instances(str(image))]
        assert listed == [n for n in numbers if n % 3 == image]


def test_classes_stand_in_the_order_of_their_ids(tmp_path: Path) -> None:
    assert _coco(tmp_path, [_annotation()]).classes == ("person", "backpack", "toothbrush")


def test_names_beyond_ascii(tmp_path: Path) -> None:
    categories = [{"id": 1, "name": "Füße"}]
    text = json.dumps(_json([_annotation(note="Ä" * 9), _annotation(2)], categories=categories), ensure_ascii=False)
    sample = Coco(_write(tmp_path, text), seen=["Füße"]).load("7")
    assert [(i.id, i.category, i.seen) for i in sample.instances] == [("1", "Füße", True), ("2", "Füße", True)]


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/secret.jpg"])
def test_a_picture_outside_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    picture(H, W, 3).save(tmp_path / "secret.jpg")
    images = [{"id": 7, "file_name": name, "height": H, "width": W}]
    with pytest.raises(UserError, match="leads out of the folder of pictures"):
        Coco(_write(tmp_path / "coco", _json([_annotation()], images=images)), seen=None).sample_ids()


@pytest.mark.parametrize("options", [{"indent": 1}, {"separators": (",", ":")}], ids=["indented", "dense"])
@pytest.mark.parametrize("last", [True, False])
def test_layout_of_the_json_does_not_matter(tmp_path: Path, options: dict[str, Any], last: bool) -> None:
    content = _json([_annotation(1), _annotation(2)])
    if last:
        content["annotations"] = content.pop("annotations")
    text = json.dumps(content, **options).replace("\n", "\r\n")
    assert len(Coco(_write(tmp_path, text), seen=None).load("7").instances) == 2


# Crowds, areas, counts, seen


@pytest.mark.parametrize("iscrowd", [1, 1.0, True])
def test_a_crowd_is_no_instance(tmp_path: Path, iscrowd: Any) -> None:
    crowd = _annotation(900, _uncompressed(_box_mask()), iscrowd=iscrowd)
    coco = _coco(tmp_path, [_annotation(1), crowd, _annotation(2)])
    assert [listed.id for listed in coco.list_instances("7")] == ["1", "2"]
    sample = coco.load("7")
    assert [(i.id, i.same_class_count) for i in sample.instances] == [("1", 2), ("2", 2)]
    assert sample.ignore is None and not sample.broken


def test_crowds_are_ignored_pixels_on_request_but_not_where_an_instance_is(tmp_path: Path) -> None:
    corner, wide = np.zeros((2, H, W), dtype=bool)
    corner[-2:, -3:] = True
    wide[:16] = True
    crowds = [_annotation(n, _compressed(mask), iscrowd=1) for n, mask in ((8, wide), (9, corner))]
    sample = _only(tmp_path, [_annotation(1), *crowds], crowd="ignore")
    assert [instance.id for instance in sample.instances] == ["1"]
    assert sample.ignore is not None
    np.testing.assert_array_equal(sample.ignore, (wide | corner) & ~_box_mask())


def test_no_crowd_nothing_to_ignore(tmp_path: Path) -> None:
    assert _only(tmp_path, [_annotation()], crowd="ignore").ignore is None


def test_a_broken_crowd_matters_only_where_it_is_to_be_ignored(tmp_path: Path) -> None:
    annotations = [_annotation(1), _annotation(9, {"size": [1, 1], "counts": [1]}, iscrowd=1)]
    assert not _only(tmp_path / "a", annotations).broken
    with pytest.raises(ValueError, match=r"crowd region 9: found run lengths of size \[1, 1\].*crowd: drop"):
        _only(tmp_path / "b", annotations, crowd="ignore")


def test_min_area_leaves_small_instances_out_but_counts_them(tmp_path: Path) -> None:
    areas = [_annotation(1, area=0.5), _annotation(2, area=10), _annotation(3, area=None)]
    coco = _coco(tmp_path, areas, min_area=10)
    assert [listed.id for listed in coco.list_instances("7")] == ["2", "3"]
    assert [(i.id, i.same_class_count) for i in coco.load("7").instances] == [("2", 3), ("3", 3)]
    assert Coco(tmp_path, seen=None, min_area=11).sample_ids() == ["7"]
    assert len(Coco(tmp_path, seen=None).list_instances("7")) == 3
    assert coco.fingerprint()["instances"] == 2


@pytest.mark.parametrize("min_area", [0, 10])
def test_an_area_below_0_leaves_no_instance_out(tmp_path: Path, min_area: float) -> None:
    areas = [_annotation(1, area=-1), _annotation(2, area=-192.5), _annotation(3, area="-192"), _annotation(4)]
    coco = _coco(tmp_path, areas, min_area=min_area)
    assert [i.id for i in coco.load("7").instances] == ["1", "2", "3", "4"]
    assert coco.left_out() == {}


def test_same_class_count_includes_broken_ones(tmp_path: Path) -> None:
    sample = _only(tmp_path, [_annotation(1), _annotation(2, []), _annotation(3, category_id=27)])
    assert {i.id: i.same_class_count for i in sample.instances} == {"1": 2, "3": 1}


def test_coco_20_names_twenty_of_the_eighty() -> None:
    assert len(set(seen_names("coco_20"))) == 20 and {"tv", "potted plant"} < set(seen_names("coco_20"))
    assert len(set(seen_names("coco_15"))) == 15 and set(seen_names("coco_15")) < set(seen_names("coco_20"))
    assert len(set(seen_names("voc_15"))) == 15 and "tvmonitor" not in seen_names("voc_15")


def test_the_folder_of_splits_does_not_hide_hugging_faces_module() -> None:
    spec = importlib.util.find_spec("datasets.splits")
    if spec is None or spec.origin is None:
        pytest.skip("Hugging Face's datasets is not installed")
    assert Path(spec.origin).name == "splits.py"


def test_unknown_split_file_and_unknown_category(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no split harness/plugins/splits/coco20\.txt\. Did you mean 'coco_20'\?"):
        _coco(tmp_path / "a", [_annotation()], seen="coco20")
    with pytest.raises(UserError, match=r"no category 'persons', which `seen` names.*Did you mean 'person'\?"):
        _coco(tmp_path / "b", [_annotation()], seen=["persons"]).list_instances("7")


# Broken annotations: each is listed and named, its neighbour is loaded


def _box(**changes: Any) -> dict[str, Any]:
    return _uncompressed(_box_mask()) | changes


BROKEN = {
    "odd polygon": ([[1, 2, 10, 12, 20, 3, 30]], r"found the polygon .*; wanted x, y of three points"),
    "two points": ([[1, 2, 10, 12]], "three points"),
    "one of two polygons": ([*BOX, [1, 2, 10, 12]], "three points"),
    "flat polygon": ([1, 2, 10, 2, 10, 12], "three points"),
    "nan": ([[1, 2, 10, float("nan"), 20, 30]], "not finite"),
    "infinite": ([[1, 2, 10, float("inf"), 20, 30]], "not finite"),
    "null": ([[1, 2, 10, None, 20, 30]], "not finite"),
    "words": ([["a", 2, 10, 3, 20, 30]], "wanted numbers"),
    "far off": ([[0, 0, 1e9, 0, 1e9, 1e9]], "wanted it on the 32 x 48 image"),
    "outside": ([[60, 3, 70, 3, 70, 15, 60, 15]], "covers no pixel"),
    "thin": ([[4, 3, 4, 3, 4, 3]], "covers no pixel"),
    "no polygon": ([], r"found the segmentation \[\]"),
    "nothing": (None, "found the segmentation None"),
    "transposed": (_uncompressed(_box_mask().T), r"of size \[48, 32\]; wanted \[32, 48\]"),
    "transposed string": (_compressed(_box_mask().T), r"of size \[48, 32\]; wanted \[32, 48\]"),
    "no size": ({"counts": [H * W]}, "of size None"),
    "too long": (_box(counts=[0, H * W + 1]), "found run lengths of 1537 pixels; wanted 1536"),
    "too short": (_box(counts=[0, 5]), "found run lengths of 5 pixels"),
    "negative": (_box(counts=[H * W + 5, -5]), "wanted lengths of 0 or more"),
    "fractional": (_box(counts=[0.5, H * W - 0.5]), "wanted lengths of 0 or more"),
    "no counts": ({"size": [H, W]}, "found the counts None"),
    "empty counts": (_box(counts=[]), "found run lengths of 0 pixels"),
    "all outside": (_box(counts=[H * W]), "covers no pixel"),
    "short string": (_compressed(np.eye(10, 12, dtype=bool)) | {"size": [H, W]}, "found run lengths of 120 pixels"),
    "cut string": (_box(counts="T"), "end within a number"),
    "foreign string": (_box(counts="04~~"), "found '~' in the counts"),
}


@pytest.mark.parametrize(("segmentation", "reason"), BROKEN.values(), ids=list(BROKEN))
def test_broken_segmentation(tmp_path: Path, segmentation: Any, reason: str) -> None:
    coco = _coco(tmp_path, [_annotation(1), _annotation(2, segmentation), _annotation(3)])
    sample = coco.load("7")
    assert [instance.id for instance in sample.instances] == ["1", "3"]
    assert [listed.id for listed in coco.list_instances("7")] == ["1", "2", "3"]
    assert list(sample.broken) == ["2"]
    assert re.search(reason, sample.broken["2"])


@pytest.mark.parametrize("category_id", [999, None, "person", [1], 10**40])
def test_unknown_category(tmp_path: Path, category_id: Any) -> None:
    coco = _coco(tmp_path, [_annotation(1), _annotation(2, category_id=category_id)])
    assert coco.list_instances("7")[1] == Listed("2", "", None)
    reason = coco.load("7").broken["2"]
    assert repr(category_id)[:40] in reason and "wanted a whole number that `categories` lists" in reason


def test_later_annotations_of_one_id_are_broken(tmp_path: Path) -> None:
    other = {"id": 8, "file_name": "000000000008.jpg", "height": H, "width": W}
    content = _json([_annotation(123), _annotation(123, image_id=8), _annotation(123), _annotation(123, iscrowd=1)])
    content["images"].append(other)
    coco = Coco(_write(tmp_path, content, pictures=(7, 8)), seen=None)
    assert [[listed.id for listed in coco.list_instances(sample)] for sample in "78"] == [["123", "123#3"], ["123#2"]]
    first, second = coco.load("7"), coco.load("8")
    assert [i.id for i in first.instances] == ["123"] and list(first.broken) == ["123#3"]
    assert not second.instances and "id of an earlier instance" in second.broken["123#2"]


@pytest.mark.parametrize("ids", [["7", "7", "7#2", "7"], ["7#2", "7", "7", "7"]])
def test_an_id_may_look_like_the_number_of_a_later_one(tmp_path: Path, ids: list[str]) -> None:
    coco = Coco(_write(tmp_path, _json([_annotation(id_) for id_ in ids])), seen=None)
    listed = [one.id for one in coco.list_instances("7")]
    sample = coco.load("7")
    assert len(set(listed)) == 4 and {*sample.broken, *(one.id for one in sample.instances)} == set(listed)
    assert "7" not in sample.broken


def test_a_crowd_takes_no_id_from_an_instance(tmp_path: Path) -> None:
    crowd = _annotation(1, _uncompressed(_box_mask()), iscrowd=1)
    assert [instance.id for instance in _only(tmp_path, [crowd, _annotation(1)]).instances] == ["1"]


def test_annotations_of_an_unlisted_image_fail_and_do_not_vanish(tmp_path: Path) -> None:
    coco = _coco(tmp_path, [_annotation(1), _annotation(2, image_id=55)])
    assert coco.sample_ids() == ["7", "55"] and coco.list_instances("55")[0].id == "2"
    with pytest.raises(ValueError, match=r"found annotations of image 55 and no such image; wanted its file_name"):
        coco.load("55")


# Other tools' files


def _tool(root: Path, content: Any, escaped: bool = True) -> Coco:
    text = json.dumps(content, ensure_ascii=escaped)
    return Coco(_write(root, text), seen=None)


def _facts(coco: Coco) -> list[Any]:
    samples = [coco.load(sample_id) for sample_id in coco.sample_ids()]
    instances = [(s.id, i.id, i.category, int(i.mask.sum()), i.same_class_count) for s in samples for i in s.instances]
    return [*instances, *(s.broken for s in samples if s.broken)]


@pytest.mark.parametrize("letters", ["bild_ü", "図1", 'Ä"\\ \u0085x', "🦊"])
@pytest.mark.parametrize("escaped", [True, False])
def test_letters_beyond_ascii_are_one_id_in_utf_8_and_escaped(tmp_path: Path, letters: str, escaped: bool) -> None:
    annotation = _annotation(f"o{letters}", image_id=letters)
    content = _json([annotation, _annotation(2, image_id=letters)], categories=[{"id": 1, "name": letters}])
    content["images"][0]["id"] = letters
    rows = [(letters, f"o{letters}", letters, 192, 2), (letters, "2", letters, 192, 2)]
    assert _facts(_tool(tmp_path, content, escaped)) == rows


def test_an_annotation_in_another_encoding_names_the_file_and_the_place(tmp_path: Path) -> None:
    root = _write(tmp_path, _json([_annotation(1, note="Fuesse")]))
    path = root / "annotations" / "instances_val2017.json"
    path.write_bytes(path.read_bytes().replace(b"Fuesse", "Füße".encode("latin-1")))
    with pytest.raises(ValueError, match=rf"{path.name}: the annotation at byte \d+ is not UTF-8 \(.*0xfc"):
        Coco(root, seen=None).load("7")


def test_a_byte_order_mark_of_utf_8_is_passed_over_and_utf_16_is_named(tmp_path: Path) -> None:
    root = _write(tmp_path, _json([_annotation()]))
    path = root / "annotations" / "instances_val2017.json"
    text = path.read_text("utf-8")
    path.write_text(text, encoding="utf-8-sig")
    assert _facts(Coco(root, seen=None)) == [("7", "1", "person", 192, 1)]
    path.write_text(text, encoding="utf-16")
    with pytest.raises(UserError, match="its text is UTF-16; wanted UTF-8"):
        Coco(root, seen=None).sample_ids()


@pytest.mark.parametrize("id", ["123e4567-e89b-12d3-a456-426614174000", 10**37 + 7, "ü" * 127])
def test_long_ids(tmp_path: Path, id: Any) -> None:
    rows = [("7", str(id), "person", 192, 2), ("7", "1", "person", 192, 2)]
    assert _facts(_tool(tmp_path, _json([_annotation(id), _annotation(1)]), escaped=False)) == rows


def test_an_id_that_is_no_id_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has the id 'xxx.*longer than 255 bytes"):
        _tool(tmp_path, _json([_annotation("x" * 256)])).sample_ids()


@pytest.mark.parametrize(
    "parts",
    [
        {"info": {"annotations": ["by hand"]}},
        {"info": {"annotations": [_annotation(9)]}},
        {"info": [[{"annotations": []}], '"annotations": [']},
        {"images": [{"id": 7, "file_name": "000000000007.jpg", "height": H, "width": W, "annotations": [{"id": 5}]}]},
    ],
)
def test_a_list_of_that_name_elsewhere_in_the_file_is_not_taken_for_the_annotations(tmp_path: Path, parts: Any) -> None:
    rows = [("7", "1", "person", 192, 2), ("7", "2", "person", 192, 2)]
    assert _facts(_tool(tmp_path, _json([_annotation(1), _annotation(2)], **parts))) == rows


@pytest.mark.parametrize(
    "number", [lambda n: str(n), lambda n: float(n), lambda n: f"{n}.0"], ids=["text", "1.0", "'1.0'"]
)
def test_whole_numbers_as_other_tools_write_them(tmp_path: Path, number: Callable[[int], Any]) -> None:
    images = [{"id": 7, "file_name": "000000000007.jpg", "height": number(H), "width": number(W)}]
    categories = [{"id": number(1), "name": "person"}]
    coco = _tool(tmp_path, _json([_annotation(category_id=number(1))], images=images, categories=categories))
    assert _facts(coco) == [("7", "1", "person", 192, 1)]


def test_an_id_with_a_point_is_the_whole_number(tmp_path: Path) -> None:
    coco = _tool(tmp_path, _json([_annotation(3.0, image_id=7.0, category_id=1.0), _annotation("v1.0")]))
    assert _facts(coco) == [("7", "3", "person", 192, 2), ("7", "v1.0", "person", 192, 2)]


@pytest.mark.parametrize("id", [2**64 + 1, 2**53 + 1, -(2**63) - 1, 10**37 + 7])
def test_large_numbers_keep_every_digit(tmp_path: Path, id: int) -> None:
    content = _json([_annotation(id, image_id=id)])
    content["images"][0]["id"] = id
    assert _facts(_tool(tmp_path, content)) == [(str(id), str(id), "person", 192, 1)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"height": 48.5}, r"images\[0\] has the height 48.5 \(a number\), wanted a whole number"),
        ({"width": "wide"}, r"images\[0\] has the width 'wide' \(text\), wanted a whole number"),
        ({"height": None}, r"images\[0\] has no height"),
        ({"id": [7]}, r"images\[0\] has the id \[7\] \(a list\), wanted text or a number"),
        ({"file_name": False}, r"images\[0\] has the file_name False \(true or false\), wanted text"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_value_and_kind(tmp_path: Path, change: Any, reason: str) -> None:
    image = {"id": 7, "file_name": "000000000007.jpg", "height": H, "width": W} | change
    with pytest.raises(UserError, match=reason):
        _tool(tmp_path, _json([_annotation()], images=[image])).sample_ids()


def test_pictures_of_lvis_are_named_by_their_address(tmp_path: Path) -> None:
    url = "http://images.cocodataset.org/train2017/000000000007.jpg"
    images = [{"id": 7, "coco_url": url, "height": H, "width": W}]
    assert _facts(_tool(tmp_path, _json([_annotation()], images=images))) == [("7", "1", "person", 192, 1)]


def test_nobody_is_sent_to_cocos_site_for_a_file_of_their_own(tmp_path: Path) -> None:
    root = _write(tmp_path, "{}")
    (root / "annotations" / "instances_val2017.json").rename(root / "annotations" / "instances_mine.json")
    (root / "val2017").rename(root / "mine")
    with pytest.raises(UserError, match="export it again") as one:
        Coco(root, "mine", seen=None).sample_ids()
    with pytest.raises(UserError, match="no file .*instances_yours.json.*There are the splits: mine") as other:
        Coco(root, "yours", seen=None)
    assert "cocodataset.org" not in f"{one.value}{other.value}"


def test_categories_of_one_name_are_one_class(tmp_path: Path) -> None:
    categories = [{"id": 1, "name": "cup"}, {"id": 2, "name": "cup"}, {"id": 3, "name": "dog"}]
    annotations = [_annotation(n, category_id=n) for n in (1, 2, 3)]
    coco = _tool(tmp_path, _json(annotations, categories=categories))
    assert coco.classes == ("cup", "dog")
    assert [fact[-1] for fact in _facts(coco)] == [2, 2, 1]


def test_crowd_regions_are_instances_on_request(tmp_path: Path) -> None:
    brush = _annotation(2, _uncompressed(_box_mask()), iscrowd=1)
    root = _write(tmp_path, _json([_annotation(1), brush]))
    assert _facts(Coco(root, seen=None)) == [("7", "1", "person", 192, 1)]
    kept = Coco(root, seen=None, crowd="keep")
    assert _facts(kept) == [("7", "1", "person", 192, 2), ("7", "2", "person", 192, 2)]
    assert [one.id for one in kept.list_instances("7")] == ["1", "2"]
    assert kept.fingerprint()["instances"] == 2


def test_how_much_is_left_out(tmp_path: Path) -> None:
    root = _write(tmp_path, _json([_annotation(n, iscrowd=n > 3, area=100 * n) for n in range(1, 6)]))
    crowds = "crowd regions (iscrowd: 1; `crowd: keep` evaluates them)"
    assert Coco(root, seen=None).left_out() == {crowds: 2}
    assert Coco(root, seen=None, min_area=250).left_out() == {crowds: 2, "instances smaller than min_area=250": 2}
    assert Coco(root, seen=None, min_area=450, crowd="keep").left_out() == {"instances smaller than min_area=450": 4}
    assert Coco(root, seen=None, crowd="keep").left_out() == {}


def test_a_file_of_crowd_regions_alone_says_what_to_do(tmp_path: Path) -> None:
    root = _write(tmp_path, _json([_annotation(n, iscrowd=1) for n in (1, 2)]))
    with pytest.raises(UserError, match="nothing is left of 2 annotations; left out are 2 crowd .*`crowd: keep`"):
        Coco(root, seen=None).sample_ids()
    assert len(Coco(root, seen=None, crowd="keep").load("7").instances) == 2


def test_of_a_crowd_region_and_an_instance_with_one_id_the_crowd_region_is_the_second(tmp_path: Path) -> None:
    sample = _only(tmp_path, [_annotation(1, iscrowd=1), _annotation(1)], crowd="keep")
    assert [one.id for one in sample.instances] == ["1"] and list(sample.broken) == ["1#2"]


@pytest.mark.parametrize("orientation", [2, 3, 4])
def test_a_picture_that_viewers_turn_is_a_failed_row(tmp_path: Path, orientation: int) -> None:
    coco = _coco(tmp_path, [_annotation()])
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    picture(H, W, 3).save(tmp_path / "val2017" / "000000000007.jpg", exif=exif)
    with pytest.raises(ValueError, match=f"found EXIF orientation {orientation}, by which viewers turn it"):
        coco.load("7")


def test_folders_in_windows_writing_get_a_hint(tmp_path: Path) -> None:
    images = [{"id": 7, "file_name": "a\\7.jpg", "height": H, "width": W}]
    with pytest.raises(FileNotFoundError, match="no such file.*Its name has backslashes: write '/'"):
        _tool(tmp_path, _json([_annotation()], images=images)).load("7")


# Broken files


def test_missing_root_json_and_folder_are_the_readers_to_mend(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file .*nowhere/annotations/instances_val2017\.json.*unzip.*HARNESS_DATA"):
        Coco(tmp_path / "nowhere")
    _write(tmp_path, _json([_annotation()]))
    with pytest.raises(UserError, match=r"instances_val2014\.json; .*There are the splits: val2017\."):
        Coco(tmp_path, split="val2014")
    (tmp_path / "annotations" / "instances_val2014.json").write_text("{}")
    with pytest.raises(UserError, match=r"no folder .*val2014; wanted the split's pictures"):
        Coco(tmp_path, split="val2014")


WHOLE = json.dumps(_json([_annotation(1), _annotation(2)]))
NOT_COCO = {
    "empty": "",
    "cut in the annotations": WHOLE[: WHOLE.index('"segmentation"', WHOLE.index('"segmentation"') + 1) + 30],
    "cut between annotations": WHOLE[: WHOLE.index('{"id": 2')],
    "cut after the annotations": WHOLE[:-40],
    "missing comma": WHOLE.replace("}, {", "} {"),
    "html": "<html>404</html>",
    "list": json.dumps([_json([_annotation()])]),
    "captions": json.dumps({"images": [], "annotations": [{"image_id": 1, "caption": "a"}]}),
    "no image_id": json.dumps(_json([{"id": 1}])),
    "annotation is a number": json.dumps(_json([1])),
    "no images": json.dumps(_json([_annotation()], images=[])),
    "image without size": json.dumps(_json([_annotation()], images=[{"id": 7, "file_name": "a.jpg"}])),
    "annotations twice": WHOLE[:-1] + ', "annotations": []}',
    "text after the end": WHOLE + "}",
    "image twice": json.dumps(_json([_annotation()], images=2 * _json([])["images"])),
    "category without name": json.dumps(_json([_annotation()], categories=[{"id": 1}])),
    "deeply nested": json.dumps(_json([])).replace("[]", '[{"image_id": 7, "segmentation": ' + 100_000 * "["),
}


@pytest.mark.parametrize("text", NOT_COCO.values(), ids=list(NOT_COCO))
def test_not_a_whole_coco_file(tmp_path: Path, text: str) -> None:
    _write(tmp_path, text)
    with pytest.raises(UserError, match=r"instances_val2017\.json \(\d+ bytes\) is not a whole COCO .*unzip"):
        Coco(tmp_path).sample_ids()


def test_a_json_without_annotations_lists_nothing(tmp_path: Path) -> None:
    assert _coco(tmp_path, []).sample_ids() == []


def test_missing_picture(tmp_path: Path) -> None:
    coco = Coco(_write(tmp_path, _json([_annotation()]), pictures=()), seen=None)
    with pytest.raises(OSError, match=r"000000000007\.jpg: no such file"):
        coco.load("7")


@pytest.mark.parametrize("kept", [0, 700])
def test_damaged_picture(tmp_path: Path, kept: int) -> None:
    coco = _coco(tmp_path, [_annotation()])
    path = tmp_path / "val2017" / "000000000007.jpg"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(OSError, match=rf"000000000007\.jpg: found {kept} bytes that do not decode"):
        coco.load("7")
    assert len(coco.list_instances("7")) == 1


def test_picture_of_another_size(tmp_path: Path) -> None:
    coco = _coco(tmp_path, [_annotation()])
    PIL.Image.new("RGB", (H, W)).save(tmp_path / "val2017" / "000000000007.jpg")
    with pytest.raises(ValueError, match=r"000000000007\.jpg: found 48 x 32 \(h x w\); wanted 32 x 48"):
        coco.load("7")


def test_a_json_that_changes_while_it_is_in_use(tmp_path: Path) -> None:
    coco = _coco(tmp_path, [_annotation(1), _annotation(2)])
    coco.load("7")
    path = tmp_path / "annotations" / "instances_val2017.json"
    path.write_text(json.dumps(_json([_annotation(2)])))
    with pytest.raises(ValueError, match="changed since it was listed"):
        coco.load("7")
    assert [listed.id for listed in Coco(tmp_path, seen=None).list_instances("7")] == ["2"]


# The object itself


def test_the_registry_builds_it_from_a_config(tmp_path: Path) -> None:
    root = _write(tmp_path, _json([_annotation()]))
    params = {"root": str(root), "split": "val2017", "seen": ["person"], "crowd": "ignore", "min_area": 5}
    coco = parameters.build("datasets", "coco", parameters.resolve("datasets", "coco", params))
    assert isinstance(coco, Coco) and coco.name == "coco" and coco.load("7").instances[0].seen
    with pytest.raises(UserError, match=r"params\.crowd: found 'all'"):
        parameters.resolve("datasets", "coco", params | {"crowd": "all"})
    assert "images" not in registry.names("datasets")


def test_fingerprint_notices_a_changed_coordinate(tmp_path: Path) -> None:
    one = _coco(tmp_path / "a", [_annotation()]).fingerprint()
    other = _coco(tmp_path / "b", [_annotation(segmentation=[[5, *BOX[0][1:]]])]).fingerprint()
    assert (one["samples"], one["instances"]) == (1, 1) and json.loads(json.dumps(one)) == one
    assert one["json_bytes"] == other["json_bytes"] and one["json_sha256"] != other["json_sha256"]


def test_pickled_it_stays_small_and_works(tmp_path: Path) -> None:
    coco = _coco(tmp_path, [_annotation(n) for n in range(500)])
    coco.load("7")
    pickled = pickle.dumps(coco)
    assert len(pickled) < 5_000
    assert pickle.loads(pickled).list_instances("7") == coco.list_instances("7")


def test_one_process_parses_a_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    coco = _coco(tmp_path, [_annotation()])
    coco.sample_ids()
    monkeypatch.setattr("harness.datasets.coco.listing.scanned", None)
    assert Coco(tmp_path, seen=None, crowd="ignore").sample_ids() == ["7"]


def test_loading_twice_gives_the_same(tmp_path: Path) -> None:
    coco = _coco(tmp_path, [_annotation(1), _annotation(2, _compressed(_box_mask()))])
    one, other = coco.load("7"), coco.load("7")
    np.testing.assert_array_equal(one.image, other.image)
    assert [i.id for i in one.instances] == [i.id for i in other.instances]
    assert one.instances[0].mask is not other.instances[0].mask


# Any layout: whatever is listed is either the mask that was drawn or named as broken


REGION = st.fixed_dictionaries(
    {
        "x": st.sampled_from([4, -12, -1, 0, 10, W - 1, W + 5]),
        "y": st.sampled_from([4, -12, -1, 0, 9, H - 1, H + 5]),
        "w": st.sampled_from([30, 1, 5, 20]),
        "h": st.sampled_from([20, 1, 7, 15]),
        "form": st.sampled_from(["polygon", "polygon", "polygon", "string", "list", "list", "turned"]),
        "id": st.integers(1, 6),
        "image_id": st.sampled_from([7, 7, 8]),
        "category_id": st.sampled_from([1, 90]),
        "iscrowd": st.sampled_from([0, 0, 1]),
    }
)
PICTURE = st.sampled_from(["whole", "whole", "whole", "grey", "turned by EXIF", "0 bytes", "cut off", "missing"])


def _drawn(region: dict[str, Any]) -> np.ndarray:
    mask = np.zeros((H, W), dtype=bool)
    left, top = max(0, region["x"]), max(0, region["y"])
    mask[top : max(0, region["y"] + region["h"]), left : max(0, region["x"] + region["w"])] = True
    return mask


def _in_form(region: dict[str, Any]) -> Any:
    x, y, mask = region["x"], region["y"], _drawn(region)
    right, bottom = x + region["w"], y + region["h"]
    if region["form"] == "polygon":
        return [[x, y, right, y, right, bottom, x, bottom]]
    return {"string": _compressed(mask), "list": _uncompressed(mask), "turned": _uncompressed(mask.T)}[region["form"]]


def _is_sound(region: dict[str, Any]) -> bool:
    return bool(_drawn(region).any()) and region["form"] != "turned"


def _save_picture(path: Path, kind: str) -> None:
    if kind == "missing":
        return
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    shape = (H, W) if kind == "grey" else (H, W, 3)
    options = {"exif": exif} if kind == "turned by EXIF" else {}
    PIL.Image.fromarray(np.full(shape, 90, np.uint8)).save(path, **options)
    path.write_bytes(path.read_bytes()[: {"0 bytes": 0, "cut off": 300}.get(kind)])


@pytest.mark.slow
@settings(max_examples=60, derandomize=True)
@given(st.lists(REGION, min_size=2, max_size=9), PICTURE, PICTURE)
def test_any_layout_gives_the_masks_that_were_drawn_or_says_why_not(
    tmp_path_factory: pytest.TempPathFactory, regions: list[dict[str, Any]], first: str, second: str
) -> None:
    root = tmp_path_factory.mktemp("mein Ordner ü")
    pictures = {7: first, 8: second}
    names = {number: f"Bild {number} é.jpg" for number in pictures}
    annotations = [region | {"segmentation": _in_form(region)} for region in regions]
    images = [{"id": number, "file_name": name, "height": H, "width": W} for number, name in names.items()]
    _write(root, _json(annotations, images=images), pictures=())
    for number, kind in pictures.items():
        _save_picture(root / "val2017" / names[number], kind)

    wanted: dict[int, dict[str, np.ndarray | None]] = {7: {}, 8: {}}
    uses: Counter[int] = Counter()
    for region in regions:
        if not region["iscrowd"]:
            uses[region["id"]] += 1
            again = uses[region["id"]] > 1
            name = f"{region['id']}#{uses[region['id']]}" if again else str(region["id"])
            wanted[region["image_id"]][name] = _drawn(region) if _is_sound(region) and not again else None

    coco = Coco(root, seen=None, crowd="ignore")
    assert coco.sample_ids() == [str(number) for number in wanted if wanted[number]]
    for number, masks in wanted.items():
        if not masks:
            continue
        assert [one.id for one in coco.list_instances(str(number))] == list(masks)
        crowds = [region for region in regions if region["image_id"] == number and region["iscrowd"]]
        if pictures[number] in ("0 bytes", "cut off", "missing") or not all(map(_is_sound, crowds)):
            with pytest.raises((OSError, ValueError), match=r"wanted|no one knows"):
                coco.load(str(number))
            continue
        sample = coco.load(str(number))
        assert sample.image.shape == (H, W, 3)
        assert set(sample.broken) == {name for name, mask in masks.items() if mask is None}
        assert {one.id for one in sample.instances} == set(masks) - set(sample.broken)
        owned = np.zeros((H, W), dtype=bool)
        for instance in sample.instances:
            np.testing.assert_array_equal(instance.mask, masks[instance.id])
            owned |= instance.mask
        ignored = np.zeros((H, W), dtype=bool) if sample.ignore is None else sample.ignore
        crowd = np.logical_or.reduce([_drawn(region) for region in crowds]) if crowds else np.zeros((H, W), bool)
        np.testing.assert_array_equal(ignored, crowd & ~owned)


# The real files

SPLITS = ("train2017", "val2017")
MOST = 130
"""Images of a split that are looked at."""


@pytest.mark.slow
@real_data.needs("coco")
@pytest.mark.parametrize("split", SPLITS)
def test_real_masks_are_those_of_pycocotools(split: str) -> None:
    coco = Coco(real_data.COCO, split, crowd="ignore")
    official = COCO(real_data.COCO / "annotations" / f"instances_{split}.json")
    samples = [coco.load(sample_id) for sample_id in coco.sample_ids()[:MOST]]
    for sample in samples:
        annotations = official.loadAnns(official.getAnnIds([int(sample.id)]))
        wanted = {str(a["id"]): official.annToMask(a) > 0 for a in annotations if not a["iscrowd"]}
        assert [i.id for i in sample.instances] == list(wanted) and not sample.broken
        assert [i.id for i in sample.instances] == [listed.id for listed in coco.list_instances(sample.id)]
        for instance in sample.instances:
            assert instance.mask.shape == sample.image.shape[:2]
            np.testing.assert_array_equal(instance.mask, wanted[instance.id])
        crowds = [official.annToMask(a) > 0 for a in annotations if a["iscrowd"]]
        assert (sample.ignore is None) == (not crowds)
        if sample.ignore is not None:
            owned = np.logical_or.reduce([instance.mask for instance in sample.instances])
            np.testing.assert_array_equal(sample.ignore, np.logical_or.reduce(crowds) & ~owned)
    assert any(sample.size[0] != sample.size[1] for sample in samples)


@pytest.mark.slow
@real_data.needs("coco")
@pytest.mark.parametrize("split", SPLITS)
def test_real_counts_agree_with_an_independent_tally(split: str) -> None:
    content = json.loads((real_data.COCO / "annotations" / f"instances_{split}.json").read_text())
    table = pd.DataFrame(content["annotations"])
    table = table[table.image_id.isin(map(int, Coco(real_data.COCO, split).sample_ids()[:MOST]))]
    table = table[table.iscrowd == 0]
    table["same"] = table.groupby(["image_id", "category_id"]).id.transform("size")
    names = {category["id"]: category["name"] for category in content["categories"]}
    wanted = {str(row.id): (names[row.category_id], row.same) for row in table.itertuples()}
    coco = Coco(real_data.COCO, split)
    samples = [coco.load(sample_id) for sample_id in coco.sample_ids()[:MOST]]
    assert {i.id: (i.category, i.same_class_count) for s in samples for i in s.instances} == wanted
    assert coco.classes == tuple(names[key] for key in sorted(names)) and len(coco.classes) == 80
    seen = [i.seen for s in samples for i in s.instances]
    assert np.mean(seen) == np.mean(table.category_id.map(names).isin(seen_names("coco_20")))


def test_a_picture_that_was_replaced_changes_the_fingerprint_and_a_copied_one_does_not(tmp_path: Path) -> None:
    def facts() -> dict[str, Any]:
        return dict(Coco(tmp_path, seen=["person"]).fingerprint())

    _coco(tmp_path, [_annotation()])
    before = facts()
    (picture, *_) = sorted(tmp_path.rglob("*.jpg"))
    os.utime(picture, ns=(1, 1))
    assert facts() == before
    picture.write_bytes(picture.read_bytes() + b"0")
    assert {key for key in before if facts()[key] != before[key]} == {"pictures"}


def test_the_file_of_a_sample_is_its_picture(tmp_path: Path) -> None:
    coco = _coco(tmp_path, [_annotation()])
    (sample_id,) = coco.sample_ids()
    (path,) = coco.files(sample_id)
    assert path.is_file() and path.parent == coco.image_folder
    assert list(coco.files("8")) == []
