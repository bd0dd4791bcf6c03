"""DAVIS, the 345 frames: whatever is not black is the one object."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import PIL.Image
import pytest
from harness.datasets.davis import Davis
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import UserError
from harness.plugins import parameters
from harness.structures import Listed
from toy_files import picture

H, W = 12, 17


def _write(root: Path, mask: PIL.Image.Image) -> Path:
    for folder in ("img", "gt"):
        (root / folder).mkdir(parents=True)
    picture(mask.height, mask.width, 3).save(root / "img" / "000.jpg")
    mask.save(root / "gt" / "000.png")
    return root


def test_objects_of_several_colours_are_one(tmp_path: Path) -> None:
    colours = np.zeros((H, W, 3), np.uint8)
    colours[2:5, 3:8, 0] = 128
    colours[4:9, 6:10, 2] = 1
    davis = Davis(_write(tmp_path, PIL.Image.fromarray(colours)))
    sample = davis.load("000")
    assert davis.sample_ids() == ["000"] and davis.list_instances("000") == [Listed("000")]
    (instance,) = sample.instances
    assert (instance.id, instance.category, instance.seen, sample.ignore) == ("000", "", None, None)
    assert instance.mask.sum() == 3 * 5 + 5 * 4 - 2


def test_a_band_of_128_is_object_here(tmp_path: Path) -> None:
    values = np.zeros((H, W), np.uint8)
    values[3:6, 3:9], values[4, 4] = 128, 255
    sample = Davis(_write(tmp_path, PIL.Image.fromarray(values))).load("000")
    assert sample.instances[0].mask.sum() == 18 and sample.ignore is None


@pytest.mark.slow
@settings(max_examples=40, derandomize=True)
@given(st.sampled_from(["1", "L", "P", "RGB", "RGBA", "LA"]), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_every_form_of_mask_is_read_as_opencv_does(mode: str, h: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.choice(np.array([0, 0, 1, 2, 5], np.uint8), (h, W, 3))
    values[0, 0] = 5
    if mode == "P":
        mask = PIL.Image.fromarray(values[:, :, 0])
        mask.putpalette([0, 0, 0, *rng.integers(0, 256, 15).tolist(), 9, 9, 9])
    else:
        mask = PIL.Image.fromarray(values).convert(mode) if mode[:3] == "RGB" else PIL.Image.fromarray(values[:, :, 0])
        mask = mask.point(lambda value: 255 * (value > 0)).convert(mode) if mode in ("1", "LA") else mask
    with TemporaryDirectory() as folder:
        root = _write(Path(folder), mask)
        wanted = cv2.imread(str(root / "gt" / "000.png")).max(axis=2) > 0
        np.testing.assert_array_equal(Davis(root).load("000").instances[0].mask, wanted)


def test_a_black_mask_fails(tmp_path: Path) -> None:
    root = _write(tmp_path, PIL.Image.new("L", (W, H)))
    with pytest.raises(ValueError, match=r"gt/000\.png: found no pixel of the object"):
        Davis(root).load("000")


def test_the_registry_builds_it_and_its_messages_are_its_own(tmp_path: Path) -> None:
    root = _write(tmp_path / "a", PIL.Image.new("L", (W, H), 255))
    davis = parameters.build("datasets", "davis", parameters.resolve("datasets", "davis", {"root": str(root)}))
    assert isinstance(davis, Davis) and davis.name == "davis" and davis.image_key("000") == "davis/000"
    assert davis.load("000").instances[0].mask.all()
    with pytest.raises(UserError, match=r"datasets/davis\.py: no folder .*nowhere/img.*DAVIS\.zip"):
        Davis(tmp_path / "nowhere")


def test_the_files_of_a_sample_are_its_picture_and_its_mask(tmp_path: Path) -> None:
    davis = Davis(_write(tmp_path, PIL.Image.new("RGB", (W, H), (9, 0, 0))))
    assert davis.files("000") == [tmp_path / "img" / "000.jpg", tmp_path / "gt" / "000.png"]
