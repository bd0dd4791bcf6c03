"""Open Images: generated tables and masks, sound and broken, against another reader; the class lists."""

from __future__ import annotations

import csv
import json
import os
import pickle
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from harness.datasets.openimages.index import index_of
from harness.datasets.openimages.masks import read_mask
from harness.datasets.openimages.openimages import OpenImages
from hypothesis import given, settings
from hypothesis import strategies as st

import real_data
from harness import Sample, UserError
from harness.plugins import parameters
from harness.plugins.class_splits import seen_names
from harness.structures import Listed
from toy_files import picture

H, W = 32, 48
MASK_HEADER = [
    "MaskPath",
    "ImageID",
    "LabelName",
    "BoxID",
    "BoxXMin",
    "BoxXMax",
    "BoxYMin",
    "BoxYMax",
    "PredictedIoU",
    "Clicks",
]
BOX_HEADER = [
    "ImageID",
    "Source",
    "LabelName",
    "Confidence",
    "XMin",
    "XMax",
    "YMin",
    "YMax",
    "IsOccluded",
    "IsTruncated",
    "IsGroupOf",
    "IsDepiction",
    "IsInside",
]
CAT, DOG, BALL, TORTOISE = "/m/01yrx", "/m/0bt9lr", "/m/018xm", "/m/011k07"
NAMES = {TORTOISE: "Tortoise", CAT: "Cat", DOG: "Dog", BALL: "Ball (Object)"}
"""The first is not segmentable here."""
SPOT = (0.25, 0.5, 0.25, 0.75)


pytestmark = pytest.mark.usefixtures("own_index")


def _row(name: str = "a_1", image: str = "a", label: str = CAT, box: Sequence[Any] = SPOT) -> list[Any]:
    return [f"{name}.png", image, label, "b0", *box, 0.9, "0.30 0.40 1;0.10 0.20 0"]


def _box(image: str = "a", label: str = CAT, box: Sequence[Any] = SPOT, **flags: int) -> list[Any]:
    return [image, "xclick", label, 1, *box, *(flags.get(name, 0) for name in BOX_HEADER[8:])]


