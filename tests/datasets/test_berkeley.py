"""Berkeley: read as GrabCut is, from folders of its own; one file a mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from harness.datasets.berkeley import Berkeley

from harness import UserError
from harness.plugins import parameters, registry
from harness.structures import Listed
from toy_files import picture

H, W = 12, 17
NAMES = ("189011", "189011a", "189011b", "21077")
"""As in the release: a picture with three objects is there thrice."""


def _mask(at: int) -> np.ndarray:
    values = np.zeros((H, W), np.uint8)
    values[at : at + 3, 2:9] = 255
    return values


def _write(root: Path) -> Path:
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for at, name in enumerate(NAMES):
        picture(H, W, 3).save(root / "images" / f"{name}.jpg")
        PIL.Image.fromarray(_mask(at)).save(root / "masks" / f"{name}.png")
    return root


def test_a_sample_a_mask(tmp_path: Path) -> None:
    berkeley = Berkeley(_write(tmp_path))
    assert berkeley.sample_ids() == list(NAMES)
    for at, name in enumerate(NAMES):
        sample = berkeley.load(name)
        assert berkeley.list_instances(name) == [Listed(name)] and sample.ignore is None
        (instance,) = sample.instances
        assert (instance.id, instance.category, instance.seen) == (name, "", None)
        np.testing.assert_array_equal(instance.mask, _mask(at) > 0)


def test_a_mask_of_ones_and_a_band_are_read_as_grabcuts_are(tmp_path: Path) -> None:
    root = _write(tmp_path)
    values = _mask(0) // 255
    values[9:11] = 128
    PIL.Image.fromarray(values).save(root / "masks" / "21077.png")
    sample = Berkeley(root).load("21077")
    np.testing.assert_array_equal(sample.instances[0].mask, values == 1)
    assert sample.ignore is not None and sample.ignore.sum() == 2 * W


def test_samples_of_one_picture_share_its_key_also_with_grabcut(tmp_path: Path) -> None:
    berkeley = Berkeley(_write(tmp_path))
    assert [berkeley.image_key(name) for name in NAMES] == 3 * ["bsds/189011"] + ["bsds/21077"]
    assert berkeley.image_key("189011c4") == "berkeley/189011c4"


def test_the_registry_builds_it_and_its_messages_are_its_own(tmp_path: Path) -> None:
    params = parameters.resolve("datasets", "berkeley", {"root": str(_write(tmp_path / "a"))})
    berkeley = parameters.build("datasets", "berkeley", params)
    assert isinstance(berkeley, Berkeley) and berkeley.name == "berkeley"
    assert registry.find("datasets", "grabcut").name == "grabcut"
    with pytest.raises(UserError, match=r"datasets/berkeley\.py: no folder .*nowhere/images.*Berkeley\.zip"):
        Berkeley(tmp_path / "nowhere")
