"""What people's annotation tools and scripts write: the right rows, or one message that says what to mend.

The cases are those of public issues of annotation tools and of code that reads COCO's form. Each is a picture of one
data set, which is examined by doctor and run once, or a file that both refuse.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pycocotools.mask
import pytest

from harness import UserError
from harness.cli.plan import plan
from harness.config.run_config import load_run
from harness.running.doctor import State, examined
from harness.running.one_run import run
from harness.storage.results_file import read_results
from harness.storage.store import Store
from toy_runs import SHOWN, Quiet, written

H, W = 32, 48
BOX = [4, 3, 20, 3, 20, 15, 4, 15]
AREA = 192
"""Pixels of the box."""
RUNS = [4 * H + 3, 12, *[H - 12, 12] * 15]
"""The same as run lengths, column by column."""
RUNS.append(H * W - sum(RUNS))
PIXELS = np.full((H, W, 3), 90, np.uint8)
PIXELS[3:15, 4:20] = 200


def _string() -> str:
    mask = np.zeros((H, W), np.uint8)
    mask[3:15, 4:20] = 1
    return str(pycocotools.mask.encode(np.asfortranarray(mask))["counts"].decode())


def rle(counts: Any, size: Any = (H, W)) -> dict[str, Any]:
    return {"counts": counts, "size": list(size)}


def annotation(**changes: Any) -> dict[str, Any]:
    """One annotation; a field that is changed to `...` is left out."""
    known = {"segmentation": [BOX], "category_id": 1, "area": AREA, "iscrowd": 0, "bbox": [4, 3, 16, 12]}
    return {key: value for key, value in (known | changes).items() if value is not ...}


def drawn(path: Path, mode: str = "RGB", form: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(PIXELS).convert(mode).save(path, form)


def sixteen_bits(path: Path) -> None:
    PIL.Image.fromarray(np.linspace(0, 65535, H * W).reshape(H, W).astype(np.uint16)).save(path)


def cut(path: Path) -> None:
    drawn(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def linked(path: Path) -> None:
    drawn(path.parent.parent / "elsewhere.png")
    path.symlink_to(path.parent.parent / "elsewhere.png")


Drawing = Callable[[Path], None]
POLYGONS = "wanted a list of polygons"
MISSING = "no such file; wanted an image"
# Case -> the annotation's changes, the rows' pixels or the reason of the failed row
SEGMENTATIONS: dict[str, tuple[dict[str, Any], int | str]] = {
    "run lengths": ({"segmentation": rle(RUNS)}, AREA),
    "run lengths as a string": ({"segmentation": rle(_string())}, AREA),
    "run lengths as 12.0": ({"segmentation": rle([float(one) for one in RUNS], (float(H), float(W)))}, AREA),
    "run lengths as '12'": ({"segmentation": rle([str(one) for one in RUNS], (str(H), str(W)))}, AREA),
    "bytes as Python prints them": (
        {"segmentation": rle(f"b'{_string()}'")},
        r"as Python prints bytes; wanted .*\.decode",
    ),
    "counts in one text": ({"segmentation": rle(" ".join(map(str, RUNS)))}, "found ' ' in the counts"),
    "width before height": ({"segmentation": rle(RUNS, (W, H))}, r"of size \[48, 32\]; wanted \[32, 48\]"),
    "run lengths in a list": ({"segmentation": [rle(RUNS)]}, POLYGONS),
    "run lengths as a polygon": ({"segmentation": [RUNS]}, "of 33 numbers; wanted x, y of three points"),
    "one polygon without its list": ({"segmentation": BOX}, POLYGONS),
    "points": ({"segmentation": [[BOX[at : at + 2] for at in range(0, 8, 2)]]}, AREA),
    "points without a list": (
        {"segmentation": [BOX[at : at + 2] for at in range(0, 8, 2)]},
        r"polygon \[4, 3\] of 2 num",
    ),
    "points as objects": ({"segmentation": [[{"x": 4, "y": 3}]]}, "wanted numbers"),
    "four numbers, a box": ({"segmentation": [[4, 3, 16, 12]]}, "of 4 numbers; wanted x, y of three points"),
    "an odd length": ({"segmentation": [BOX[:7]]}, "of 7 numbers; wanted x, y of three points"),
    "numbers as text": ({"segmentation": [[str(one) for one in BOX]]}, AREA),
    "a box alone": ({"segmentation": []}, r"wanted polygons or run lengths \(a `bbox` is no mask\)"),
    "no segmentation": ({"segmentation": ...}, r"found the segmentation None.*\(a `bbox` is no mask\)"),
    "an empty polygon": ({"segmentation": [[]]}, "of 0 numbers"),
    "shares of the sides": (
        {"segmentation": [[0.1, 0.2, 0.5, 0.2, 0.5, 0.6]]},
        "between 0 and 1; wanted pixels, not shares of the sides",
    ),
    "partly outside": ({"segmentation": [[-10, 3, 20, 3, 20, 15, -10, 15]]}, 20 * 12),
    "wholly outside": ({"segmentation": [[60, 3, 70, 3, 70, 15, 60, 15]]}, "covers no pixel"),
    "pixels of a larger picture": ({"segmentation": [[40, 30, 200, 30, 200, 150]]}, "wanted it on the 32 x 48 image"),
    "area 0": ({"area": 0}, AREA),
    "area NaN": ({"area": float("nan"), "bbox": [float("nan")] * 4}, AREA),
    "neither area nor iscrowd nor bbox": ({"area": ..., "iscrowd": ..., "bbox": ...}, AREA),
    "iscrowd as text": ({"iscrowd": "0"}, AREA),
    "category ids with gaps": ({"category_id": 900}, AREA),
    "a category that is not there": ({"category_id": 2}, "found category_id 2.*that `categories` lists"),
}
# Case -> the picture's file name, how it is drawn, the rows' pixels or the reason
PICTURES: dict[str, tuple[str, Drawing | None, int | str]] = {
    **{
        f"named {name}": (name, drawn, AREA)
        for name in ("a b.png", "a#1.png", "50%.png", "12:30.png", "a:b.png", "it's.png")
    },
    **{
        f"named {name}": (name, drawn, AREA)
        for name in ("UPPER.PNG", "勝.png", "a/deep/one.png", ".dot.png", "a&+.png")
    },
    **{
        f"mode {mode}": (f"{mode}.png", lambda path, mode=mode: drawn(path, mode), AREA)
        for mode in ("L", "1", "LA", "RGBA", "P")
    },
    "CMYK": ("cmyk.jpg", lambda path: drawn(path, "CMYK"), AREA),
    "16 bits": ("16.png", sixteen_bits, AREA),
    "a TIFF of floats": ("f.tif", lambda path: drawn(path, "F"), "a range that the file does not state"),
    "a PNG that is called .jpg": ("png.jpg", lambda path: drawn(path, form="PNG"), AREA),
    "a link": ("link.png", linked, AREA),
    "a dead link": ("dead.png", lambda path: path.symlink_to("nowhere.png"), MISSING),
    "missing": ("missing.png", None, MISSING),
    "a folder": ("folder.png", Path.mkdir, MISSING),
    "zero bytes": ("zero.png", Path.touch, "found 0 bytes that do not decode"),
    "a page of the web": ("page.jpg", lambda path: path.write_text("<html>404") and None, "found 9 bytes that do not"),
    "cut off": ("cut.jpg", cut, "that do not decode"),
    "letters of another case": ("Case.PNG", lambda path: drawn(path.with_name("Case.png")), r"There is 'Case\.png'"),
    "as in a URL": ("u%20v.png", lambda path: drawn(path.with_name("u v.png")), r"There is 'u v\.png'"),
    "folders in Windows's writing": ("images\\w.png", None, "has backslashes: write '/'"),
}
SIZES: dict[str, tuple[Any, Any, int | str]] = {
    "sizes as text": ("32", "48.0", AREA),
    "height and width exchanged": (W, H, "Height and width are swapped there, or the picture was turned"),
    "size 0": (0, 0, "wanted 0 x 0, as in"),
}


def collected(root: Path) -> dict[str, int | str]:
    """Write all cases as one data set with an image each, and return what becomes of each image."""
    images, annotations, wanted = [], [], {}
    cases = [(name, "plain.png", None, changes, end, (H, W)) for name, (changes, end) in SEGMENTATIONS.items()]
    cases += [(name, file, draw, {}, end, (H, W)) for name, (file, draw, end) in PICTURES.items()]
    cases += [(name, "plain.png", None, {}, end, (h, w)) for name, (h, w, end) in SIZES.items()]
    drawn(root / "val" / "plain.png")
    for name, file, draw, changes, end, (height, width) in cases:
        if draw:
            draw(root / "val" / file)
        images.append({"id": name, "file_name": file, "height": height, "width": width})
        annotations.append({"id": f"{name} 1", "image_id": name} | annotation(**changes))
        wanted[name] = end
    categories = [{"id": 900, "name": "plate"}, {"id": 1, "name": "cup"}, {"id": 0, "name": "things"}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    return write(root, json.dumps(document)) and wanted


def write(root: Path, text: str, encoding: str = "utf-8") -> Path:
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / "annotations" / "instances_val.json").write_text(text, encoding=encoding)
    return root


def config(folder: Path, root: Path) -> Any:
    data = {"name": "coco", "params": {"root": str(root), "split": "val", "seen": None}}
    return load_run(written(folder / "a.yaml", **SHOWN, datasets=[data]))


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int | str, Any, str]]:
    """Case -> what is wanted, its row, and what doctor says of its image, from one examination and one run."""
    folder = tmp_path_factory.mktemp("complaints")
    wanted = collected(folder / "data")
    asked = config(folder, folder / "data")
    run(asked, Quiet(), runs=str(folder / "runs"))
    found = read_results(Store(folder / "runs" / "a"))
    assert found is not None
    of = {name: own.iloc[0] for name, own in found.groupby("image_id")}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("harness.running.doctor.OPENED_WHOLE", len(wanted))
        findings = [one.text for one in examined(asked) if one.state is State.WRONG]
    told = {name: " ".join(text for text in findings if text.startswith(f"image {name}:")) for name in wanted}
    return {name: (end, of[name], told[name]) for name, end in wanted.items()}


@pytest.mark.slow
@pytest.mark.parametrize("case", [*SEGMENTATIONS, *PICTURES, *SIZES])
def test_a_case_gives_its_pixels_or_a_failed_row_with_its_reason(case: str, rows: Any) -> None:
    wanted, row, told = rows[case]
    if isinstance(wanted, int):
        assert (row["status"], row["gt_area_px"], told) == ("ok", wanted, "")
    else:
        assert row["status"] != "ok"
        for said in (row["error"], told):
            assert re.search(wanted, said), said


@pytest.mark.slow
def test_every_case_has_one_row_and_its_category(rows: Any) -> None:
    assert {row["category"] for _, row, _ in rows.values()} == {"cup", "plate", ""}


IMAGE = {"id": 1, "file_name": "plain.png", "height": H, "width": W}
FIRST = {"id": 1, "image_id": 1} | annotation()
CUP = [{"id": 1, "name": "cup"}]


def whole(**changes: Any) -> dict[str, Any]:
    """A file of one image with one annotation."""
    return {"images": [IMAGE], "annotations": [FIRST], "categories": CUP} | changes


REFUSED: dict[str, tuple[Any, str]] = {
    "nothing": ("", "it is empty"),
    "a page of the web": ("<!DOCTYPE html>", "it is a web page"),
    "a pointer of Git LFS": ("version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
    "COCO's results": ([{"image_id": 1, "segmentation": rle(RUNS), "score": 0.9}], "it is a list, as COCO's results"),
    "LabelMe's file": (
        {"version": "5.0", "flags": {}, "shapes": [], "imagePath": "a.png"},
        "it is LabelMe's file of one",
    ),
    "VIA's file": ({"a.png": {"filename": "a.png", "regions": []}}, "no list of `annotations`"),
    "annotations by id": (
        whole(annotations={"1": FIRST}),
        "no list of `annotations`",
    ),
    "images by id": (whole(images={"1": IMAGE}), "no list of `images`"),
    "no categories": ({"images": [IMAGE], "annotations": [FIRST]}, "no list of `categories`"),
    "empty categories": (
        whole(categories=[]),
        "list of `categories` is empty",
    ),
    "a category without a name": (
        whole(categories=[{"id": 1, "name": " "}]),
        r"categories\[0\] has no name",
    ),
    "an annotation without an id": (
        whole(annotations=[annotation(image_id=1)]),
        r"the annotation at byte \d+ has no id",
    ),
    "an annotation of no image": (
        whole(annotations=[annotation(id=1, image_id=None)]),
        r"the annotation at byte \d+ has no image_id",
    ),
    "an image without a size": (
        whole(images=[{"id": 1, "file_name": "plain.png"}]),
        r"images\[0\] has no height",
    ),
    "an image without a name": (
        whole(images=[IMAGE | {"file_name": ""}]),
        r"images\[0\] has no file_name",
    ),
    "two images of one id": (
        whole(images=[IMAGE, IMAGE]),
        r"images\[1\] has an id that an earlier one has, 1",
    ),
    "a path of another machine": (
        whole(images=[IMAGE | {"file_name": "C:\\data\\a.png"}]),
        "leads out of the folder of pictures",
    ),
    "no annotation": (whole(annotations=[]), "lists no sample"),
}


@pytest.mark.parametrize(("document", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_a_file_that_is_no_such_file_is_one_message(tmp_path: Path, document: Any, reason: str) -> None:
    root = write(tmp_path / "data", document if isinstance(document, str) else json.dumps(document))
    drawn(root / "val" / "plain.png")
    asked = config(tmp_path, root)
    (told,) = [one.text for one in examined(asked) if one.state is State.WRONG]
    with pytest.raises(UserError, match=reason) as raised:
        run(asked, Quiet(), runs=str(tmp_path / "runs"))
    assert told.removeprefix("datasets/") in str(raised.value) or "lists no sample" in told


@pytest.mark.slow
def test_a_mark_at_the_files_beginning_and_ids_that_begin_anew_in_each_image(tmp_path: Path) -> None:
    images = [IMAGE, IMAGE | {"id": 2}]
    document = whole(images=images, annotations=[FIRST, FIRST | {"image_id": 2}])
    root = write(tmp_path / "data", json.dumps(document), "utf-8-sig")
    drawn(root / "val" / "plain.png")
    asked = config(tmp_path, root)
    assert [one.text for one in examined(asked) if one.state is State.WRONG] == [
        "image 2: will be a failed row: instance 1#2: found the id of an earlier instance; wanted one of its own"
    ]
    finished = run(asked, Quiet(), runs=str(tmp_path / "runs"))
    assert (finished.instances, finished.failed) == (2, 1)
    assert finished.reasons[0].text.startswith("found the id of an earlier instance")


@pytest.mark.slow
def test_brush_masks_that_are_left_out_are_told_by_plan_doctor_and_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = whole(annotations=[FIRST, FIRST | {"id": 2, "iscrowd": 1, "segmentation": rle(RUNS)}])
    root = write(tmp_path / "data", json.dumps(document))
    drawn(root / "val" / "plain.png")
    asked = config(tmp_path, root)
    said = "leaves out 1 crowd regions (iscrowd: 1; `crowd: keep` evaluates them)"
    assert said in [one.text for one in examined(asked)]
    plan(tmp_path / "a.yaml", runs=str(tmp_path / "runs"))
    assert f"coco {said}." in " ".join(capsys.readouterr().out.split())
    finished = run(asked, Quiet(), runs=str(tmp_path / "runs"))
    assert finished.instances == 1
    assert f"coco {said}." in (tmp_path / "runs" / "a" / "report.md").read_text().replace("\\", "")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            ["val/_annotations.coco.json", "val/a.png"],
            "There is val/_annotations.coco.json: if that is it, move it there",
        ),
        (["result.json", "images/a.png"], "There is result.json: if"),
        (["annotations/instances_default.json", "images/a.png"], "There are the splits: default."),
        (["annotations/instances_val.json", "images/a.png"], "no folder .*val; wanted the split's pictures in it"),
    ],
    ids=["Roboflow", "Label Studio", "CVAT", "pictures elsewhere"],
)
def test_other_tools_folders_are_told_where_things_belong(tmp_path: Path, files: list[str], said: str) -> None:
    for name in files:
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    with pytest.raises(UserError, match=said):
        run(config(tmp_path, tmp_path / "data"), Quiet(), runs=str(tmp_path / "runs"))
