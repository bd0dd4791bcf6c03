"""DAVIS-585: frames with several objects, and the masks that prompts start from, on files in the authors' layout."""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
from harness.datasets.davis585 import Davis585

from harness import UserError
from harness.plugins import parameters
from harness.structures import Listed
from toy_files import picture

H, W = 12, 17
BOXES = {"object1": (2, 3), "object2": (6, 9)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two sequences; in the first a frame with two objects and a frame with one."""
    (tmp_path / "README.txt").touch()
    for sequence, frame, names in (
        ("bear", "00009", ("object1", "object2")),
        ("bear", "00019", ("object1",)),
        ("dog", "00000", ("object2",)),
    ):
        folder = tmp_path / sequence
        folder.mkdir(exist_ok=True)
        picture(H, W, 3).save(folder / f"{frame}.jpg")
        for name in names:
            y, x = BOXES[name]
            for prefix, size in (("", 5), ("init_stm_", 4), ("init_sp_", 3)):
                values = np.zeros((H, W, 3), np.uint8)
                values[y : y + size, x : x + size] = 0, 0, 255  # blue alone counts
                values[0, :2] = (128, 128, 128), (255, 255, 0)
                PIL.Image.fromarray(values).save(folder / f"{prefix}{name}_{frame}.png")
    return tmp_path


def test_a_sample_is_a_frame_and_an_instance_an_object(root: Path) -> None:
    data = Davis585(root)
    assert data.sample_ids() == ["bear/00009", "bear/00019", "dog/00000"]
    assert data.list_instances("bear/00009") == [Listed("bear/object1_00009"), Listed("bear/object2_00009")]
    sample = data.load("bear/00009")
    assert [one.id for one in sample.instances] == ["bear/object1_00009", "bear/object2_00009"]
    assert [one.initial for one in sample.instances] == [None, None]
    for one in sample.instances:
        official = cv2.imread(str(root / f"{one.id}.png"))[:, :, 0] > 128
        np.testing.assert_array_equal(one.mask, official)
        assert one.mask.sum() == 25


@pytest.mark.parametrize(("initial", "area"), [("stm", 16), ("sp", 9)])
def test_prompts_start_from_the_masks_that_are_asked_for(root: Path, initial: str, area: int) -> None:
    data = parameters.build(
        "datasets", "davis585", parameters.resolve("datasets", "davis585", {"root": str(root), "initial": initial})
    )
    first, second = data.load("bear/00009").instances
    assert first.initial is not None and second.initial is not None
    assert first.initial.sum() == second.initial.sum() == area and (first.initial <= first.mask).all()
    names = [path.name for path in data.files("bear/00019")]
    assert names == ["00019.jpg", "object1_00019.png", f"init_{initial}_object1_00019.png"]
    again = pickle.loads(pickle.dumps(data))
    assert again.fingerprint() == data.fingerprint() != Davis585(root).fingerprint()


def test_an_object_that_cannot_be_read_leaves_the_others(root: Path) -> None:
    (root / "bear" / "init_sp_object2_00009.png").unlink()
    data = Davis585(root, "sp")
    sample = data.load("bear/00009")
    assert [one.id for one in sample.instances] == ["bear/object1_00009"]
    assert "init_sp_object2_00009.png: no such file" in sample.broken["bear/object2_00009"]
    assert all(path.is_file() for path in data.files("bear/00009"))
    PIL.Image.new("L", (W, H)).save(root / "bear" / "object1_00009.png")
    PIL.Image.new("L", (W, H + 1), 255).save(root / "bear" / "object2_00009.png")
    reasons = Davis585(root).load("bear/00009").broken
    assert "found no pixel of the object" in reasons["bear/object1_00009"]
    assert "found 13 x 17 (h x w); wanted 12 x 17" in reasons["bear/object2_00009"]


def test_128_is_beside_the_object_and_129_is_in_it(root: Path) -> None:
    values = np.full((H, W), 128, np.uint8)
    values[4:6, 3:6] = 129
    PIL.Image.fromarray(values).save(root / "dog" / "object2_00000.png")
    (only,) = Davis585(root).load("dog/00000").instances
    assert only.mask.sum() == 6 and only.mask[4:6, 3:6].all()


def test_hidden_folders_are_no_sequences(root: Path) -> None:
    (root / "dog").rename(root / ".dog")
    assert Davis585(root).sample_ids() == ["bear/00009", "bear/00019"]


def test_another_folder_is_told(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(UserError, match=r"datasets/davis585\.py: no folder root=.*nowhere.*ClickSEG"):
        Davis585(root / "nowhere")
    empty = Davis585(tmp_path_factory.mktemp("empty"))
    with pytest.raises(UserError, match="no mask in the folders of root="):
        empty.sample_ids()
