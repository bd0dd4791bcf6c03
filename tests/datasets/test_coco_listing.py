"""COCO's listing kept from run to run: the same as from the JSON, and made anew once that changes."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness.datasets.coco import listing as coco_listing
from harness.datasets.coco.listing import Listing, parsed, version_of
from hypothesis import given, settings
from hypothesis import strategies as st

import real_data
from harness import UserError


@pytest.fixture(autouse=True)
def index(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Even small listings are kept, here."""
    monkeypatch.setenv("HARNESS_INDEX", str(tmp_path_factory.mktemp("index")))
    monkeypatch.setattr(coco_listing, "_KEPT_FROM_BYTES", 0)
    return Path(os.environ["HARNESS_INDEX"])


def _written(path: Path, annotations: Any, **parts: Any) -> Path:
    images = [{"id": n, "file_name": f"{n}.jpg", "height": 32, "width": 48} for n in (7, 100, 9)]
    categories = [{"id": 18, "name": "dög"}, {"id": "x", "name": "word"}, {"id": 1, "name": "person"}]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories} | parts))
    return path


def _listing(path: Path) -> Listing:
    parsed.cache_clear()  # as in another process
    return parsed(path, version_of(path.stat()))


def _same(one: Listing, other: Listing) -> None:
    assert (one.path, one.version, one.image_ids) == (other.path, other.version, other.image_ids)
    assert list(one.categories.items()) == list(other.categories.items())
    assert list(one.pictures.items()) == list(other.pictures.items())
    np.testing.assert_array_equal(one.bounds, other.bounds)
    assert one.rows.dtype == other.rows.dtype and one.rows.tobytes() == other.rows.tobytes()


def _from_the_json(path: Path, monkeypatch: pytest.MonkeyPatch) -> Listing:
    with monkeypatch.context() as patched:
        patched.setattr(coco_listing, "_KEPT_FROM_BYTES", 10**12)
        return _listing(path)


def _from_the_index(path: Path, monkeypatch: pytest.MonkeyPatch) -> Listing:
    with monkeypatch.context() as patched:
        patched.setattr(coco_listing, "scanned", None)
        return _listing(path)


ANNOTATIONS = st.lists(
    st.fixed_dictionaries(
        {
            "image_id": st.sampled_from([7, 9, 100, 55, "b", "Ä"]),
            "id": st.sampled_from([1, 2, 3, "x", 900100000001]),
        },
        optional={
            "category_id": st.sampled_from([1, 18, 99, None, "x", 10**30]),
            "area": st.sampled_from([0, 1.5, 1e300, None, "much"]),
            "iscrowd": st.sampled_from([0, 1, True, None]),
        },
    ),
    min_size=1,
    max_size=12,
)


@pytest.mark.slow
@settings(max_examples=30, derandomize=True)
@given(annotations=ANNOTATIONS)
def test_the_kept_listing_is_that_of_the_json(annotations: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as monkeypatch:
        path = _written(Path(folder, "instances.json"), annotations)
        _same(_listing(path), _from_the_json(path, monkeypatch))
        _same(_from_the_index(path, monkeypatch), _from_the_json(path, monkeypatch))


@real_data.needs("coco")
@pytest.mark.parametrize("split", ["train2017", "val2017"])
def test_the_real_listings_are_kept_whole(split: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = real_data.COCO / "annotations" / f"instances_{split}.json"
    _same(_listing(path), _from_the_json(path, monkeypatch))
    kept = _from_the_index(path, monkeypatch)
    _same(kept, _from_the_json(path, monkeypatch))
    assert list(kept.categories) == sorted(kept.categories) and len(kept.categories) == 80
    some = kept.of_image(kept.image_ids[3])
    assert all(annotation["segmentation"] for _, annotation in kept.annotations(some))


@pytest.mark.slow
def test_more_images_than_a_dictionary_page_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [f"an image with a rather long name, number {n}" for n in range(60_000)]
    annotations = [{"id": n, "image_id": images[-n], "category_id": 1} for n in range(len(images))]
    path = _written(tmp_path / "instances.json", annotations)
    _same(_listing(path), _from_the_index(path, monkeypatch))


def test_a_changed_file_is_listed_anew(tmp_path: Path) -> None:
    path = _written(tmp_path / "instances.json", [{"id": 1, "image_id": 7}])
    assert _listing(path).image_ids == ["7"]
    _written(path, [{"id": 1, "image_id": 9}])
    assert _listing(path).image_ids == ["9"]


def test_a_small_file_is_not_kept(tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("HARNESS_INDEX", str(index))
    _listing(_written(tmp_path / "instances.json", [{"id": 1, "image_id": 7}]))
    assert not list(index.iterdir())


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"images": []}, "the list of `images` is empty"),
        ({"images": [{"id": 7, "file_name": "7.jpg", "height": 10**30, "width": 48}]}, "too large|too big"),
        ({"annotations": {}}, "no list of `annotations`"),
        ({"categories": [{"id": 1}]}, r"categories\[0\] has no name"),
    ],
)
def test_a_bad_file_is_named_and_not_kept(tmp_path: Path, index: Path, parts: dict[str, Any], reason: str) -> None:
    path = _written(tmp_path / "instances.json", **{"annotations": [{"id": 1, "image_id": 7}], **parts})
    with pytest.raises(UserError, match=f"is not a whole COCO instances file: .*({reason})"):
        _listing(path)
    assert not list(index.iterdir())
