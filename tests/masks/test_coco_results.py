"""A file of COCO's results is read as it is written, and what is wrong with it is said with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness import UserError
from harness.masks.coco_results import Results, read

RLE = {"size": [2, 3], "counts": "06"}
OTHER = {"size": [2, 3], "counts": "24"}


def one(**changed: Any) -> dict[str, Any]:
    known = {"image_id": 139, "instance_id": 7, "category_id": 1, "segmentation": RLE, "score": 0.5}
    return {key: value for key, value in (known | changed).items() if value is not ...}


def written(folder: Path, *content: Any) -> Path:
    path = folder / "results.json"
    path.write_text(json.dumps(list(content)))
    return path


def of(folder: Path, *content: Any) -> Results:
    return read(written(folder, *content))


def test_ids_are_texts_however_they_are_written(tmp_path: Path) -> None:
    found = of(tmp_path, one(), one(instance_id=8.0), one(instance_id=..., annotation_id="a/1", score=...))
    assert [(each.image_id, each.instance_id, each.score) for each in found.all] == [
        ("139", "7", 0.5),
        ("139", "8", 0.5),
        ("139", "a/1", None),
    ]
    assert not found.ranked and found.most_clicks is None
    assert [each.instance_id for each in found.of("8", draw=3, clicks=5)] == ["8"] and not found.of("9", 0, 1)


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    path = written(tmp_path, one())
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert [each.instance_id for each in read(path).all] == ["7"]


def test_several_masks_of_an_instance_are_its_candidates(tmp_path: Path) -> None:
    found = of(tmp_path, one(), one(segmentation=OTHER, score=0.9), one(instance_id=8, score=...))
    assert found.ranked and [each.score for each in found.of("7", 0, 1)] == [0.5, 0.9]


def test_a_mask_of_a_click_and_a_draw_answers_these_alone(tmp_path: Path) -> None:
    known = [one(click_index=1), one(click_index=2), one(click_index=2, draw=1), one(instance_id=8)]
    found = of(tmp_path, *known)
    assert not found.ranked and found.most_clicks == 2
    assert [found.all.index(found.of("7", draw, k)[0]) for draw, k in ((0, 1), (0, 2), (1, 2), (1, 1))] == [0, 1, 2, 0]
    assert not found.of("7", 0, 3) and len(found.of("8", 4, 3)) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([7], "result 0: found a number; wanted an object"),
        ([one(), one(instance_id=...)], "result 1: found nothing as instance_id or annotation_id; wanted a number or"),
        ([one(image_id=None)], "result 0: found nothing as image_id"),
        ([one(instance_id=True)], "found true or false as instance_id"),
        ([one(segmentation=...)], "no segmentation; wanted polygons or run lengths"),
        ([one(score="high")], "result 0, score: found 'high'; wanted a number"),
        ([one(click_index=-1)], "click_index: found -1; wanted a whole number from 0 on"),
        ([one(draw=0.5)], "draw: found 0.5; wanted a whole number"),
        ([one(), one()], "result 1: instance '7' has the same mask and score as at result 0. Remove one"),
        (
            [one(), one(segmentation=OTHER, score=...)],
            "result 1: instance '7' has 2 masks .result 0, result 1., and this one has no score; wanted one mask, or",
        ),
        ([], "found an empty list; wanted one result at least"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, content: list[Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        of(tmp_path, *content)


@pytest.mark.parametrize(
    ("text", "said"), [("{}", "found an object; wanted a list"), ("[1", "wanted COCO's results in JSON"), (None, "No")]
)
def test_a_file_of_another_kind_is_told(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "results.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=said):
        read(path)