def _table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def _drawn(height: int = 50, width: int = 75) -> np.ndarray:
    mask = np.zeros((height, width), np.bool_)
    mask[height // 4 : height // 2, width // 4 : width * 3 // 4] = True
    return mask


def _write(
    root: Path, rows: Sequence[Sequence[Any]], images: Sequence[str] = "a", masks: Sequence[str] | None = None
) -> Path:
    """The official layout of one split: a picture for each of the images, one mask for each of the rows."""
    for folder in ("validation", "validation-masks"):
        (root / folder).mkdir(parents=True)
    _table(root / "oidv7-class-descriptions-boxable.csv", ["LabelName", "DisplayName"], NAMES.items())
    (root / "oidv7-classes-segmentation.txt").write_text(f"{CAT}\n{DOG}\n{BALL}\n")
    (root / "challenge-2019-classes-description-segmentable.csv").write_text(f"{CAT},Cat\n{DOG},Dog\n")
    _table(root / "validation-annotations-object-segmentation.csv", MASK_HEADER, rows)
    for image in images:
        picture(H, W, 3).save(root / "validation" / f"{image}.jpg")
    for name in [row[0] for row in rows] if masks is None else masks:
        PIL.Image.fromarray(_drawn()).save(root / "validation-masks" / name)
    return root


def _open(root: Path, **params: Any) -> OpenImages:
    return OpenImages(root, **{"seen": ["Cat"], **params})


def _only(root: Path, **params: Any) -> Sample:
    return _open(root, **params).load("a")


# Sound


def test_a_mask_is_an_instance_at_the_images_size(tmp_path: Path) -> None:
    (instance,) = _only(_write(tmp_path, [_row()])).instances
    assert (instance.id, instance.category, instance.seen, instance.same_class_count) == ("a_1", "Cat", True, 1)
    assert instance.mask.shape == (H, W) and instance.mask.dtype == np.bool_
    expected = PIL.Image.fromarray(_drawn()).resize((W, H), PIL.Image.Resampling.NEAREST)
    np.testing.assert_array_equal(instance.mask, np.asarray(expected))
    assert instance.mask[10, 20] and not instance.mask[20, 10]


def test_a_picture_that_viewers_turn_is_read_as_stored(tmp_path: Path) -> None:
    stored, exif = _only(_write(tmp_path, [_row()])).image, PIL.Image.Exif()
    exif[0x0112] = 3
    picture(H, W, 3).save(tmp_path / "validation" / "a.jpg", exif=exif)
    np.testing.assert_array_equal(_only(tmp_path).image, stored)


def test_a_mask_s_file_has_the_table_s_name_also_where_the_id_is_written_otherwise(tmp_path: Path) -> None:
    data = _open(_write(tmp_path, [_row("a~1"), _row("a%2")]))
    sample = data.load("a")
    assert [one.id for one in sample.instances] == ["a%7E1", "a%252"] and not sample.broken
    assert all(path.is_file() for path in data.files("a"))


def test_labels_of_one_name_are_one_class(tmp_path: Path) -> None:
    root = _write(tmp_path, [_row(), _row("a_2", label=DOG)])
    _table(root / "oidv7-class-descriptions-boxable.csv", ["LabelName", "DisplayName"], {**NAMES, DOG: "Cat"}.items())
    assert [(one.category, one.same_class_count) for one in _only(root).instances] == [("Cat", 2), ("Cat", 2)]
    assert _open(root).classes == ("Cat", "Ball (Object)")


@pytest.mark.parametrize("size", [(H, W), (16, 24), (50, 75), (1067, 1601), (65, 97)])
def test_masks_are_resized_as_pillow_resizes_the_nearest(tmp_path: Path, size: tuple[int, int]) -> None:
    mask = PIL.Image.fromarray(np.random.default_rng(1).random(size) < 0.3)
    mask.save(tmp_path / "mask.png")
    resized = np.asarray(mask.resize((W, H), PIL.Image.Resampling.NEAREST))
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png", H, W), resized)


def _picture(mode: str, inside: np.ndarray) -> PIL.Image.Image:
    if mode == "1":
        return PIL.Image.fromarray(inside)
    if mode == "P":
        picture = PIL.Image.fromarray(inside.astype(np.uint8)).convert("P")
        picture.putpalette([0, 0, 0, 0, 0, 1])
        return picture
    values = inside.astype(np.uint8)
    return PIL.Image.fromarray(values if mode == "L" else np.stack([0 * values, 0 * values, values], axis=2))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_any_value_but_zero_is_inside_in_any_mode(tmp_path: Path, mode: str) -> None:
    _picture(mode, _drawn(H, W)).save(tmp_path / "mask.png")
    assert PIL.Image.open(tmp_path / "mask.png").mode == mode
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png", H, W), _drawn(H, W))


def test_a_palette_counts_by_its_colours_whatever_their_numbers(tmp_path: Path) -> None:
    root = _write(tmp_path, [_row("a_1")])
    numbers = np.ones((H, W), np.uint8)  # 1 is black here, and 0 white
    numbers[3:5, 7:10] = 0
    drawn = PIL.Image.frombytes("P", (W, H), numbers.tobytes())
    drawn.putpalette([255, 255, 255, 0, 0, 0])
    drawn.save(root / "validation-masks" / "a_1.png")
    (only,) = _only(root).instances
    assert only.mask.sum() == 6 and only.mask[3:5, 7:10].all()


def test_listing_agrees_with_loading_and_needs_no_picture(tmp_path: Path) -> None:
    rows = [_row("a_2", label=DOG), _row("b_1", "b"), _row("a_1"), _row("a_3")]
    data = _open(_write(tmp_path, rows, images="", masks=["a_2.png", "a_1.png"]))
    assert data.sample_ids() == ["a", "b"]
    assert data.list_instances("a") == [
        Listed("a_2", "Dog", False),
        Listed("a_1", "Cat", True),
        Listed("a_3", "Cat", True),
    ]
    with pytest.raises(FileNotFoundError, match=r"a\.jpg"):
        data.load("a")
    PIL.Image.fromarray(np.zeros((H, W, 3), np.uint8)).save(tmp_path / "validation" / "a.jpg")
    sample = data.load("a")
    assert [(i.id, i.same_class_count) for i in sample.instances] == [("a_2", 1), ("a_1", 2)]
    assert list(sample.broken) == ["a_3"] and "a_3.png: no such file" in sample.broken["a_3"]


def test_classes_stand_in_the_lists_order_and_others_are_left_out(tmp_path: Path) -> None:
    rows = [_row("a_1"), _row("a_2", label=BALL), _row("a_3", label=TORTOISE), _row("b_1", "b", label=TORTOISE)]
    root = _write(tmp_path, rows)
    assert _open(root).classes == ("Cat", "Dog", "Ball (Object)")
    assert _open(root).sample_ids() == ["a"]
    assert [listed.category for listed in _open(root).list_instances("a")] == ["Cat", "Ball (Object)"]
    challenge = _open(root, classes=300)
    assert challenge.classes == ("Cat", "Dog")
    assert [listed.category for listed in challenge.list_instances("a")] == ["Cat"]


def test_the_names_before_v7_are_seen_too(tmp_path: Path) -> None:
    root = _write(tmp_path, [_row(label=BALL), _row("b_1", "b")])
    (root / "oidv7-class-descriptions-boxable.csv").unlink()
    plain = NAMES | {BALL: "Ball"}
    (root / "class-descriptions-boxable.csv").write_text("".join(f"{key},{name}\n" for key, name in plain.items()))
    assert _open(root, seen=["Ball (Object)", "Cat"]).list_instances("a") == [Listed("a_1", "Ball", True)]
    assert _open(root, seen=["Ball (Object)", "Cat"], classes=300).list_instances("b") == [Listed("b_1", "Cat", True)]


def test_an_unknown_name_in_seen(tmp_path: Path) -> None:
    root = _write(tmp_path, [_row()])
    with pytest.raises(UserError, match=r"no category 'Catt', which `seen` names.*Did you mean 'Cat'\?"):
        _open(root, seen=["Catt"]).list_instances("a")
    with pytest.raises(UserError, match=r"no split .*openimages_65\.txt"):
        _open(root, seen="openimages_65")
    assert _open(root, seen=None).list_instances("a") == [Listed("a_1", "Cat", None)]


def _one_folder(root: Path) -> None:
    pass


def _sixteen_in_one(root: Path) -> None:
    for name in ("validation", "validation-masks"):
        joint = "_" if name == "validation" else "-"
        for path in list((root / name).glob("*.*g")):
            folder = root / name / f"{name}{joint}{path.name[0]}"
            folder.mkdir(exist_ok=True)
            path.rename(folder / path.name)


def _sixteen_at_the_root(root: Path) -> None:
    _sixteen_in_one(root)
    for name in ("validation", "validation-masks"):
        for folder in list((root / name).iterdir()):
            folder.rename(root / folder.name)
        (root / name).rmdir()


def _tables_apart(root: Path) -> None:
    (root / "annotations").mkdir()
    for path in [*root.glob("*.csv"), *root.glob("*.txt")]:
        path.rename(root / "annotations" / path.name)


@pytest.mark.parametrize("move", [_one_folder, _sixteen_in_one, _sixteen_at_the_root, _tables_apart])
def test_archives_may_be_unpacked_to_one_folder_or_to_sixteen(tmp_path: Path, move: Any) -> None:
    rows = [_row("a9_1", "a9"), _row("b8_1", "b8"), _row("07_1", "07")]
    move(_write(tmp_path, rows, images=["a9", "b8", "07"]))
    data = _open(tmp_path)
    assert data.sample_ids() == ["07", "a9", "b8"]
    assert all(len(data.load(sample).instances) == 1 and not data.load(sample).broken for sample in data.sample_ids())


# Flags of boxes

FLAGS = {"drop_group_of": "IsGroupOf", "drop_depiction": "IsDepiction", "drop_inside": "IsInside"}


def _with_boxes(root: Path, rows: Sequence[Sequence[Any]], boxes: Sequence[Sequence[Any]]) -> Path:
    _table(_write(root, rows) / "validation-annotations-bbox.csv", BOX_HEADER, boxes)
    return root


@pytest.mark.parametrize(("option", "flag"), FLAGS.items())
def test_flagged_boxes_are_left_out_on_request_and_still_counted(tmp_path: Path, option: str, flag: str) -> None:
    far = (0.5, 0.75, 0, 0.25)
    rows = [_row("a_1"), _row("a_2", box=far), _row("b_1", "b", DOG)]
    others = dict.fromkeys(set(BOX_HEADER[8:]) - {flag}, 1)
    root = _with_boxes(tmp_path, rows, [_box(**{flag: 1}), _box(box=far, **others), _box("b", DOG, **{flag: 1})])
    assert _open(root).sample_ids() == ["a", "b"] and len(_only(root).instances) == 2
    data = _open(root, **{option: True})
    assert data.sample_ids() == ["a"] and data.list_instances("b") == []
    assert [(i.id, i.same_class_count) for i in data.load("a").instances] == [("a_2", 2)]
    assert data.fingerprint()["instances"] == 1


def test_masks_that_are_left_out_are_counted(tmp_path: Path) -> None:
    rows = [_row(), _row("a_2", box=(0, 0.25, 0, 0.25)), _row("a_3", label=TORTOISE)]
    root = _with_boxes(tmp_path, rows, [_box(IsGroupOf=1), _box(box=(0, 0.25, 0, 0.25), IsInside=1)])
    unlisted = {"masks of classes that are not in oidv7-classes-segmentation.txt": 1}
    assert _open(root).left_out() == unlisted
    assert _open(root, drop_group_of=True).left_out() == unlisted | {
        "masks of boxes that are flagged (drop_group_of)": 1
    }
    both = _open(root, drop_group_of=True, drop_inside=True)
    assert both.left_out() == unlisted | {"masks of boxes that are flagged (drop_group_of, drop_inside)": 2}


def test_a_box_is_of_the_same_image_the_same_class_and_the_same_place(tmp_path: Path) -> None:
    moved = (0.25, 0.5, 0.25, 0.76)
    rows = [_row("a_1"), _row("a_2", label=DOG), _row("a_3", box=moved), _row("b_1", "b", box=moved)]
    rounded = (0.2500004, 0.4999996, 0.25, 0.75)
    boxes = [_box(box=rounded, IsGroupOf=1), _box("b", IsGroupOf=1), _box("c", IsGroupOf=1)]
    root = _with_boxes(tmp_path, rows, [*boxes, _box(label=BALL, IsGroupOf=1)])  # no mask is of a ball
    data = _open(root, drop_group_of=True)
    assert [listed.id for sample in data.sample_ids() for listed in data.list_instances(sample)] == [
        "a_2",
        "a_3",
        "b_1",
    ]


def test_an_unknown_flag_and_a_missing_box_leave_nothing_out(tmp_path: Path) -> None:
    rows = [_row("a_1"), _row("a_2", box=("", "", "", "")), _row("a_3", box=(0, 0.1, 0, 0.1))]
    root = _with_boxes(tmp_path, rows, [_box(IsGroupOf=-1), _box(box=("", 0.5, 0, 1), IsGroupOf=1)])
    assert len(_open(root, drop_group_of=True).list_instances("a")) == 3


def test_boxes_that_are_asked_for_must_be_there_and_fit(tmp_path: Path) -> None:
    root = _write(tmp_path, [_row()])
    with pytest.raises(
        UserError, match=r"no file oidv6-validation-annotations-bbox\.csv or validation-annotations-bbox"
    ):
        _open(root, drop_inside=True)
    _table(root / "validation-annotations-bbox.csv", BOX_HEADER, [_box("elsewhere")])
    with pytest.raises(UserError, match=r"found none of the 1 masks' boxes in it; wanted the boxes of the same split"):
        _open(root, drop_inside=True).sample_ids()
    _table(root / "validation-annotations-bbox.csv", BOX_HEADER[:-1], [_box()[:-1]])
    with pytest.raises(UserError, match="wanted IsInside once among them"):
        _open(root, drop_inside=True).sample_ids()


# Broken masks: each is listed and named, its neighbour is loaded


def _nothing_inside(path: Path) -> None:
    PIL.Image.fromarray(np.zeros((50, 75), np.bool_)).save(path)


def _between_the_centres(path: Path) -> None:
    mask = np.zeros((3 * H, 3 * W), np.bool_)
    mask[30, 30] = True
    PIL.Image.fromarray(mask).save(path)


def _turned(path: Path) -> None:
    PIL.Image.fromarray(_drawn(75, 50)).save(path)


def _cropped(path: Path) -> None:
    PIL.Image.fromarray(_drawn(500, 680)).save(path)


def _transparent(path: Path) -> None:
    PIL.Image.fromarray(_drawn().astype(np.uint8)).convert("RGBA").save(path)


def _cut_off(path: Path) -> None:
    PIL.Image.fromarray(np.random.default_rng(0).random((50, 75)) < 0.5).save(path)
    path.write_bytes(path.read_bytes()[:200])


BROKEN = {
    "empty": (_nothing_inside, "found 0 of 50 x 75 pixels inside"),
    "too small": (_between_the_centres, r"found 1 of 96 x 144 pixels inside, and none at the centre of one .*32 x 48"),
    "turned": (_turned, r"found a mask of 75 x 50 \(h x w\) for an image of 32 x 48"),
    "cropped": (_cropped, "wanted one in the image's proportions"),
    "transparent": (_transparent, "found PIL mode RGBA"),
    "cut off": (_cut_off, "found 200 bytes that do not decode"),
    "no bytes": (lambda path: path.write_bytes(b""), "found 0 bytes that do not decode"),
    "text": (lambda path: path.write_text("<html>"), "found 6 bytes that do not decode"),
    "missing": (Path.unlink, "no such file; wanted the mask"),
}


@pytest.mark.parametrize(("damage", "reason"), BROKEN.values(), ids=list(BROKEN))
def test_broken_mask(tmp_path: Path, damage: Any, reason: str) -> None:
    root = _write(tmp_path, [_row("a_1"), _row("a_2"), _row("a_3")])
    damage(root / "validation-masks" / "a_2.png")
    sample = _only(root)
    assert [instance.id for instance in sample.instances] == ["a_1", "a_3"]
    assert list(sample.broken) == ["a_2"]
    assert re.search(reason, sample.broken["a_2"]), sample.broken["a_2"]


def test_a_class_without_a_name_is_broken(tmp_path: Path) -> None:
    data = _open(_write(tmp_path, [_row("a_1", label="/m/zzz"), _row("a_2", label=""), _row("a_3")]))
    assert data.list_instances("a") == [Listed("a_1"), Listed("a_2"), Listed("a_3", "Cat", True)]
    broken = data.load("a").broken
    assert list(broken) == ["a_1", "a_2"] and "found the LabelName '/m/zzz', which" in broken["a_1"]


def test_later_rows_of_one_file_are_broken(tmp_path: Path) -> None:
    rows = [_row("m"), _row("m", "b"), _row("a_1"), _row("m")]
    data = _open(_write(tmp_path, rows, images="ab"))
    assert [[listed.id for listed in data.list_instances(sample)] for sample in "ab"] == [["m", "a_1", "m#2"], ["m#3"]]
    sample = data.load("a")
    assert [(i.id, i.same_class_count) for i in sample.instances] == [("m", 2), ("a_1", 2)]
    assert "file name of an earlier row's mask" in sample.broken["m#2"] and list(data.load("b").broken) == ["m#3"]


# Bad tables


def _raises(root: Path, message: str, **params: Any) -> None:
    with pytest.raises(UserError, match=message):
        _open(root, **params).sample_ids()


def test_bad_mask_tables(tmp_path: Path) -> None:
    root = _write(tmp_path, [_row("a_1"), _row("a_2")])
    path = root / "validation-annotations-object-segmentation.csv"
    whole = path.read_text()
    cut = whole[: whole.rindex("a_2") + 30]
    for text, message in {
        cut: rf"{path.name} \(\d+ bytes\) is not a whole table: .*10 columns, got 6.*web/download_v7\.html again",
        whole.splitlines()[0] + "\n": "found no row below the header",
        "": "found the columns of no header; wanted MaskPath, ImageID, LabelName once among them",
        whole.replace("ImageID", "image", 1): "found the columns MaskPath, image, .*; wanted ImageID once",
        whole.replace("LabelName", "ImageID", 1): "wanted ImageID, LabelName once among them",
        "\x1f\x8b\x08": "wanted MaskPath",
        "x" * 200_000 + whole: "found the columns of no header",
        whole.replace("0.9,", '0.9,"', 1): r"found 1 row in 2 lines below the header.* A quote .* not closed",
    }.items():
        path.write_text(text, newline="\n")
        _raises(root, message)
    for names, message in {
        ("a_2.png", "../a_2.png"): r"'../a_2.png', which leads out of the folder of pictures",
        ("a_2.png", r"C:\a_2.png"): "'C:.a_2.png', which leads out",
        (",a,", ",/a,"): "'/a', which leads out",
        (",a,", ",a\0,"): r"'a.x00', which no file can have",
    }.items():
        path.write_text(whole.replace(*names), newline="\n")
        _raises(root, rf"{path.name}: found the file name {message}")
    path.write_bytes(whole.encode().replace(b"a_2.png", b"\xff\xfe.png"))
    _raises(root, "is not a whole table: .*UTF8")


def test_bad_class_tables(tmp_path: Path) -> None:
    root = _write(tmp_path, [_row()])
    classes, names = root / "oidv7-classes-segmentation.txt", root / "oidv7-class-descriptions-boxable.csv"
    classes.write_text("")
    _raises(root, "found 0 classes in")
    classes.write_text(f"{CAT}\n/m/nameless\n")
    _raises(root, r"found 2 classes in .*, of which 1 \(/m/nameless\) have no name in")
    names.write_bytes(b"\xff\xfe\x00")
    _raises(root, "is not a CSV in UTF-8")


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("validation-annotations-object-segmentation.csv", "no file validation-annotations-object-segmentation"),
        ("oidv7-classes-segmentation.txt", r"no file oidv7-classes-segmentation\.txt or classes-segmentation\.txt"),
        ("oidv7-class-descriptions-boxable.csv", "no file oidv7-class-descriptions-boxable.* or correct `root`"),
        ("validation", "no folder validation or validation_0 in"),
        ("validation-masks", "no folder validation-masks or validation-masks-0 in"),
    ],
)
def test_a_missing_part_of_the_layout(tmp_path: Path, gone: str, message: str) -> None:
    root = _write(tmp_path, [_row()])
    (root / gone).rename(root / "gone")
    with pytest.raises(UserError, match=message):
        _open(root)


def test_line_ends_of_old_macs(tmp_path: Path) -> None:
    root = _write(tmp_path, [_row(), _row("a_2", label=DOG)])
    for path in [*root.glob("*.csv"), *root.glob("*.txt")]:
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r"))
    assert [instance.category for instance in _only(root).instances] == ["Cat", "Dog"]


def test_blank_lines_are_no_rows(tmp_path: Path) -> None:
    root = _write(tmp_path, [_row(), _row("a_2", label=DOG)])
    path = root / "validation-annotations-object-segmentation.csv"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n\r\n"))
    assert [instance.category for instance in _only(root).instances] == ["Cat", "Dog"]


def test_windows_line_ends_and_a_byte_order_mark(tmp_path: Path) -> None:
    root = _write(tmp_path, [_row()])
    for path in [*root.glob("*.csv"), *root.glob("*.txt")]:
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert [instance.category for instance in _only(root).instances] == ["Cat"]


# Another reader


def _by_hand(root: Path, group_of: bool) -> dict[str, dict[str, tuple[str, int, np.ndarray | None]]]:
    """Image -> instance -> category, how many masks the image has of it, and the mask or None; row by row."""
    with (root / "oidv7-class-descriptions-boxable.csv").open(encoding="utf-8", newline="") as file:
        names = dict(csv.reader(file))
    listed = (root / "oidv7-classes-segmentation.txt").read_text().split()
    with (root / "validation-annotations-object-segmentation.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with (root / "validation-annotations-bbox.csv").open(encoding="utf-8", newline="") as file:
        boxes = list(csv.DictReader(file))
    found: dict[str, dict[str, tuple[str, int, np.ndarray | None]]] = {}
    uses: Counter[str] = Counter()
    firsts = Counter()
    numbered = []
    for row in sorted(rows, key=lambda row: row["ImageID"].encode()):
        uses[row["MaskPath"]] += 1
        numbered.append((row, uses[row["MaskPath"]]))
        firsts[row["ImageID"], row["LabelName"]] += uses[row["MaskPath"]] == 1
    for row, use in numbered:
        grouped = any(
            box["IsGroupOf"] == "1"
            and (box["ImageID"], box["LabelName"]) == (row["ImageID"], row["LabelName"])
            and all(abs(float(box[key]) - float(row[f"Box{key}"])) < 1e-3 for key in ("XMin", "XMax", "YMin", "YMax"))
            for box in boxes
        )
        if (row["LabelName"] in names and row["LabelName"] not in listed) or (group_of and grouped):
            continue
        category = names.get(row["LabelName"], "")
        path = root / "validation-masks" / row["MaskPath"]
        mask = None
        if category and use == 1 and path.exists() and path.stat().st_size:
            mask = np.asarray(PIL.Image.open(path).convert("L").resize((W, H), PIL.Image.Resampling.NEAREST)) > 0
            mask = mask if mask.any() else None
        name = row["MaskPath"][:-4] + (f"#{use}" if use > 1 else "")
        found.setdefault(row["ImageID"], {})[name] = category, firsts[row["ImageID"], row["LabelName"]], mask
    return found


IMAGES = st.sampled_from(["a", "Ä b", "0f", "日本", "a'b,c"])
LABELS = st.sampled_from([CAT, CAT, DOG, BALL, TORTOISE, "/m/unheard"])
PICTURES = st.sampled_from(["whole", "whole", "one pixel", "empty", "missing", "no bytes"])
PLACES = st.sampled_from([SPOT, (0.1, 0.2, 0.3, 0.4)])
ROWS = st.lists(st.tuples(IMAGES, LABELS, PICTURES, PLACES, st.integers(0, 4)), min_size=1, max_size=9)
BOXES = st.lists(st.tuples(IMAGES, LABELS, PLACES, st.sampled_from([-1, 0, 1])), max_size=6)


def _generated(root: Path, rows: Sequence[tuple[Any, ...]], boxes: Sequence[tuple[Any, ...]]) -> Path:
    named = [(f"{image} {n}", *rest) for image, *rest, n in rows]  # an image's masks may share a name
    table = [_row(name, name.rpartition(" ")[0], label, place) for name, label, _, place in named]
    pictures = {row[0] for row in rows}
    _write(root, table, images="", masks=[])
    for image in pictures:
        PIL.Image.fromarray(np.zeros((H, W, 3), np.uint8)).save(root / "validation" / f"{image}.jpg")
    for name, _, kind, _ in named:
        path = root / "validation-masks" / f"{name}.png"
        mask = {"whole": _drawn(), "empty": np.zeros((50, 75), np.bool_)}.get(kind, np.zeros((64, 96), np.bool_))
        if kind == "one pixel":
            mask[21, 33] = True
        if kind == "no bytes":
            path.write_bytes(b"")
        elif kind != "missing":
            PIL.Image.fromarray(mask).save(path)
    found = [_box(image, label, place, IsGroupOf=flag) for image, label, place, flag in boxes]
    own = _box(table[0][1], table[0][2], table[0][4:8])  # one at least, as in the real ones
    _table(root / "validation-annotations-bbox.csv", BOX_HEADER, [*found, own])
    return root


@pytest.mark.slow
@settings(max_examples=40, derandomize=True)
@given(ROWS, BOXES, st.booleans())
def test_another_reader_finds_the_same(rows: list[Any], boxes: list[Any], group_of: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="spaces and Ümlaute ") as folder:
        root = _generated(Path(folder), rows, boxes)
        data, expected = _open(root, drop_group_of=group_of), _by_hand(root, group_of)
        assert data.sample_ids() == list(expected)
        assert data.fingerprint()["instances"] == sum(map(len, expected.values()))
        for sample_id, instances in expected.items():
            listed = {one.id: (one.category, one.seen) for one in data.list_instances(sample_id)}
            seen = {"Cat": True, "Dog": False, "Ball (Object)": False}
            assert listed == {name: (category, seen.get(category)) for name, (category, _, _) in instances.items()}
            sample = data.load(sample_id)
            assert list(sample.broken) == [name for name, (*_, mask) in instances.items() if mask is None]
            loaded = {one.id: (one.category, one.same_class_count) for one in sample.instances}
            assert loaded == {name: (c, n) for name, (c, n, mask) in instances.items() if mask is not None}
            for one in sample.instances:
                np.testing.assert_array_equal(one.mask, instances[one.id][2])


# The contract


def test_the_registry_builds_it_with_a_number_for_the_class_list(tmp_path: Path) -> None:
    _write(tmp_path, [_row()])
    data = parameters.build("datasets", "openimages", {"root": tmp_path, "classes": 300, "seen": None})
    assert data.classes == ("Cat", "Dog") and data.image_key("a") == "openimages/a"


def test_an_unknown_image(tmp_path: Path) -> None:
    data = _open(_write(tmp_path, [_row()]))
    for image in ("", "0", "b", "aa"):
        with pytest.raises(KeyError):
            data.list_instances(image)


def test_fingerprint_notices_a_flag_and_a_class(tmp_path: Path) -> None:
    root = _with_boxes(tmp_path, [_row(), _row("a_2", label=DOG)], [_box()])
    one, flagged = _open(root).fingerprint(), _open(root, drop_group_of=True).fingerprint()
    assert one == flagged and json.loads(json.dumps(one)) == one
    _table(root / "validation-annotations-bbox.csv", BOX_HEADER, [_box(IsGroupOf=1)])
    assert _open(root, drop_group_of=True).fingerprint() != one
    _table(root / "validation-annotations-object-segmentation.csv", MASK_HEADER, [_row(), _row("a_2", label=BALL)])
    changed = _open(root).fingerprint()
    assert (changed["samples"], changed["instances"]) == (1, 2) and changed != one


def test_pickled_it_stays_small_and_works(tmp_path: Path) -> None:
    data = _open(_write(tmp_path, [_row(f"a_{n}") for n in range(500)], masks=["a_1.png"]))
    data.load("a")
    pickled = pickle.dumps(data)
    assert len(pickled) < 5_000
    assert pickle.loads(pickled).list_instances("a") == data.list_instances("a")


def test_the_tables_are_read_once_until_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _write(tmp_path, [_row(label=DOG), _row("a_2")])
    fingerprint = _open(root).fingerprint()
    with monkeypatch.context() as patched:
        patched.setattr("harness.datasets.openimages.index.batches", None)
        assert _open(root, seen=None).sample_ids() == ["a"]
        index_of.cache_clear()  # as in another process
        assert _open(root).fingerprint() == fingerprint
    _table(root / "validation-annotations-object-segmentation.csv", MASK_HEADER, [_row("b_1", "b")])
    assert _open(root).sample_ids() == ["b"]


def test_what_takes_long_says_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("harness.datasets.openimages.tables._LINE_EVERY_S", -1)
    monkeypatch.setattr("harness.datasets.openimages.tables._BLOCK_BYTES", 4000)
    data = _open(_write(tmp_path, [_row(f"a_{n}") for n in range(200)], masks=[]))
    assert len(data.list_instances("a")) == 200
    said = capsys.readouterr().err.splitlines()
    assert len(said) > 3 and said[-1].endswith("validation-annotations-object-segmentation.csv: 100% read")
    data.list_instances("a")
    assert not capsys.readouterr().err


def test_loading_twice_gives_the_same(tmp_path: Path) -> None:
    data = _open(_write(tmp_path, [_row("a_1"), _row("a_2")]))
    one, other = data.load("a"), data.load("a")
    np.testing.assert_array_equal(one.image, other.image)
    assert [i.id for i in one.instances] == [i.id for i in other.instances]
    assert one.instances[0].mask is not other.instances[0].mask


# The class lists


def _real_rows(name: str) -> Iterator[list[str]]:
    with (real_data.OPENIMAGES / name).open(encoding="utf-8", newline="") as file:
        yield from csv.reader(file)


@pytest.mark.parametrize("count", [64, 34, 23])
def test_each_list_has_its_count(count: int) -> None:
    names = seen_names(f"openimages_{count}")
    assert len(names) == len(set(names)) == count and set(names) <= set(seen_names("openimages_64"))


def test_the_23_are_not_of_the_34() -> None:
    assert set(seen_names("openimages_23")) - set(seen_names("openimages_34")) == {"Cat", "Wine", "Vase", "Spoon"}


@real_data.needs("openimages")
def test_the_64_are_names_of_segmentable_classes_but_for_two_renamings() -> None:
    names = dict(_real_rows("class-descriptions-boxable.csv"))
    known = {names[label] for (label,) in _real_rows("segmentable-known-308-of-350.txt")}
    assert set(seen_names("openimages_64")) - known == {"Ball (Object)", "Orange (fruit)"}
    assert {"Ball", "Orange"} <= known
    derived = {row[0] for row in list(_real_rows("coco_openimages_64.csv"))[1:]}
    assert derived - set(seen_names("openimages_64")) == {"Airplane"} and set(seen_names("openimages_64")) <= derived


@real_data.needs("openimages")
@pytest.mark.parametrize(("classes", "count", "seen"), [(300, 300, 61), (350, 308, 64)])
def test_the_real_lists_load(tmp_path: Path, classes: int, count: int, seen: int) -> None:
    root = _write(tmp_path, [_row(), _row("a_2", label=TORTOISE), _row("a_3", label="/m/0cyhj_")])
    (root / "oidv7-class-descriptions-boxable.csv").unlink()
    for name in ("challenge-2019-classes-description-segmentable.csv", "class-descriptions-boxable.csv"):
        (root / name).write_bytes((real_data.OPENIMAGES / name).read_bytes())
    (root / "oidv7-classes-segmentation.txt").write_bytes(
        (real_data.OPENIMAGES / "segmentable-known-308-of-350.txt").read_bytes()
    )
    data = OpenImages(root, classes=classes)  # type: ignore[arg-type]
    assert len(data.classes) == len(set(data.classes)) == count
    assert sum(data._seen.values()) == seen
    assert {one.category: one.seen for one in data.list_instances("a")} == {
        "Cat": True,
        "Tortoise": False,
        "Orange": True,
    }


@real_data.needs("openimages")
def test_the_300_are_named_alike_in_both_official_tables() -> None:
    names = dict(_real_rows("class-descriptions-boxable.csv"))
    challenge = dict(_real_rows("challenge-2019-classes-description-segmentable.csv"))
    assert len(challenge) == 300 and challenge.items() <= names.items()


def test_a_picture_that_was_replaced_changes_the_fingerprint_and_a_copied_one_does_not(tmp_path: Path) -> None:
    def facts() -> dict[str, Any]:
        return dict(_open(tmp_path).fingerprint())

    _write(tmp_path, [_row()])
    before = facts()
    (picture, *_) = sorted(tmp_path.rglob("*.jpg"))
    os.utime(picture, ns=(1, 1))
    assert facts() == before
    picture.write_bytes(picture.read_bytes() + b"0")
    assert {key for key in before if facts()[key] != before[key]} == {"pictures"}
